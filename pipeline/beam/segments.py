"""Splits recordings into segments, and segments into windows.

A short recording is one segment. It is decoded once, when its windows are cut;
only then is it known how much of it is silence. A long recording is measured
first and split into several segments, so that the memory in use does not depend
on its length.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.audio import reading
from pipeline.audio.decoder_process import Request
from pipeline.audio.errors import AudioError
from pipeline.audio.reading import ChannelStats, RecordingInfo
from pipeline.sources.recordings import Recording
from stftgan_tf.config import Config
from stftgan_tf.data import records
from stftgan_tf.dsp import stft

# Longer recordings are split into segments of this length.
SEGMENT_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive windows of one channel of a recording.

    Attributes:
      recording: the recording.
      name: its name, followed by the channel if several are used.
      split: `train` or `eval`.
      key: SHA-256 that decides the shard, and the order within the shard.
      channel: index of the channel if `audio.channels` is `split`.
      stats: of the channel of a long recording; None for a short recording,
        which is a single segment.
      first_window: index of the first window within the recording.
      windows: number of windows; for a short recording it is an estimate from
        the length in its header.
    """

    recording: Recording
    name: str
    split: str
    key: str
    channel: int
    stats: ChannelStats | None
    first_window: int
    windows: int


def split_of(recording: Recording, config: Config) -> str:
    """`train` or `eval`, by hash of the speaker or the recording."""
    split = config.split
    if split.by == "regex":
        match = re.search(split.eval_regex, recording.name)
        return "eval" if match else "train"
    speaker = recording.speaker if split.by == "speaker" else ""
    # All excerpts of a file are in the same split.
    identity = (
        f"speaker {speaker}" if speaker else f"recording {recording.name}"
    )
    # Without the data set's name: a directory that is renamed keeps its split.
    share = int(_sha256(identity)[:13], 16) / 16**13
    return "eval" if share < split.eval_fraction else "train"


def plan(
    recording: Recording,
    config: Config,
    decode: Callable[[Request], Any],
) -> list[Segment]:
    """The segments of a recording.

    Args:
      recording: the recording.
      config: of the data set.
      decode: `DecoderProcess.run`.

    Raises:
      AudioError: if the recording cannot be used. For a short recording most
        errors are raised by `cut`.
    """
    info = decode(Request(reading.probe, recording.path, (SEGMENT_SECS,)))
    segments: list[Segment] = []
    for channel in range(info.channels):
        segments += _plan_channel(recording, config, info, channel)
    return segments


def _plan_channel(
    recording: Recording, config: Config, info: RecordingInfo, channel: int
) -> Iterator[Segment]:
    name = recording.id
    if info.channels > 1:
        name = f"{name}#{channel}"
    stats = info.stats[channel] if info.stats else None
    if stats:
        _check_length(stats, config)
        windows, _ = window_grid(stats.samples, config)
        rate = config.audio.sample_rate_hz
        each = max(1, int(SEGMENT_SECS * rate / config.stride_samples))
    elif info.stats:
        # This channel is silent; another one is not.
        return
    else:
        windows, _ = window_grid(info.samples, config)
        each = windows
    for first in range(0, windows, each):
        yield Segment(
            recording=recording,
            name=name,
            # All channels of a recording are in the same split.
            split=split_of(recording, config),
            key=_sha256(recording.dataset, name, str(first)),
            channel=channel,
            stats=stats,
            first_window=first,
            windows=min(each, windows - first),
        )


def _check_length(stats: ChannelStats, config: Config) -> None:
    if stats.samples < config.stft.frame_length:
        raise AudioError(
            f"short: {stats.samples} samples; expected at least one frame, "
            f"{config.stft.frame_length}"
        )


def window_grid(samples: int, config: Config) -> tuple[int, int]:
    """The number of windows of a recording, and where the first one starts.

    Returns:
      (count, offset): window i starts at sample i * stride - offset. The grid
      is centred on the recording.
    """
    size, stride = config.window_samples, config.stride_samples
    strides = max(0, samples - size) / stride
    rounded = np.ceil(strides) if config.window.tail == "pad" else strides + 0.5
    count = 1 + int(rounded)
    covered = size + (count - 1) * stride
    return count, (covered - samples) // 2


def request(segment: Segment, config: Config) -> Request:
    """The decoder's request whose result `cut` takes."""
    path, stats = segment.recording.path, segment.stats
    if not stats:
        return Request(reading.load, path, (segment.channel,))
    first = segment.first_window
    span = _span(stats, config, first, first + segment.windows)
    return Request(
        reading.read, path, (*span, segment.channel, stats.source_frames)
    )


def _span(
    stats: ChannelStats, config: Config, first: int, last: int
) -> tuple[int, int]:
    """Samples [start, stop) that the windows [first, last) cover."""
    _, offset = window_grid(stats.samples, config)
    origin = stats.start - offset
    stride = config.stride_samples
    stop = (last - 1) * stride + config.window_samples
    return origin + first * stride, origin + stop


@dataclasses.dataclass(frozen=True)
class SegmentWindows:
    """The windows of a segment.

    Attributes:
      windows: W float32 [T, F], log-magnitudes.
      audible: bool [W], false if a window is more than `window.silence_db`
        below its recording.
      frames: float32 [T', F], all frames that the windows are cut from.
      counts: int [T'], the number of audible windows that contain each frame.
    """

    windows: list[np.ndarray]
    audible: np.ndarray
    frames: np.ndarray
    counts: np.ndarray


def cut(segment: Segment, result: Any, config: Config) -> SegmentWindows | None:
    """Cuts a segment into windows.

    Args:
      segment: the segment.
      result: the decoder's result for `request`, or its AudioError.
      config: of the data set.

    Returns:
      The windows, or None for a silent channel of a recording in which
      another channel is not silent.

    Raises:
      AudioError: if `result` is one, or the recording is too short.
    """
    if isinstance(result, AudioError):
        raise result
    stats, samples, windows = segment.stats, result, segment.windows
    if not stats:
        stats, recording = result
        if not stats:
            return None
        _check_length(stats, config)
        windows, _ = window_grid(stats.samples, config)
        span = _span(stats, config, 0, windows)
        samples = reading.slice_padded(recording, *span)
    gain = reading.gain(stats, config.audio)
    samples *= np.float32(gain)
    return _cut(samples, windows, stats.rms * gain, config)


def _cut(
    samples: np.ndarray, windows: int, rms: float, config: Config
) -> SegmentWindows:
    """Windows of samples to which the gain has been applied."""
    frames = stft.log_spectrogram(samples, config)
    audible = _audible(samples, windows, rms, config)
    parts, counts = [], np.zeros(len(frames), np.int64)
    for index, is_audible in enumerate(audible):
        start = index * config.window.stride_frames
        part = slice(start, start + config.window.frames)
        parts.append(frames[part])
        counts[part] += is_audible
    return SegmentWindows(parts, audible, frames, counts)


def _audible(
    samples: np.ndarray, windows: int, rms: float, config: Config
) -> np.ndarray:
    """Whether each window [W] is loud enough, relative to the recording."""
    size, stride = config.window_samples, config.stride_samples
    # The energy of all windows at once, from the energy of pieces that
    # overlapping windows share.
    piece = math.gcd(size, stride)
    squares = np.square(samples.reshape(-1, piece))
    energy = squares.sum(axis=1, dtype=np.float64).cumsum()
    energy = np.concatenate([[0.0], energy])
    first = np.arange(windows) * (stride // piece)
    power = (energy[first + size // piece] - energy[first]) / size
    threshold = rms**2 * 10 ** (-config.window.silence_db / 10)
    return power >= threshold


def encode(
    segment: Segment, content: SegmentWindows, config: Config
) -> Iterator[bytes]:
    """The audible windows of a segment as encoded records."""
    recording = segment.recording
    for i in np.flatnonzero(content.audible):
        yield records.encode(
            {
                "window": content.windows[i],
                "window_index": segment.first_window + int(i),
                "label": recording.label,
                "sample_rate_hz": config.audio.sample_rate_hz,
                "recording_id": _bytes(segment.name),
                "speaker": _bytes(recording.speaker),
                "dataset": _bytes(recording.dataset),
            }
        )


def _bytes(text: str) -> bytes:
    # File names that are not UTF-8 are restored to their original bytes.
    return text.encode("utf-8", "surrogateescape")


def _sha256(*parts: str) -> str:
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()
