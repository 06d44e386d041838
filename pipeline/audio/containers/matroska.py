"""Completeness of a Matroska or WebM file (RFC 9559, EBML in RFC 8794).

FFmpeg takes the end of a file that was cut for the end of its audio. A browser
that records does not know the length, so that its header cannot show the cut.
"""

import os
from typing import BinaryIO

from pipeline.audio.errors import AudioError


def check_complete(file: BinaryIO) -> None:
    """Checks that the last element of a file is complete.

    Raises:
      AudioError: if it is not.
    """
    size = file.seek(0, os.SEEK_END)
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(12)
        id_bytes = _number_bytes(header)
        length_bytes = _number_bytes(header[id_bytes:])
        position += id_bytes + length_bytes
        # FFmpeg decides what to do about an invalid element.
        if not id_bytes or not length_bytes:
            return
        coded = header[id_bytes : id_bytes + length_bytes]
        bits = 7 * length_bytes
        length = int.from_bytes(coded, "big") & (1 << bits) - 1
        # An element of unknown length, such as the segment of a stream,
        # consists of the elements that follow.
        if length == (1 << bits) - 1:
            continue
        position += length
    if position > size:
        raise AudioError(
            f"truncated: {position - size} bytes of the last element are "
            "missing"
        )


def _number_bytes(data: bytes) -> int:
    """Size of a number of variable length by its first byte; 0 if invalid."""
    return 9 - data[0].bit_length() if data and data[0] else 0
