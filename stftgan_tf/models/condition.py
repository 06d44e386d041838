"""What conditional networks are told of a window: its label or its cluster.

Clusters need no labels (Liu et al. 2020, "Diverse Image Generation via
Self-Conditioned GANs"; here they are found once, before the training, among
`embedding.cepstra`: windows alike in what is said). Telling the critic which
kind of window it judges makes the generator answer for every kind.
"""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import atomic_file
from stftgan_tf.metrics import clusters, embedding

FILE = "condition.npz"


@dataclasses.dataclass(frozen=True)
class Condition:
    """The classes that windows are asked for by.

    Attributes:
      prior: float32 [classes], share of training windows in each.
      log_mel: from windows to where clusters live, or None for labels.
      centres: float32 [classes, D], of clusters' cepstra, or None.
    """

    prior: np.ndarray
    log_mel: embedding.LogMel | None = None
    centres: np.ndarray | None = None

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.prior)

    def of(self, windows: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Classes int64 [B] of standardised windows [B, T, F]."""
        if self.log_mel is None:
            return labels
        vectors = embedding.cepstra(self.log_mel(windows))
        square = tf.reduce_sum(tf.square(self.centres), axis=1)
        distances = square - 2 * vectors @ tf.transpose(self.centres)
        return tf.argmin(distances, axis=1)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Classes int64 [count], as often as the data has them."""
        rng = np.random.default_rng(seed)
        return rng.choice(self.classes, count, p=self.prior / self.prior.sum())

    def save(self, path: Path) -> None:
        """Writes it, so that a resumed training has the same."""
        arrays = {"prior": self.prior}
        if self.centres is not None:
            arrays["cepstra"] = self.centres
        with atomic_file(path) as file:
            np.savez(file, **arrays)


def load(path: Path, log_mel: embedding.LogMel | None = None) -> Condition:
    """Reads what `Condition.save` wrote.

    Args:
      path: the file.
      log_mel: of the run's windows, to tell which cluster one is in.

    Raises:
      UserError: if it is missing or damaged, or holds no clusters though
        `log_mel` is given.
    """
    try:
        with np.load(path) as file:
            prior = file["prior"]
            centres = file["cepstra"] if log_mel else None
    except (
        # Of an archive that is a bare array.
        AttributeError,
        TypeError,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): it is damaged, or "
            "of another version of the project"
        ) from error
    return Condition(prior=prior, log_mel=log_mel, centres=centres)


def find(
    config: Config,
    shards: dataset.Shards | None,
    windows: np.ndarray,
    log_mel: embedding.LogMel,
) -> Condition | None:
    """The condition that `model.condition` names, None where it is none.

    Args:
      config: kind, number of clusters, seed.
      shards: knows the labels of all windows; for clusters not needed.
      windows: float32 [B, T, F], of the training split.
      log_mel: of these windows.

    Raises:
      UserError: if labels are asked for and missing, or there are fewer
        windows than clusters.
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
        lambda part: embedding.cepstra(log_mel(part)), windows
    )
    means = clusters.cluster(vectors, count, config.train.seed)
    counts = np.bincount(means.labels_, minlength=count)
    return Condition(
        prior=np.float32(counts / counts.sum()),
        log_mel=log_mel,
        centres=np.float32(means.cluster_centers_),
    )


def _label_shares(shards: dataset.Shards) -> np.ndarray:
    """Share of training windows of each label, float32 [labels]."""
    counts, names = shards.label_counts(), shards.manifest["labels"]
    missing = counts.get(str(dataset.UNKNOWN_LABEL), 0)
    if missing or not names:
        raise UserError(
            f"model.condition is label, but {missing} of "
            f"{shards.windows('train')} training windows have none: give them "
            "by audio.name_regex or a manifest CSV, or use model.condition "
            "cluster"
        )
    absent = [name for name in names if not counts.get(name)]
    if absent:
        raise UserError(
            "model.condition is label, but no training window is of "
            f"{', '.join(absent)}: leave them out by audio.label_regex, or "
            "split otherwise"
        )
    return np.float32(
        [counts[name] / shards.windows("train") for name in names]
    )
