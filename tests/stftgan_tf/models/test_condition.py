import json
import shutil

import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import embedding
from stftgan_tf.models import condition


@pytest.fixture(scope="module")
def training(shards, tiny):
    """Windows and labels of the shards, their log-mel, and the shards."""
    opened = dataset.open_shards(shards, tiny)
    windows, labels = dataset.load_windows(opened, tiny, "train", 10**6)
    log_mel = embedding.fit(windows, opened.moments, tiny).log_mel
    return windows, labels, log_mel, opened


def find(training, *overrides, shards=None):
    windows, _, log_mel, opened = training
    config = config_lib.load("tiny", overrides)
    return condition.find(config, shards or opened, windows, log_mel)


def test_there_are_no_classes_by_default(training):
    assert find(training) is None


def test_the_prior_of_labels_is_their_share_in_the_data(training):
    result = find(training, "model.condition=label")
    assert result.classes == 10
    labels = training[1]
    expected = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(result.prior, expected, rtol=1e-6)
    np.testing.assert_array_equal(result.classify(None, labels), labels)


def test_windows_belong_to_the_cluster_with_the_nearest_centre(training):
    result = find(training, "model.condition=cluster", "model.clusters=6")
    classes = result.classify(training[0], None).numpy()
    vectors = embedding.cepstra(training[2](training[0])).numpy()
    offsets = vectors[:, None] - result.centres[None]
    nearest = np.square(offsets).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(classes, nearest)
    shares = np.bincount(classes, minlength=6) / len(classes)
    np.testing.assert_allclose(shares, result.prior, atol=1e-6)


@pytest.mark.parametrize("kind", ["label", "cluster"])
def test_saved_classes_are_the_same_when_loaded(training, tmp_path, kind):
    saved = find(training, f"model.condition={kind}", "model.clusters=6")
    saved.save(tmp_path / "x.npz")
    loaded = condition.load(tmp_path / "x.npz", saved.log_mel)
    windows, labels = training[0][:20], training[1][:20]
    np.testing.assert_array_equal(
        saved.classify(windows, labels), loaded.classify(windows, labels)
    )
    np.testing.assert_array_equal(saved.draw(50, 1), loaded.draw(50, 1))


def test_draws_follow_the_prior():
    classes = condition.Condition(prior=np.float32([0.2, 0.0, 0.8]))
    draws = classes.draw(50, 0)
    np.testing.assert_array_equal(np.bincount(draws), [10, 0, 40])
    assert len(set(draws[:10])) == 2  # not in order


def test_more_clusters_than_windows_are_an_error(training):
    with pytest.raises(
        UserError, match=r"expected at least 60000 \(model.clus"
    ):
        find(training, "model.condition=cluster", "model.clusters=60000")


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("-1", 7, "7 of [0-9]+ training windows have no label: provide"),
        ("3", 0, "no training window has the label 3: exclude it"),
    ],
)
def test_missing_labels_are_an_error(
    training, shards, tiny, tmp_path, name, count, message
):
    copy = shutil.copytree(shards, tmp_path / "shards")
    stats = json.loads((copy / "stats.json").read_text())
    stats["labels"]["train"][name] = count
    (copy / "stats.json").write_text(json.dumps(stats))
    opened = dataset.open_shards(copy, tiny)
    with pytest.raises(UserError, match=message):
        find(training, "model.condition=label", shards=opened)


@pytest.mark.parametrize(
    "damage", ["truncated", "missing", "text", "array", "no clusters"]
)
def test_a_damaged_file_is_named(training, tmp_path, damage):
    path = tmp_path / "x.npz"
    find(training, "model.condition=label").save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "text":
        path.write_bytes(b"text")
    with pytest.raises(UserError, match="x.npz cannot be read"):
        condition.load(path, training[2])
