"""Recordings planned as segments, and the windows cut from them.

A short recording is one segment, and what is in it is found when its windows
are cut: it is decoded once. A long one is scanned first and planned as
several, so that memory is flat in its length.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.audio.reading import ChannelStats, RecordingInfo
from pipeline.audio.worker import Request
from pipeline.sources.recordings import Recording
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.dsp import stft

# What is in memory at once.
SEGMENT_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of a recording that holds some of its windows, or all.

    Attributes:
      recording: which one.
      name: its name, with the channel where several are used.
      split: `train` or `eval`.
      key: SHA-256 that decides the shard and the order within it.
      channel: of the recording, where `audio.channels` is `split`.
      scan: of the channel of a long recording; None for a short one, of which
        this is all.
      first_window: index of its first window within the recording.
      windows: how many it holds; of a short recording, what its header tells.
    """

    recording: Recording
    name: str
    split: str
    key: str
    channel: int
    scan: ChannelStats | None
    first_window: int
    windows: int


def split_of(recording: Recording, config: Config) -> str:
    """`train` or `eval`, by hash of the speaker or the recording."""
    split = config.split
    if split.by == "regex":
        held_out = re.search(split.eval_regex, recording.name)
        return "eval" if held_out else "train"
    who = recording.speaker if split.by == "speaker" else ""
    identity = f"speaker {who}" if who else f"recording {recording.name}"
    # Not the data set's name: a folder that is renamed keeps its split.
    share = int(_sha256(identity)[:13], 16) / 16**13
    return "eval" if share < split.eval_fraction else "train"


def plan(
    recording: Recording,
    config: Config,
    answer: Callable[[Request], Any],
) -> list[Segment]:
    """The segments of a recording, whole windows each.

    Args:
      recording: which one.
      config: of the data set.
      answer: of a `Decoder`.

    Raises:
      AudioError: if the recording cannot be used, as far as that is seen yet.
    """
    survey = answer(Request(reading.probe, recording.path, (SEGMENT_SECS,)))
    segments: list[Segment] = []
    for channel in range(survey.channels):
        segments += _planned(recording, config, survey, channel)
    return segments


def _planned(
    recording: Recording, config: Config, survey: RecordingInfo, channel: int
) -> Iterator[Segment]:
    """The segments of one channel."""
    name = recording.name
    if survey.channels > 1:
        name = f"{name}#{channel}"
    scan = survey.stats[channel] if survey.stats else None
    if scan:
        _check_length(scan, config)
        windows, _ = window_grid(scan.samples, config)
        rate = config.audio.sample_rate_hz
        each = max(1, int(SEGMENT_SECS * rate / config.stride_samples))
    elif survey.stats:
        # Nothing can be heard in this channel, but in another one.
        return
    else:
        windows, _ = window_grid(survey.samples, config)
        each = windows
    for first in range(0, windows, each):
        yield Segment(
            recording=recording,
            name=name,
            # Channels of one recording stay on one side.
            split=split_of(recording, config),
            key=_sha256(recording.dataset, name, str(first)),
            channel=channel,
            scan=scan,
            first_window=first,
            windows=min(each, windows - first),
        )


def _check_length(scan: ChannelStats, config: Config) -> None:
    if scan.samples < config.stft.frame_length:
        raise AudioError(
            f"short: {scan.samples} samples; expected at least one frame, "
            f"{config.stft.frame_length}"
        )


def window_grid(samples: int, config: Config) -> tuple[int, int]:
    """How many windows a recording has, and where the first one starts.

    Returns:
      (count, offset): window i covers the samples from i * stride - offset.
      The grid is centred on the recording.
    """
    size, stride = config.window_samples, config.stride_samples
    strides = max(0, samples - size) / stride
    rounded = np.ceil(strides) if config.window.tail == "pad" else strides + 0.5
    count = 1 + int(rounded)
    covered = size + (count - 1) * stride
    return count, (covered - samples) // 2


def question(segment: Segment, config: Config) -> Request:
    """What `cut` needs of a decoder."""
    path, scan = segment.recording.path, segment.scan
    if not scan:
        return Request(reading.load, path, (segment.channel,))
    first = segment.first_window
    span = _span(scan, config, first, first + segment.windows)
    return Request(
        reading.read, path, (*span, segment.channel, scan.source_frames)
    )


def _span(
    scan: ChannelStats, config: Config, first: int, last: int
) -> tuple[int, int]:
    """First and last sample of windows [first, last)."""
    _, offset = window_grid(scan.samples, config)
    start = scan.start - offset
    stride = config.stride_samples
    stop = (last - 1) * stride + config.window_samples
    return start + first * stride, start + stop


@dataclasses.dataclass(frozen=True)
class Cut:
    """The windows of a segment.

    Attributes:
      windows: W float32 [T, F] of log-magnitudes.
      audible: bool [W], false for a window `silence_db` below its recording.
      frames: float32 [T', F], the log-magnitudes that windows are cut from.
      times: int [T'], how many audible windows hold each frame.
    """

    windows: list[np.ndarray]
    audible: np.ndarray
    frames: np.ndarray
    times: np.ndarray


def cut(segment: Segment, answer: Any, config: Config) -> Cut | None:
    """Cuts a segment into windows.

    Args:
      segment: which one.
      answer: of a `Decoder` to the segment's `question`.
      config: of the data set.

    Returns:
      The windows; None for a channel in which nothing can be heard, where
      another one can be.

    Raises:
      AudioError: if the decoder did, or the recording is too short.
    """
    if isinstance(answer, AudioError):
        raise answer
    scan, samples, windows = segment.scan, answer, segment.windows
    if not scan:
        scan, recorded = answer
        if not scan:
            return None
        _check_length(scan, config)
        windows, _ = window_grid(scan.samples, config)
        samples = reading.slice_padded(
            recorded, *_span(scan, config, 0, windows)
        )
    gain = reading.gain(scan, config.audio)
    samples *= np.float32(gain)
    return _cut(samples, windows, scan.rms * gain, config)


def _cut(samples: np.ndarray, windows: int, rms: float, config: Config) -> Cut:
    """Windows of samples that are at their level."""
    frames = stft.log_spectrogram(samples, config)
    audible = _audible(samples, windows, rms, config)
    found, times = [], np.zeros(len(frames), np.int64)
    for index, heard in enumerate(audible):
        start = index * config.window.stride_frames
        part = slice(start, start + config.window.frames)
        found.append(frames[part])
        times[part] += heard
    return Cut(found, audible, frames, times)


def _audible(
    samples: np.ndarray, windows: int, rms: float, config: Config
) -> np.ndarray:
    """Whether each window [W] is loud enough, next to the recording's RMS."""
    size, stride = config.window_samples, config.stride_samples
    # Sums of squares of every window at once, of the pieces they share.
    piece = math.gcd(size, stride)
    squares = np.square(samples.reshape(-1, piece))
    energy = squares.sum(axis=1, dtype=np.float64).cumsum()
    energy = np.concatenate([[0.0], energy])
    first = np.arange(windows) * (stride // piece)
    power = (energy[first + size // piece] - energy[first]) / size
    threshold = rms**2 * 10 ** (-config.window.silence_db / 10)
    return power >= threshold


def records(segment: Segment, found: Cut, config: Config) -> Iterator[bytes]:
    """The audible windows of a segment as encoded records."""
    recording = segment.recording
    for i in np.flatnonzero(found.audible):
        yield example_io.encode(
            {
                "window": found.windows[i],
                "window_index": segment.first_window + int(i),
                "label": recording.label,
                "sample_rate_hz": config.audio.sample_rate_hz,
                "recording_id": _bytes(segment.name),
                "speaker": _bytes(recording.speaker),
                "dataset": _bytes(recording.dataset),
            }
        )


def _bytes(text: str) -> bytes:
    # File names that are no UTF-8 come back as the bytes they were.
    return text.encode("utf-8", "surrogateescape")


def _sha256(*parts: str) -> str:
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()
