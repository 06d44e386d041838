"""Checks the contents of shards: checksums and records."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from stftgan_tf.data.dataset import Shards, compression_of
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError

_READ_BYTES = 1 << 20


def verify(shards: Shards) -> None:
    """Reads every shard and compares its checksum.

    Raises:
      UserError: naming the first damaged shard.
    """
    for shard in shards.manifest["shards"]:
        path = os.path.join(shards.root, shard["path"])
        # Object stores do not keep empty shards.
        digest = _sha256(path) if shard["bytes"] else shard["sha256"]
        if digest != shard["sha256"]:
            raise UserError(
                f"shard {path} is damaged: its checksum differs from the "
                "manifest's; run preprocess again"
            )


def _sha256(path: str) -> str:
    sha256 = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


@contextlib.contextmanager
def corrupt_shard_as_error(shards: Shards) -> Iterator[None]:
    """Names the damaged shard when reading records fails in the block.

    TensorFlow's own error only names the position of the record.

    Raises:
      UserError: instead of TensorFlow's error about a record.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        verify(shards)
        raise UserError(f"{shards.root}: {error.message}") from error
    # The message of TensorFlow may contain the bytes of the record.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        verify(shards)
        check_records(shards)
        raise


def check_records(shards: Shards) -> None:
    """Reads every record, in Python and slowly.

    Raises:
      UserError: naming the first record that cannot be used.
    """
    config = shards.manifest["config"]
    size = config["window"]["frames"] * (config["stft"]["frame_length"] // 2)
    for shard in shards.manifest["shards"]:
        path = os.path.join(shards.root, shard["path"])
        if not shard["records"]:
            continue
        dataset = tf.data.TFRecordDataset(path, compression_of([path]))
        for number, data in enumerate(dataset.as_numpy_iterator()):
            problem = _problem(data, size, len(shards.manifest["labels"]))
            if problem:
                raise UserError(
                    f"record {number} of shard {path} {problem}; run "
                    "preprocess again"
                )


def _problem(data: bytes, size: int, num_labels: int) -> str | None:
    """What is wrong with a record, if anything."""
    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        return "is not a tf.train.Example"
    window = np.array(features["window"].float_list.value, np.float32)
    labels = features["label"].int64_list.value
    if len(window) != size:
        return f"has a window of {len(window)} values; expected {size}"
    if not np.isfinite(window).all():
        return "has a window that is not finite"
    if len(labels) != 1 or not UNKNOWN_LABEL <= labels[0] < num_labels:
        return f"has the label {list(labels)}; expected -1 to {num_labels - 1}"
    return None
