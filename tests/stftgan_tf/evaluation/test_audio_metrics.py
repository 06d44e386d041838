import io

import numpy as np
import pytest

from stftgan_tf.data import dataset
from stftgan_tf.evaluation import audio_metrics, classifier


@pytest.fixture(scope="module")
def trained_metrics(evaluation, cached_shards, tiny):
    """Audio metrics with the classifier of the shared evaluation, and data."""
    opened = dataset.open_shards(cached_shards, tiny)
    train = dataset.load_windows(opened, tiny, "train", 10**6)
    result = audio_metrics.AudioMetrics(train, opened, tiny)
    audio = audio_metrics.to_audio(train[0], opened.moments, tiny)
    return result, audio, train[1]


def test_requested_labels_are_recognised(trained_metrics):
    metrics, audio, labels = trained_metrics
    values = metrics.measure(audio, labels, len(audio))
    # A window of `tiny` is too short to tell all ten digits apart.
    assert values["label_recognised"] > 0.35
    assert values["label_diversity"] == pytest.approx(1, abs=1e-3)
    assert values["fid"] == pytest.approx(0, abs=1e-2)
    wrong = metrics.measure(audio, (labels + 4) % 10, len(audio))
    assert wrong["label_recognised"] < 0.2
    assert wrong["fid"] == values["fid"]


def test_one_repeated_sample_has_one_label(trained_metrics):
    metrics, audio, _ = trained_metrics
    values = metrics.measure(np.repeat(audio[:1], 64, axis=0), None, 64)
    assert values["inception_score"] == pytest.approx(1, abs=1e-3)
    assert max(values["labels"].values()) == 1.0
    assert values["label_recognised"] is None
    assert values["label_diversity"] is None


def test_the_classifier_stays_with_the_data_set(
    shards_copy, tiny, capsys, monkeypatch
):
    monkeypatch.setattr(classifier, "MAX_STEPS", 2)
    opened = dataset.open_shards(shards_copy, tiny)
    rng = np.random.default_rng(0)
    windows = np.float32(rng.uniform(-1, 1, (20, *tiny.window_shape)))
    labels = np.arange(20) % 10

    def trains():
        """Whether the classifier is trained, not read."""
        model, vectors = audio_metrics.trained_classifier(
            windows, labels, opened, tiny
        )
        audio = audio_metrics.to_audio(windows, opened.moments, tiny)
        np.testing.assert_allclose(model(audio)[1], vectors, atol=1e-4)
        return "classifier: 2 steps" in capsys.readouterr().err

    assert trains()
    (cache,) = shards_copy.glob("classifier-*.npz")
    weights = cache.read_bytes()
    assert not trains()
    # A damaged file is replaced.
    cache.write_bytes(weights[:100])
    assert trains()
    with np.load(cache) as first, np.load(io.BytesIO(weights)) as second:
        for name in second.files:
            np.testing.assert_array_equal(first[name], second[name])
