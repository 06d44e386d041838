"""The class that conditional networks are given: a label or a cluster.

Clusters need no labels (Liu et al. 2020, "Diverse Image Generation via
Self-Conditioned GANs"). They are computed once before the training, from
`embedding.cepstra`, so a cluster contains windows with similar content.
Because the critic knows the class of each window, the generator has to produce
every class.
"""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data.dataset import Shards
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import atomic_file
from stftgan_tf.metrics import clusters, embedding

FILE = "condition.npz"

# What NumPy raises for damaged files; AttributeError and TypeError come from
# files that contain a single array instead of an archive.
_DAMAGE = (
    AttributeError,
    TypeError,
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True)
class Condition:
    """The classes of a conditional model.

    Attributes:
      prior: float32 [classes], share of each class in the training windows.
      log_mel: computes the features in which clusters are defined; None for
        labels, or if windows do not need to be classified.
      centres: float32 [classes, D], the cepstra of the clusters' centres, or
        None for labels.
    """

    prior: np.ndarray
    log_mel: embedding.LogMel | None = None
    centres: np.ndarray | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.prior)

    def classify(self, windows: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Classes int64 [B] of standardised windows [B, T, F].

        These are the labels [B] themselves, or the nearest clusters.
        """
        if self.log_mel is None:
            return labels
        vectors = embedding.cepstra(self.log_mel(windows))  # (B, D)
        square = tf.reduce_sum(tf.square(self.centres), axis=1)
        distances = square - 2 * vectors @ tf.transpose(self.centres)
        return tf.argmin(distances, axis=1)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Classes int64 [count] in their exact shares, in random order."""
        sums = np.cumsum(self.prior, dtype=float)
        points = (np.arange(count) + 0.5) / count * sums[-1]
        classes = np.searchsorted(sums[:-1], points, side="right")
        return np.random.default_rng(seed).permutation(classes)

    def save(self, path: Path) -> None:
        """Writes the classes, which a resumed training reads again."""
        arrays = {"prior": self.prior}
        if self.centres is not None:
            arrays["cepstra"] = self.centres
        with atomic_file(path) as file:
            np.savez(file, **arrays)


def load(path: Path, log_mel: embedding.LogMel | None = None) -> Condition:
    """Reads a file of `Condition.save`.

    Args:
      path: the file.
      log_mel: if given, windows can be classified into clusters.

    Raises:
      UserError: if the file is missing or damaged, or contains no clusters
        although `log_mel` is given.
    """
    try:
        with np.load(path) as file:
            prior = file["prior"]
            centres = file["cepstra"] if log_mel else None
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): it is damaged or "
            "was written by a different version of the project"
        ) from error
    return Condition(prior=prior, log_mel=log_mel, centres=centres)


def find(
    config: Config,
    shards: Shards | None,
    windows: np.ndarray,
    log_mel: embedding.LogMel,
) -> Condition | None:
    """Determines the classes that `model.condition` names.

    Args:
      config: kind of classes, number of clusters, seed.
      shards: data set whose labels are counted; clusters do not need it.
      windows: float32 [B, T, F], windows of the training split to cluster.
      log_mel: computes the features of windows.

    Returns:
      The classes, or None if `model.condition` is `none`.

    Raises:
      UserError: if labels are missing, or there are fewer windows than
        clusters.
    """
    if config.model.condition == "none":
        return None
    if config.model.condition == "label":
        return Condition(prior=_label_shares(shards))
    count = config.model.clusters
    if len(windows) < count:
        raise UserError(
            f"{len(windows)} training windows; expected at least "
            f"{count} (model.clusters)"
        )
    vectors = embedding.in_batches(
        lambda batch: embedding.cepstra(log_mel(batch)), windows
    )
    kmeans = clusters.cluster(vectors, count, config.train.seed)
    sizes = np.bincount(kmeans.labels_, minlength=count)
    return Condition(
        prior=np.float32(sizes / sizes.sum()),
        log_mel=log_mel,
        centres=np.float32(kmeans.cluster_centers_),
    )


def _label_shares(shards: Shards) -> np.ndarray:
    """Share of each label in the training windows, float32 [labels]."""
    counts, names = shards.label_counts(), shards.manifest["labels"]
    total = shards.windows("train")
    unlabelled = counts.get(str(UNKNOWN_LABEL), 0)
    if unlabelled or not names:
        raise UserError(
            f"model.condition is label, but {unlabelled} of {total} training "
            "windows have no label: provide labels by audio.name_regex or a "
            "manifest CSV, or use model.condition cluster"
        )
    unused = [name for name in names if not counts.get(name)]
    if unused:
        raise UserError(
            "model.condition is label, but no training window has the label "
            f"{', '.join(unused)}: exclude it by audio.label_regex, or change "
            "the split"
        )
    return np.float32([counts[name] / total for name in names])
