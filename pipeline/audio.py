"""Recordings as float32 samples at one rate and one channel.

Files are decoded by libsndfile (soundfile) and resampled by soxr. Memory is
flat in the length of a recording: `scan` streams it, `read` seeks.
"""

import dataclasses
import math
import os
import struct
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from stftgan_tf.config import AudioConfig

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

# Samples (of all channels) decoded at a time.
_BLOCK = 1 << 18

# Source samples read on either side of a segment, so that the resampler's
# filter sees what a whole recording would show it.
_MARGIN = 4096

# Below this peak (-100 dB of full scale) there is nothing but dither.
_SILENT_PEAK = 1e-5

# The data size that a streaming writer leaves in a WAV header.
_UNKNOWN_SIZE = 0xFFFFFFFF


class AudioError(Exception):
    """A recording that cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """What one pass over a recording tells.

    Attributes:
      samples: length in samples at the target rate.
      peak: largest absolute sample of the one channel.
      rms: root mean square of the one channel.
    """

    samples: int
    peak: float
    rms: float


def scan(path: str, config: AudioConfig) -> Scan:
    """Decodes a whole recording once, block by block.

    Raises:
      AudioError: if it cannot be decoded to its end, holds no sample, one
        that is not finite, or only silence.
    """
    peak, square, count = 0.0, 0.0, 0
    with _open(path) as file:
        for block in _blocks(file, config):
            if not np.isfinite(block).all():
                raise AudioError("not finite: NaN or infinity among samples")
            peak = max(peak, float(np.abs(block).max()))
            square += float(np.dot(block, block.astype(np.float64)))
            count += len(block)
        if count < file.frames:
            raise AudioError(
                f"truncated: {count} of {file.frames} samples decoded"
            )
        samples = count * config.sample_rate_hz // file.samplerate
    if not samples:
        raise AudioError("empty: no samples")
    if peak < _SILENT_PEAK:
        raise AudioError("silent: no sample above -100 dB of full scale")
    return Scan(samples=samples, peak=peak, rms=math.sqrt(square / count))


def read(path: str, start: int, stop: int, config: AudioConfig) -> np.ndarray:
    """Samples [start, stop) of a recording at the target rate.

    Args:
      path: the recording.
      start: first sample, at the target rate; may be negative.
      stop: the sample after the last one; may lie after the end.
      config: target rate and choice of channel.

    Returns:
      float32 [stop - start], zeros outside of the recording.

    Raises:
      AudioError: if the file cannot be decoded.
    """
    out = np.zeros(stop - start, np.float32)
    with _open(path) as file:
        divisor = math.gcd(file.samplerate, config.sample_rate_hz)
        source_step = file.samplerate // divisor
        target_step = config.sample_rate_hz // divisor
        # Start on a sample that both rates have, so that nothing shifts.
        grid = max(0, start // target_step - _MARGIN // source_step - 1)
        source_stop = -(-stop * source_step // target_step) + _MARGIN
        file.seek(min(grid * source_step, file.frames))
        frames = max(0, min(source_stop, file.frames) - file.tell())
        mono = _mono(_read(file, frames), config)
        rate = file.samplerate
    if rate != config.sample_rate_hz:
        mono = soxr.resample(mono, rate, config.sample_rate_hz)
    first = grid * target_step
    low, high = max(start, first), min(stop, first + len(mono))
    if high > low:
        out[low - start : high - start] = mono[low - first : high - first]
    return out


def gain(found: Scan, config: AudioConfig) -> float:
    """The one factor that brings a recording to the configured level."""
    if config.level == "none":
        return 1.0
    level = found.peak if config.level == "peak" else found.rms
    return 10 ** (config.level_db / 20) / level


def _open(path: str) -> soundfile.SoundFile:
    try:
        if not os.path.exists(path):
            raise AudioError("missing: no such file")
        # A FIFO or a device would block for ever.
        if not os.path.isfile(path):
            raise AudioError("not a regular file")
        _check_riff(path)
        # As bytes: a name need not be valid UTF-8.
        return soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"undecodable: {error.error_string}") from error
    except OSError as error:
        raise AudioError(f"unreadable: {error.strerror}") from error


def _check_riff(path: str) -> None:
    """Raises AudioError where a WAV's header promises more than there is.

    libsndfile shortens such a file without a word.
    """
    size = os.path.getsize(path)
    if not size:
        raise AudioError("empty: no bytes")
    with open(path, "rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            here = file.tell()
            if name == b"data":
                if length != _UNKNOWN_SIZE and here + length > size:
                    raise AudioError(
                        f"truncated: {size - here} of {length} bytes of data"
                    )
                return
            file.seek(here + length + length % 2)


def _blocks(
    file: soundfile.SoundFile, config: AudioConfig
) -> Iterator[np.ndarray]:
    """The recording as mono float32 blocks."""
    frames = max(1, _BLOCK // file.channels)
    while len(block := _read(file, frames)):
        yield _mono(block, config)


def _read(file: soundfile.SoundFile, frames: int) -> np.ndarray:
    """Up to `frames` frames, float32 [frames, channels]."""
    try:
        return file.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"undecodable: {error.error_string}") from error


def _mono(block: np.ndarray, config: AudioConfig) -> np.ndarray:
    if config.channels == "first" or block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    return block.mean(axis=1, dtype=np.float32)
