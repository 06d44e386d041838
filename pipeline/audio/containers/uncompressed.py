"""Containers for uncompressed samples: WAV, AIFF, AU, W64, CAF, SPHERE.

A header declares how many bytes of samples follow. A writer that cannot seek
back, such as one that writes into a pipe, leaves a placeholder. A file that was
cut in transfer has fewer bytes than declared.
"""

import math
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.audio.containers.layout import Layout, replace_bytes
from pipeline.audio.errors import AudioError

STREAM_NOTE = "data size of a stream in the header"
EXCESS_NOTE = "data size in the header a little too large"
OVERFLOW_NOTE = "data size that exceeds its field in the header"
TAIL_NOTE = "unknown bytes after the data"

# Writers that add the size of their header, or of a chunk, to that of the data
# declare a few bytes too many. A file cut in transfer rarely lacks so few.
_EXCESS_BYTES = 512

# Placeholders for an unknown size lie near the largest number that the field
# holds, signed or not (ffmpeg, arecord); sox rounds 0x7FFFF000 down to whole
# frames of up to 64 KiB, in AIFF 0x7F000000; GStreamer writes 0x7FFF0000.
_LARGEST_SIZES = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_NEAR_BYTES = 0x11000
_SOX_AIFF_SIZES = range(0x7F000000 - 0xFFFF, 0x7F000000 + 9)

# Lengths that programs declare for a stream, in frames and in bytes.
_STREAM_FRAMES = 1_000_000_000
_STREAM_SIZES = (1_000_000_000, 2_000_000_000)

# What follows data of unknown size is looked for in so many bytes.
_LAST_CHUNKS_BYTES = 1 << 16

# CAF formats that libsndfile decodes.
_CAF_FORMATS = (b"lpcm", b"alaw", b"ulaw", b"alac")

# WAVE formats of MPEG audio: layers I and II, and layer III.
_MPEG_FORMATS = (0x50, 0x55)
# WAVE formats that libsndfile decodes: PCM, float, A-law, mu-law, ADPCM of
# several kinds, GSM 6.10, and extensible.
_SNDFILE_FORMATS = (
    *(0x01, 0x02, 0x03, 0x06, 0x07, 0x11, 0x31, 0x38, 0x40, 0x64, 0x65),
    0xFFFE,
)


def wave_layout(file: BinaryIO, size: int) -> tuple[Layout, range | None]:
    """The layout of a WAV, RF64, BW64 or RIFX file.

    Returns:
      The layout, and the range of the data if they are MPEG audio.

    Raises:
      AudioError: if the file is truncated, or another one follows it.
    """
    file.seek(0)
    kind = file.read(4)
    order = ">" if kind == b"RIFX" else "<"
    wave_format, frame_bytes, sizes64 = 1, 1, None
    for name, start, length in _chunks(file, 12, order + "4sI"):
        if name == b"fmt ":
            wave_format, frame_bytes = _read_format(file, order)
        elif name == b"ds64" and kind != b"RIFF":
            # EBU Tech 3306, section 3.5: 64-bit sizes of file and data.
            content = file.read(16).ljust(16, b"\0")
            sizes64 = start + 8, struct.unpack("<QQ", content)[1]
        if name != b"data":
            continue
        field, size_format = start - 4, order + "I"
        if sizes64 and length == 0xFFFFFFFF:
            (field, length), size_format = sizes64, "<Q"
        is_empty = not length and _are_chunks(file, start, size, order)
        used, notes = _used(length, size - start, frame_bytes, is_empty)
        if notes:
            used = _last_chunks(file, start, size, order) - start
        if not notes and _has_overflown(file, start, used, size):
            used, notes = size - start, (OVERFLOW_NOTE,)
        if wave_format in _MPEG_FORMATS:
            return Layout(notes=notes), range(start, start + used)
        if wave_format not in _SNDFILE_FORMATS:
            return Layout(av_format="wav", notes=notes), None
        if used >> 32 and kind in (b"RIFF", b"RIFX"):
            return _as_rf64(kind, field, used, size, notes), None
        changes = _change(field, size_format, length, used)
        if kind == b"BW64":
            # The same format (ITU-R BS.2088) under another name.
            changes[0] = b"RF64"
        notes = notes or _check_tail(file, start + used, size)
        return _changed(size, changes, notes), None
    return Layout(), None


def _read_format(file: BinaryIO, order: str) -> tuple[int, int]:
    """The code of a WAV's format, and the size of a sample frame in bytes."""
    content = file.read(14).ljust(14, b"\0")
    code, _, _, _, frame_bytes = struct.unpack(order + "HHIIH", content)
    return code, frame_bytes


def aiff_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of an AIFF or AIFC file; raises AudioError if truncated."""
    frame_bytes = 1
    for name, start, length in _chunks(file, 12, ">4sI"):
        if name == b"COMM":
            content = file.read(8).ljust(8, b"\0")
            channels, _, bits = struct.unpack(">HIH", content)
            frame_bytes = channels * -(-bits // 8)
        if name == b"SSND":
            # The samples follow two numbers of 4 bytes, which count.
            declared = max(0, length - 8)
            tail = start + max(8, length)
            is_empty = not declared and _are_chunks(file, tail, size, ">")
            used, notes = _used(
                declared, size - start - 8, frame_bytes, is_empty
            )
            changes = _change(start - 4, ">I", length, used + 8)
            return _changed(size, changes, notes)
    return Layout()


def au_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of an AU file; raises AudioError if truncated."""
    file.seek(4)
    header = file.read(8)
    if len(header) < 8:
        raise AudioError("truncated: no header")
    start, length = struct.unpack(">II", header)
    used, notes = _used(length, size - start)
    return _changed(size, _change(8, ">I", length, used), notes)


def w64_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of Sony's Wave64; raises AudioError if truncated."""
    file.seek(16)
    header = file.read(24)
    if len(header) < 24:
        raise AudioError("truncated: no header")
    # Sizes include the chunk's header: an id of 16 bytes, and the size.
    for name, start, length in _chunks(file, 40, "<16sQ", 24, 8):
        if name[:4] == b"data":
            used, notes = _used(length, size - start)
            changes = _change(start - 8, "<Q", length + 24, used + 24)
            return _changed(size, changes, notes)
    _used(struct.unpack("<Q", header[:8])[0], size)
    return Layout()


def caf_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of Apple's CAF; raises AudioError if truncated."""
    av_format = ""
    for name, start, length in _chunks(file, 8, ">4sQ", 0, 1):
        if name == b"desc" and file.read(12)[8:] not in _CAF_FORMATS:
            av_format = "caf"
        if name == b"data":
            # A size of -1 is allowed for the last chunk of a stream.
            used, notes = _used(length, size - start)
            changes = _change(start - 8, ">Q", length, used)
            layout = _changed(size, changes, notes)
            return Layout(layout.streams, av_format, notes=notes)
    return Layout()


def sphere_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of NIST SPHERE, the format of TIMIT, whose header is text."""
    file.seek(0)
    header = file.read(1024)
    fields = dict(re.findall(rb"(\w+) -i (\d+)", header))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    lines = header.split(None, 2)
    is_known = set(names) <= set(fields) and lines[1:2] and lines[1].isdigit()
    # The length of compressed data is unknown.
    if not is_known or b"shorten" in header:
        return Layout()
    length = math.prod(int(fields[name]) for name in names)
    return Layout(notes=_used(length, size - int(lines[1]))[1])


def _chunks(
    file: BinaryIO,
    start: int,
    header_format: str,
    counted: int = 0,
    align: int = 2,
) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, start of the content, length) of the chunks of a file.

    Args:
      file: the file, which is at the content when a chunk is yielded.
      start: position of the first chunk.
      header_format: of a chunk's header, for `struct`.
      counted: number of bytes of the header that the length includes.
      align: the length of the content is a multiple of this, with padding.
    """
    header_bytes = struct.calcsize(header_format)
    while True:
        file.seek(start)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return
        name, length = struct.unpack(header_format, header)
        start += header_bytes
        length = max(0, length - counted)
        yield name, start, length
        start += length + -length % align
        # A later position does not fit into an integer of the system.
        if start >= 1 << 62:
            return


def _used(
    declared: int, actual: int, frame_bytes: int = 1, is_empty: bool = False
) -> tuple[int, tuple[str, ...]]:
    """The number of bytes of samples to use, and notes.

    Args:
      declared: number of bytes that the header declares.
      actual: number of bytes from the first sample to the end of the file.
      frame_bytes: size of a sample frame.
      is_empty: whether 0 declared bytes are no placeholder.

    Raises:
      AudioError: if the file is truncated.
    """
    actual = max(0, actual)
    if not declared and actual and not is_empty:
        return actual, (STREAM_NOTE,)
    if declared <= actual:
        return declared, ()
    if _is_placeholder(declared, frame_bytes):
        return actual, (STREAM_NOTE,)
    if declared - actual <= min(_EXCESS_BYTES, actual):
        return actual, (EXCESS_NOTE,)
    raise AudioError(f"truncated: {actual} of {declared} bytes of data")


def _has_overflown(file: BinaryIO, start: int, used: int, size: int) -> bool:
    """Whether a WAV has more data than its field can declare.

    Then the field contains a placeholder, or the rest of a division by 2^32.
    """
    rest = size - start - used
    is_too_small = rest >> 32 or _is_placeholder(used, 1)
    return bool(is_too_small and _check_tail(file, start + used, size))


def _as_rf64(
    kind: bytes, field: int, used: int, size: int, notes: tuple[str, ...]
) -> Layout:
    """A WAV of 4 GB or more as RF64 (EBU Tech 3306), which has wider fields.

    Raises:
      AudioError: if its byte order is that of RIFX, which RF64 does not have.
    """
    if kind != b"RIFF":
        raise AudioError("length: a RIFX file of more than 4 GB; convert it")
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 28, used, 0, 0)
    head = b"RF64\xff\xff\xff\xffWAVE" + sizes
    pieces = (head, (12, field), b"\xff" * 4, (field + 4, size))
    return Layout((pieces,), notes=notes)


def _is_placeholder(declared: int, frame_bytes: int) -> bool:
    return (
        any(abs(declared - size) <= _NEAR_BYTES for size in _LARGEST_SIZES)
        or declared in _SOX_AIFF_SIZES
        or declared in _STREAM_SIZES
        or declared == _STREAM_FRAMES * frame_bytes
    )


def _are_chunks(file: BinaryIO, start: int, size: int, order: str) -> bool:
    """Whether chunks fill the file from `start` to its end."""
    if start >= size:
        return True
    end = start
    for name, content, length in _chunks(file, start, order + "4sI"):
        if not re.fullmatch(rb"[ -~]{4}", name) or content + length > size:
            return False
        end = content + length
    # A byte of padding may be missing or left.
    return abs(size - end) <= 1


def _last_chunks(file: BinaryIO, start: int, size: int, order: str) -> int:
    """Where chunks begin that end a WAV with a wrong data size."""
    start = max(start, size - _LAST_CHUNKS_BYTES)
    file.seek(start)
    tail = file.read()
    for match in re.finditer(rb"LIST|bext|cue |fact|iXML|id3 |smpl", tail):
        if _are_chunks(file, start + match.start(), size, order):
            return start + match.start()
    return size


def _check_tail(file: BinaryIO, start: int, size: int) -> tuple[str, ...]:
    """Notes on what follows the data of a WAV.

    Raises:
      AudioError: if it is another WAV.
    """
    file.seek(start)
    tail = file.read(13)
    # Chunks start at even positions, but not every writer knows that.
    for header in (tail, tail[1:]):
        if (
            header[:4] in (b"RIFF", b"RIFX", b"RF64")
            and header[8:12] == b"WAVE"
        ):
            raise AudioError(
                "joined: another WAV follows the first one in this file; "
                "separate them"
            )
    is_chunk = re.match(rb".?[A-Za-z][ -~]{3}", tail, re.DOTALL)
    is_known = is_chunk or size - start <= _EXCESS_BYTES
    return () if is_known else (TAIL_NOTE,)


def _change(
    field: int, size_format: str, declared: int, used: int
) -> dict[int, bytes]:
    """The new bytes of a size field by its position; empty if it is right."""
    largest = (1 << 8 * struct.calcsize(size_format)) - 1
    if declared == used or used > largest:
        return {}
    return {field: struct.pack(size_format, used)}


def _changed(
    size: int, changes: dict[int, bytes], notes: tuple[str, ...]
) -> Layout:
    """The layout of a file with other bytes at some positions."""
    streams = (replace_bytes(size, changes),) if changes else ()
    return Layout(streams, notes=notes)
