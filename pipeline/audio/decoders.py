"""Decoders: libsndfile (soundfile), tensorflow-io, and TFDS records."""

import contextlib
import dataclasses
import io
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile

from pipeline import storage
from pipeline.audio import containers, tfds_records
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import first_line

# Plausible sample rates; a header with a rate outside this range is damaged.
_RATES_HZ = (1000, 768000)

# libsndfile reports a huge length if the header does not give one.
_UNKNOWN_FRAMES = 1 << 62

# libsndfile estimates the length of an MP3 without a Xing header from the file
# size; the estimate is off by at most one MPEG frame.
_MP3_FRAME_SAMPLES = 1152


class Decoder(Protocol):
    """An open recording.

    Attributes:
      rate_hz: sample rate of the recording.
      frames: length in sample frames.
      channels: number of channels.
      slack: number of frames by which `frames`, an estimate, may exceed the
        true length.
      notes: what is wrong with the file and has been dealt with, such as a
        length that its header does not give.
    """

    rate_hz: int
    frames: int
    channels: int
    slack: int
    notes: tuple[str, ...]

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A recording that is a part of a file.

    Attributes:
      path: the file.
      start_secs: start of the excerpt.
      end_secs: its end; None for the end of the file.
    """

    path: str
    start_secs: float = 0.0
    end_secs: float | None = None


@contextlib.contextmanager
def open_recording(
    source: str | Excerpt, config: AudioConfig
) -> Iterator[Decoder]:
    """Opens a recording with the configured decoder.

    Args:
      source: path of a local file, a remote one (`s3://...`) or a record of a
        TFDS data set (`tfds_records`); or an excerpt of one.
      config: names the decoder.

    Raises:
      AudioError: if the recording does not exist or cannot be decoded.
    """
    excerpt = source if isinstance(source, Excerpt) else Excerpt(source)
    with contextlib.ExitStack() as stack:
        try:
            decoder = _open(excerpt.path, config, stack)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {error.error_string}") from error
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise AudioError(f"unreadable: {reason}") from error
        low, high = _RATES_HZ
        if not low <= decoder.rate_hz <= high:
            raise AudioError(
                f"rate: {decoder.rate_hz} Hz; expected {low} to {high}"
            )
        if decoder.frames >= _UNKNOWN_FRAMES:
            raise AudioError(
                "length: the header does not give the length; encode the "
                "recording again, into a file instead of a pipe"
            )
        if excerpt != Excerpt(excerpt.path):
            decoder = _ExcerptDecoder(decoder, excerpt)
        yield decoder


def check_decoder(config: AudioConfig) -> None:
    """Checks that the configured decoder works on this machine.

    tensorflow-io can be imported even if its ops cannot be loaded, so this
    calls one of them.

    Raises:
      AudioError: if the decoder does not work.
    """
    if config.decoder != "tfio":
        return
    try:
        import tensorflow as tf
        import tensorflow_io as tfio

        wav = tf.audio.encode_wav(tf.zeros([1, 1]), 8000)
        tfio.audio.decode_wav(wav, dtype=tf.int16)
    except (ImportError, NotImplementedError) as error:
        raise AudioError(
            "audio.decoder is tfio, but tensorflow-io does not work here "
            f"({first_line(error)}); its ops load on TensorFlow 2.16 only: "
            "pip install '.[io]', or choose sndfile"
        ) from error


def _open(
    path: str, config: AudioConfig, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a recording; `stack` closes it."""
    if tfds_records.is_record_path(path):
        record = tfds_records.read_record(path)
        if record.encoded is None:
            return _ArrayDecoder(_as_float(record.samples), record.rate_hz)
        encoded = io.BytesIO(record.encoded)
        containers.check_complete(encoded)
        return _open_sndfile(encoded, stack)
    if storage.is_remote(path):
        file = stack.enter_context(storage.open_input(path))
        containers.check_complete(file)
        return _open_sndfile(stack.enter_context(_keep_errors(file)), stack)
    _check_regular_file(path)
    with open(path, "rb") as file:
        containers.check_complete(file)
    if config.decoder == "tfio":
        return _TfioDecoder(path)
    # As bytes, because a file name is not always valid UTF-8.
    return _open_sndfile(os.fsencode(path), stack)


def _check_regular_file(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    # ValueError: an invalid path, such as one with a null byte.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise AudioError("missing: no such file") from error
    if stat.S_ISDIR(mode):
        # Raises PermissionError, a better reason, if it is unreadable.
        os.scandir(path).close()
    # Reading a FIFO or a device could block forever.
    if not stat.S_ISREG(mode):
        raise AudioError("not a regular file")


def _open_sndfile(file: Any, stack: contextlib.ExitStack) -> "_SndfileDecoder":
    return stack.enter_context(contextlib.closing(_SndfileDecoder(file)))


class _SndfileDecoder:
    """libsndfile, for a path or an open file."""

    notes = ()

    def __init__(self, file: Any):
        self._file = soundfile.SoundFile(file)
        self.rate_hz = self._file.samplerate
        self.frames, self.channels = self._file.frames, self._file.channels
        self.slack = _MP3_FRAME_SAMPLES if self._file.format == "MP3" else 0

    def read(self, start: int, count: int) -> np.ndarray:
        try:
            # Seeking is slow and can be inexact, so sequential reads avoid it.
            if start != self._file.tell():
                self._file.seek(start)
            return self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {error.error_string}") from error

    def close(self) -> None:
        self._file.close()


class _ExcerptDecoder:
    """Part of a recording, which behaves like a recording of its own."""

    def __init__(self, decoder: Decoder, excerpt: Excerpt):
        self._decoder, self.rate_hz = decoder, decoder.rate_hz
        self.channels, self.notes = decoder.channels, decoder.notes
        total, end_secs = decoder.frames, excerpt.end_secs
        self._start = round(excerpt.start_secs * self.rate_hz)
        stop = total if end_secs is None else round(end_secs * self.rate_hz)
        if self._start >= total:
            raise AudioError(
                f"excerpt: starts at {excerpt.start_secs:g} s; the file ends "
                f"at {total / self.rate_hz:.2f} s"
            )
        # Times in a manifest are rounded, rarely to more than this.
        if stop > total + self.rate_hz / 10:
            self.notes += ("excerpt that ends after its file",)
        self.frames = min(stop, total) - self._start
        # The estimated end of the file matters only to its last excerpt.
        self.slack = decoder.slack if stop > total - decoder.slack else 0

    def read(self, start: int, count: int) -> np.ndarray:
        count = min(count, self.frames - start)
        return self._decoder.read(self._start + start, max(0, count))


class _ArrayDecoder:
    """Samples in memory, float32 [frames, channels]."""

    slack = 0
    notes = ()

    def __init__(self, samples: np.ndarray, rate_hz: int):
        self._samples, self.rate_hz = samples, rate_hz
        self.frames, self.channels = samples.shape

    def read(self, start: int, count: int) -> np.ndarray:
        return self._samples[start : start + count]


class _TfioDecoder:
    """tensorflow-io, for a local path."""

    slack = 0
    notes = ()

    def __init__(self, path: str):
        # Imported here because the other decoders must not load TensorFlow.
        import tensorflow as tf
        import tensorflow_io as tfio

        self._op_error = tf.errors.OpError
        try:
            self._audio = tfio.audio.AudioIOTensor(path)
            self.rate_hz = int(self._audio.rate.numpy())
            shape = self._audio.shape.numpy()
        except (self._op_error, ValueError, NotImplementedError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        self.frames, self.channels = int(shape[0]), int(shape[1])

    def read(self, start: int, count: int) -> np.ndarray:
        stop = min(start + count, self.frames)
        if start >= stop:
            return np.zeros((0, self.channels), np.float32)
        try:
            samples = self._audio[start:stop].numpy()
        except (self._op_error, ValueError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        return _as_float(samples)


@contextlib.contextmanager
def _keep_errors(file: BinaryIO) -> Iterator["_ErrorKeepingFile"]:
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


def _as_float(samples: np.ndarray) -> np.ndarray:
    """Samples [N] or [N, C] of any type as float32 [N, C], full scale at 1."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    full_scale = -float(np.iinfo(samples.dtype).min)
    return (samples / full_scale).astype(np.float32)
