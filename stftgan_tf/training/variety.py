"""Measures generated windows against training windows, in one embedding."""

import numpy as np

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import clusters, distances
from stftgan_tf.metrics.embedding import Embedding

# Decimals up to which the vectors of equal windows agree.
_EQUAL_DIGITS = 4


class VarietyMeter:
    """Compares windows with the training windows in `embedding.Embedding`.

    `variety` is the smaller of two ratios of generated to real windows: of the
    mean distance between two windows (`diversity_ratio`), and of the mean
    distance to the nearest neighbour (`nearest_ratio`). The first drops when
    all windows become alike, the second when a few kinds repeat. Both ignore
    the quality of the windows, which `frechet` measures.
    """

    def __init__(self, config: Config, embed: Embedding, training: np.ndarray):
        """Clusters the training windows and measures their own variety.

        Args:
          config: of the run.
          embed: maps windows to vectors.
          training: real windows float32 [N, T, F].

        Raises:
          UserError: if all training windows are equal.
        """
        self._config, self._embed = config, embed
        vectors = embed(training)
        count = min(config.watch.clusters, len(vectors))
        self._bins = clusters.BinTest(vectors, count, config.train.seed)
        self._training = vectors
        self._real = _spread(vectors, config.watch.windows)

    def measure(self, windows: np.ndarray) -> dict[str, float]:
        """`registry.WATCH` metrics of generated windows float32 [B, T, F]."""
        vectors, real = self._embed(windows), self._real
        bins = self._bins.compare(vectors)
        density, coverage = distances.density_and_coverage(vectors, real)
        precision, recall = distances.precision_and_recall(vectors, real)
        neighbours = distances.neighbours(vectors, self._training)
        logs = self._embed.log_mel.log_magnitude(windows)
        diversity = distances.diversity_ratio(vectors, real)
        nearest = distances.nearest_ratio(vectors, real)
        return {
            "variety": min(diversity, nearest),
            "diversity_ratio": diversity,
            "nearest_ratio": nearest,
            "ndb": bins.ndb,
            "jensen_shannon": bins.jensen_shannon,
            "precision": precision,
            "recall": recall,
            "density": density,
            "coverage": coverage,
            "nearest_self": distances.nearest_other(vectors),
            "nearest_train": neighbours.to_train,
            "memorised": neighbours.memorised,
            "consistency": distances.consistency(logs, self._config.stft),
            "frechet": distances.frechet_distance(vectors, real),
        }

    def frechet(self, windows: np.ndarray) -> float:
        """The metric `frechet` alone, of windows float32 [B, T, F]."""
        return distances.frechet_distance(self._embed(windows), self._real)


def _spread(vectors: np.ndarray, count: int) -> np.ndarray:
    """At most `count` different vectors, spread evenly over all of them."""
    # A recording that occurs twice would make the distance to the nearest
    # neighbour zero.
    different = distances.distinct_rows(vectors.round(_EQUAL_DIGITS))
    vectors = vectors[different]
    if len(vectors) < 2:
        raise UserError("all training windows are equal")
    count = min(len(vectors), count)
    return vectors[np.linspace(0, len(vectors) - 1, count).astype(int)]
