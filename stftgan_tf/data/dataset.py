"""Shards as a stream of training batches, the same after a resume.

The order of windows depends on (seed, epoch) alone, so a position in the
stream is one number: the windows consumed so far.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.data.records import UNKNOWN_LABEL as UNKNOWN_LABEL
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError

# Shards read at the same time, so that a batch mixes them.
_CYCLE_LENGTH = 8


@dataclasses.dataclass(frozen=True)
class Shards:
    """A data set that matches a config.

    Attributes:
      root: folder of the shards, here or remote.
      manifest: what manifest.json says of them.
      home: folder of what lies beside them, such as stats.json.
    """

    root: str
    manifest: dict[str, Any]
    home: str

    @property
    def moments(self) -> Moments:
        """Of the training split."""
        return Moments.from_dict(self.manifest["moments"])

    def windows(self, split: str) -> int:
        """How many windows a split has."""
        return self.manifest["windows"][split]

    def label_counts(self) -> dict[str, int]:
        """How many training windows have each label, or `UNKNOWN_LABEL`.

        Raises:
          UserError: if stats.json cannot be read.
        """
        path = os.path.join(self.home, "stats.json")
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                return json.loads(file.read())["labels"].get("train", {})
        except (tf.errors.OpError, KeyError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error

    def files(self, split: str) -> list[str]:
        """The shards of a split that hold anything, in order."""
        return [
            os.path.join(self.root, shard["path"])
            for shard in self.manifest["shards"]
            if shard["path"].startswith(f"Split-{split}/") and shard["records"]
        ]


def is_remote(root: str) -> bool:
    """Whether a data set lies on no disk of this machine."""
    return "://" in root


def open_shards(root: str | Path, config: Config) -> Shards:
    """Opens a data set that `pipeline.preprocess` wrote.

    Args:
      root: its folder, here or on `gs://`, `s3://`, `hdfs://` and the like.
      config: must say of the data what the data set's manifest says.

    Raises:
      UserError: if it is none, was written with other values than the
        config's, or a shard is missing or cut short.
    """
    root = str(root)
    _load_file_systems(root)
    path = os.path.join(root, example_io.MANIFEST)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            manifest = example_io.parse_manifest(file.read())
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"{root} holds no data set (no manifest.json); "
            "make one with python -m pipeline.preprocess"
        ) from error
    except tf.errors.OpError as error:
        raise UserError(f"{root} cannot be read: {error.message}") from error
    except ValueError as error:
        raise UserError(f"{path} {error}") from error
    theirs = config_lib.completed(manifest["config"], path)
    check_same(f"shards {root}", theirs, config.data_dict())
    for shard in manifest["shards"]:
        _check_size(os.path.join(root, shard["path"]), shard["bytes"])
    return Shards(root=root, manifest=manifest, home=root)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run's data, which lies in the run.

    Raises:
      UserError: if it is missing or damaged.
    """
    try:
        return example_io.parse_manifest(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} {error}") from error


def open_examples(examples: str, root: str, config: Config) -> Shards:
    """Opens a data set whose shards TFX's ImportExampleGen has written anew.

    Args:
      examples: its Examples artifact, with Split-train and Split-eval.
      root: the data set that it took, whose manifest goes on being true.
      config: as for `open_shards`.

    Raises:
      UserError: as `open_shards`; or if a window is missing or too many.
    """
    shards = open_shards(root, config)
    found = []
    for split, expected in shards.manifest["windows"].items():
        pattern = os.path.join(examples, f"Split-{split}", "*")
        listed = [
            _described(path) for path in sorted(tf.io.gfile.glob(pattern))
        ]
        records = sum(shard["records"] for shard in listed)
        if records != expected:
            raise UserError(
                f"{pattern} holds {records} windows; expected the {expected} "
                f"of {root}"
            )
        found += listed
    manifest = {**shards.manifest, "shards": found}
    return dataclasses.replace(shards, root=examples, manifest=manifest)


def _described(path: str) -> dict[str, Any]:
    """What a manifest tells of a shard."""
    with tf.io.gfile.GFile(path, "rb") as file:
        data = file.read()
    records = tf.data.TFRecordDataset(path, _compression([path]))
    count = records.reduce(np.int64(0), lambda count, _: count + 1)
    return {
        "path": "/".join(path.split("/")[-2:]),
        "records": int(count),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _compression(files: list[str]) -> str:
    """Of a data set's shards; TFX compresses those that it writes."""
    return "GZIP" if files and files[0].endswith(".gz") else ""


def _load_file_systems(root: str) -> None:
    """Loads tensorflow-io's file systems where a data set needs one."""
    if not is_remote(root) or root.startswith("gs://"):
        return
    try:
        # Importing it registers them.
        import tensorflow_io  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{root} needs the file systems of tensorflow-io, which is not "
            "installed: pip install '.[io]'"
        ) from error


def check_same(what: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raises UserError that names every value in which two configs differ."""
    found = config_lib.differences(theirs, ours)
    if found:
        values = "; ".join(f"{k}: {a!r} there, {b!r} here" for k, a, b in found)
        raise UserError(f"{what} and the config differ: {values}")


def verify(shards: Shards) -> None:
    """Reads every shard against its checksum.

    Raises:
      UserError: naming the first one that is damaged.
    """
    for shard in shards.manifest["shards"]:
        digest = hashlib.sha256()
        path = os.path.join(shards.root, shard["path"])
        if shard["bytes"]:
            with tf.io.gfile.GFile(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        if digest.hexdigest() != shard["sha256"]:
            raise UserError(
                f"shard {path} is damaged: its checksum is not the "
                "manifest's; run preprocess again"
            )


@contextlib.contextmanager
def corrupt_shard_as_error(shards: Shards) -> Iterator[None]:
    """Names the shard when reading one fails inside of the block.

    TensorFlow says only at which byte a record is corrupt.

    Raises:
      UserError: in place of TensorFlow's DataLossError.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        verify(shards)
        raise UserError(f"{shards.root}: {error.message}") from error


def training_batches(
    shards: Shards,
    config: Config,
    consumed: int = 0,
    classes: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """An endless stream of standardised training windows and their labels.

    Args:
      shards: an opened data set.
      config: batch size, critic steps, seed, shuffle buffer.
      consumed: windows that an earlier part of the training took.
      classes: makes other labels of (windows, labels).

    Returns:
      Batches of windows float32 [critic_steps * batch_size, T, F] and labels
      int64 [critic_steps * batch_size].
    """
    train = config.train
    files, windows = shards.files("train"), shards.windows("train")
    kind = _compression(files)

    def epoch(index):
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(files), seed=tf.stack([train.seed, index])
        )
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .interleave(
                lambda path: tf.data.TFRecordDataset(path, kind),
                cycle_length=_CYCLE_LENGTH,
                num_parallel_calls=min(_CYCLE_LENGTH, len(files)),
                deterministic=True,
            )
            .shuffle(
                min(train.shuffle_windows, windows),
                seed=train.seed + index,
                reshuffle_each_iteration=False,
            )
        )

    first, skipped = divmod(consumed, windows)
    epochs = tf.data.Dataset.range(first, tf.int64.max)
    # Several workers divide batches, not files: a position in the stream must
    # mean the same to all of them.
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return (
        epochs.flat_map(epoch)
        .skip(skipped)
        .batch(train.batch_size * train.critic_steps, drop_remainder=True)
        .map(
            _parser(shards, config, classes),
            num_parallel_calls=2,
            deterministic=True,
        )
        .prefetch(4)
        .with_options(options)
    )


def load_windows(
    shards: Shards, config: Config, split: str, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Some windows of a split, spread evenly over it, in a fixed order.

    Returns:
      (windows, labels): standardised float32 [B, T, F] and int64 [B], with B
      at most `limit`.
    """
    files, total = shards.files(split), shards.windows(split)
    every = max(1, math.ceil(total / limit))
    dataset = tf.data.TFRecordDataset(files, _compression(files))
    windows, labels = [np.zeros((0, *config.window_shape), np.float32)], [[]]
    for batch in dataset.shard(every, 0).batch(256):
        parsed = _parse(batch, config, ("window", "label"))
        scaled = shards.moments.standardise(parsed["window"])
        windows.append(scaled.numpy())
        labels.append(parsed["label"].numpy())
    return np.concatenate(windows), np.concatenate(labels).astype(np.int64)


def _parser(shards: Shards, config: Config, classes: Any):
    def parse(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = _parse(serialised, config, ("window", "label"))
        windows = shards.moments.standardise(parsed["window"])
        labels = parsed["label"]
        return windows, classes(windows, labels) if classes else labels

    return parse


def _parse(
    serialised: tf.Tensor, config: Config, names: tuple[str, ...]
) -> dict[str, tf.Tensor]:
    """Serialised records [B] as tensors; `window` is [B, T, F]."""
    types = {"float": tf.float32, "int64": tf.int64, "bytes": tf.string}
    spec = {}
    for name in names:
        shape = config.window_shape if name == "window" else ()
        kind = types[example_io.FIELDS[name]]
        spec[name] = tf.io.FixedLenFeature(shape, kind)
    return tf.io.parse_example(serialised, spec)


def _check_size(path: str, expected: int) -> None:
    # Object stores hold no empty shards.
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
