import json

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError


def take(batches, count):
    return list(batches.take(count).as_numpy_iterator())


def change_manifest(shards, change):
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def opened(shards, tiny):
    return dataset.open_shards(shards, tiny)


def test_batches_are_standardised_windows(opened, tiny):
    config = config_lib.load("tiny", ["train.critic_steps=3"])
    for windows, labels in take(dataset.training_batches(opened, config), 4):
        assert labels.shape == (3 * 8,) and set(labels) <= set(range(10))
        assert windows.shape == (3 * 8, *tiny.window_shape)
        assert windows.min() >= -1 and windows.max() <= 1
        assert 0.1 < windows.std() < 0.6


def test_an_epoch_contains_every_window_once(opened):
    config = config_lib.load("tiny", ["train.batch_size=1"])
    count = opened.windows("train")
    batches = take(dataset.training_batches(opened, config), 2 * count)
    rows = np.concatenate([windows for windows, _ in batches])
    first, second = (
        {row.tobytes() for row in rows[part]}
        for part in (slice(count), slice(count, None))
    )
    assert len(first) == len(np.unique(rows, axis=0)) == len(second)
    assert first == second
    # Each epoch has a different order.
    assert not np.array_equal(rows[:count], rows[count:])


def test_the_order_depends_only_on_the_seed(opened):
    def windows_of(seed):
        config = config_lib.load("tiny", [f"train.seed={seed}"])
        batches = take(dataset.training_batches(opened, config), 5)
        return np.stack([windows for windows, _ in batches])

    np.testing.assert_array_equal(windows_of(0), windows_of(0))
    assert not np.array_equal(windows_of(0), windows_of(1))


# Within an epoch, at its end and in a later one.
@pytest.mark.parametrize("steps", [1, 9, 40])
def test_a_resumed_stream_continues_where_it_stopped(opened, tiny, steps):
    whole = take(dataset.training_batches(opened, tiny), steps + 3)
    resumed = take(dataset.training_batches(opened, tiny, steps * 8), 3)
    for batch, expected in zip(resumed, whole[steps:], strict=True):
        for a, b in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_labels_can_be_replaced_by_classes(opened, tiny):
    def brightness(windows, labels):
        return tf.cast(tf.reduce_mean(windows, [1, 2]) > 0, tf.int64) + labels

    ((windows, labels),) = take(dataset.training_batches(opened, tiny), 1)
    batches = dataset.training_batches(opened, tiny, classes=brightness)
    ((_, classes),) = take(batches, 1)
    expected = labels + (windows.mean(axis=(1, 2)) > 0)
    np.testing.assert_array_equal(classes, expected)


def test_windows_are_loaded_with_their_labels_up_to_a_limit(opened, tiny):
    windows, labels = dataset.load_windows(opened, tiny, "eval", 1000)
    assert len(windows) == len(labels) == opened.windows("eval")
    assert set(labels) <= set(range(10))
    few, _ = dataset.load_windows(opened, tiny, "eval", 5)
    assert 0 < len(few) <= 5


def test_a_directory_without_manifest_is_not_a_data_set(tmp_path, tiny):
    with pytest.raises(UserError, match="is not a data set"):
        dataset.open_shards(tmp_path, tiny)


def test_a_different_config_is_an_error_with_both_values(shards):
    config = config_lib.load("tiny", ["stft.frame_step=16"])
    message = "stft.frame_step: 32 there, 16 here$"
    with pytest.raises(UserError, match=message):
        dataset.open_shards(shards, config)


def test_a_different_format_version_is_an_error(shards_copy, tiny):
    change_manifest(shards_copy, lambda m: m.update(format_version=99))
    with pytest.raises(UserError, match="format version 99; expected 1"):
        dataset.open_shards(shards_copy, tiny)


def test_a_data_set_of_an_earlier_version_opens(shards_copy, tiny):
    """Its manifest contains keys of features that were removed, turned off."""

    def change(manifest):
        manifest["config"]["window"]["phase"] = False
        manifest["config"]["stft"]["window"] = "hann"

    windows = dataset.open_shards(shards_copy, tiny).windows("train")
    change_manifest(shards_copy, change)
    opened = dataset.open_shards(shards_copy, tiny)
    assert opened.windows("train") == windows > 0


def test_a_data_set_with_phases_is_an_error(shards_copy, tiny):
    def change(manifest):
        manifest["config"]["window"]["phase"] = True

    change_manifest(shards_copy, change)
    message = r"window.phase .*removed(.|\n)*preprocess"
    with pytest.raises(UserError, match=message):
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
