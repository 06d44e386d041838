"""Recordings as float32 samples at one rate and one channel.

Files are decoded by libsndfile (soundfile), or by tensorflow-io where
`audio.decoder` says so, and resampled by soxr. Memory is flat in the length of
a recording: `scan` streams it, `read` seeks, and only short ones are loaded.
"""

import contextlib
import dataclasses
import io
import math
import os
import re
import stat
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
import soxr

from pipeline import storage
from pipeline.sources import tfds as tfds_source
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import first_line

# What a folder is searched for.
EXTENSIONS = (
    ".aif",
    ".aifc",
    ".aiff",
    ".au",
    ".caf",
    ".flac",
    ".mp3",
    ".oga",
    ".ogg",
    ".opus",
    ".w64",
    ".wav",
)

# Rates that speech is recorded at; beyond them a header is damaged.
_RATES_HZ = (1000, 768000)

# Samples (of all channels) decoded at a time.
_BLOCK = 1 << 18

# Source samples read on either side of a segment, so that the resampler's
# filter sees what a whole recording would show it.
_MARGIN = 4096

# Below this (-100 dB of full scale) there is nothing but dither.
_SILENT = 1e-5

# Stretches whose peaks decide where silence at the ends is trimmed.
_TRIM_SECS = 0.01

# The data sizes that streaming writers leave in a WAV header: of ffmpeg, of
# what counts to the largest number that has a sign, and of sox, which takes
# whole frames (of up to 64 KiB) of the first.
_UNKNOWN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)
_SOX_SIZES = range(0x7FFFF000 - 0xFFFF, 0x7FFFF000 + 1)

# From here on libsndfile does not know how many frames a file has.
_UNKNOWN_FRAMES = 1 << 62

# Of MPEG audio, layer III (ISO 11172-3 and 13818-3, section 2.4.2.3): kbit/s
# and Hz by index, of MPEG 2 and of MPEG 1; bytes that tell a file's rates.
_MPEG_KBPS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG_HZ = ((22050, 24000, 16000), (44100, 48000, 32000))
_MPEG_HEAD = 1 << 20

# Samples of such a frame, by which an MP3's length is off that is reckoned from
# its size.
_MP3_FRAME = 1152

# An Ogg page is at most this long; its header's flag for the last page.
_OGG_PAGE, _OGG_LAST = 65307, 4


class AudioError(Exception):
    """A recording that cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """What one pass over a recording tells.

    Attributes:
      start: first sample after the silence that is trimmed; 0 else.
      samples: how many follow, up to the silence at the end. Both at the
        target rate.
      peak: largest absolute sample of the one channel.
      rms: root mean square of the one channel.
      frames: of the whole recording, at its own rate.
    """

    start: int
    samples: int
    peak: float
    rms: float
    frames: int


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a recording before its windows are cut.

    Attributes:
      samples: that its header promises, at the target rate.
      channels: how many are used.
      scans: of `scan` where it is long; None where it is short.
    """

    samples: int
    channels: int
    scans: list[Scan | None] | None


def survey(path: str, config: AudioConfig, short_secs: float) -> Survey:
    """Looks into a recording: at the header of a short one, else at all of it.

    Args:
      path: as for `scan`.
      config: decoder, choice of channels, target rate.
      short_secs: how long a short one is; it is decoded by `load` later.

    Raises:
      AudioError: if it cannot be opened; if it is long, as `scan`.
    """
    with _open(path, config) as file:
        samples = file.frames * config.sample_rate_hz // file.samplerate
        channels = file.channels if config.channels == "split" else 1
    short = samples <= short_secs * config.sample_rate_hz
    return Survey(samples, channels, None if short else scan(path, config))


def scan(path: str, config: AudioConfig) -> list[Scan | None]:
    """Decodes a whole recording once, block by block.

    Args:
      path: a file, a remote one (`s3://...`) or a record of a prepared data
        set (`tfds_source`).
      config: decoder, choice of channels, target rate.

    Returns:
      One scan, or one for each channel where `channels` is `split`: None for
      a channel in which nothing can be heard, where another one can be.

    Raises:
      AudioError: if it cannot be decoded to its end, holds no sample, one
        that is not finite, or only silence.
    """
    with _open(path, config) as file:
        return _scan(file, config)[0]


def load(
    path: str, config: AudioConfig, channel: int
) -> tuple[Scan | None, np.ndarray]:
    """Decodes a whole recording once and keeps it: a short one.

    Args:
      path: as for `scan`.
      config: decoder, choice of channels, target rate.
      channel: which one, where `channels` is `split`.

    Returns:
      The channel's scan, and its samples from the recording's beginning,
      float32 [N], at the target rate.

    Raises:
      AudioError: as `scan`.
    """
    with _open(path, config) as file:
        found, blocks = _scan(file, config, channel)
        rate = file.samplerate
    return found[channel], _resampled(np.concatenate(blocks), rate, config)


def read(
    path: str,
    config: AudioConfig,
    start: int,
    stop: int,
    channel: int = 0,
    frames: int | None = None,
) -> np.ndarray:
    """Samples [start, stop) of a recording at the target rate.

    Args:
      path: the recording, as for `scan`.
      config: decoder, choice of channels, target rate.
      start: first sample, at the target rate; may be negative.
      stop: the sample after the last one; may lie after the end.
      channel: which one, where `channels` is `split`.
      frames: of the whole recording as `scan` found it.

    Returns:
      float32 [stop - start], zeros outside of the recording.

    Raises:
      AudioError: if the file cannot be decoded, or is another than before.
    """
    with _open(path, config) as file:
        if frames not in (None, file.frames):
            raise AudioError(
                f"changed: {file.frames} samples; there were {frames}"
            )
        rate = file.samplerate
        divisor = math.gcd(rate, config.sample_rate_hz)
        source_step = rate // divisor
        target_step = config.sample_rate_hz // divisor
        # Start on a sample that both rates have, so that nothing shifts.
        grid = max(0, start // target_step - _MARGIN // source_step - 1)
        first_read = min(grid * source_step, file.frames)
        source_stop = -(-stop * source_step // target_step) + _MARGIN
        count = max(0, min(source_stop, file.frames) - first_read)
        block = file.read(first_read, count)
        if len(block) < count - file.slack:
            raise AudioError(
                f"truncated: {len(block)} of {count} samples decoded from "
                f"{first_read} on"
            )
        mono = _chosen(block, config)[channel]
    mono = _resampled(mono, rate, config)
    first = grid * target_step
    return between(mono, start - first, stop - first)


def between(samples: np.ndarray, start: int, stop: int) -> np.ndarray:
    """samples[start:stop], with zeros before its beginning and after its end.

    Args:
      samples: float32 [N].
      start: may be negative.
      stop: may be larger than N.

    Returns:
      float32 [stop - start], not a view.
    """
    out = np.zeros(stop - start, np.float32)
    low, high = max(start, 0), min(stop, len(samples))
    if high > low:
        out[low - start : high - start] = samples[low:high]
    return out


def gain(found: Scan, config: AudioConfig) -> float:
    """The one factor that brings a recording to the configured level."""
    if config.level == "none":
        return 1.0
    level = found.peak if config.level == "peak" else found.rms
    return 10 ** (config.level_db / 20) / level


def _scan(
    file: "_Decoder", config: AudioConfig, kept: int | None = None
) -> tuple[list[Scan | None], list[np.ndarray]]:
    """`scan` of an opened recording, and the blocks of the channel to keep."""
    rate = file.samplerate
    stretch = max(1, round(_TRIM_SECS * rate))
    meters: list[_Meter] = []
    blocks = []
    for block in _blocks(file, stretch):
        channels = _chosen(block, config)
        meters = meters or [_Meter(stretch) for _ in channels]
        for meter, samples in zip(meters, channels, strict=True):
            meter.add(samples)
        if kept is not None:
            blocks.append(channels[kept])
    count = meters[0].count if meters else 0
    if count < file.frames - file.slack:
        raise AudioError(f"truncated: {count} of {file.frames} samples decoded")
    if not count * config.sample_rate_hz // rate:
        raise AudioError(f"empty: {count} samples")
    found = [meter.scan(rate, file.frames, config) for meter in meters]
    if not any(found):
        raise AudioError(
            "silent: nothing beyond -100 dB of full scale, or a constant"
        )
    return found, blocks


def _resampled(
    samples: np.ndarray, rate: int, config: AudioConfig
) -> np.ndarray:
    """Samples [N] at the target rate."""
    if rate == config.sample_rate_hz:
        return samples
    return soxr.resample(samples, rate, config.sample_rate_hz)


class _Meter:
    """Length, level and ends of one channel."""

    def __init__(self, stretch: int):
        self._stretch = stretch
        self.count, self._sum, self._square = 0, 0.0, 0.0
        self._peaks: list[np.ndarray] = []

    def add(self, samples: np.ndarray) -> None:
        """The next samples [N]; all but the last are whole stretches."""
        wide = samples.astype(np.float64)
        # Not BLAS: its bits would depend on the threads.
        square = float(np.einsum("n,n->", wide, wide))
        if not math.isfinite(square):
            raise AudioError("not finite: NaN or infinity among samples")
        self.count += len(samples)
        self._sum += float(wide.sum())
        self._square += square
        starts = np.arange(0, len(samples), self._stretch)
        self._peaks.append(np.maximum.reduceat(np.abs(samples), starts))

    def scan(self, rate: int, frames: int, config: AudioConfig) -> Scan | None:
        """What was seen; None where nothing can be heard."""
        peaks = np.concatenate(self._peaks)
        power = self._square / self.count
        # Without the offset: a constant is silent however large it is.
        spread = math.sqrt(max(0.0, power - (self._sum / self.count) ** 2))
        peak = float(peaks.max())
        if peak < _SILENT or spread < _SILENT:
            return None
        first, last = 0, self.count
        if config.trim_db:
            loud = np.flatnonzero(peaks > peak * 10 ** (-config.trim_db / 20))
            first = int(loud[0]) * self._stretch
            last = min(last, (int(loud[-1]) + 1) * self._stretch)
        start = first * config.sample_rate_hz // rate
        stop = max(start + 1, last * config.sample_rate_hz // rate)
        return Scan(start, stop - start, peak, math.sqrt(power), frames)


class _Decoder(Protocol):
    """An opened recording; `slack` frames of its length are a guess."""

    samplerate: int
    frames: int
    channels: int
    slack: int

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""


class _Sndfile:
    """By libsndfile, of a path or of an opened file."""

    def __init__(self, file: Any):
        self._file = soundfile.SoundFile(file)
        self.samplerate = self._file.samplerate
        self.frames, self.channels = self._file.frames, self._file.channels
        self.slack = _MP3_FRAME if self._file.format == "MP3" else 0

    def read(self, start: int, count: int) -> np.ndarray:
        try:
            # Where reading goes on, seeking would cost and could round.
            if start != self._file.tell():
                self._file.seek(start)
            return self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {error.error_string}") from error

    def close(self) -> None:
        self._file.close()


class _Array:
    """Of samples that are in memory, float32 [frames, channels]."""

    slack = 0

    def __init__(self, samples: np.ndarray, rate: int):
        self._samples, self.samplerate = samples, rate
        self.frames, self.channels = samples.shape

    def read(self, start: int, count: int) -> np.ndarray:
        return self._samples[start : start + count]


class _Tfio:
    """By tensorflow-io, which reads files by its own means."""

    slack = 0

    def __init__(self, path: str):
        # Only here: other workers must not load TensorFlow.
        import tensorflow as tf
        import tensorflow_io as tfio

        self._error = tf.errors.OpError
        try:
            self._audio = tfio.audio.AudioIOTensor(path)
            self.samplerate = int(self._audio.rate.numpy())
            shape = self._audio.shape.numpy()
        except (self._error, ValueError, NotImplementedError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        self.frames, self.channels = int(shape[0]), int(shape[1])

    def read(self, start: int, count: int) -> np.ndarray:
        stop = min(start + count, self.frames)
        if start >= stop:
            return np.zeros((0, self.channels), np.float32)
        try:
            samples = self._audio[start:stop].numpy()
        except (self._error, ValueError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        return _as_float(samples)


def check_decoder(config: AudioConfig) -> None:
    """Raises AudioError where the configured decoder cannot work here.

    tensorflow-io imports even where its ops do not load, so one is called.
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
            "audio.decoder is tfio, and tensorflow-io does not work here "
            f"({first_line(error)}); its ops load on TensorFlow 2.16 only: "
            "pip install '.[io]', or choose sndfile"
        ) from error


@contextlib.contextmanager
def _open(path: str, config: AudioConfig) -> Iterator[_Decoder]:
    """The recording, decoded as the config says.

    Raises:
      AudioError: if there is none, or it cannot be decoded.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = _opened(path, config, stack)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {error.error_string}") from error
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise AudioError(f"unreadable: {reason}") from error
        low, high = _RATES_HZ
        if not low <= file.samplerate <= high:
            raise AudioError(
                f"rate: {file.samplerate} Hz; expected {low} to {high}"
            )
        if file.frames >= _UNKNOWN_FRAMES:
            raise AudioError(
                "length: its header does not tell it; encode it anew, into a "
                "file instead of a pipe"
            )
        yield file


def _opened(
    path: str, config: AudioConfig, stack: contextlib.ExitStack
) -> _Decoder:
    if tfds_source.is_record(path):
        record = tfds_source.read(path)
        if record.encoded is not None:
            encoded = io.BytesIO(record.encoded)
            _check_whole(encoded)
            encoded.seek(0)
            return _sndfile(encoded, stack)
        return _Array(_as_float(record.samples), record.rate_hz)
    if storage.is_remote(path):
        file = stack.enter_context(storage.open_input(path))
        _check_whole(file)
        file.seek(0)
        return _sndfile(stack.enter_context(_errors_kept(file)), stack)
    try:
        mode = os.stat(path).st_mode
    # Also of a name that no file can have.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise AudioError("missing: no such file") from error
    if stat.S_ISDIR(mode):
        # Of a folder that may not be read that is the reason.
        os.scandir(path).close()
    # A FIFO or a device would block for ever.
    if not stat.S_ISREG(mode):
        raise AudioError("not a regular file")
    with open(path, "rb") as file:
        _check_whole(file)
    if config.decoder == "tfio":
        return _Tfio(path)
    # As bytes: a name need not be valid UTF-8.
    return _sndfile(os.fsencode(path), stack)


@contextlib.contextmanager
def _errors_kept(file: BinaryIO) -> Iterator["_Kept"]:
    """A file for libsndfile, which takes what a read raises for the end.

    Raises:
      AudioError: at the end, if a read failed.
    """
    kept = _Kept(file)
    failed = None
    try:
        yield kept
    except AudioError as error:
        failed = error
    if kept.error:
        reason = first_line(kept.error)
        raise AudioError(f"unreadable: {reason}") from kept.error
    if failed:
        raise failed


class _Kept:
    """What libsndfile calls of a file; keeps the first error of `read`."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        if self.error:
            return b""
        try:
            return self._file.read(size)
        # Each file system has its own.
        except Exception as error:
            self.error = error
            return b""


def _sndfile(file: Any, stack: contextlib.ExitStack) -> _Sndfile:
    return stack.enter_context(contextlib.closing(_Sndfile(file)))


def _check_whole(file: BinaryIO) -> None:
    """Raises AudioError where a file's header promises more than there is.

    libsndfile shortens such a file without a word.
    """
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise AudioError("empty: no bytes")
    file.seek(0)
    header = file.read(24)
    file.seek(12)
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
        # Sony's Wave64 counts the whole file.
        _check_length(size, *struct.unpack("<Q", header[16:24]))
    elif header[:7] == b"NIST_1A":
        file.seek(0)
        _check_sphere(file.read(1024), size)
    elif header[:3] == b"ID3" or header[:1] == b"\xff":
        _check_mpeg(file)


def _check_chunks(
    file: BinaryIO, size: int, layout: str, wanted: bytes
) -> None:
    wide = None
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack(layout, chunk)
        here = file.tell()
        if name == b"ds64":
            # Of RF64 (EBU Tech 3306, section 3.5), beyond 4 GB: the sizes of
            # the file, then of the data.
            sizes = file.read(16)
            wide = struct.unpack("<QQ", sizes)[1] if len(sizes) == 16 else None
        if name == wanted:
            _check_length(size - here, length if wide is None else wide)
            return
        file.seek(here + length + length % 2)


def _check_length(there: int, promised: int) -> None:
    unknown = promised in _UNKNOWN_SIZES or promised in _SOX_SIZES
    if promised > there and not unknown:
        raise AudioError(f"truncated: {there} of {promised} bytes of data")


def _check_sphere(header: bytes, size: int) -> None:
    """NIST SPHERE, of TIMIT and the like: the header is text."""
    told = dict(re.findall(rb"(\w+) -i (\d+)", header))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    lines = header.split(None, 2)
    if set(names) <= set(told) and len(lines) == 3 and lines[1].isdigit():
        length = math.prod(int(told[name]) for name in names)
        # Not of what is compressed.
        if b"shorten" not in header:
            _check_length(size - int(lines[1]), length)


def _check_mpeg(file: BinaryIO) -> None:
    """MP3 of varying rate must tell its length in the first frame.

    Without that libsndfile takes the first frame's rate for that of all, and
    leaves off where the file would then end.
    """
    file.seek(0)
    head, start = file.read(10), 0
    if head[:3] == b"ID3" and len(head) == 10:
        size = sum(x << 7 * n for n, x in enumerate(reversed(head[6:10])))
        start = 10 + size
    file.seek(start)
    data, at, rates = file.read(_MPEG_HEAD), 0, set()
    if re.search(b"Xing|Info|VBRI", data[4:64]):
        return
    while frame := _mpeg_frame(data[at : at + 4]):
        rates.add(frame[0])
        at += frame[1]
    if len(rates) > 1:
        raise AudioError(
            "length: an MP3 of varying rate whose header does not tell it; "
            "encode it anew"
        )


def _mpeg_frame(header: bytes) -> tuple[int, int] | None:
    """(kbit/s, bytes) of an MPEG layer III frame, or None where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate = header[1] >> 3 & 3, header[2] >> 2 & 3
    first = version == 3  # else 2 is MPEG 2, 0 is MPEG 2.5
    kbps, step = header[2] >> 4, _MPEG_HZ[first][rate] if rate < 3 else 0
    if version == 1 or not step or not 0 < kbps < 15:
        return None
    kbps, step = _MPEG_KBPS[first][kbps], step // (1 if version else 2)
    size = (144 if first else 72) * 1000 * kbps // step + (header[2] >> 1 & 1)
    return kbps, size


def _check_ogg(file: BinaryIO, size: int) -> None:
    """The last page must say that it is the last (RFC 3533, section 6).

    And of the stream that the first one is of: of several, one after the
    other, libsndfile decodes one.
    """
    file.seek(0)
    first = file.read(18)
    file.seek(max(0, size - _OGG_PAGE))
    tail = file.read()
    last = tail.rfind(b"OggS")
    if last < 0 or len(tail) < last + 18 or not tail[last + 5] & _OGG_LAST:
        raise AudioError("truncated: the Ogg stream does not end")
    if tail[last + 14 : last + 18] != first[14:18]:
        raise AudioError("chained: several Ogg streams; expected one")


def _blocks(file: _Decoder, stretch: int) -> Iterator[np.ndarray]:
    """The recording as float32 blocks [frames, channels]."""
    # Whole stretches, so that their peaks do not depend on the blocks.
    frames = max(1, _BLOCK // file.channels // stretch) * stretch
    start = 0
    while len(block := file.read(start, frames)):
        yield block
        start += len(block)


def _chosen(block: np.ndarray, config: AudioConfig) -> list[np.ndarray]:
    """The one channel [N] that is used of a block, or all that are."""
    if config.channels == "split":
        return list(np.ascontiguousarray(block.T))
    if config.channels == "first" or block.shape[1] == 1:
        return [np.ascontiguousarray(block[:, 0])]
    return [block.mean(axis=1, dtype=np.float32)]


def _as_float(samples: np.ndarray) -> np.ndarray:
    """Samples of any type as float32, full scale at 1."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    full = -float(np.iinfo(samples.dtype).min)
    return (samples / full).astype(np.float32)
