"""How much of the data's variety generated windows have. NumPy, no labels.

Windows are float32 [B, T, F]; they are compared as vectors of T * F values.
"""

import dataclasses

import numpy as np
import scipy.spatial
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

# Level of the two-proportion test, as in Richardson & Weiss 2018.
_SIGNIFICANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Bins:
    """Statistically different bins.

    Attributes:
      different: NDB, how many clusters differ.
      clusters: K.
      jensen_shannon: divergence of the two histograms, in nats.
      shares: float [K], share of the compared windows in each cluster.
      reference: float [K], that of the training windows.
    """

    different: int
    clusters: int
    jensen_shannon: float
    shares: np.ndarray
    reference: np.ndarray


class BinTest:
    """K-means clusters of training windows, to hold other windows against.

    Richardson & Weiss 2018, "On GANs and GMMs", section 3: a two-proportion
    test for each cluster.
    """

    def __init__(self, training: np.ndarray, clusters: int, seed: int):
        """Clusters the training windows.

        Raises:
          ValueError: if there are fewer windows than clusters.
        """
        if len(training) < clusters:
            raise ValueError(
                f"{len(training)} training windows; expected at least "
                f"{clusters}, one a cluster"
            )
        self._means = KMeans(clusters, n_init=1, random_state=seed)
        labels = self._means.fit_predict(_flat(training))
        self._counts = np.bincount(labels, minlength=clusters)

    def compare(self, windows: np.ndarray) -> Bins:
        """Counts the clusters that the windows fill differently."""
        labels = self._means.predict(_flat(windows))
        counts = np.bincount(labels, minlength=len(self._counts))
        p, q = counts / counts.sum(), self._counts / self._counts.sum()
        return Bins(
            different=int(_differ(counts, self._counts).sum()),
            clusters=len(counts),
            jensen_shannon=jensen_shannon(p, q),
            shares=p,
            reference=q,
        )


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions, in nats."""
    middle = (p + q) / 2
    return float(
        (scipy.stats.entropy(p, middle) + scipy.stats.entropy(q, middle)) / 2
    )


def diversity_ratio(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean distance between two generated windows over that of two real ones.

    1 is the variety of the data; a collapsed generator is near 0.
    """
    return _mean_distance(fake) / _mean_distance(real)


class LabelJudge:
    """A small classifier of windows, to see which labels are generated."""

    def __init__(self, windows: np.ndarray, labels: np.ndarray):
        """Learns from labelled training windows."""
        components = min(64, len(windows) - 1, windows[0].size)
        self._model = make_pipeline(
            PCA(components, whiten=True, random_state=0), SVC(C=10.0)
        )
        self._model.fit(_flat(windows), labels)

    def accuracy(self, windows: np.ndarray, labels: np.ndarray) -> float:
        """Share of labels that are recognised."""
        return float(self._model.score(_flat(windows), labels))

    def shares(self, windows: np.ndarray, count: int) -> np.ndarray:
        """Share of the windows that sounds like each of `count` labels."""
        found = self._model.predict(_flat(windows))
        return np.bincount(found, minlength=count) / len(windows)


def _flat(windows: np.ndarray) -> np.ndarray:
    return windows.reshape(len(windows), -1)


def _mean_distance(windows: np.ndarray) -> float:
    """Mean Euclidean distance between two different windows."""
    return float(scipy.spatial.distance.pdist(_flat(windows)).mean())


def _differ(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Two-proportion z-test of each cluster, pooled variance."""
    m, n = counts.sum(), others.sum()
    pooled = (counts + others) / (m + n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n))
    gap = np.abs(counts / m - others / n)
    z = np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)
    return z > scipy.stats.norm.ppf(1 - _SIGNIFICANCE / 2)
