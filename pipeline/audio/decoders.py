"""Decoders: libsndfile (soundfile), PyAV, tensorflow-io, and TFDS records."""

import bisect
import contextlib
import dataclasses
import functools
import io
import itertools
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile

from pipeline import storage
from pipeline.audio import containers, missing, tfds_records
from pipeline.audio.av_decoder import AvDecoder
from pipeline.audio.errors import AudioError
from pipeline.audio.layout import Layout, PiecedFile
from pipeline.audio.samples import as_float
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import first_line

# Plausible sample rates; a header with a rate outside this range is damaged.
_RATES_HZ = (1000, 768000)

# libsndfile reports a huge length if the header does not give one.
_UNKNOWN_FRAMES = 1 << 62

# mpg123 may drop the first frame of an MP3 that was cut at its beginning.
_MP3_FRAME_SAMPLES = 1152

# Maximum number of samples that an encoder of MP3 adds at the ends, which are
# removed (LAME stores two numbers of 12 bits).
_MP3_PADDING_SAMPLES = 2 * 4095

# Frames decoded at a time to get to a position.
_SKIPPED_FRAMES = 1 << 16


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
            raise AudioError(f"undecodable: {_reason(error)}") from error
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
            return _ArrayDecoder(as_float(record.samples), record.rate_hz)
        encoded = io.BytesIO(record.encoded)
        return _open_layout(encoded, containers.inspect(encoded), stack)
    if storage.is_remote(path):
        file = stack.enter_context(storage.open_input(path))
        layout = containers.inspect(file)
        return _open_layout(
            stack.enter_context(_keep_errors(file)), layout, stack
        )
    status = _check_regular_file(path)
    layout = _local_layout(path, status.st_size, status.st_mtime_ns)
    if config.decoder == "tfio":
        return _TfioDecoder(path)
    return _open_layout(path, layout, stack)


# The segments of a long recording are opened one by one.
@functools.lru_cache(256)
def _local_layout(path: str, size: int, mtime_ns: int) -> Layout:
    """The layout of a local file, which its size and time tell apart."""
    with open(path, "rb") as file:
        return containers.inspect(file)


def _check_regular_file(path: str) -> os.stat_result:
    """The status of a regular file."""
    try:
        status = os.stat(path)
    # ValueError: an invalid path, such as one with a null byte.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        place = missing.explain(path)
        raise AudioError(f"missing: no such file: {place}") from error
    if stat.S_ISDIR(status.st_mode):
        # Raises PermissionError, a better reason, if it is unreadable.
        os.scandir(path).close()
    # Reading a FIFO or a device could block forever.
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("not a regular file")
    return status


def _open_layout(
    source: str | BinaryIO, layout: Layout, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a file.

    Args:
      source: the path of a local file, or an open file.
      layout: its layout.
      stack: closes it.
    """
    is_local = isinstance(source, str)
    if is_local and layout.is_file_enough:
        # As bytes, because a file name is not always valid UTF-8.
        decoder = _SndfileDecoder(os.fsencode(source), layout.notes)
        return _checked(_closing(decoder, stack), layout)
    file = stack.enter_context(open(source, "rb")) if is_local else source
    if layout.av_format:
        decoder = AvDecoder(file, layout.av_format, layout.notes)
        return _closing(decoder, stack)
    if not layout.streams:
        return _open_whole(file, is_local, layout, stack)
    decoders = [
        _closing(_SndfileDecoder(PiecedFile(file, pieces), layout.notes), stack)
        for pieces in layout.streams
    ]
    if len(decoders) > 1:
        return _ChainDecoder(decoders)
    return _checked(decoders[0], layout)


def _open_whole(
    file: BinaryIO, is_local: bool, layout: Layout, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a file of which nothing is known, or one that is not local."""
    # By its name, libsndfile would take a file of unknown content with an
    # extension like .au for samples without a header.
    source = file.fileno() if is_local else file
    try:
        return _closing(_SndfileDecoder(source, layout.notes), stack)
    except soundfile.LibsndfileError:
        # MPEG audio may follow other bytes.
        mpeg_layout = containers.find_mpeg(file)
        if not mpeg_layout:
            raise
    return _open_layout(file, mpeg_layout, stack)


def _reason(error: soundfile.LibsndfileError) -> str:
    """Why libsndfile does not open a file."""
    reason = error.error_string
    # The last format that libsndfile tries has its header in another file.
    if re.search("resource fork|bad (data|map) ", reason):
        return "the format is not known"
    return reason


def _closing(decoder: Any, stack: contextlib.ExitStack) -> Any:
    return stack.enter_context(contextlib.closing(decoder))


def _checked(decoder: "_SndfileDecoder", layout: Layout) -> "_SndfileDecoder":
    """Checks the length of MPEG audio, which libsndfile may estimate."""
    expected = layout.mpeg_samples
    if expected is None:
        return decoder
    if decoder.frames < expected - _MP3_PADDING_SAMPLES:
        raise AudioError(
            f"length: libsndfile finds {decoder.frames} samples in MPEG frames "
            f"of {expected}; encode the recording again"
        )
    # Layers I and II have no header that gives the length.
    decoder.frames = min(decoder.frames, expected)
    return decoder


class _SoundFile(soundfile.SoundFile):
    """A file of which `soundfile` knows whether libsndfile can seek in it."""

    def seekable(self) -> bool:
        # libsndfile says that it can seek in DWVW, but fails.
        return super().seekable() and not self.subtype.startswith("DWVW")


class _SndfileDecoder:
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


class _ChainDecoder:
    """Several streams of a file, one after another."""

    def __init__(self, decoders: list[Decoder]):
        """Takes the decoders of the streams.

        Raises:
          AudioError: if they differ in sample rate or channels.
        """
        self._decoders, first = decoders, decoders[0]
        self.rate_hz, self.channels = first.rate_hz, first.channels
        for decoder in decoders:
            if (decoder.rate_hz, decoder.channels) != (
                self.rate_hz,
                self.channels,
            ):
                raise AudioError(
                    f"joined: a stream of {self.rate_hz} Hz with "
                    f"{self.channels} channels and then one of "
                    f"{decoder.rate_hz} Hz with {decoder.channels}; separate "
                    "them"
                )
        self.notes = first.notes
        self.slack = sum(decoder.slack for decoder in decoders)
        self._stops = list(
            itertools.accumulate(decoder.frames for decoder in decoders)
        )
        self.frames = self._stops[-1]

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        blocks = [np.zeros((0, self.channels), np.float32)]
        index = bisect.bisect_right(self._stops, start)
        while count > 0 and index < len(self._stops):
            decoder, stop = self._decoders[index], self._stops[index]
            wanted = min(count, stop - start)
            block = decoder.read(start - (stop - decoder.frames), wanted)
            blocks.append(block)
            # A stream that ends early must not shift the next one.
            if len(block) < wanted:
                break
            start, count, index = stop, count - wanted, index + 1
        return np.concatenate(blocks)


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
        return as_float(samples)


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
