"""How much of the data's variety generated windows have, and how true they are.

Every function takes vectors float32 [B, D], one a window: flattened windows,
or their place in `embedding.Embedding` or in a judge's embedding. NumPy.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.spatial
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from stftgan_tf.config import StftConfig

# Level of the two-proportion test, as in Richardson & Weiss 2018.
_SIGNIFICANCE = 0.05

# Neighbours that span a ball: as recommended for density and coverage (Naeem
# et al. 2020, section 3.2), and for precision and recall (Kynkäänniemi et al.
# 2019, section 2).
_COVERAGE_NEIGHBOURS = 5
_RECALL_NEIGHBOURS = 3

# A probability that is taken for none.
_EPSILON = 1e-12

# Decimals to which equal vectors are equal, wherever in a batch they were.
_EQUAL_DIGITS = 4

# Rows of a distance matrix held at a time.
_BLOCK = 1024


def cluster(vectors: np.ndarray, count: int, seed: int) -> KMeans:
    """K-means of vectors [B, D], the same on any machine for the same seed.

    (Threads add up their parts in the order in which they finish.)
    """
    with threadpool_limits(1, "openmp"):
        return KMeans(count, n_init=1, random_state=seed).fit(vectors)


@dataclasses.dataclass(frozen=True)
class Bins:
    """Statistically different bins.

    Attributes:
      different: NDB, how many clusters differ.
      clusters: K.
      jensen_shannon: divergence of the two histograms, in nats.
      shares: float [K], of the vectors in each cluster.
      training: float [K], of the training vectors.
      differ: bool [K], the clusters that `different` counts.
    """

    different: int
    clusters: int
    jensen_shannon: float
    shares: np.ndarray
    training: np.ndarray
    differ: np.ndarray


class BinTest:
    """K-means clusters of training windows, to hold other windows against.

    Richardson & Weiss 2018, "On GANs and GMMs", section 3: a two-proportion
    test for each cluster.

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
                f"{clusters}, one a cluster"
            )
        self.clusters = clusters
        self._means = cluster(training, clusters, seed)
        labels = self._means.labels_
        self._counts = np.bincount(labels, minlength=clusters)

    def compare(self, vectors: np.ndarray) -> Bins:
        """Counts the clusters that the vectors fill differently."""
        labels = self._means.predict(vectors)
        counts = np.bincount(labels, minlength=len(self._counts))
        p, q = counts / counts.sum(), self._counts / self._counts.sum()
        differ = _differ(counts, self._counts)
        return Bins(
            different=int(differ.sum()),
            clusters=len(counts),
            jensen_shannon=jensen_shannon(p, q),
            shares=p,
            training=q,
            differ=differ,
        )


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions, in nats."""
    middle = (p + q) / 2
    return float(
        (scipy.stats.entropy(p, middle) + scipy.stats.entropy(q, middle)) / 2
    )


def diversity_ratio(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean distance between two generated vectors over that of two real ones.

    1 is the variety of the data; a collapsed generator is near 0.
    """
    distance = scipy.spatial.distance.pdist
    return float(distance(fake).mean() / distance(real).mean())


def nearest_ratio(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean distance to the nearest other vector, fake over real.

    Few kinds that are repeated bring it near 0, however far they are apart.
    """
    # The more there are, the nearer they lie.
    count = min(len(fake), len(real))
    return nearest_other(fake[:count]) / nearest_other(real[:count])


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians fitted to the vectors.

    Heusel et al. 2017, equation 6. In a judge's embedding it is the FID.
    """
    means = one.mean(axis=0) - other.mean(axis=0)
    a, b = (
        np.atleast_2d(np.cov(np.float64(x), rowvar=False)) for x in (one, other)
    )
    # sqrt(a b) has the trace of sqrt(sqrt(a) b sqrt(a)), which is symmetric.
    root = _symmetric_root(a)
    cross = _roots(scipy.linalg.eigvalsh(root @ b @ root)).sum()
    return float(means @ means + np.trace(a + b) - 2 * cross)


def parts(vectors: np.ndarray, size: int) -> list[np.ndarray]:
    """Vectors in parts of `size`, each spread over all of them.

    Distances to neighbours, what is covered and Frechet distances depend on
    how many vectors there are; parts as large as another set are comparable
    with it. What is left over is left out; fewer than `size` are one part.
    """
    count = max(1, len(vectors) // size)
    return [vectors[i::count][:size] for i in range(count)]


def distinct(vectors: np.ndarray) -> np.ndarray:
    """Indices, in order, of the first of each kind of row.

    A recording that comes twice would make the distance between neighbours of
    the data nought, and any other one look apart.
    """
    flat = vectors.reshape(len(vectors), np.prod(vectors.shape[1:], dtype=int))
    return np.sort(np.unique(flat, axis=0, return_index=True)[1])


def density_and_coverage(
    fake: np.ndarray, real: np.ndarray
) -> tuple[float, float]:
    """How far fake fills real's neighbourhoods (Naeem et al. 2020, section 3).

    Density: balls around real vectors that hold a fake one, over k; about 1
    where the two are alike. Coverage: share of real balls that hold any.
    """
    k = min(_COVERAGE_NEIGHBOURS, len(real) - 1)
    radii = _radii(real, k)
    inside, nearest = 0, np.full(len(real), np.inf)
    for distances in _distances(fake, real):
        inside += int((distances <= radii).sum())
        nearest = np.minimum(nearest, distances.min(axis=0))
    return inside / (k * len(fake)), float((nearest <= radii).mean())


def precision_and_recall(
    fake: np.ndarray, real: np.ndarray
) -> tuple[float, float]:
    """Share of fake among real, and of real among fake.

    Kynkäänniemi et al. 2019, equation 2: a vector is among others if it lies
    in the ball of any of them to its third neighbour.
    """

    def among(vectors, others):
        radii = _radii(others, min(_RECALL_NEIGHBOURS, len(others) - 1))
        hits = [(d <= radii).any(axis=1) for d in _distances(vectors, others)]
        return float(np.concatenate(hits).mean())

    return among(fake, real), among(real, fake)


def nearest_other(vectors: np.ndarray) -> float:
    """|D|self: mean distance to the nearest other one (Donahue et al. 2019)."""
    return float(_radii(vectors, 1).mean())


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Nearest training vectors.

    Attributes:
      to_train: |D|train, mean distance to the nearest (Donahue et al. 2019,
        section 6.1).
      memorised: share of vectors closer to a training vector than half of
        what that one is from its own nearest.
    """

    to_train: float
    memorised: float


def neighbours(vectors: np.ndarray, training: np.ndarray) -> Neighbours:
    """Tells copies of the training windows.

    Training windows that are equal (of two channels with one signal) count as
    one: between themselves they would leave no room for a copy.
    """
    training = np.unique(training.round(_EQUAL_DIGITS), axis=0)
    search = NearestNeighbors(n_neighbors=1).fit(training)
    distances, nearest = (a[:, 0] for a in search.kneighbors(vectors))
    apart = _radii(training, 1)[nearest]
    return Neighbours(
        to_train=float(distances.mean()),
        memorised=float((distances <= apart / 2).mean()),
    )


def inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL of p(label | x) from p(label).

    Salimans et al. 2016, section 4.

    Args:
      probabilities: float [B, classes], rows sum to 1.
    """
    marginal = probabilities.mean(axis=0)
    divergence = scipy.stats.entropy(probabilities, marginal[None], axis=1)
    return float(np.exp(divergence.mean()))


def modified_inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL of p(label | x) from p(label | x'), over all pairs.

    Gurumurthy et al. 2017, as used for SC09 (Kong et al. 2021, appendix D).

    Args:
      probabilities: float [B, classes], rows sum to 1.
    """
    logs = np.log(np.maximum(np.float64(probabilities), _EPSILON))
    # Mean over pairs of sum p (log p - log q): the second is the mean of q's.
    entropy = np.sum(probabilities * logs, axis=1).mean()
    crossed = float(probabilities.mean(axis=0) @ logs.mean(axis=0))
    return float(np.exp(entropy - crossed))


def am_score(probabilities: np.ndarray, training: np.ndarray) -> float:
    """KL of p(label) from the training labels, plus the mean entropy.

    Zhou et al. 2018, equation 20; 0 is best.

    Args:
      probabilities: float [B, classes], rows sum to 1.
      training: float [classes], shares of the labels in the training split.
    """
    marginal = probabilities.mean(axis=0)
    mean_entropy = scipy.stats.entropy(probabilities, axis=1).mean()
    return float(scipy.stats.entropy(training, marginal) + mean_entropy)


def consistency(log_magnitudes: np.ndarray, config: StftConfig) -> float:
    """How far windows are what an STFT can be; mean over windows.

    Marafioti et al. 2019 (TiFGAN): with a Gaussian window the second
    derivatives of an STFT's log-magnitude along time and along frequency add
    up to a constant, so that the correlation of their sizes tells spectrograms
    of a signal from others. Here for the Gaussian closest to the window.

    Args:
      log_magnitudes: natural logs, float [B, T, F].
      config: frame length and step.

    Returns:
      Mean correlation, -1 to 1. Windows without any variation are left out; 0
      where there is no other, or fewer than 3 frames.
    """
    spread = config.spread * config.frame_length**2
    along_time = np.pi * config.frame_step**2 / spread
    along_bins = np.pi * spread / config.frame_length**2
    inner = np.float64(log_magnitudes[:, 1:-1, 1:-1])
    if not inner.size:
        return 0.0
    times = log_magnitudes[:, 2:, 1:-1] + log_magnitudes[:, :-2, 1:-1]
    bins = log_magnitudes[:, 1:-1, 2:] + log_magnitudes[:, 1:-1, :-2]
    sizes = [
        np.abs(times - 2 * inner + along_time).reshape(len(inner), -1),
        np.abs(bins - 2 * inner + along_bins).reshape(len(inner), -1),
    ]
    a, b = (s - s.mean(axis=1, keepdims=True) for s in sizes)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = norms > 1e-9
    if not found.any():
        return 0.0
    return float((np.sum(a * b, axis=1)[found] / norms[found]).mean())


def _differ(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Two-proportion z-test of each cluster, pooled variance."""
    m, n = counts.sum(), others.sum()
    pooled = (counts + others) / (m + n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n))
    gap = np.abs(counts / m - others / n)
    z = np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)
    return z > scipy.stats.norm.ppf(1 - _SIGNIFICANCE / 2)


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * _roots(values)) @ vectors.T


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots; of what is nought but for rounding, nought.

    (Fewer vectors than directions leave many such: their roots would add up.)
    """
    largest = max(eigenvalues.max(), 0)
    least = largest * len(eigenvalues) * np.finfo(np.float64).eps
    return np.sqrt(np.where(eigenvalues > least, eigenvalues, 0))


def _radii(vectors: np.ndarray, k: int) -> np.ndarray:
    """Distance of each vector to its k-th nearest other one."""
    found = NearestNeighbors(n_neighbors=k).fit(vectors)
    return found.kneighbors()[0][:, -1]


def _distances(vectors: np.ndarray, others: np.ndarray):
    """Euclidean distances to all others, block by block of vectors."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        yield euclidean_distances(block, others)
