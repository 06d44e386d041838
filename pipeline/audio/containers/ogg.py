"""Streams of an Ogg file (RFC 3533)."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.audio.containers.layout import Layout
from pipeline.audio.errors import AudioError

CHAIN_NOTE = "several Ogg streams, one after another"

# Start of a stream's first page, and the flag of its last one.
_FIRST_PAGE, _LAST_PAGE = b"OggS\0\2", 4

# What streams begin with that libsndfile does not decode.
_AV_CODECS = (b"Speex", b"\x7fFLAC")

# Maximum size of a page.
_PAGE_BYTES = 65307

# The bytes with their bits in the opposite order.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of an Ogg file, which may be a chain of streams.

    libsndfile decodes only one stream of a chain, and repeats audio where pages
    are damaged.

    Raises:
      AudioError: if the last stream does not end, pages are damaged or missing,
        or the file contains several streams at the same time.
    """
    _check_end(file, size)
    starts, av_format, end = [], "", -1
    numbers = _Numbers()
    for start, page in _pages(file, size):
        if not _is_intact(page) or not numbers.add(page):
            raise AudioError(
                f"damaged: an Ogg page before byte {start + len(page)} is "
                "damaged or missing; get the file again"
            )
        if not page.startswith(_FIRST_PAGE):
            continue
        if start == end:
            raise AudioError(
                "multiplexed: several Ogg streams at the same time, such as "
                "a video and its sound; extract the sound"
            )
        starts.append(start)
        end = start + len(page)
        if page[27 + page[26] :].startswith(_AV_CODECS):
            av_format = "ogg"
    if len(starts) < 2:
        return Layout(av_format=av_format)
    ranges = zip(starts, [*starts[1:], size], strict=True)
    streams = tuple((piece,) for piece in ranges)
    return Layout(streams, av_format, notes=(CHAIN_NOTE,))


class _Numbers:
    """Checks that the pages of a stream are numbered without gaps."""

    def __init__(self):
        self._next, self._has_audio = 0, False

    def add(self, page: bytes) -> bool:
        """Adds a page; returns whether none before it is missing."""
        position, number = struct.unpack("<q4xI", page[6:22])
        if page.startswith(_FIRST_PAGE):
            self._has_audio = False
        # Recorders of radio put the first pages of a stream before its middle.
        elif self._has_audio and number != self._next:
            return False
        self._has_audio |= position > 0
        self._next = number + 1 & 0xFFFFFFFF
        return True


def _is_intact(page: bytes) -> bool:
    """Whether the checksum of a page is right (RFC 3533, section 6)."""
    # It takes the bits in the opposite order of that of zlib, starts from 0,
    # and counts as 0 itself.
    zeroed = page[:22] + bytes(4) + page[26:]
    reversed_sum = zlib.crc32(zeroed.translate(_REVERSED), ~0) ^ 0xFFFFFFFF
    checksum = reversed_sum.to_bytes(4, "big").translate(_REVERSED)
    return checksum == page[22:26]


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


def _pages(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yields (position, content) of the pages; skips what is between them."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(27 + 255)
        if not head.startswith(b"OggS"):
            offset = head.find(b"OggS")
            position += offset if offset > 0 else max(1, len(head) - 3)
            continue
        if len(head) < 27:
            return
        file.seek(position)
        page = file.read(_page_bytes(head))
        yield position, page
        position += len(page)
