"""Streams of an Ogg file (RFC 3533)."""

from collections.abc import Iterator
from typing import BinaryIO

from pipeline.audio.containers.layout import Layout
from pipeline.audio.errors import AudioError

CHAIN_NOTE = "several Ogg streams, one after another"

# Start of a stream's first page, and the flag of its last one.
_FIRST_PAGE, _LAST_PAGE = b"OggS\0\2", 4

# What streams begin with that libsndfile does not decode.
_AV_CODECS = (b"Speex", b"\x7fFLAC")

# Maximum size of a page; number of bytes that are searched at a time.
_PAGE_BYTES, _BLOCK_BYTES = 65307, 1 << 20


def ogg_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of an Ogg file, which may be a chain of streams.

    libsndfile decodes only one stream of a chain.

    Raises:
      AudioError: if the last stream does not end, or if the file contains
        several streams at the same time.
    """
    _check_end(file, size)
    starts, av_format, end = [], "", -1
    for start in _find_all(file, _FIRST_PAGE):
        if start == end:
            raise AudioError(
                "multiplexed: several Ogg streams at the same time, such as "
                "a video and its sound; extract the sound"
            )
        starts.append(start)
        file.seek(start)
        page = file.read(27 + 255)
        if len(page) < 27:
            break
        end = start + _page_bytes(page)
        if page[27 + page[26] :].startswith(_AV_CODECS):
            av_format = "ogg"
    if len(starts) < 2:
        return Layout(av_format=av_format)
    ranges = zip(starts, [*starts[1:], size], strict=True)
    streams = tuple((piece,) for piece in ranges)
    return Layout(streams, av_format, notes=(CHAIN_NOTE,))


def _check_end(file: BinaryIO, size: int) -> None:
    """Checks that the last page ends a stream (RFC 3533, section 6)."""
    file.seek(max(0, size - _PAGE_BYTES))
    tail = file.read()
    last = tail.rfind(b"OggS")
    page = tail[max(0, last) :]
    is_last = last >= 0 and len(page) >= 27 and page[5] & _LAST_PAGE
    if not is_last or len(page) < _page_bytes(page):
        raise AudioError("truncated: the Ogg stream does not end")


def _page_bytes(page: bytes) -> int:
    """Size of a page by its header."""
    return 27 + page[26] + sum(page[27 : 27 + page[26]])


def _find_all(file: BinaryIO, pattern: bytes) -> Iterator[int]:
    """The positions of a pattern in a file."""
    origin, data = 0, b""
    while True:
        file.seek(origin + len(data))
        block = file.read(_BLOCK_BYTES)
        if not block:
            return
        data += block
        position = data.find(pattern)
        while position >= 0:
            yield origin + position
            position = data.find(pattern, position + 1)
        # The pattern may lie across the end of the block.
        kept = data[1 - len(pattern) :]
        origin, data = origin + len(data) - len(kept), kept
