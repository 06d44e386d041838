"""Reads recordings as float32 samples at one rate, one channel at a time.

`pipeline.audio.decoders` opens a recording and soxr resamples it. Memory does
not grow with the length of a recording: `measure` streams it, `read` seeks,
and only short recordings are loaded whole.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import soxr

from pipeline.audio.decoders import Decoder, open_recording
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig

# Number of samples, of all channels together, that are decoded at a time.
_BLOCK_SAMPLES = 1 << 18

# Source samples read on either side of a segment, so that the resampler's
# filter gives the same samples as for the whole recording.
_MARGIN_SAMPLES = 4096

# A signal below this (-100 dB of full scale) counts as silent: it is dither.
_SILENCE = 1e-5

# Silence at the ends is trimmed in steps of this length.
_TRIM_SECS = 0.01


@dataclasses.dataclass(frozen=True)
class ChannelStats:
    """Extent and level of one channel of a recording.

    Attributes:
      start: first sample after the trimmed silence, at the target rate; 0 if
        nothing is trimmed.
      samples: number of samples from `start` to the trimmed silence at the
        end, at the target rate.
      peak: largest absolute sample.
      rms: root mean square.
      source_frames: length of the whole recording in sample frames, at its
        own rate.
    """

    start: int
    samples: int
    peak: float
    rms: float
    source_frames: int


@dataclasses.dataclass(frozen=True)
class RecordingInfo:
    """Properties of a recording that are needed before its windows are cut.

    Attributes:
      samples: length that the header gives, converted to the target rate.
      channels: number of channels that are used.
      stats: result of `measure` for a long recording; None for a short one.
      notes: what is wrong with the file and has been dealt with, from its
        decoder.
    """

    samples: int
    channels: int
    stats: list[ChannelStats | None] | None
    notes: tuple[str, ...] = ()


def probe(path: str, config: AudioConfig, short_secs: float) -> RecordingInfo:
    """Reads the header of a recording, and measures it if it is long.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      short_secs: maximum length of a short recording, which `load` decodes
        later.

    Raises:
      AudioError: if the recording cannot be opened, or if it is long and
        `measure` fails.
    """
    with open_recording(path, config) as decoder:
        samples = decoder.frames * config.sample_rate_hz // decoder.rate_hz
        channels = decoder.channels if config.channels == "split" else 1
        notes = decoder.notes
    is_short = samples <= short_secs * config.sample_rate_hz
    stats = None if is_short else measure(path, config)
    return RecordingInfo(samples, channels, stats, notes)


def measure(path: str, config: AudioConfig) -> list[ChannelStats | None]:
    """Decodes a whole recording once, block by block.

    Args:
      path: a local file, a remote one (`s3://...`) or a record of a TFDS data
        set (`pipeline.audio.tfds_records`).
      config: decoder, choice of channels, target rate.

    Returns:
      The statistics of the one channel, or of every channel if `channels` is
      `split`. They are None for a silent channel if another is not silent.

    Raises:
      AudioError: if the recording cannot be decoded to its end, is empty or
        silent, or contains a sample that is not finite.
    """
    with open_recording(path, config) as decoder:
        return _measure(decoder, config)[0]


def load(
    path: str, config: AudioConfig, channel: int
) -> tuple[ChannelStats | None, np.ndarray]:
    """Decodes a whole short recording into memory.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      channel: index of the channel if `channels` is `split`, otherwise 0.

    Returns:
      The channel's statistics, and all its samples, float32 [N], at the target
      rate.

    Raises:
      AudioError: for the same reasons as `measure`.
    """
    with open_recording(path, config) as decoder:
        stats, blocks = _measure(decoder, config, channel)
        rate_hz = decoder.rate_hz
    return stats[channel], _resample(np.concatenate(blocks), rate_hz, config)


def read(
    path: str,
    config: AudioConfig,
    start: int,
    stop: int,
    channel: int = 0,
    source_frames: int | None = None,
) -> np.ndarray:
    """Samples [start, stop) of a recording at the target rate.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      start: first sample, at the target rate; may be negative.
      stop: end of the range; may exceed the recording's length.
      channel: index of the channel if `channels` is `split`, otherwise 0.
      source_frames: length of the recording when it was measured.

    Returns:
      float32 [stop - start], zeros outside of the recording.

    Raises:
      AudioError: if the recording cannot be decoded, or has changed since it
        was measured.
    """
    with open_recording(path, config) as decoder:
        if source_frames not in (None, decoder.frames):
            raise AudioError(
                f"changed: {decoder.frames} samples; expected {source_frames}"
            )
        rate_hz = decoder.rate_hz
        divisor = math.gcd(rate_hz, config.sample_rate_hz)
        source_step = rate_hz // divisor
        target_step = config.sample_rate_hz // divisor
        # Start at a time that is a whole number of samples at both rates, so
        # that resampling does not shift the signal.
        step = max(0, start // target_step - _MARGIN_SAMPLES // source_step - 1)
        source_start = min(step * source_step, decoder.frames)
        source_stop = -(-stop * source_step // target_step) + _MARGIN_SAMPLES
        count = max(0, min(source_stop, decoder.frames) - source_start)
        block = decoder.read(source_start, count)
        if len(block) < count - decoder.slack:
            raise AudioError(
                f"truncated: {len(block)} of {count} samples decoded from "
                f"{source_start} on"
            )
        samples = _select_channels(block, config)[channel]
    samples = _resample(samples, rate_hz, config)
    first = step * target_step
    return slice_padded(samples, start - first, stop - first)


def slice_padded(samples: np.ndarray, start: int, stop: int) -> np.ndarray:
    """samples[start:stop], with zeros before the beginning and after the end.

    Args:
      samples: float32 [N].
      start: first index; may be negative.
      stop: end of the range; may be greater than N.

    Returns:
      float32 [stop - start], a copy.
    """
    out = np.zeros(stop - start, np.float32)
    low, high = max(start, 0), min(stop, len(samples))
    if high > low:
        out[low - start : high - start] = samples[low:high]
    return out


def gain(stats: ChannelStats, config: AudioConfig) -> float:
    """The factor that brings a recording to the configured level."""
    if config.level == "none":
        return 1.0
    level = stats.peak if config.level == "peak" else stats.rms
    return 10 ** (config.level_db / 20) / level


def _measure(
    decoder: Decoder, config: AudioConfig, kept_channel: int | None = None
) -> tuple[list[ChannelStats | None], list[np.ndarray]]:
    """`measure` for an open recording, and the blocks of `kept_channel`."""
    rate_hz = decoder.rate_hz
    trim_step = max(1, round(_TRIM_SECS * rate_hz))
    meters: list[_Meter] = []
    kept_blocks = []
    for block in _blocks(decoder, trim_step):
        channels = _select_channels(block, config)
        meters = meters or [_Meter(trim_step) for _ in channels]
        for meter, samples in zip(meters, channels, strict=True):
            meter.add(samples)
        if kept_channel is not None:
            kept_blocks.append(channels[kept_channel])
    count = meters[0].count if meters else 0
    if count < decoder.frames - decoder.slack:
        raise AudioError(
            f"truncated: {count} of {decoder.frames} samples decoded"
        )
    if not count * config.sample_rate_hz // rate_hz:
        raise AudioError(f"empty: {count} samples")
    stats = [meter.stats(rate_hz, decoder.frames, config) for meter in meters]
    if not any(stats):
        raise AudioError(
            "silent: constant, or nothing above -100 dB of full scale"
        )
    return stats, kept_blocks


def _blocks(decoder: Decoder, trim_step: int) -> Iterator[np.ndarray]:
    """The recording as float32 blocks [frames, channels]."""
    # Whole trim steps, so that their peaks do not depend on the block size.
    steps = max(1, _BLOCK_SAMPLES // decoder.channels // trim_step)
    start = 0
    while len(block := decoder.read(start, steps * trim_step)):
        yield block
        start += len(block)


def _select_channels(
    block: np.ndarray, config: AudioConfig
) -> list[np.ndarray]:
    """The channels [N] of a block [N, C] that are used: one, or all."""
    if config.channels == "split":
        return list(np.ascontiguousarray(block.T))
    if config.channels == "first" or block.shape[1] == 1:
        return [np.ascontiguousarray(block[:, 0])]
    return [block.mean(axis=1, dtype=np.float32)]


def _resample(
    samples: np.ndarray, rate_hz: int, config: AudioConfig
) -> np.ndarray:
    """Samples [N] at the target rate."""
    if rate_hz == config.sample_rate_hz:
        return samples
    return soxr.resample(samples, rate_hz, config.sample_rate_hz)


class _Meter:
    """Accumulates the length, level and trimmed ends of one channel."""

    def __init__(self, trim_step: int):
        self._trim_step = trim_step
        self.count, self._sum, self._square_sum = 0, 0.0, 0.0
        self._peaks: list[np.ndarray] = []

    def add(self, samples: np.ndarray) -> None:
        """Adds samples [N]; only the last call may end within a trim step."""
        samples64 = samples.astype(np.float64)
        # Not BLAS, whose rounding depends on the number of threads.
        square_sum = float(np.einsum("n,n->", samples64, samples64))
        if not math.isfinite(square_sum):
            raise AudioError("not finite: NaN or infinity among samples")
        self.count += len(samples)
        self._sum += float(samples64.sum())
        self._square_sum += square_sum
        starts = np.arange(0, len(samples), self._trim_step)
        self._peaks.append(np.maximum.reduceat(np.abs(samples), starts))

    def stats(
        self, rate_hz: int, source_frames: int, config: AudioConfig
    ) -> ChannelStats | None:
        """The statistics of all samples; None if the channel is silent."""
        peaks = np.concatenate(self._peaks)
        power = self._square_sum / self.count
        # The mean does not count, because a constant signal is silent.
        deviation = math.sqrt(max(0.0, power - (self._sum / self.count) ** 2))
        peak = float(peaks.max())
        if peak < _SILENCE or deviation < _SILENCE:
            return None
        first, last = 0, self.count
        if config.trim_db:
            loud = np.flatnonzero(peaks > peak * 10 ** (-config.trim_db / 20))
            first = int(loud[0]) * self._trim_step
            last = min(last, (int(loud[-1]) + 1) * self._trim_step)
        start = first * config.sample_rate_hz // rate_hz
        stop = max(start + 1, last * config.sample_rate_hz // rate_hz)
        rms = math.sqrt(power)
        return ChannelStats(start, stop - start, peak, rms, source_frames)
