import json

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError


def take(batches, count):
    return list(batches.take(count).as_numpy_iterator())


@pytest.fixture(scope="module")
def opened(shards, tiny):
    return dataset.open_shards(shards, tiny)


def test_batches_are_standardised_windows(opened, tiny):
    config = config_lib.load("tiny", ["train.critic_steps=3"])
    for batch, labels in take(dataset.training_batches(opened, config), 4):
        assert labels.shape == (3 * 8,) and set(labels) <= set(range(10))
        assert batch.shape == (3 * 8, *tiny.window_shape)
        assert batch.min() >= -1 and batch.max() <= 1
        assert 0.1 < batch.std() < 0.6


def test_an_epoch_holds_every_window_once(opened, tiny):
    config = config_lib.load("tiny", ["train.batch_size=1"])
    count = opened.windows("train")
    taken = take(dataset.training_batches(opened, config), 2 * count)
    rows = np.concatenate([windows for windows, _ in taken])
    first, second = (
        {row.tobytes() for row in rows[part]}
        for part in (slice(count), slice(count, None))
    )
    assert len(first) == len(np.unique(rows, axis=0)) == len(second)
    assert first == second
    # Each epoch in an order of its own.
    assert not np.array_equal(rows[:count], rows[count:])


def test_the_order_depends_on_the_seed_alone(opened, tiny):
    def batches(seed):
        config = config_lib.load("tiny", [f"train.seed={seed}"])
        taken = take(dataset.training_batches(opened, config), 5)
        return np.stack([windows for windows, _ in taken])

    np.testing.assert_array_equal(batches(0), batches(0))
    assert not np.array_equal(batches(0), batches(1))


# Within an epoch, at its end and in a later one.
@pytest.mark.parametrize("steps", [1, 9, 40])
def test_a_resumed_stream_goes_on_where_it_stopped(opened, tiny, steps):
    whole = take(dataset.training_batches(opened, tiny), steps + 3)
    resumed = take(dataset.training_batches(opened, tiny, steps * 8), 3)
    for ours, theirs in zip(resumed, whole[steps:], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_other_labels_can_be_given(opened, tiny):
    def bright(windows, labels):
        return tf.cast(tf.reduce_mean(windows, [1, 2]) > 0, tf.int64) + labels

    plain = take(dataset.training_batches(opened, tiny), 1)[0]
    ours = take(dataset.training_batches(opened, tiny, 0, bright), 1)[0]
    expected = plain[1] + (plain[0].mean(axis=(1, 2)) > 0)
    np.testing.assert_array_equal(ours[1], expected)


def test_labels_come_with_windows(opened, tiny):
    windows, labels = dataset.load_windows(opened, tiny, "eval", 1000)
    assert len(windows) == len(labels) == opened.windows("eval")
    assert set(labels) <= set(range(10))
    few, _ = dataset.load_windows(opened, tiny, "eval", 5)
    assert 0 < len(few) <= 5


def test_a_folder_that_is_no_data_set(tmp_path, tiny):
    with pytest.raises(UserError, match="holds no data set"):
        dataset.open_shards(tmp_path, tiny)


def test_shards_of_another_config_name_the_value_and_both_sides(shards):
    config = config_lib.load("tiny", ["stft.frame_step=16"])
    message = "stft.frame_step: 32 there, 16 here$"
    with pytest.raises(UserError, match=message):
        dataset.open_shards(shards, config)


def test_shards_of_another_format(shards_copy, tiny):
    path = shards_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(UserError, match="format version 99; expected 1"):
        dataset.open_shards(shards_copy, tiny)


def test_a_truncated_shard_is_named(shards_copy, tiny):
    shard = sorted(shards_copy.glob("Split-train/*"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{shard.name} is truncated"):
        dataset.open_shards(shards_copy, tiny)


def test_a_missing_shard_is_named(shards_copy, tiny):
    shard = sorted(shards_copy.glob("Split-train/*"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard.name} is missing"):
        dataset.open_shards(shards_copy, tiny)


def test_an_altered_shard_of_the_same_size_is_named(shards_copy, tiny):
    shard = sorted(shards_copy.glob("Split-train/*"))[1]
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    opened = dataset.open_shards(shards_copy, tiny)
    with pytest.raises(UserError, match=f"{shard.name} is damaged"):
        dataset.verify(opened)
