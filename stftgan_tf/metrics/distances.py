"""Distances between sets of windows: how varied and how realistic they are.

Every function takes vectors, float32 [B, D], one for each window: flattened
windows, or windows embedded by `embedding.Embedding` or by the label
classifier.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.linalg
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from stftgan_tf.config import StftConfig
from stftgan_tf.dsp import stft

# Number of neighbours that set the radius of a ball, as recommended for
# density and coverage (Naeem et al. 2020, section 3.2) and for precision and
# recall (Kynkäänniemi et al. 2019, section 2).
_COVERAGE_NEIGHBOURS = 5
_RECALL_NEIGHBOURS = 3

# Vectors that agree to this many decimals count as equal: the last digits
# depend on the position in a batch.
_EQUAL_DIGITS = 4

# Rows of a distance matrix that are in memory at a time.
_BLOCK = 1024


def diversity_ratio(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean distance between two generated vectors over that of two real ones.

    1 means as varied as the data; a collapsed generator is near 0.
    """
    return _mean_distance(fake) / _mean_distance(real)


def label_diversity(
    fake: tuple[np.ndarray, np.ndarray], real: tuple[np.ndarray, np.ndarray]
) -> float:
    """Mean over labels of the diversity ratio; 0 if no label is comparable.

    Args:
      fake: generated vectors and their labels, int [B], -1 where unknown.
      real: the same of real vectors.
    """
    ratios = []
    for label in np.unique(fake[1][fake[1] >= 0]):
        rows = [vectors[labels == label] for vectors, labels in (fake, real)]
        if min(map(len, rows)) > 1:
            ratios.append(diversity_ratio(*rows))
    return float(np.mean(ratios)) if ratios else 0.0


def _mean_distance(vectors: np.ndarray) -> float:
    """Mean distance between two different vectors."""
    total = sum(d.sum(dtype=float) for d in _distances(vectors, vectors))
    return float(total / (len(vectors) * (len(vectors) - 1)))


def nearest_ratio(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean distance to the nearest other vector, generated over real.

    It is near 0 if a few windows are repeated, however far apart those are.
    """
    # Distances shrink as a set grows, so both sets get the same size.
    count = min(len(fake), len(real))
    return nearest_other(fake[:count]) / nearest_other(real[:count])


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians fitted to the vectors.

    Heusel et al. 2017, equation 6. In a classifier's embedding it is the FID.
    """
    means = first.mean(axis=0) - second.mean(axis=0)
    a, b = (
        np.atleast_2d(np.cov(np.float64(x), rowvar=False))
        for x in (first, second)
    )
    # sqrt(a b) has the same trace as sqrt(sqrt(a) b sqrt(a)), whose argument
    # is symmetric.
    root = _symmetric_root(a)
    cross = _roots(scipy.linalg.eigvalsh(root @ b @ root)).sum()
    return float(means @ means + np.trace(a + b) - 2 * cross)


def parts(vectors: np.ndarray, size: int) -> list[np.ndarray]:
    """Splits vectors into parts of `size`, each spread over all of them.

    Distances to neighbours, coverage and Frechet distances depend on the
    number of vectors, so only sets of the same size are comparable. The
    remainder is dropped; fewer vectors than `size` make one part.
    """
    count = max(1, len(vectors) // size)
    return [vectors[i::count][:size] for i in range(count)]


def distinct_rows(vectors: np.ndarray) -> np.ndarray:
    """Indices of the first occurrence of each distinct row, in order.

    A recording that occurs twice would reduce the distance between neighbours
    in the data to 0, so that any other set would look more varied.
    """
    flat = vectors.reshape(len(vectors), np.prod(vectors.shape[1:], dtype=int))
    return np.sort(np.unique(flat, axis=0, return_index=True)[1])


def density_and_coverage(
    fake: np.ndarray, real: np.ndarray
) -> tuple[float, float]:
    """How well generated vectors fill the neighbourhoods of real ones.

    Naeem et al. 2020, section 3. The neighbourhood of a real vector is the
    ball around it that reaches to its fifth nearest neighbour.

    Returns:
      (density, coverage): the mean number of neighbourhoods that contain a
      generated vector, over 5, which is about 1 for equal distributions; and
      the share of neighbourhoods that contain any generated vector.
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
    """Share of generated vectors near real ones, and of real near generated.

    Kynkäänniemi et al. 2019, equation 2: a vector is near a set if it is inside
    the ball of any vector of the set. A ball reaches to the third nearest
    neighbour of its centre.
    """

    def share_near(vectors, others):
        radii = _radii(others, min(_RECALL_NEIGHBOURS, len(others) - 1))
        hits = [(d <= radii).any(axis=1) for d in _distances(vectors, others)]
        return float(np.concatenate(hits).mean())

    return share_near(fake, real), share_near(real, fake)


def nearest_other(vectors: np.ndarray) -> float:
    """Mean distance to the nearest other vector.

    |D|self of Donahue et al. 2019, section 6.1.
    """
    return float(_radii(vectors, 1).mean())


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """How close vectors are to the training vectors.

    Attributes:
      to_train: mean distance to the nearest training vector; |D|train of
        Donahue et al. 2019, section 6.1.
      memorised: share of vectors whose distance to the nearest training vector
        is at most half of the distance from that training vector to its own
        nearest neighbour.
    """

    to_train: float
    memorised: float


def neighbours(vectors: np.ndarray, training: np.ndarray) -> Neighbours:
    """Detects copies of training windows.

    Equal training windows (two channels with the same signal) count as one.
    Otherwise, with a distance of 0 between them, no copy would be detected.
    """
    training = np.unique(training.round(_EQUAL_DIGITS), axis=0)
    search = NearestNeighbors(n_neighbors=1).fit(training)
    distances, nearest = (a[:, 0] for a in search.kneighbors(vectors))
    spacing = _radii(training, 1)[nearest]
    return Neighbours(
        to_train=float(distances.mean()),
        memorised=float((distances <= spacing / 2).mean()),
    )


def consistency(log_magnitudes: np.ndarray, config: StftConfig) -> float:
    """STFT consistency: whether magnitudes can belong to a signal.

    Marafioti et al. 2019 (TiFGAN): with a Gaussian window the second
    derivatives of the log-magnitude along time and along frequency add up to
    a constant, so the correlation of their absolute values separates the
    spectrograms of signals from other images. This uses the Gaussian closest
    to the analysis window.

    Args:
      log_magnitudes: natural logarithms, float [B, T, F].
      config: frame length and step.

    Returns:
      Mean correlation over windows, -1 to 1. Constant windows are ignored; 0
      if all are constant or have fewer than 3 frames.
    """
    spread = stft.HANN_SPREAD * config.frame_length**2
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
    varied = norms > 1e-9
    if not varied.any():
        return 0.0
    return float((np.sum(a * b, axis=1)[varied] / norms[varied]).mean())


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * _roots(values)) @ vectors.T


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots; eigenvalues that are zero up to rounding count as zero.

    With fewer vectors than dimensions, many eigenvalues are zero, and the roots
    of their rounding errors would add up.
    """
    largest = max(eigenvalues.max(), 0)
    smallest = largest * len(eigenvalues) * np.finfo(np.float64).eps
    return np.sqrt(np.where(eigenvalues > smallest, eigenvalues, 0))


def _radii(vectors: np.ndarray, k: int) -> np.ndarray:
    """Distance of each vector to its k-th nearest other vector."""
    search = NearestNeighbors(n_neighbors=k).fit(vectors)
    return search.kneighbors()[0][:, -1]


def _distances(vectors: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the Euclidean distances to all others, for blocks of vectors."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        yield euclidean_distances(block, others)
