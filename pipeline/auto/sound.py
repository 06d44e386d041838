"""Describes how one recording sounds, from a few excerpts of it.

`describe` runs in the decoder process and returns figures, never samples.
"""

import dataclasses

import numpy as np
from scipy import fft

from pipeline.audio import levels as levels_lib
from pipeline.audio.decoders.base import Decoder, Excerpt
from pipeline.audio.errors import AudioError
from pipeline.audio.opening import open_recording
from stftgan_tf.config import AudioConfig

# A longer recording is described by excerpts of this length.
_EXCERPT_SECS = 8.0

# The frames of the shipped configs: 32 ms. Every second one suffices here.
_FRAME_SECS, _STEP_SECS = 0.032, 0.016

# A frequency counts as used if its loud frames reach this level below the
# loudest frequency.
_BANDWIDTH_DB = -65.0

# Pauses that do not end a stretch of speech, and the shortest stretch.
_PAUSE_SECS, _STRETCH_SECS = 0.25, 0.08

# Nothing in a recording is quieter than this, in dB of full scale.
_SMALLEST = 1e-10


@dataclasses.dataclass(frozen=True)
class Sound:
    """How a recording sounds.

    Attributes:
      rate_hz: its own sample rate.
      secs: length of the whole recording.
      heard_secs: length of the excerpts.
      bandwidth_hz: highest frequency that contains more than noise.
      contrast_db: level of loud frames above that of quiet ones.
      active_secs: length of all stretches of speech in the excerpts.
      stretches_secs: length of each of them.
      quiet_fifth_db: levels that a fifth of the spectrum is below, for
        frequencies up to 4 and up to 8 kHz, relative to the peak.
      cancels: whether the mean of the channels is far below each of them.
    """

    rate_hz: int
    secs: float
    heard_secs: float
    bandwidth_hz: float
    contrast_db: float
    active_secs: float
    stretches_secs: tuple[float, ...]
    quiet_fifth_db: tuple[float, float]
    cancels: bool = False


def describe(
    source: str | Excerpt, config: AudioConfig, excerpts: int
) -> Sound:
    """Describes a recording.

    Args:
      source: as for `open_recording`.
      config: names the decoder.
      excerpts: number of excerpts of a long recording.

    Raises:
      AudioError: if it cannot be decoded, or nothing in it is audible.
    """
    with open_recording(source, config) as decoder:
        blocks = [
            decoder.read(first, count)
            for first, count in _excerpts(decoder, excerpts)
        ]
        rate_hz = decoder.rate_hz
        secs = decoder.frames / rate_hz
    return _describe(blocks, rate_hz, secs)


def _describe(blocks: list[np.ndarray], rate_hz: int, secs: float) -> Sound:
    """`describe` for excerpts [N, C] of a recording of `secs` seconds."""
    cancels = _cancels(np.concatenate(blocks))
    parts = [b[:, 0] if cancels else b.mean(axis=1) for b in blocks]
    parts = [part - part.mean() for part in parts if len(part)]
    heard_secs = sum(map(len, parts)) / rate_hz
    _check_audible(parts, blocks, rate_hz)
    peak = max(float(np.abs(part).max()) for part in parts)
    magnitudes = [_magnitudes(part, rate_hz) / peak for part in parts]
    levels = [_levels(frames) for frames in magnitudes]
    quiet, loud = np.percentile(np.concatenate(levels), (10, 95))
    runs = [_stretches(part, quiet, loud) for part in levels]
    stretches = [run for part in runs for run in part]
    lengths = tuple((stop - start) * _STEP_SECS for start, stop in stretches)
    used = _used_frames(magnitudes, runs)
    return Sound(
        rate_hz=rate_hz,
        secs=secs,
        heard_secs=heard_secs,
        bandwidth_hz=_bandwidth(used, rate_hz),
        contrast_db=float(loud - quiet),
        active_secs=sum(lengths),
        stretches_secs=lengths,
        quiet_fifth_db=(_fifth(used, 4000), _fifth(used, 8000)),
        cancels=cancels,
    )


def _check_audible(
    parts: list[np.ndarray], blocks: list[np.ndarray], rate_hz: int
) -> None:
    """Raises AudioError if nothing is audible, by the rules of the job."""
    if not parts:
        raise AudioError("empty: 0 samples")
    meter, word_length = levels_lib.Meter(rate_hz), levels_lib.WordLength()
    meter.add(np.concatenate(parts))
    for block in blocks:
        word_length.add(block)
    reason = levels_lib.silence(meter.levels(), word_length.step)
    if reason:
        raise AudioError(f"silent: {reason}")


def _excerpts(decoder: Decoder, excerpts: int) -> list[tuple[int, int]]:
    """(first frame, frames) of what is decoded, spread evenly."""
    each = round(_EXCERPT_SECS * decoder.rate_hz)
    if decoder.frames <= excerpts * each:
        return [(0, decoder.frames)]
    gap = (decoder.frames - each) // max(1, excerpts - 1)
    return [(i * gap, each) for i in range(excerpts)]


def _cancels(block: np.ndarray) -> bool:
    """Whether the channels [N, C] cancel each other in their mean."""
    if block.shape[1] < 2 or not len(block):
        return False
    power = np.mean(np.square(block, dtype=np.float64))
    mean = np.mean(np.square(block.mean(axis=1), dtype=np.float64))
    return bool(mean < 0.01 * power)


def _magnitudes(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """STFT magnitudes [T, F]; a sine of amplitude 1 has magnitude 1."""
    length = max(16, round(_FRAME_SECS * rate_hz))
    step = max(1, round(_STEP_SECS * rate_hz))
    padded = np.pad(samples, (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::step]
    window = np.hanning(length).astype(np.float32)
    spectrum = fft.rfft(frames * window, axis=1)
    return np.abs(spectrum) * (2 / window.sum())


def _levels(magnitudes: np.ndarray) -> np.ndarray:
    """Level in dB of each frame [T] of magnitudes [T, F]."""
    power = np.square(magnitudes, dtype=np.float64).sum(axis=1)
    return 10 * np.log10(power + _SMALLEST)


def _stretches(
    levels: np.ndarray, quiet: float, loud: float
) -> list[tuple[int, int]]:
    """(first, past the last) frame of each stretch of speech.

    The threshold lies between the level of quiet and of loud frames; without
    a difference between the two, everything is one stretch.
    """
    if loud - quiet < 10:
        return [(0, len(levels))]
    threshold = max(quiet + 0.35 * (loud - quiet), loud - 35)
    active = np.concatenate([[0], levels > threshold, [0]]).astype(np.int8)
    changes = np.flatnonzero(np.diff(active)).reshape(-1, 2)
    merged: list[tuple[int, int]] = []
    for start, stop in changes.tolist():
        if merged and start - merged[-1][1] < _PAUSE_SECS / _STEP_SECS:
            start = merged.pop()[0]
        merged.append((start, stop))
    smallest = _STRETCH_SECS / _STEP_SECS
    return [(start, stop) for start, stop in merged if stop - start >= smallest]


def _used_frames(
    magnitudes: list[np.ndarray], runs: list[list[tuple[int, int]]]
) -> np.ndarray:
    """The frames [T, F] that windows would contain.

    These are all from the first to the last stretch of each excerpt, unless
    most of them are pauses.
    """
    pairs = [(f, r) for f, r in zip(magnitudes, runs, strict=True) if r]
    spans = [frames[run[0][0] : run[-1][1]] for frames, run in pairs]
    parts = [frames[a:b] for frames, run in pairs for a, b in run]
    if sum(map(len, parts)) < 0.5 * sum(map(len, spans)):
        spans = parts
    return np.concatenate(spans or magnitudes)


def _bandwidth(magnitudes: np.ndarray, rate_hz: int) -> float:
    """Highest frequency whose loud frames stand out of [T, F]."""
    spectrum = np.percentile(magnitudes, 95, axis=0)
    loud = spectrum > spectrum.max() * 10 ** (_BANDWIDTH_DB / 20)
    return float(np.flatnonzero(loud)[-1] * rate_hz / 2 / (len(spectrum) - 1))


def _fifth(magnitudes: np.ndarray, highest_hz: int) -> float:
    """The level in dB that a fifth of the values up to a frequency is below."""
    bins = round(highest_hz * _FRAME_SECS)
    return _db(float(np.percentile(magnitudes[:, :bins], 20)))


def _db(amplitude: float) -> float:
    return float(20 * np.log10(amplitude + _SMALLEST))
