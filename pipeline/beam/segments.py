"""Splits recordings into segments, and segments into windows.

A short recording is one segment. It is decoded once, when its windows are cut;
only then is it known how much of it is silence. A long recording is measured
first and split into several segments, so that the memory in use does not depend
on its length.
"""

import bisect
import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.audio import reading
from pipeline.audio.decoder_process import Request
from pipeline.audio.errors import AudioError
from pipeline.audio.measurement import ChannelStats
from pipeline.audio.reading import RecordingInfo
from pipeline.beam.placement import window_grid, window_starts
from pipeline.sources.recordings import Recording
from stftgan_tf.config import Config
from stftgan_tf.data import records
from stftgan_tf.dsp import stft

# Longer recordings are split into segments of this length.
SEGMENT_SECS = 60.0

# A window with speech has at least this level relative to the noise floor.
_NOISE_MARGIN_DB = 6.0

# From this value on, `window.silence_db` keeps all windows.
_KEEP_ALL_DB = 100.0


@dataclasses.dataclass(frozen=True, slots=True)
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
      starts: first sample of each window; None for a short recording.
      first_window: index of the first window within the recording.
      windows: number of windows; for a short recording it is an estimate from
        the length in its header.
      notes: of the decoder, in the first segment of a recording.
    """

    recording: Recording
    name: str
    split: str
    key: str
    channel: int
    stats: ChannelStats | None
    starts: Sequence[int] | None
    first_window: int
    windows: int
    notes: tuple[str, ...] = ()


def split_of(recording: Recording, config: Config) -> str:
    """`train` or `eval`, by hash of the speaker or the recording."""
    split = config.split
    if split.by == "regex":
        # An excerpt is matched with its times, or as its file.
        texts = (recording.id, recording.name)
        held_out = any(re.search(split.eval_regex, text) for text in texts)
    else:
        held_out = split_share(recording, split.by) < split.eval_fraction
    return "eval" if held_out else "train"


def split_share(recording: Recording, by: str) -> float:
    """The place of a recording in [0, 1); the first ones are held out.

    Args:
      recording: the recording.
      by: `speaker`, where it is known, or `recording`. All excerpts of a file
        have the same place.
    """
    speaker = recording.speaker if by == "speaker" else ""
    identity = (
        f"speaker {speaker}" if speaker else f"recording {recording.name}"
    )
    # Without the data set's name: a directory that is renamed keeps its split.
    return int(_sha256(identity)[:13], 16) / 16**13


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
    info = decode(_request(recording, config, reading.probe, SEGMENT_SECS))
    segments: list[Segment] = []
    for channel in range(info.channels):
        segments += _plan_channel(recording, config, info, channel)
    if info.notes and segments:
        segments[0] = dataclasses.replace(segments[0], notes=info.notes)
    return segments


def _plan_channel(
    recording: Recording, config: Config, info: RecordingInfo, channel: int
) -> Iterator[Segment]:
    name = recording.id
    if info.channels > 1:
        name = f"{name}#{channel}"
    parts: list[Sequence[int] | None] = [None]
    stats = info.stats[channel] if info.stats else None
    if stats:
        _check_length(stats, config)
        parts = list(_parts(window_starts(stats, config), config))
        # Not in each segment: there may be many.
        stats = dataclasses.replace(stats, speech=())
    elif info.stats:
        # This channel is silent; another one is not.
        return
    first = 0
    for starts in parts:
        windows = (
            len(starts) if starts else window_grid(info.samples, config)[0]
        )
        yield Segment(
            recording=recording,
            name=name,
            # All channels of a recording are in the same split.
            split=split_of(recording, config),
            key=_sha256(recording.dataset, name, str(first)),
            channel=channel,
            stats=stats,
            starts=starts,
            first_window=first,
            windows=windows,
        )
        first += windows


def _parts(starts: Sequence[int], config: Config) -> Iterator[Sequence[int]]:
    """Divides the starts of windows into those of segments."""
    stride, first = config.stride_samples, 0
    rate = config.audio.sample_rate_hz
    size = max(1, int(SEGMENT_SECS * rate / stride)) * stride
    while first < len(starts):
        stop = bisect.bisect_left(starts, starts[first] + size, first)
        yield starts[first:stop]
        first = stop


def _check_length(stats: ChannelStats, config: Config) -> None:
    if stats.samples < config.stft.frame_length:
        raise AudioError(
            f"short: {stats.samples} samples; expected at least one frame, "
            f"{config.stft.frame_length}"
        )


def request(segment: Segment, config: Config) -> Request:
    """The decoder's request whose result `cut` takes."""
    recording, channel = segment.recording, segment.channel
    if not segment.starts:
        return _request(recording, config, reading.load, channel)
    span = _span(segment.starts, config)
    args = (*span, channel, segment.stats)
    return _request(recording, config, reading.read, *args)


def _request(
    recording: Recording,
    config: Config,
    function: Callable[..., Any],
    *args: Any,
) -> Request:
    """A request for a recording, which may be an excerpt of a file."""
    if function is not reading.read:
        args = (*args, config.window.place == "speech")
    start_secs, end_secs = recording.start_secs, recording.end_secs
    return Request(function, recording.path, args, start_secs, end_secs)


def _span(starts: Sequence[int], config: Config) -> tuple[int, int]:
    """Samples [start, stop) that windows cover."""
    return starts[0], starts[-1] + config.window_samples


@dataclasses.dataclass(frozen=True)
class SegmentWindows:
    """The windows of a segment.

    Attributes:
      windows: W float32 [T, F], log-magnitudes.
      audible: bool [W], false if a window is more than `window.silence_db`
        below the active level of its recording, or contains only its noise.
      frames: float32 [T', F], all frames that the windows are cut from.
      counts: int [T'], the number of audible windows that contain each frame.
      gain_db: gain of the recording.
    """

    windows: list[np.ndarray]
    audible: np.ndarray
    frames: np.ndarray
    counts: np.ndarray
    gain_db: float


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
    stats, samples, starts = segment.stats, result, segment.starts
    if not starts:
        stats, recording = result
        if not stats:
            return None
        _check_length(stats, config)
        starts = window_starts(stats, config)
        samples = reading.slice_padded(recording, *_span(starts, config))
    gain = reading.gain(stats, config.audio)
    samples *= np.float32(gain)
    offsets = np.subtract(starts, starts[0])
    audible = _audible(
        samples, offsets, gain * _threshold(stats, config), config
    )
    return _cut(samples, offsets, audible, gain, config)


def _threshold(stats: ChannelStats, config: Config) -> float:
    """The RMS of the quietest windows that are kept, without gain."""
    window = config.window
    threshold = stats.active * 10 ** (-window.silence_db / 20)
    # Speech was found above the noise, and may fill little of its window.
    if window.place == "speech" or window.silence_db >= _KEEP_ALL_DB:
        return threshold
    return max(threshold, stats.noise * 10 ** (_NOISE_MARGIN_DB / 20))


def _cut(
    samples: np.ndarray,
    offsets: np.ndarray,
    audible: np.ndarray,
    gain: float,
    config: Config,
) -> SegmentWindows:
    """Windows that start at `offsets` [W] of amplified samples."""
    frames = stft.log_spectrogram(samples, config)
    parts, counts = [], np.zeros(len(frames), np.int64)
    for start, is_audible in zip(
        offsets // config.stft.frame_step, audible, strict=True
    ):
        part = slice(start, start + config.window.frames)
        parts.append(frames[part])
        counts[part] += is_audible
    return SegmentWindows(parts, audible, frames, counts, 20 * math.log10(gain))


def _audible(
    samples: np.ndarray, offsets: np.ndarray, threshold: float, config: Config
) -> np.ndarray:
    """Whether the RMS of each window [W], around its mean, is high enough."""
    size = config.window_samples
    # The energy of all windows at once, from the energy of pieces that
    # overlapping windows share.
    piece = math.gcd(size, *offsets.tolist())
    pieces = samples.reshape(-1, piece)
    energy = _total(np.square(pieces))
    sums = _total(pieces)
    first, last = offsets // piece, (offsets + size) // piece
    mean = (sums[last] - sums[first]) / size
    power = (energy[last] - energy[first]) / size - np.square(mean)
    return power >= threshold**2


def _total(pieces: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... pieces [P, S], float64 [P + 1]."""
    totals = pieces.sum(axis=1, dtype=np.float64).cumsum()
    return np.concatenate([[0.0], totals])


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
