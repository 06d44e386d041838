"""The part of an audio file that is audio, without titles and other tags.

Two copies of a recording of which one was given a title differ only in tags.
"""

import os
import struct
from typing import BinaryIO

# Size of an ID3v1 tag, at the end of an MP3.
_ID3V1_BYTES = 128


def find(file: BinaryIO) -> tuple[bytes, int, int]:
    """Where the encoded audio of a file is.

    Files without tags that can be told apart, and files with a damaged header,
    count as a whole.

    Returns:
      (format, start, stop): the bytes that say how the audio is encoded, and
      the range of the audio in the file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    part = None
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        part = _find_wav(file, size)
    elif head[:4] == b"fLaC":
        part = _find_flac(file, size)
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        part = _find_mpeg(file, size, head)
    return part or (b"", 0, size)


def _find_wav(file: BinaryIO, size: int) -> tuple[bytes, int, int] | None:
    """The data chunk, if the whole of it is there."""
    position, layout = 12, b""
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        start = position + 8
        if name == b"fmt ":
            layout = file.read(min(length, 64))
        if name == b"data":
            is_whole = layout and 0 < length <= size - start
            return (layout, start, start + length) if is_whole else None
        position = start + length + length % 2
    return None


def _find_flac(file: BinaryIO, size: int) -> tuple[bytes, int, int] | None:
    """The frames, after the metadata blocks of which the first is kept."""
    position, layout = 4, b""
    while position + 4 <= size:
        file.seek(position)
        header = file.read(4)
        length = int.from_bytes(header[1:], "big")
        layout = layout or file.read(min(length, 64))
        position += 4 + length
        # The highest bit marks the last block.
        if header[0] & 0x80:
            return (layout, position, size) if position < size else None
    return None


def _find_mpeg(
    file: BinaryIO, size: int, head: bytes
) -> tuple[bytes, int, int] | None:
    """The part between the ID3 tags."""
    start, stop = 0, size
    if head[:3] == b"ID3":
        # Seven bits in each byte.
        length = sum(x << 7 * n for n, x in enumerate(reversed(head[6:10])))
        start = 10 + length
    if size >= _ID3V1_BYTES:
        file.seek(size - _ID3V1_BYTES)
        if file.read(3) == b"TAG":
            stop -= _ID3V1_BYTES
    file.seek(start)
    is_audio = file.read(1) == b"\xff"
    return (b"mpeg", start, stop) if is_audio and start < stop else None
