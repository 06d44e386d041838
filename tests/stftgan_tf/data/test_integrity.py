import pytest
import tensorflow as tf

from stftgan_tf.data import dataset, integrity
from stftgan_tf.errors import UserError


def damage(shards):
    """Changes a bit of a training shard; returns its name."""
    shard = sorted(shards.glob("Split-train/*"))[1]
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    return shard.name


def test_an_altered_shard_of_the_same_size_is_named(shards_copy, tiny):
    opened = dataset.open_shards(shards_copy, tiny)
    assert integrity.verify(opened) is None
    name = damage(shards_copy)
    with pytest.raises(UserError, match=f"{name} is damaged: its checksum"):
        integrity.verify(opened)


def test_reading_an_altered_shard_names_it(shards_copy, tiny):
    name = damage(shards_copy)
    opened = dataset.open_shards(shards_copy, tiny)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        with integrity.corrupt_shard_as_error(opened):
            dataset.load_windows(opened, tiny, "train", 10**6)


def test_errors_without_damage_keep_tensorflows_message(shards, tiny):
    opened = dataset.open_shards(shards, tiny)
    with pytest.raises(UserError, match="something else"):
        with integrity.corrupt_shard_as_error(opened):
            raise tf.errors.DataLossError(None, None, "something else")
