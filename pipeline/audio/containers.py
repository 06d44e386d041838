"""Checks of audio containers that libsndfile does not perform.

libsndfile silently shortens a recording whose header declares more data than
the file contains. Therefore this module compares the lengths in the header with
the file size before a file is decoded.
"""

import importlib.util
import math
import os
import re
import struct
from typing import BinaryIO

from pipeline.audio.errors import AudioError

# Extensions of the files that libsndfile reads.
EXTENSIONS = (
    ".8svx",
    ".aif",
    ".aifc",
    ".aiff",
    ".au",
    ".avr",
    ".bwf",
    ".caf",
    ".flac",
    ".htk",
    ".ircam",
    ".mp2",
    ".mp3",
    ".mpa",
    ".mpga",
    ".nist",
    ".oga",
    ".ogg",
    ".opus",
    ".paf",
    ".pvf",
    ".rf64",
    ".sds",
    ".sf",
    ".snd",
    ".sph",
    ".svx",
    ".voc",
    ".w64",
    ".wav",
    ".wave",
    ".wve",
    ".xi",
)

# Extensions of the files that PyAV reads (`pip install '.[av]'`).
AV_EXTENSIONS = (
    ".3g2",
    ".3gp",
    ".aac",
    ".ac3",
    ".amr",
    ".ape",
    ".asf",
    ".avi",
    ".flv",
    ".m4a",
    ".m4b",
    ".m4r",
    ".mka",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpc",
    ".spx",
    ".tta",
    ".webm",
    ".wma",
    ".wv",
)


def has_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def readable_extensions() -> tuple[str, ...]:
    """Extensions of the files that can be decoded on this machine."""
    return EXTENSIONS + (AV_EXTENSIONS if has_av() else ())


# Data sizes that streaming writers leave in a WAV header, because they do not
# know the length yet: the largest unsigned number (ffmpeg), the largest signed
# one, that plus 1, and 0x7FFFF000 rounded down to whole frames of up to 64 KiB
# (sox).
_UNKNOWN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)
_SOX_SIZES = range(0x7FFFF000 - 0xFFFF, 0x7FFFF000 + 1)

# MPEG audio, layer III (ISO 11172-3 and 13818-3, section 2.4.2.3): bit rates
# in kbit/s and sample rates in Hz by their index in the header, first of
# MPEG 2, then of MPEG 1.
_MPEG_KBPS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG_HZ = ((22050, 24000, 16000), (44100, 48000, 32000))

# Size of the part of an MP3 that is searched for a variable bit rate.
_MPEG_HEAD_BYTES = 1 << 20

# Maximum size of an Ogg page, and the header flag of a stream's last page.
_OGG_PAGE_BYTES, _OGG_LAST_PAGE = 65307, 4


def check_complete(file: BinaryIO) -> None:
    """Checks that a file contains the data that its header declares.

    Leaves the file at its beginning.

    Raises:
      AudioError: if the file is empty or truncated, or if libsndfile would
        decode only part of it (an MP3 of unknown length, chained Ogg streams).
    """
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise AudioError("empty: no bytes")
    file.seek(0)
    header = file.read(24)
    if header[:4] in (b"RIFF", b"RF64") and header[8:12] == b"WAVE":
        _check_chunks(file, size, "<4sI", b"data")
    elif header[:4] == b"RIFX":
        _check_chunks(file, size, ">4sI", b"data")
    elif header[:4] == b"FORM" and header[8:11] == b"AIF":
        _check_chunks(file, size, ">4sI", b"SSND")
    elif header[:4] == b"OggS":
        _check_ogg(file, size)
    elif header[:4] == b".snd":
        _check_length(size, 12)
        start, length = struct.unpack(">II", header[4:12])
        _check_length(size - start, length)
    elif header[:4] == b"riff":
        _check_length(size, 24)
        # The header of Sony's Wave64 gives the length of the whole file.
        _check_length(size, *struct.unpack("<Q", header[16:24]))
    elif header[:7] == b"NIST_1A":
        _check_sphere(file, size)
    elif header[:3] == b"ID3" or header[:1] == b"\xff":
        _check_mpeg(file)
    file.seek(0)


def mpeg_frame(header: bytes) -> tuple[int, int] | None:
    """Parses the header of an MPEG layer III frame.

    Args:
      header: the first 4 bytes of the frame.

    Returns:
      (bit rate in kbit/s, size of the frame in bytes), or None if this is not
      a valid header.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    # 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5; 1 is reserved.
    version, rate_index = header[1] >> 3 & 3, header[2] >> 2 & 3
    is_mpeg1 = version == 3
    kbps_index = header[2] >> 4
    if version == 1 or rate_index == 3 or not 0 < kbps_index < 15:
        return None
    kbps = _MPEG_KBPS[is_mpeg1][kbps_index]
    rate_hz = _MPEG_HZ[is_mpeg1][rate_index] // (1 if version else 2)
    padding = header[2] >> 1 & 1
    size = (144 if is_mpeg1 else 72) * 1000 * kbps // rate_hz + padding
    return kbps, size


def _check_chunks(
    file: BinaryIO, size: int, layout: str, data_name: bytes
) -> None:
    """Checks the data chunk of a RIFF or AIFF file.

    Args:
      file: the file.
      size: its size in bytes.
      layout: of a chunk's header, for `struct`.
      data_name: name of the chunk that contains the samples.
    """
    file.seek(12)
    rf64_length = None
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack(layout, chunk)
        start = file.tell()
        if name == b"ds64":
            # RF64 (EBU Tech 3306, section 3.5), for files above 4 GB, stores
            # 64-bit sizes here, first of the file and then of the data.
            sizes = file.read(16)
            if len(sizes) == 16:
                rf64_length = struct.unpack("<QQ", sizes)[1]
        if name == data_name:
            declared = length if rf64_length is None else rf64_length
            _check_length(size - start, declared)
            return
        file.seek(start + length + length % 2)


def _check_length(actual: int, declared: int) -> None:
    """Checks that the file is not shorter than its header declares."""
    is_unknown = declared in _UNKNOWN_SIZES or declared in _SOX_SIZES
    if declared > actual and not is_unknown:
        raise AudioError(f"truncated: {actual} of {declared} bytes of data")


def _check_sphere(file: BinaryIO, size: int) -> None:
    """Checks NIST SPHERE, the format of TIMIT, whose header is text."""
    file.seek(0)
    header = file.read(1024)
    fields = dict(re.findall(rb"(\w+) -i (\d+)", header))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    lines = header.split(None, 2)
    if set(names) <= set(fields) and len(lines) == 3 and lines[1].isdigit():
        length = math.prod(int(fields[name]) for name in names)
        # The length of compressed data is unknown.
        if b"shorten" not in header:
            _check_length(size - int(lines[1]), length)


def _check_mpeg(file: BinaryIO) -> None:
    """Checks that an MP3 with a variable bit rate (VBR) gives its length.

    A Xing or VBRI header in the first frame gives it. Without one, libsndfile
    estimates the length from the first frame's bit rate and stops there.
    """
    file.seek(0)
    tag, start = file.read(10), 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        size = sum(x << 7 * n for n, x in enumerate(reversed(tag[6:10])))
        start = 10 + size
    file.seek(start)
    data, position, rates = file.read(_MPEG_HEAD_BYTES), 0, set()
    if re.search(b"Xing|Info|VBRI", data[4:64]):
        return
    while frame := mpeg_frame(data[position : position + 4]):
        kbps, size = frame
        rates.add(kbps)
        position += size
    if len(rates) > 1:
        raise AudioError(
            "length: an MP3 with a variable bit rate and no length in its "
            "header; encode it again"
        )


def _check_ogg(file: BinaryIO, size: int) -> None:
    """Checks that the last page ends the stream of the first page.

    A complete file ends with a page that is flagged as the last one (RFC 3533,
    section 6). If that page belongs to a different stream, the file is a chain
    of streams, and libsndfile decodes only one of them.
    """
    file.seek(0)
    first = file.read(18)
    file.seek(max(0, size - _OGG_PAGE_BYTES))
    tail = file.read()
    last = tail.rfind(b"OggS")
    if last < 0 or len(tail) < last + 18 or not tail[last + 5] & _OGG_LAST_PAGE:
        raise AudioError("truncated: the Ogg stream does not end")
    if tail[last + 14 : last + 18] != first[14:18]:
        raise AudioError("chained: several Ogg streams; expected one")
