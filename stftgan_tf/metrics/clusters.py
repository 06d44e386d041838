"""K-means clusters, and the number of statistically different bins (NDB)."""

import dataclasses

import numpy as np
import scipy.stats
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

# Significance level of the two-proportion test (Richardson & Weiss 2018).
_SIGNIFICANCE = 0.05


def cluster(vectors: np.ndarray, count: int, seed: int) -> KMeans:
    """Clusters vectors [B, D] with K-means; reproducible for a given seed.

    It uses one thread: several threads would add partial sums in the order in
    which they finish, so the last digits would differ from run to run.
    """
    with threadpool_limits(1, "openmp"):
        return KMeans(count, n_init=1, random_state=seed).fit(vectors)


@dataclasses.dataclass(frozen=True)
class Bins:
    """Result of comparing vectors with the training vectors, per cluster.

    Attributes:
      ndb: number of clusters whose share differs significantly.
      clusters: K.
      jensen_shannon: divergence of the two histograms, in nats.
      shares: float [K], share of the compared vectors in each cluster.
      training_shares: float [K], share of the training vectors in each cluster.
      significant: bool [K], the clusters that `ndb` counts.
    """

    ndb: int
    clusters: int
    jensen_shannon: float
    shares: np.ndarray
    training_shares: np.ndarray
    significant: np.ndarray


class BinTest:
    """Compares vectors with training vectors by their shares of clusters.

    Richardson & Weiss 2018, "On GANs and GMMs", section 3: K-means clusters
    of the training vectors, and a two-proportion test for each cluster.

    Attributes:
      clusters: K.
    """

    def __init__(self, training: np.ndarray, clusters: int, seed: int):
        """Clusters training vectors [B, D].

        Raises:
          ValueError: if there are fewer vectors than clusters.
        """
        if len(training) < clusters:
            raise ValueError(
                f"{len(training)} training windows; expected at least "
                f"{clusters}, one for each cluster"
            )
        self.clusters = clusters
        self._means = cluster(training, clusters, seed)
        labels = self._means.labels_
        self._counts = np.bincount(labels, minlength=clusters)

    def compare(self, vectors: np.ndarray) -> Bins:
        """Counts the clusters whose shares differ from the training shares."""
        labels = self._means.predict(vectors)
        counts = np.bincount(labels, minlength=len(self._counts))
        p, q = counts / counts.sum(), self._counts / self._counts.sum()
        significant = proportions_differ(counts, self._counts)
        return Bins(
            ndb=int(significant.sum()),
            clusters=len(counts),
            jensen_shannon=jensen_shannon(p, q),
            shares=p,
            training_shares=q,
            significant=significant,
        )

    def expected(self, count: int, draws: int = 200) -> float:
        """Mean NDB of a perfect sampler, of `count` vectors.

        The training vectors and the sampler's are both drawn from the shares
        of the clusters, `draws` times, always the same. With large clusters
        the result is near the significance level times K.
        """
        rng = np.random.default_rng(0)
        total = self._counts.sum()
        shares = self._counts / total
        pairs = zip(
            rng.multinomial(count, shares, draws),
            rng.multinomial(total, shares, draws),
            strict=True,
        )
        return float(np.mean([proportions_differ(*p).sum() for p in pairs]))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions, in nats."""
    middle = (p + q) / 2
    return float(
        (scipy.stats.entropy(p, middle) + scipy.stats.entropy(q, middle)) / 2
    )


def proportions_differ(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Two-proportion z-test of each cluster with pooled variance, bool [K]."""
    m, n = counts.sum(), reference.sum()
    pooled = (counts + reference) / (m + n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n))
    gap = np.abs(counts / m - reference / n)
    z = np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)
    return z > scipy.stats.norm.ppf(1 - _SIGNIFICANCE / 2)
