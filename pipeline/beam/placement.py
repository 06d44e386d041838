"""Where the windows of a recording start: on a grid, or on its speech."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.audio.measurement import ChannelStats
from stftgan_tf.config import Config


def window_starts(stats: ChannelStats, config: Config) -> Sequence[int]:
    """The first sample of each window of a recording.

    They increase by the stride at least, and by whole frames. The first one may
    be negative: samples outside of a recording are zeros.
    """
    if config.window.place == "speech":
        return _speech_starts(stats, config)
    count, offset = window_grid(stats.samples, config)
    first, stride = stats.start - offset, config.stride_samples
    return range(first, first + count * stride, stride)


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


# First sample of a stretch of speech, and its end.
_Stretch = tuple[int, int]


@dataclasses.dataclass
class _Placement:
    """Windows on a stretch of speech, at the usual stride.

    Attributes:
      stretch: what they are placed on.
      longest: the longest of the stretches that it consists of, which is never
        cropped if it fits.
      first: first sample of the first window.
      count: number of windows.
      low: smallest `first` with the whole stretch in the windows.
      high: largest one.
    """

    stretch: _Stretch
    longest: _Stretch
    first: int
    count: int
    low: int
    high: int


def _speech_starts(stats: ChannelStats, config: Config) -> tuple[int, ...]:
    """A grid of windows for each stretch of speech, centred on it."""
    low, high = stats.start, stats.start + stats.samples
    stretches = np.clip(stats.speech, low, high).tolist()
    # All of it has been trimmed if there are loud clicks.
    stretches = [s for s in stretches if s[0] < s[1]] or [(low, high)]
    placements: list[_Placement] = []
    for stretch in stretches:
        placement = _place(stretch, stretch, stats, config)
        while placements and not _separate(placements, placement, config):
            placement = _merge(placements.pop(), placement, stats, config)
        placements.append(placement)
    stride, step = config.stride_samples, config.stft.frame_step
    origin = placements[0].first
    return tuple(
        # Whole frames apart, so that windows can share frames.
        origin + (placement.first - origin) // step * step + index * stride
        for placement in placements
        for index in range(placement.count)
    )


def _place(
    stretch: _Stretch, longest: _Stretch, stats: ChannelStats, config: Config
) -> _Placement:
    """Windows on a stretch, inside of the recording if they fit."""
    (start, stop), (longest_start, longest_stop) = stretch, longest
    count, offset = window_grid(stop - start, config)
    covered = config.window_samples + (count - 1) * config.stride_samples
    first = start - offset
    if longest_stop - longest_start <= covered:
        first = min(max(first, longest_stop - covered), longest_start)
    edges = (stats.start, stats.start + stats.samples - covered)
    low, high = min(edges), max(edges)
    first = min(max(first, low), high)
    return _Placement(
        stretch=stretch,
        longest=longest,
        first=first,
        count=count,
        low=min(first, max(stop - covered, low)),
        high=max(first, min(start, high)),
    )


def _merge(
    before: _Placement,
    placement: _Placement,
    stats: ChannelStats,
    config: Config,
) -> _Placement:
    """Windows on two neighbouring stretches and what is between them."""
    longest = max(
        before.longest, placement.longest, key=lambda ends: ends[1] - ends[0]
    )
    stretch = before.stretch[0], placement.stretch[1]
    return _place(stretch, longest, stats, config)


def _separate(
    placements: list[_Placement], placement: _Placement, config: Config
) -> bool:
    """Moves the last two placements apart, to at least a stride.

    Args:
      placements: the ones before.
      placement: the next one.
      config: gives the stride.

    Returns:
      Whether both stretches then are in their windows; if not, nothing moves.
    """
    stride = config.stride_samples
    ends = [p.first + p.count * stride for p in placements[-2:]]
    overlap = ends[-1] - placement.first
    if overlap <= 0:
        return True
    before = placements[-1]
    low = before.low if len(ends) == 1 else max(before.low, ends[0])
    earlier, later = before.first - low, placement.high - placement.first
    if earlier + later < overlap:
        return False
    shift = min(earlier, max(overlap // 2, overlap - later))
    before.first -= shift
    placement.first += overlap - shift
    return True
