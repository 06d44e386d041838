import numpy as np
import pytest

from stftgan_tf.evaluation import generation


class Recorder:
    """A fake export with labels, which records what is requested."""

    has_labels = True

    def __init__(self):
        self.seeds, self.labels = [], []
        self.signatures = {"serving_default": self.sample}

    def sample(self, seed, label):
        import tensorflow as tf

        def record(seeds, labels):
            self.seeds += seeds.tolist()
            self.labels += labels.tolist()
            return np.zeros((len(seeds), 2, 2), np.float32)

        window = tf.numpy_function(record, [seed, label], tf.float32)
        return {"window": window, "audio": tf.reshape(window, [-1, 4])}


def test_labels_are_requested_as_often_as_they_occur():
    model = Recorder()
    data_labels = np.array([-1, 2, 2, 2, 7, -1])
    samples = generation.generate(model, data_labels, 1000, 5, True)
    assert samples.windows.shape == (1000, 2, 2)
    assert samples.audio.shape == (1000, 4)
    assert model.seeds == list(range(5, 1005))
    np.testing.assert_array_equal(model.labels, samples.labels)
    assert set(samples.labels) == {2, 7}
    assert (samples.labels == 2).mean() == pytest.approx(0.75, abs=0.05)


def test_windows_are_the_same_without_their_audio(loaded):
    none = np.array([-1])
    full = generation.generate(loaded, none, 40, 3, True)
    windows = generation.generate(loaded, none, 40, 3, False)
    np.testing.assert_array_equal(full.windows, windows.windows)
    assert windows.audio is None and windows.labels is None
    rows = np.array([39, 0])
    for samples in (full, windows):
        audio = generation.audio_of(loaded, samples, rows)
        np.testing.assert_allclose(audio, full.audio[rows], atol=1e-5)
