"""Reads recordings as float32 samples at one rate, one channel at a time.

`pipeline.audio.opening` opens a recording and soxr resamples it. Memory does
not grow with the length of a recording: `measure` streams it, `read` seeks,
and only short recordings are loaded whole.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import soxr

from pipeline.audio.decoders.base import Decoder
from pipeline.audio.errors import AudioError
from pipeline.audio.levels import Meter
from pipeline.audio.measurement import (
    ChannelStats,
    Measurement,
    select_channels,
)
from pipeline.audio.opening import open_recording
from stftgan_tf.config import AudioConfig

# Number of samples, of all channels together, that are decoded at a time.
_BLOCK_SAMPLES = 1 << 18

# Source samples read on either side of a segment, so that the resampler's
# filter gives the same samples as for the whole recording.
_MARGIN_SAMPLES = 4096

# A recording is not amplified by more than this.
MAX_GAIN_DB = 60.0


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


def probe(
    path: str,
    config: AudioConfig,
    short_secs: float,
    find_speech: bool = False,
) -> RecordingInfo:
    """Reads the header of a recording, and measures it if it is long.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      short_secs: maximum length of a short recording, which `load` decodes
        later.
      find_speech: as for `measure`.

    Raises:
      AudioError: if the recording cannot be opened, or if it is long and
        `measure` fails.
    """
    with open_recording(path, config) as decoder:
        samples = decoder.frames * config.sample_rate_hz // decoder.rate_hz
        channels = decoder.channels if config.channels == "split" else 1
        notes = decoder.notes
    is_short = samples <= short_secs * config.sample_rate_hz
    stats = None if is_short else measure(path, config, find_speech)
    return RecordingInfo(samples, channels, stats, notes)


def measure(
    path: str, config: AudioConfig, find_speech: bool = False
) -> list[ChannelStats | None]:
    """Decodes a whole recording once, block by block.

    Args:
      path: a local file, a remote one (`s3://...`) or a record of a TFDS data
        set (`pipeline.audio.tfds_records`).
      config: decoder, choice of channels, target rate.
      find_speech: whether only channels with speech are used.

    Returns:
      The statistics of the one channel, or of every channel if `channels` is
      `split`. They are None for a channel that is not used, if another is.

    Raises:
      AudioError: if the recording cannot be decoded to its end, is empty or
        silent, contains a sample that is not finite, or no speech.
    """
    with open_recording(path, config) as decoder:
        return _measure(decoder, config, find_speech)[0]


def load(
    path: str, config: AudioConfig, channel: int, find_speech: bool = False
) -> tuple[ChannelStats | None, np.ndarray]:
    """Decodes a whole short recording into memory.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      channel: index of the channel if `channels` is `split`, otherwise 0.
      find_speech: as for `measure`.

    Returns:
      The channel's statistics, and all its samples, float32 [N], at the target
      rate, without their mean.

    Raises:
      AudioError: for the same reasons as `measure`.
    """
    with open_recording(path, config) as decoder:
        stats, blocks = _measure(decoder, config, find_speech, channel)
        rate_hz = decoder.rate_hz
    samples, used = np.concatenate(blocks), stats[channel]
    if used:
        samples -= np.float32(used.mean)
    return used, _resample(samples, rate_hz, config)


def read(
    path: str,
    config: AudioConfig,
    start: int,
    stop: int,
    channel: int = 0,
    stats: ChannelStats | None = None,
) -> np.ndarray:
    """Samples [start, stop) of a recording at the target rate.

    Args:
      path: as for `measure`.
      config: decoder, choice of channels, target rate.
      start: first sample, at the target rate; may be negative.
      stop: end of the range; may exceed the recording's length.
      channel: index of the channel if `channels` is `split`, otherwise 0.
      stats: of the channel, whose mean is subtracted; None subtracts nothing.

    Returns:
      float32 [stop - start], zeros outside of the recording.

    Raises:
      AudioError: if the recording cannot be decoded, or has changed since it
        was measured.
    """
    with open_recording(path, config) as decoder:
        if stats and stats.source_frames != decoder.frames:
            raise AudioError(
                f"changed: {decoder.frames} samples; expected "
                f"{stats.source_frames}"
            )
        block, first = _read_around(decoder, start, stop, config)
        rate_hz = decoder.rate_hz
    samples = select_channels(block, config)[channel]
    if stats:
        samples = samples - np.float32(stats.mean)
    samples = _resample(samples, rate_hz, config)
    return slice_padded(samples, start - first, stop - first)


def _read_around(
    decoder: Decoder, start: int, stop: int, config: AudioConfig
) -> tuple[np.ndarray, int]:
    """What has to be decoded for samples [start, stop) at the target rate.

    Returns:
      A block [N, C] at the recording's own rate, and the position of its first
      sample at the target rate.
    """
    divisor = math.gcd(decoder.rate_hz, config.sample_rate_hz)
    source_step = decoder.rate_hz // divisor
    target_step = config.sample_rate_hz // divisor
    # Start at a time that is a whole number of samples at both rates, so that
    # resampling does not shift the signal.
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
    return block, step * target_step


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
    """The factor that brings a recording to the configured level.

    It is at most `MAX_GAIN_DB`.
    """
    if config.level == "none":
        return 1.0
    level = stats.peak if config.level == "peak" else stats.rms
    return min(10 ** (config.level_db / 20) / level, 10 ** (MAX_GAIN_DB / 20))


def _measure(
    decoder: Decoder,
    config: AudioConfig,
    find_speech: bool,
    kept_channel: int | None = None,
) -> tuple[list[ChannelStats | None], list[np.ndarray]]:
    """`measure` for an open recording, and the blocks of `kept_channel`."""
    measurement = Measurement(decoder, config, find_speech)
    kept_blocks = []
    for block in _blocks(decoder):
        channels = measurement.add(block)
        if kept_channel is not None:
            kept_blocks.append(channels[kept_channel])
    count = measurement.count
    if count < decoder.frames - decoder.slack:
        raise AudioError(
            f"truncated: {count} of {decoder.frames} samples decoded"
        )
    if not count * config.sample_rate_hz // decoder.rate_hz:
        raise AudioError(f"empty: {count} samples")
    return measurement.stats(), kept_blocks


def _blocks(decoder: Decoder) -> Iterator[np.ndarray]:
    """The recording as float32 blocks [frames, channels]."""
    # Whole blocks of the meter, so that its levels do not depend on the size
    # of what is decoded at a time.
    step = Meter(decoder.rate_hz).step
    steps = max(1, _BLOCK_SAMPLES // decoder.channels // step)
    start = 0
    while start < decoder.frames and len(
        block := decoder.read(start, steps * step)
    ):
        yield block
        start += len(block)


def _resample(
    samples: np.ndarray, rate_hz: int, config: AudioConfig
) -> np.ndarray:
    """Samples [N] at the target rate."""
    if rate_hz == config.sample_rate_hz:
        return samples
    return soxr.resample(samples, rate_hz, config.sample_rate_hz)
