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
    """Windows and labels of the shards, their log-mel, and these."""
    opened = dataset.open_shards(shards, tiny)
    windows, labels = dataset.load_windows(opened, tiny, "train", 10**6)
    log_mel = embedding.fit(windows, opened.moments, tiny).log_mel
    return windows, labels, log_mel, opened


def found(training, *overrides, shards=None):
    windows, _, log_mel, opened = training
    config = config_lib.load("tiny", overrides)
    return condition.find(config, shards or opened, windows, log_mel)


def test_none_by_default(training):
    assert found(training) is None


def test_labels_are_as_often_as_the_data_has_them(training):
    ours = found(training, "model.condition=label")
    assert ours.classes == 10
    expected = np.bincount(training[1]) / len(training[1])
    np.testing.assert_allclose(ours.prior, expected, rtol=1e-6)
    np.testing.assert_array_equal(ours.of(None, training[1]), training[1])


def test_clusters_are_those_of_the_nearest_centres(training):
    ours = found(training, "model.condition=cluster", "model.clusters=6")
    classes = ours.of(training[0], None).numpy()
    vectors = embedding.cepstra(training[2](training[0])).numpy()
    gaps = vectors[:, None] - ours.centres[None]
    np.testing.assert_array_equal(
        classes, np.square(gaps).sum(axis=2).argmin(axis=1)
    )
    shares = np.bincount(classes, minlength=6) / len(classes)
    np.testing.assert_allclose(shares, ours.prior, atol=1e-6)


@pytest.mark.parametrize("kind", ["label", "cluster"])
def test_what_is_saved_comes_back(training, tmp_path, kind):
    ours = found(training, f"model.condition={kind}", "model.clusters=6")
    ours.save(tmp_path / "x.npz")
    theirs = condition.load(tmp_path / "x.npz", ours.log_mel)
    for windows, labels in ((training[0][:20], training[1][:20]),):
        np.testing.assert_array_equal(
            ours.of(windows, labels), theirs.of(windows, labels)
        )
    np.testing.assert_array_equal(ours.draw(50, 1), theirs.draw(50, 1))


def test_draws_follow_the_prior():
    ours = condition.Condition(prior=np.float32([0.2, 0.0, 0.8]))
    shares = np.bincount(ours.draw(5000, 0), minlength=3) / 5000
    np.testing.assert_allclose(shares, ours.prior, atol=0.02)


def test_more_clusters_than_windows_are_refused(training):
    with pytest.raises(
        UserError, match=r"expected at least 60000 \(model.clus"
    ):
        found(training, "model.condition=cluster", "model.clusters=60000")


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("-1", 7, "7 of [0-9]+ training windows have none"),
        ("3", 0, "no training window is of 3: leave them out"),
    ],
)
def test_missing_labels_are_refused(
    training, shards, tiny, tmp_path, name, count, message
):
    copy = shutil.copytree(shards, tmp_path / "shards")
    stats = json.loads((copy / "stats.json").read_text())
    stats["labels"]["train"][name] = count
    (copy / "stats.json").write_text(json.dumps(stats))
    opened = dataset.open_shards(copy, tiny)
    with pytest.raises(UserError, match=message):
        found(training, "model.condition=label", shards=opened)


@pytest.mark.parametrize(
    "damage", ["cut", "missing", "other", "array", "no clusters"]
)
def test_a_damaged_file_is_named(training, tmp_path, damage):
    path = tmp_path / "x.npz"
    found(training, "model.condition=label").save(path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif damage != "no clusters":
        path.write_bytes(data[:50] if damage == "cut" else b"text")
    with pytest.raises(UserError, match="x.npz cannot be read"):
        condition.load(path, training[2])
