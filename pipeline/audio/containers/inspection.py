"""Finds out the format of a file, and where its audio is.

libsndfile silently shortens a recording whose header declares more data than
the file contains, and stops early at an MP3 or an Ogg file that consists of
several. Therefore the structure of a file is examined before it is decoded.
"""

import contextlib
import dataclasses
import io
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.audio.containers import matroska, mpeg, mpeg_tags, uncompressed
from pipeline.audio.containers.flac import flac_layout
from pipeline.audio.containers.layout import Layout
from pipeline.audio.containers.ogg import ogg_layout
from pipeline.audio.errors import AudioError

# First bytes of the files that PyAV decodes, by FFmpeg's name of the format.
_AV_FORMATS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"#!AMR": "amr",
    b"wvpk": "wv",
    b"TTA1": "tta",
    b"MAC ": "ape",
    b"\x0b\x77": "ac3",
    b"FLV\x01": "flv",
    b"MP+": "mpc",
    b"MPCK": "mpc8",
}
# Names of the first atom of an MPEG 4 or QuickTime file.
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")

# Formats that consist of frames only, so that joined files are one.
_FRAME_FORMATS = ("aac", "ac3", "amr")

# By the first bytes of what is not audio: what it is.
_OTHER_CONTENT = {
    b"<": "a web page or XML, such as the error message of a server",
    b"version https://git-lfs": "a pointer of Git LFS; run git lfs pull",
    b"PK\3\4": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
}

# Formats that libsndfile does not decode after an ID3 tag.
_UNTAGGED = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"OggS")

# By the first bytes of a file: the function that gives its layout, and the
# number of bytes that all files of the format begin with.
_LAYOUTS = {
    b".snd": (uncompressed.au_layout, 7),
    b"caff": (uncompressed.caf_layout, 12),
    b"riff": (uncompressed.w64_layout, 16),
    b"NIST_1A": (uncompressed.sphere_layout, 8),
}


def inspect(file: BinaryIO) -> Layout:
    """Examines the structure of a file.

    Leaves the file at its beginning.

    Raises:
      AudioError: if the file is empty or truncated, or if its parts cannot be
        decoded as one recording.
    """
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise AudioError("empty: no bytes")
    layout = _inspect(file, size)
    file.seek(0)
    if layout is None:
        return Layout()
    if layout.streams or layout.av_format:
        return layout
    return dataclasses.replace(layout, is_file_enough=True)


def find_mpeg(file: BinaryIO) -> Layout | None:
    """The layout of MPEG audio that follows something else; None if none."""
    size = file.seek(0, os.SEEK_END)
    with _mapped(file) as data:
        return mpeg.mpeg_layout(data, 0, size)


def check_content(file: BinaryIO) -> None:
    """Raises AudioError if a file is something else that is often downloaded.

    Args:
      file: a file without audio.
    """
    file.seek(0)
    head = file.read(512).lstrip()
    for magic, reason in _OTHER_CONTENT.items():
        if head.startswith(magic):
            raise AudioError(f"not audio: {reason}")
    # A BOM, letters, punctuation, line breaks.
    if re.fullmatch(rb"(\xef\xbb\xbf)?[\t\n\r -~]+", head):
        raise AudioError("not audio: text")


def _inspect(file: BinaryIO, size: int) -> Layout | None:
    """The layout of a file; None if its content is not known."""
    file.seek(0)
    head = file.read(64)
    name, form = head[:4], head[8:12]
    if name in (b"RIFF", b"RIFX", b"RF64", b"BW64") and form == b"WAVE":
        return _inspect_wave(file, size)
    if name == b"FORM" and form[:3] == b"AIF":
        return uncompressed.aiff_layout(file, size)
    if name == b"OggS":
        return ogg_layout(file, size)
    for magic, (layout_of, magic_bytes) in _LAYOUTS.items():
        if head.startswith(magic):
            _check_joined(file, head[:magic_bytes])
            return layout_of(file, size)
    if av_format := _av_format(head):
        if av_format not in _FRAME_FORMATS:
            _check_joined(file, head[:16])
        if av_format == "matroska":
            matroska.check_complete(file)
        return Layout(av_format=av_format)
    return _inspect_tagged(file, size)


def _check_joined(file: BinaryIO, start: bytes) -> None:
    """Raises AudioError if a file starts again, which decoders overlook."""
    with _mapped(file) as data:
        if data.find(start, 1) > 0:
            raise AudioError(
                "joined: another file of the same format follows the first "
                "one; separate them"
            )


def _inspect_wave(file: BinaryIO, size: int) -> Layout:
    layout, mpeg_range = uncompressed.wave_layout(file, size)
    if mpeg_range is None:
        return layout
    return _inspect_mpeg(file, mpeg_range.start, mpeg_range.stop, layout.notes)


def _inspect_tagged(file: BinaryIO, size: int) -> Layout | None:
    """The layout of a file that may begin with ID3 tags; None if unknown."""
    start = 0
    while True:
        file.seek(start)
        head = file.read(mpeg_tags.HEAD_BYTES)
        tag_bytes = mpeg_tags.tag_bytes(head) if head[:3] == b"ID3" else 0
        if not tag_bytes:
            break
        start += tag_bytes
    if head[:4] == b"fLaC":
        return flac_layout(file, start, size)
    if start and head[:4] in _UNTAGGED:
        raise AudioError(
            f"undecodable: an ID3 tag precedes {head[:4].decode()}; remove it"
        )
    # The sync word of AAC in ADTS: layer 0, which MPEG audio does not have.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Layout(av_format="aac")
    if start or (len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0):
        return _inspect_mpeg(file, 0, size)
    return None


def _inspect_mpeg(
    file: BinaryIO, start: int, stop: int, notes: tuple[str, ...] = ()
) -> Layout:
    with _mapped(file) as data:
        layout = mpeg.mpeg_layout(data, start, stop)
    if not layout:
        raise AudioError("undecodable: no MPEG frames")
    return dataclasses.replace(layout, notes=notes + layout.notes)


def _av_format(head: bytes) -> str:
    """FFmpeg's name of the format of a file that PyAV decodes."""
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for magic, av_format in _AV_FORMATS.items():
        if head.startswith(magic):
            return av_format
    return ""


@contextlib.contextmanager
def _mapped(file: BinaryIO) -> Iterator[mpeg.Bytes]:
    """The content of a file, without reading all of it into memory."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
        return
    with contextlib.ExitStack() as stack:
        try:
            descriptor = file.fileno()
        # A remote file.
        except (AttributeError, OSError):
            copy = stack.enter_context(tempfile.TemporaryFile())
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            descriptor = copy.fileno()
        yield stack.enter_context(
            mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        )
