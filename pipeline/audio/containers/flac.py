"""Length of a FLAC file (RFC 9639)."""

import functools
import struct
from typing import BinaryIO

from pipeline.audio.containers.layout import Layout, replace_bytes
from pipeline.audio.errors import AudioError

STREAM_NOTE = "length missing in the header of a FLAC file"
LENGTH_NOTE = "wrong length in the header of a FLAC file"

# The last frame usually lies within the first number of bytes before the end of
# the file, and nearly always within the second.
_TAIL_BYTES = (1 << 14, 1 << 18)

# Files up to this size are searched for a second FLAC file.
_JOINED_BYTES = 1 << 23
_SIGNATURE = b"fLaC\0\0\0\x22"

# Number of samples in a frame by its code (RFC 9639, section 9.1.1).
_BLOCK_SAMPLES = {1: 192}
_BLOCK_SAMPLES |= {code: 144 << code for code in range(2, 6)}
_BLOCK_SAMPLES |= {code: 1 << code for code in range(8, 16)}


def flac_layout(file: BinaryIO, start: int, size: int) -> Layout:
    """The layout of a FLAC file, with the length that its last frame gives.

    libsndfile decodes no more samples than the header declares, and cannot
    seek if it declares none.

    Args:
      file: the file.
      start: position of the FLAC signature, after any tags.
      size: of the file.

    Raises:
      AudioError: if another FLAC file follows.
    """
    file.seek(start)
    header = file.read(42)
    if len(header) < 42:
        return Layout()
    # STREAMINFO: block sizes at 8, the length in the last 36 of 8 bytes at 18.
    block_samples = struct.unpack(">H", header[8:10])[0]
    packed = struct.unpack(">Q", header[18:26])[0]
    declared = packed & (1 << 36) - 1
    _check_joined(file, start, size)
    samples = None
    for tail_bytes in _TAIL_BYTES:
        file.seek(max(start + 42, size - tail_bytes))
        samples = _last_sample(file.read(), block_samples, declared)
        if samples is not None:
            break
    # A cut file ends before its declared length, which decoding will show.
    if samples is None or not declared < samples < 1 << 36:
        return Layout()
    changed = struct.pack(">Q", packed - declared + samples)
    notes = (LENGTH_NOTE if declared else STREAM_NOTE,)
    pieces = replace_bytes(size, {start + 18: changed})
    return Layout((pieces,), notes=notes)


def _check_joined(file: BinaryIO, start: int, size: int) -> None:
    """Raises AudioError if another FLAC file follows; checks short files."""
    if size > _JOINED_BYTES:
        return
    file.seek(start + 4)
    # The signature, and the type and size of STREAMINFO.
    if _SIGNATURE in file.read():
        raise AudioError(
            "joined: another FLAC file follows the first one in this file; "
            "separate them"
        )


def _last_sample(tail: bytes, block_samples: int, declared: int) -> int | None:
    """Number of samples up to the end of a file's last frame.

    Args:
      tail: the end of the file.
      block_samples: number of samples in all frames but the last one.
      declared: length that the header declares.

    Returns:
      The number, or None if no frame is found.
    """
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    position = len(tail)
    while (position := tail.rfind(b"\xff", 0, position)) >= 0:
        end = _frame_end(tail[position : position + 16], block_samples)
        if end is None:
            continue
        # The checksum of a frame covers all of it, so its remainder is 0.
        if end == declared or not _remainder(tail[position:], 0x8005, 16):
            return end
    return None


def _frame_end(header: bytes, block_samples: int) -> int | None:
    """Number of samples up to the end of a frame; None if it is no frame."""
    if len(header) < 6 or header[1] & 0xFE != 0xF8:
        return None
    is_variable, code = header[1] & 1, header[2] >> 4
    number, length = _coded_number(header[4:])
    if not length:
        return None
    position = 4 + length
    if code in (6, 7):
        extra = header[position : position + code - 5]
        samples = int.from_bytes(extra, "big") + 1
        position += code - 5
    else:
        samples = _BLOCK_SAMPLES.get(code, 0)
    # The sample rate may follow, in 1 or 2 bytes.
    position += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if not samples or _remainder(header[: position + 1], 0x07, 8):
        return None
    return (number if is_variable else number * block_samples) + samples


def _coded_number(data: bytes) -> tuple[int, int]:
    """A number coded as in UTF-8 and its size in bytes, 0 if invalid."""
    ones = 8 - (~data[0] & 0xFF).bit_length()
    if ones in (1, 8) or len(data) < ones:
        return 0, 0
    number = data[0] & 0x7F >> ones
    for byte in data[1 : max(1, ones)]:
        number = number << 6 | byte & 0x3F
    return number, max(1, ones)


def _remainder(data: bytes, polynomial: int, bits: int) -> int:
    """Remainder of a cyclic redundancy check that starts at 0."""
    table = _remainders(polynomial, bits)
    remainder, mask = 0, (1 << bits) - 1
    for byte in data:
        remainder = remainder << 8 & mask ^ table[remainder >> bits - 8 ^ byte]
    return remainder


@functools.cache
def _remainders(polynomial: int, bits: int) -> list[int]:
    """The remainder of every byte."""
    remainders, mask = [], (1 << bits) - 1
    for byte in range(256):
        remainder = byte << bits - 8
        for _ in range(8):
            carry = remainder >> bits - 1
            remainder = remainder << 1 & mask ^ polynomial * carry
        remainders.append(remainder)
    return remainders
