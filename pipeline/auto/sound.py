"""Describes how one recording sounds, from a few excerpts of it.

`describe` runs in the decoder process and returns figures, never samples.
"""

import dataclasses

import numpy as np
from scipy import fft

from pipeline.audio import levels as levels_lib
from pipeline.audio import speech
from pipeline.audio.decoders.base import Decoder, Excerpt
from pipeline.audio.errors import AudioError
from pipeline.audio.levels import Levels
from pipeline.audio.opening import open_recording
from stftgan_tf.config import AudioConfig

# A longer recording is described by excerpts of this length.
_EXCERPT_SECS = 8.0

# The frames of the shipped configs: 32 ms. Every second one suffices here.
_FRAME_SECS, _STEP_SECS = 0.032, 0.016

# A frequency counts as used if its loud frames reach this level below the
# loudest frequency.
_BANDWIDTH_DB = -65.0

# Nothing in a recording is quieter than this, in dB of full scale.
_SMALLEST = 1e-10


@dataclasses.dataclass(frozen=True)
class Sound:
    """How a recording sounds.

    Attributes:
      rate_hz: its own sample rate.
      secs: length of the whole recording.
      excerpt_secs: length of the excerpts.
      bandwidth_hz: highest frequency that contains more than noise.
      contrast_db: level of loud blocks of 10 ms above that of quiet ones.
      active_secs: length of all stretches of speech in the excerpts.
      stretches_secs: length of each of them.
      quiet_fifth_db: levels that a fifth of the spectrum is below, for
        frequencies up to 4 and up to 8 kHz, relative to the peak.
      cancels: whether the mean of the channels is far below each of them.
    """

    rate_hz: int
    secs: float
    excerpt_secs: float
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
    channels = np.concatenate(blocks)
    cancels = _cancels(channels)
    samples = channels[:, 0] if cancels else channels.mean(axis=1)
    levels = _audible_levels(samples, channels, rate_hz)
    stretches = speech.stretches(levels.emphasised).tolist()
    # What has no pauses, such as a texture, is one stretch.
    stretches = stretches or [[0, len(levels.powers)]]
    block_secs = levels.step / rate_hz
    lengths = tuple((stop - start) * block_secs for start, stop in stretches)
    used = _used_samples(samples - np.float32(levels.mean), stretches, levels)
    magnitudes = _magnitudes(used, rate_hz) / levels.peak
    quiet, loud = 10 * np.log10(
        np.percentile(levels.powers, (10, 95)) + _SMALLEST**2
    )
    return Sound(
        rate_hz=rate_hz,
        secs=secs,
        excerpt_secs=len(samples) / rate_hz,
        bandwidth_hz=_bandwidth(magnitudes, rate_hz),
        contrast_db=float(loud - quiet),
        active_secs=sum(lengths),
        stretches_secs=lengths,
        quiet_fifth_db=(_fifth(magnitudes, 4000), _fifth(magnitudes, 8000)),
        cancels=cancels,
    )


def _audible_levels(
    samples: np.ndarray, channels: np.ndarray, rate_hz: int
) -> Levels:
    """Levels of samples [N], which may be the mean of channels [N, C].

    Raises:
      AudioError: if nothing is audible, by the rules of the job.
    """
    if not len(samples):
        raise AudioError("empty: 0 samples")
    meter = levels_lib.Meter(rate_hz, emphasise=True)
    word_length = levels_lib.WordLength()
    meter.add(samples)
    word_length.add(channels)
    levels = meter.levels()
    reason = levels_lib.silence(levels, word_length.step)
    if reason:
        raise AudioError(f"silent: {reason}")
    return levels


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


def _used_samples(
    samples: np.ndarray, stretches: list[list[int]], levels: Levels
) -> np.ndarray:
    """The samples that windows would contain.

    These are all from the first to the last stretch, unless most of them are
    pauses.

    Args:
      samples: float32 [N].
      stretches: first block and end of each stretch of speech.
      levels: of the samples.
    """
    first, last = stretches[0][0], stretches[-1][1]
    speech_blocks = sum(stop - start for start, stop in stretches)
    if speech_blocks >= 0.5 * (last - first):
        stretches = [[first, last]]
    step = levels.step
    parts = [samples[start * step : stop * step] for start, stop in stretches]
    return np.concatenate(parts)


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
