"""Moments and histograms of the windows, and their schema.

Partial moments are merged with Chan's formula in float64, in the order of the
shards, so that every runner gives the same bits.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.dsp.moments import CLIP_SIGMAS, MIN_STD

# Cells of a bin's histogram, which spans the log-magnitudes from the floor to
# `_HISTOGRAM_TOP`, about 12 dB above a full-scale sine.
HISTOGRAM_CELLS = 128
_HISTOGRAM_TOP = np.log(4.0)

# Values whose moments are taken at once: larger temporary arrays cost more than
# what is done to them.
_BLOCK = 1 << 16


@dataclasses.dataclass
class PartialMoments:
    """Per-bin moments of some frames.

    Attributes:
      count: frames seen.
      mean, m2: float64 [F], mean and sum of squared deviations from it.
      low, high: float64 [F], extremes.
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
        """Of no frame."""
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
        times: np.ndarray | None = None,
    ) -> None:
        """Takes in log-magnitudes.

        Args:
          frames: float32 [T, F], T at least 1.
          config: says the histogram's range.
          times: int [T], how often each frame counts (windows overlap), at
            least once; None is once.
        """
        if times is None:
            times = np.ones(len(frames), np.int64)
        for block in _blocks(frames):
            self._add(frames[block], times[block])
        # Those between show the same samples; counting is what costs most.
        apart = config.stft.frame_length // config.stft.frame_step
        frames, times = frames[::apart], times[::apart]
        for block in _blocks(frames):
            self._count_cells(frames[block], config, times[block])

    def _add(self, frames: np.ndarray, times: np.ndarray) -> None:
        count = int(times.sum())
        wide, weights = frames.astype(np.float64), times.astype(np.float64)
        # Not a matrix product: its bits would depend on the threads.
        mean = np.einsum("t,tf->f", weights, wide) / count
        wide -= mean
        np.square(wide, out=wide)
        m2 = np.einsum("t,tf->f", weights, wide)
        self._merge_mean(count, mean, m2)
        np.minimum(self.low, frames.min(axis=0), out=self.low)
        np.maximum(self.high, frames.max(axis=0), out=self.high)

    def merge(self, other: "PartialMoments") -> None:
        """Takes in those of other frames."""
        self._merge_mean(other.count, other.mean, other.m2)
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)
        self.histogram += other.histogram

    def _merge_mean(self, count: int, mean: np.ndarray, m2: np.ndarray) -> None:
        """Takes in count, mean and sum of squared deviations.

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
        self, frames: np.ndarray, config: Config, times: np.ndarray
    ) -> None:
        """Into the histogram; what lies outside counts at the ends."""
        low, high = _histogram_range(config)
        scale = np.float32(HISTOGRAM_CELLS / (high - low))
        # Of all bins' cells in a row; large temporary arrays are what costs.
        first = np.arange(frames.shape[1], dtype=np.float32) * HISTOGRAM_CELLS
        places = frames * scale
        places += first - np.float32(low) * scale
        np.maximum(places, first, out=places)
        np.minimum(places, first + (HISTOGRAM_CELLS - 1), out=places)
        cells = places.astype(np.intp)
        flat = self.histogram.reshape(-1)
        # As if all counted as often as most do; few do not.
        usual = np.bincount(times).argmax()
        flat += usual * np.bincount(cells.ravel(), minlength=flat.size)
        for often in np.unique(times[times != usual]):
            found = cells[times == often].ravel()
            flat += (often - usual) * np.bincount(found, minlength=flat.size)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation, float64 [F]."""
        return np.sqrt(self.m2 / max(self.count, 1))

    def to_dict(self) -> dict[str, Any]:
        """The manifest's `moments`, plain lists."""
        return {
            "frames": self.count,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "min": self.low.tolist(),
            "max": self.high.tolist(),
        }

    def clipped_share(self, config: Config) -> float:
        """Share of values beyond the clip at 3 sigma, from the histogram."""
        low, high = _histogram_range(config)
        edges = np.linspace(low, high, HISTOGRAM_CELLS + 1)
        centres = (edges[1:] + edges[:-1]) / 2
        std = np.maximum(self.std, MIN_STD)
        sigmas = np.abs(centres - self.mean[:, None]) / std[:, None]
        beyond = self.histogram[sigmas > CLIP_SIGMAS].sum()
        return float(beyond / max(self.histogram.sum(), 1))


def schema(config: Config, labels: list[str]) -> str:
    """`schema.pbtxt`: a tensorflow_metadata Schema of the records."""
    types = {
        "float": schema_pb2.FLOAT,
        "int64": schema_pb2.INT,
        "bytes": schema_pb2.BYTES,
    }
    message = schema_pb2.Schema()
    for name, kind in example_io.FIELDS.items():
        feature = message.feature.add(name=name, type=types[kind])
        feature.presence.min_fraction = 1.0
        for size in config.window_shape if name == "window" else (1,):
            feature.shape.dim.add(size=size)
    _domains({f.name: f for f in message.feature}, config, labels)
    return text_format.MessageToString(message)


def _domains(
    named: dict[str, schema_pb2.Feature], config: Config, labels: list[str]
) -> None:
    """What values the features may take."""
    window = named["window"].float_domain
    window.name, window.min = "window", float(np.float32(config.log_floor))
    window.disallow_nan = window.disallow_inf = True
    label = named["label"].int_domain
    label.name, label.is_categorical = "label", True
    label.min, label.max = example_io.UNKNOWN_LABEL, len(labels) - 1
    rate = named["sample_rate_hz"].int_domain
    rate.name = "sample_rate_hz"
    rate.min = rate.max = config.audio.sample_rate_hz
    named["window_index"].int_domain.min = 0


def _histogram_range(config: Config) -> tuple[float, float]:
    return config.log_floor, float(_HISTOGRAM_TOP)


def _blocks(frames: np.ndarray) -> Iterator[slice]:
    """Rows of frames [T, F] that are worked on at once."""
    size = max(1, _BLOCK // frames.shape[1])
    for start in range(0, len(frames), size):
        yield slice(start, start + size)
