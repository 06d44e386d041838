"""Checks the contents of shards against the checksums in the manifest."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import tensorflow as tf

from stftgan_tf.data.dataset import Shards
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
      UserError: instead of TensorFlow's DataLossError.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        verify(shards)
        raise UserError(f"{shards.root}: {error.message}") from error
