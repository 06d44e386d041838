"""Moments and histograms of the windows.

Partial moments are merged with Chan's formula in float64, in the order of the
shards, so that every runner gives the same bits.
"""

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stftgan_tf.config import Config
from stftgan_tf.data.batching import slices
from stftgan_tf.dsp.moments import CLIP_SIGMAS, MIN_STD

# A histogram has this many cells, from the floor of the log-magnitudes to
# `_HISTOGRAM_TOP`, about 12 dB above a full-scale sine.
HISTOGRAM_CELLS = 128
_HISTOGRAM_TOP = np.log(4.0)

# Values that are processed at once: allocating larger temporary arrays takes
# longer than the arithmetic.
_BLOCK = 1 << 16


@dataclasses.dataclass
class PartialMoments:
    """Moments and histogram of each bin, over some frames.

    Attributes:
      count: number of frames.
      mean: float64 [F].
      m2: float64 [F], sum of the squared deviations from the mean.
      low: float64 [F], minimum.
      high: float64 [F], maximum.
      histogram: int64 [F, HISTOGRAM_CELLS], of frames that do not overlap.
    """

    count: int
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    histogram: np.ndarray

    @classmethod
    def empty(cls, bins: int) -> "PartialMoments":
        """The moments of no frames."""
        return cls(
            count=0,
            mean=np.zeros(bins),
            m2=np.zeros(bins),
            low=np.full(bins, np.inf),
            high=np.full(bins, -np.inf),
            histogram=np.zeros((bins, HISTOGRAM_CELLS), np.int64),
        )

    def add(
        self,
        frames: np.ndarray,
        config: Config,
        counts: np.ndarray | None = None,
    ) -> None:
        """Adds log-magnitudes.

        Args:
          frames: float32 [T, F], T at least 1.
          config: gives the range of the histogram.
          counts: int [T], how often each frame counts, at least 1: the number
            of windows that contain it. None counts each frame once.
        """
        if counts is None:
            counts = np.ones(len(frames), np.int64)
        for block in _blocks(frames):
            self._add(frames[block], counts[block])
        # The histogram takes the most time, and the frames in between cover
        # the same samples.
        apart = config.stft.frame_length // config.stft.frame_step
        frames, counts = frames[::apart], counts[::apart]
        for block in _blocks(frames):
            self._count_cells(frames[block], config, counts[block])

    def _add(self, frames: np.ndarray, counts: np.ndarray) -> None:
        count = int(counts.sum())
        wide, weights = frames.astype(np.float64), counts.astype(np.float64)
        # A matrix product would give bits that depend on the threads.
        mean = np.einsum("t,tf->f", weights, wide) / count
        wide -= mean
        np.square(wide, out=wide)
        m2 = np.einsum("t,tf->f", weights, wide)
        self._merge_mean(count, mean, m2)
        np.minimum(self.low, frames.min(axis=0), out=self.low)
        np.maximum(self.high, frames.max(axis=0), out=self.high)

    def merge(self, other: "PartialMoments") -> None:
        """Adds the moments of other frames."""
        self._merge_mean(other.count, other.mean, other.m2)
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)
        self.histogram += other.histogram

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: the histogram of a shard, packed, is a tenth of itself.

        It mostly contains small numbers, and no value is near its ends.
        """
        dtype = np.min_scalar_type(self.histogram.max(initial=0))
        cells = self.histogram.astype(dtype)
        packed = zlib.compress(cells.tobytes(), 1)
        return {**vars(self), "histogram": (dtype.str, packed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The histogram stays narrow, and cannot be changed."""
        vars(self).update(state)
        dtype, packed = state["histogram"]
        cells = np.frombuffer(zlib.decompress(packed), dtype)
        self.histogram = cells.reshape(-1, HISTOGRAM_CELLS)

    def _merge_mean(self, count: int, mean: np.ndarray, m2: np.ndarray) -> None:
        """Merges a count, a mean and a sum of squared deviations.

        Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise
        algorithm for computing sample variances", equation 2.1.
        """
        if not count:
            return
        before, self.count = self.count, self.count + count
        delta, share = mean - self.mean, count / self.count
        self.mean += delta * share
        self.m2 += m2 + np.square(delta) * before * share

    def _count_cells(
        self, frames: np.ndarray, config: Config, counts: np.ndarray
    ) -> None:
        """Adds to the histogram; values outside its range go to the ends."""
        low, high = _histogram_range(config)
        scale = np.float32(HISTOGRAM_CELLS / (high - low))
        # Indices into the cells of all bins in a row. Few temporary arrays,
        # because allocating them takes most of the time.
        first = np.arange(frames.shape[1], dtype=np.float32) * HISTOGRAM_CELLS
        places = frames * scale
        places += first - np.float32(low) * scale
        np.maximum(places, first, out=places)
        np.minimum(places, first + (HISTOGRAM_CELLS - 1), out=places)
        cells = places.astype(np.intp)
        flat = self.histogram.reshape(-1)
        # Most frames have the same count; correct the sum for the others.
        usual = np.bincount(counts).argmax()
        flat += usual * np.bincount(cells.ravel(), minlength=flat.size)
        for count in np.unique(counts[counts != usual]):
            rest = cells[counts == count].ravel()
            flat += (count - usual) * np.bincount(rest, minlength=flat.size)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation, float64 [F]."""
        return np.sqrt(self.m2 / max(self.count, 1))

    def to_dict(self) -> dict[str, Any]:
        """`moments` of the manifest, as plain lists."""
        return {
            "frames": self.count,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "min": self.low.tolist(),
            "max": self.high.tolist(),
        }

    def clipped_share(self, config: Config) -> float:
        """Share of values that are clipped at 3 sigma, from the histogram."""
        low, high = _histogram_range(config)
        edges = np.linspace(low, high, HISTOGRAM_CELLS + 1)
        centres = (edges[1:] + edges[:-1]) / 2
        std = np.maximum(self.std, MIN_STD)
        sigmas = np.abs(centres - self.mean[:, None]) / std[:, None]
        clipped = self.histogram[sigmas > CLIP_SIGMAS].sum()
        return float(clipped / max(self.histogram.sum(), 1))


def _histogram_range(config: Config) -> tuple[float, float]:
    return config.log_floor, float(_HISTOGRAM_TOP)


def _blocks(frames: np.ndarray) -> Iterator[slice]:
    """Slices of frames [T, F] that are processed at once."""
    return slices(len(frames), max(1, _BLOCK // frames.shape[1]))
