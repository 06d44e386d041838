"""libsndfile (soundfile), which reads most formats."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import soundfile

from pipeline.audio.errors import AudioError
from stftgan_tf.errors import first_line

# mpg123 may drop the first frame of an MP3 that was cut at its beginning.
_MP3_FRAME_SAMPLES = 1152

# Frames decoded at a time to get to a position.
_SKIPPED_FRAMES = 1 << 16


class _SoundFile(soundfile.SoundFile):
    """A file of which `soundfile` knows whether libsndfile can seek in it."""

    _is_seekable: bool | None = None

    def seekable(self) -> bool:
        # Asked several times for each read.
        if self._is_seekable is None:
            # libsndfile says that it can seek in DWVW, but fails.
            is_dwvw = self.subtype.startswith("DWVW")
            self._is_seekable = super().seekable() and not is_dwvw
        return self._is_seekable


class SndfileDecoder:
    """libsndfile, for a path, the descriptor of an open file, or a file."""

    def __init__(self, source: Any, notes: tuple[str, ...] = ()):
        self._source, self.notes = source, notes
        self._file = _SoundFile(source, closefd=False)
        self.rate_hz = self._file.samplerate
        self.frames, self.channels = self._file.frames, self._file.channels
        self.format = self._file.format
        self.slack = _MP3_FRAME_SAMPLES if self.format == "MP3" else 0
        # Position in a file in which libsndfile cannot seek; otherwise None.
        self._position = None if self._file.seekable() else 0

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        try:
            if self._position is not None:
                return self._read_sequentially(start, count)
            # Seeking is slow and can be inexact, so sequential reads avoid it.
            if start != self._file.tell():
                self._file.seek(start)
            return self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {error.error_string}") from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read_sequentially(self, start: int, count: int) -> np.ndarray:
        if start < self._position:
            self._file.close()
            if isinstance(self._source, int):
                os.lseek(self._source, 0, os.SEEK_SET)
            elif not isinstance(self._source, bytes):
                self._source.seek(0)
            self._file = _SoundFile(self._source, closefd=False)
            self._position = 0
        while self._position < start:
            size = min(_SKIPPED_FRAMES, start - self._position)
            if not len(self._read_on(size)):
                break
        return self._read_on(max(0, min(count, self.frames - start)))

    def _read_on(self, count: int) -> np.ndarray:
        samples = self._file.read(count, dtype="float32", always_2d=True)
        self._position += len(samples)
        return samples


@contextlib.contextmanager
def keep_errors(file: BinaryIO) -> Iterator["_ErrorKeepingFile"]:
    """Reports read errors, which libsndfile treats as the end of the file.

    Raises:
      AudioError: on leaving the context, if a read failed.
    """
    wrapper = _ErrorKeepingFile(file)
    decoder_error = None
    try:
        yield wrapper
    except AudioError as error:
        decoder_error = error
    if wrapper.error:
        reason = first_line(wrapper.error)
        raise AudioError(f"unreadable: {reason}") from wrapper.error
    if decoder_error:
        raise decoder_error


class _ErrorKeepingFile:
    """The file methods that libsndfile calls; keeps the first read error."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        if self.error:
            return b""
        try:
            return self._file.read(size)
        # Each file system raises its own exceptions.
        except Exception as error:
            self.error = error
            return b""
