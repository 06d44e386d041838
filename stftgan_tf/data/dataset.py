"""Shards as a stream of training batches that can resume at any position.

The order of windows depends only on (seed, epoch), so one number describes a
position in the stream: the windows consumed so far.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import ConfigError, UserError, first_line

# What TensorFlow and JSON raise for a damaged stats.json.
_DAMAGE = (
    tf.errors.OpError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)

# Shards that are read at the same time, so that a batch mixes them.
_CYCLE_LENGTH = 8


@dataclasses.dataclass(frozen=True)
class Shards:
    """A data set that matches a config.

    Attributes:
      root: directory of the shards, local or remote.
      manifest: content of manifest.json.
      home: directory of the files beside the shards, such as stats.json.
    """

    root: str
    manifest: dict[str, Any]
    home: str

    @property
    def moments(self) -> Moments:
        """Moments of the training split."""
        return Moments.from_dict(self.manifest["moments"])

    def windows(self, split: str) -> int:
        """Number of windows in a split."""
        return self.manifest["windows"][split]

    def label_counts(self) -> dict[str, int]:
        """Number of training windows by label; -1 stands for no label.

        Raises:
          UserError: if stats.json cannot be read.
        """
        path = os.path.join(self.home, "stats.json")
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                counts = json.loads(file.read())["labels"].get("train", {})
            return {name: int(count) for name, count in counts.items()}
        except _DAMAGE as error:
            reason = first_line(error)
            raise UserError(f"{path} cannot be read: {reason}") from error

    def files(self, split: str) -> list[str]:
        """Paths of the split's shards that contain records, in order."""
        return [
            os.path.join(self.root, shard["path"])
            for shard in self.manifest["shards"]
            if shard["path"].startswith(f"Split-{split}/") and shard["records"]
        ]


def is_remote(root: str) -> bool:
    """Whether a data set is located on remote storage."""
    return "://" in root


def open_shards(root: str | Path, config: Config) -> Shards:
    """Opens a data set that `pipeline.preprocess` wrote.

    Args:
      root: its directory, local or on `gs://`, `s3://`, `hdfs://` and so on.
      config: must agree with the config in the manifest.

    Raises:
      UserError: if it is not a data set, was written with a different config,
        or a shard is missing or truncated.
    """
    root = str(root)
    _load_file_systems(root)
    manifest = _open_manifest(root)
    try:
        saved = config_lib.complete_data_config(manifest["config"])
    except ConfigError as error:
        raise UserError(f"data set {root}: {error}") from error
    check_same(f"data set {root}", saved, config.data_dict())
    bins = len(manifest["moments"]["mean"])
    if bins != config.stft.bins:
        raise UserError(
            f"{os.path.join(root, records.MANIFEST)} is damaged: moments of "
            f"{bins} bins; expected {config.stft.bins}"
        )
    for shard in manifest["shards"]:
        _check_size(os.path.join(root, shard["path"]), shard["bytes"])
    shards = Shards(root=root, manifest=manifest, home=root)
    for split in records.SPLITS:
        if shards.windows(split) and not shards.files(split):
            raise UserError(
                f"{os.path.join(root, records.MANIFEST)} is damaged: it names "
                f"no shard of the {shards.windows(split)} windows in "
                f"Split-{split}"
            )
    return shards


def open_examples(examples: str, root: str, config: Config) -> Shards:
    """Opens a data set whose shards TFX's ImportExampleGen has rewritten.

    Args:
      examples: its Examples artifact, with Split-train and Split-eval.
      root: the data set that TFX imported, whose manifest still applies.
      config: as for `open_shards`.

    Raises:
      UserError: as `open_shards`, or if the number of windows differs.
    """
    shards = open_shards(root, config)
    rewritten = []
    for split, expected in shards.manifest["windows"].items():
        pattern = os.path.join(examples, f"Split-{split}", "*")
        files = sorted(tf.io.gfile.glob(pattern))
        entries = [_manifest_entry(path) for path in files]
        windows = sum(entry["records"] for entry in entries)
        if windows != expected:
            raise UserError(
                f"{pattern} contains {windows} windows; expected the "
                f"{expected} of {root}"
            )
        rewritten += entries
    manifest = {**shards.manifest, "shards": rewritten}
    return dataclasses.replace(shards, root=examples, manifest=manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the copy of a data set's manifest in a run.

    Raises:
      UserError: if it is missing or damaged.
    """
    try:
        return records.parse_manifest(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} {error}") from error


def check_same(what: str, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises UserError that names every value in which two configs differ."""
    differences = config_lib.differences(saved, given)
    if differences:
        values = "; ".join(
            f"{key}: {a!r} there, {b!r} here" for key, a, b in differences
        )
        raise UserError(f"{what} and the config differ: {values}")


def training_batches(
    shards: Shards,
    config: Config,
    consumed: int = 0,
    classes: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """An endless stream of standardised training windows and their labels.

    Args:
      shards: an open data set.
      config: batch size, critic steps, seed and shuffle buffer.
      consumed: windows that the training has consumed so far.
      classes: function of (windows, labels) that replaces the labels.

    Returns:
      Batches of windows float32 [critic_steps * batch_size, T, F] and labels
      int64 [critic_steps * batch_size].
    """
    train = config.train
    first_epoch, skipped = divmod(consumed, shards.windows("train"))
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    # Several workers divide batches instead of files, so that a position in
    # the stream means the same to all of them.
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy

    def parse(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        windows, labels = _parse(serialised, shards, config)
        return windows, classes(windows, labels) if classes else labels

    return (
        epochs.flat_map(lambda index: _epoch(shards, config, index))
        .skip(skipped)
        .batch(train.batch_size * train.critic_steps, drop_remainder=True)
        .map(parse, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
        .with_options(options)
    )


def load_windows(
    shards: Shards, config: Config, split: str, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Loads windows spread evenly over a split, in a fixed order.

    Returns:
      (windows, labels): standardised float32 [B, T, F] and int64 [B], with B
      at most `limit`.
    """
    files, total = shards.files(split), shards.windows(split)
    stride = max(1, math.ceil(total / limit))
    dataset = tf.data.TFRecordDataset(files, compression_of(files))
    windows = [np.zeros((0, *config.window_shape), np.float32)]
    labels = [np.zeros(0, np.int64)]
    for batch in dataset.shard(stride, 0).batch(256):
        batch_windows, batch_labels = _parse(batch, shards, config)
        windows.append(batch_windows.numpy())
        labels.append(batch_labels.numpy())
    return np.concatenate(windows), np.concatenate(labels)


def _epoch(shards: Shards, config: Config, index: tf.Tensor) -> tf.data.Dataset:
    """Serialised training records in the order of an epoch."""
    train, files = config.train, shards.files("train")
    compression = compression_of(files)
    order = tf.random.experimental.stateless_shuffle(
        tf.constant(files), seed=tf.stack([train.seed, index])
    )
    return (
        tf.data.Dataset.from_tensor_slices(order)
        .interleave(
            lambda path: tf.data.TFRecordDataset(path, compression),
            cycle_length=_CYCLE_LENGTH,
            num_parallel_calls=min(_CYCLE_LENGTH, len(files)),
            deterministic=True,
        )
        .shuffle(
            min(train.shuffle_windows, shards.windows("train")),
            seed=train.seed + index,
            reshuffle_each_iteration=False,
        )
    )


def _parse(
    serialised: tf.Tensor, shards: Shards, config: Config
) -> tuple[tf.Tensor, tf.Tensor]:
    """Standardised windows [B, T, F] and labels [B] of serialised records."""
    features = {
        "window": tf.io.FixedLenFeature(config.window_shape, tf.float32),
        "label": tf.io.FixedLenFeature((), tf.int64),
    }
    parsed = tf.io.parse_example(serialised, features)
    windows = tf.debugging.check_numerics(parsed["window"], "window")
    labels, count = parsed["label"], len(shards.manifest["labels"])
    valid = tf.reduce_all((labels >= records.UNKNOWN_LABEL) & (labels < count))
    with tf.control_dependencies([tf.debugging.Assert(valid, ["label"])]):
        return shards.moments.standardise(windows), tf.identity(labels)


def _manifest_entry(path: str) -> dict[str, Any]:
    """A shard's entry for the manifest."""
    with tf.io.gfile.GFile(path, "rb") as file:
        data = file.read()
    dataset = tf.data.TFRecordDataset(path, compression_of([path]))
    count = dataset.reduce(np.int64(0), lambda count, _: count + 1)
    return {
        "path": "/".join(path.split("/")[-2:]),
        "records": int(count),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def compression_of(files: list[str]) -> str:
    """Compression of a data set's shards; TFX compresses what it writes."""
    return "GZIP" if files and files[0].endswith(".gz") else ""


def _load_file_systems(root: str) -> None:
    """Registers tensorflow-io's file systems if a data set needs one."""
    if not is_remote(root) or root.startswith("gs://"):
        return
    try:
        # The import registers them.
        import tensorflow_io  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{root} needs the file systems of tensorflow-io, which is not "
            "installed: pip install '.[io]'"
        ) from error


def _open_manifest(root: str) -> dict[str, Any]:
    path = os.path.join(root, records.MANIFEST)
    try:
        path.encode()
        with tf.io.gfile.GFile(path, "rb") as file:
            return records.parse_manifest(file.read())
    except UnicodeEncodeError as error:
        raise UserError(
            f"{ascii(root)} is not UTF-8, which TensorFlow needs; rename it"
        ) from error
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"{root} is not a data set (no manifest.json); create one "
            "with python -m pipeline.preprocess"
        ) from error
    except tf.errors.OpError as error:
        raise UserError(f"{root} cannot be read: {error.message}") from error
    except ValueError as error:
        raise UserError(f"{path} {error}") from error


def _check_size(path: str, expected: int) -> None:
    # Object stores do not keep empty shards.
    if not expected:
        return
    try:
        size = tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"shard {path} is missing; run preprocess again"
        ) from error
    except tf.errors.OpError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error
    if size != expected:
        raise UserError(
            f"shard {path} is truncated or altered: {size} bytes, "
            f"expected {expected}; run preprocess again"
        )
