"""Metrics that compare windows with the training windows, without labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import clusters, distances, embedding

# Windows that differ by less than this count as the same recording. Values
# are in [-1, 1] for 3 standard deviations. Nearest windows of different
# recordings differ by at least 0.12 in FSDD.
_SAME_RMS = 0.05


class WindowMetrics:
    """Compares windows with the training windows.

    Attributes:
      dimensions: number of dimensions of the embedding.
      training: float32 [N, dimensions], the embedded training windows.
    """

    def __init__(self, training: np.ndarray, moments: Moments, config: Config):
        """Fits clusters and the embedding to training windows [N, T, F]."""
        self._moments, self._config = moments, config
        self._windows = training
        settings = config.evaluate
        self._bins = clusters.BinTest(
            _flat(training), settings.clusters, settings.seed
        )
        self.embed = embedding.fit(training, moments, config)
        self.training = self.embed(training)
        self.dimensions = self.training.shape[1]

    def are_in_training(self, windows: np.ndarray) -> np.ndarray:
        """Which windows [B, T, F] are (almost) training windows, bool [B]."""
        return nearly_equal(
            (windows, self.embed(windows)), (self._windows, self.training)
        )

    def measure(
        self, windows: np.ndarray, vectors: np.ndarray, real: np.ndarray
    ) -> dict[str, float]:
        """All metrics of windows.

        Metrics that depend on the number of windows are means over parts as
        large as `real`.

        Args:
          windows: float32 [B, T, F].
          vectors: float32 [B, dimensions], the same windows, embedded.
          real: float32 [R, T, F], real windows of the evaluation split.
        """
        reference = every_nth(self.training, self._config.evaluate.samples)
        bins = self._bins.compare(_flat(windows))
        near = distances.neighbours(vectors, self.training)
        parts = distances.parts(vectors, len(real))
        density, coverage = _mean(
            distances.density_and_coverage, parts, reference
        )
        precision, recall = _mean(
            distances.precision_and_recall, parts, reference
        )
        logs = np.asarray(self._moments.inverse_standardise(windows))
        return round_values(
            {
                "windows": len(windows),
                "ndb": bins.ndb,
                "jensen_shannon": bins.jensen_shannon,
                "diversity_ratio": distances.diversity_ratio(
                    _flat(windows), _flat(real)
                ),
                "density": density,
                "coverage": coverage,
                "precision": precision,
                "recall": recall,
                "nearest_self": _mean(distances.nearest_other, parts),
                "nearest_train": near.to_train,
                "memorised": near.memorised,
                "frechet": _mean(
                    distances.frechet_distance, parts, self.training
                ),
                "consistency": distances.consistency(logs, self._config.stft),
            }
        )

    def shares(
        self, windows: np.ndarray, real: np.ndarray
    ) -> dict[str, list[Any]]:
        """Share of the windows in each cluster, and which shares differ."""
        generated_bins, real_bins = (
            self._bins.compare(_flat(x)) for x in (windows, real)
        )
        return {
            "training": generated_bins.training_shares.round(4).tolist(),
            "real": real_bins.shares.round(4).tolist(),
            "generated": generated_bins.shares.round(4).tolist(),
            "differ": generated_bins.significant.tolist(),
        }


def nearly_equal(
    compared: tuple[np.ndarray, np.ndarray],
    training: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Which windows are (almost) training windows, bool [B].

    Each is compared with its nearest training window in the embedding.

    Args:
      compared: windows [B, T, F] and their embedding [B, D].
      training: the same of the training windows.
    """
    search = NearestNeighbors(n_neighbors=1).fit(training[1])
    nearest = search.kneighbors(compared[1])[1][:, 0]
    difference = _flat(compared[0]) - _flat(training[0][nearest])
    return np.sqrt(np.square(difference).mean(axis=1)) < _SAME_RMS


def every_nth(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` rows, spread evenly."""
    return rows[:: -(-len(rows) // limit)]


def round_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with floats rounded to four decimals."""
    return {
        name: round(float(value), 4)
        if isinstance(value, float | np.floating)
        else value
        for name, value in values.items()
    }


def _mean(metric: Callable[..., Any], parts: list[np.ndarray], *args) -> Any:
    return np.mean([metric(part, *args) for part in parts], axis=0)


def _flat(windows: np.ndarray) -> np.ndarray:
    return windows.reshape(len(windows), -1)
