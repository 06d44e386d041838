import json

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.data import dataset, integrity, records
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


def rewrite(shards, change):
    """Changes the last record of a training shard, with right checksums."""
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = next(
        shard for shard in manifest["shards"] if "train" in shard["path"]
    )
    file = shards / entry["path"]
    with open(file, "rb") as stream:
        *others, last = records.read_records(stream)
    with open(file, "wb") as stream:
        writer = records.ShardWriter(stream)
        for data in (*others, change(last)):
            writer.write(data)
    entry |= {"bytes": writer.bytes, "sha256": writer.sha256}
    path.write_text(json.dumps(manifest))
    return f"record {len(others)} of shard .*{file.name}"


def with_window(values):
    def change(data):
        return records.encode(records.decode(data) | {"window": values})

    return change


def with_label(label):
    def change(data):
        return records.encode(records.decode(data) | {"label": label})

    return change


NAN = np.zeros(512, np.float32)
NAN[100] = np.nan
INF = np.zeros(512, np.float32)
INF[100] = -np.inf


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_window(NAN), "has a window that is not finite"),
        (with_window(INF), "has a window that is not finite"),
        (with_window(NAN[:50]), "has a window of 50 values; expected 512"),
        (with_label(10), "has the label .10.; expected -1 to 9"),
        (with_label(-2), "has the label .-2.; expected -1 to 9"),
        (lambda data: b"\xff\xff garbage", "is not a tf.train.Example"),
        (lambda data: b"", "has a window of 0 values"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(
    shards_copy, tiny, change, problem
):
    name = rewrite(shards_copy, change)
    opened = dataset.open_shards(shards_copy, tiny)
    integrity.verify(opened)
    with pytest.raises(UserError, match=f"^{name} {problem}.*run preprocess"):
        with integrity.corrupt_shard_as_error(opened):
            dataset.load_windows(opened, tiny, "train", 10**6)
    with pytest.raises(UserError, match=f"^{name} {problem}.*run preprocess"):
        with integrity.corrupt_shard_as_error(opened):
            batches = dataset.training_batches(opened, tiny)
            list(batches.take(opened.windows("train") // 8 + 1))
