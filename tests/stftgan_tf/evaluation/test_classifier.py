import numpy as np
import pytest

from stftgan_tf.evaluation import classifier


def tones(count, seed):
    """Noisy tones of three pitches, float32 [3 * count, 2000], and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], count)
    time = np.arange(2000) / 8000
    pitch = np.array([300.0, 900.0, 2400.0])[labels]
    audio = 0.3 * np.sin(2 * np.pi * pitch[:, None] * time)
    return np.float32(audio + 0.01 * rng.standard_normal(audio.shape)), labels


@pytest.fixture(scope="module")
def trained_classifier():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "MAX_STEPS", 80)
        result = classifier.Classifier(2000, 3, 8000)
        result.fit(*tones(40, 0))
    return result


def test_labels_of_new_audio_are_recognised(trained_classifier):
    audio, labels = tones(20, 1)
    probabilities, vectors = trained_classifier(audio)
    assert probabilities.shape == (60, 3) and vectors.shape == (60, 64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.95
    varied = classifier.augment(audio, 8000, np.random.default_rng(0))
    predicted = trained_classifier(varied)[0].argmax(axis=1)
    assert (predicted == labels).mean() > 0.9


def test_weights_are_read_back(trained_classifier, tmp_path):
    vectors = np.float32([[1, 2], [3, 4]])
    trained_classifier.save(tmp_path / "x.npz", vectors)
    restored = classifier.Classifier(2000, 3, 8000)
    read = restored.load(tmp_path / "x.npz")
    np.testing.assert_array_equal(read, vectors)
    audio, _ = tones(3, 3)
    for first, second in zip(
        restored(audio), trained_classifier(audio), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    assert restored.load(tmp_path / "missing.npz") is None
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut")
    assert restored.load(tmp_path / "x.npz") is None
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert restored.load(tmp_path / "array.npy") is None


@pytest.mark.parametrize(
    ("samples", "rate_hz"), [(100, 8000), (16768, 16000), (50000, 44100)]
)
def test_batches_of_any_size_and_windows_of_any_length(samples, rate_hz):
    model = classifier.Classifier(samples, 3, rate_hz)
    rng = np.random.default_rng(0)
    audio = np.float32(rng.normal(size=(70, samples)))
    labels = np.arange(70) % 3
    # Two batches an epoch, of 64 and of 9 rows.
    more = np.concatenate([audio, audio[:11]])
    model.fit(more, np.resize(labels, 81), max_steps=3)
    probabilities, vectors = model(audio)
    assert probabilities.shape == (70, 3) and vectors.shape == (70, 64)
    np.testing.assert_allclose(model(audio[:1])[1], vectors[:1], atol=1e-3)


@pytest.mark.parametrize("samples", [2, 100, 479, 480])
def test_audio_shorter_than_the_shift_can_be_varied(samples):
    audio = np.ones((50, samples), np.float32)
    varied = classifier.augment(audio, 8000, np.random.default_rng(0))
    assert varied.shape == audio.shape and np.isfinite(varied).all()


def test_level_and_noise_by_hand(monkeypatch):
    # 6 dB louder, noise 20 dB below the signal.
    monkeypatch.setattr(classifier, "GAIN_DB", (6.0, 6.0))
    monkeypatch.setattr(classifier, "SHIFT_SECS", 0.0)
    monkeypatch.setattr(classifier, "SNR_DB", (20.0, 20.0))
    audio, _ = tones(1, 0)
    varied = classifier.augment(audio, 8000, np.random.default_rng(0))
    noise = varied / 10 ** (6 / 20) - audio
    snr = 10 * np.log10(np.square(audio).mean() / np.square(noise).mean())
    assert snr == pytest.approx(20, abs=0.3)


def test_shifts_by_hand(monkeypatch):
    monkeypatch.setattr(classifier, "GAIN_DB", (0.0, 0.0))
    monkeypatch.setattr(classifier, "SHIFT_SECS", 2 / 8000)
    monkeypatch.setattr(classifier, "SNR_DB", (200.0, 200.0))
    audio = np.tile(np.float32([1, 2, 3, 4, 5]), (60, 1))
    varied = classifier.augment(audio, 8000, np.random.default_rng(0))
    assert {tuple(row) for row in varied.round(3).tolist()} == {
        (3, 4, 5, 0, 0),
        (2, 3, 4, 5, 0),
        (1, 2, 3, 4, 5),
        (0, 1, 2, 3, 4),
        (0, 0, 1, 2, 3),
    }


def test_the_training_ends_when_the_held_out_loss_stops_falling(
    monkeypatch, capsys
):
    model = classifier.Classifier(2000, 3, 8000)
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.6])
    outputs, held_out = [], []

    def loss(audio, labels):
        # One row in ten is held out.
        assert len(audio) == len(labels) == 12
        held_out[:] = [audio]
        outputs.append(model(audio)[0])
        return next(losses)

    monkeypatch.setattr(model, "_loss", loss)
    # Measured every second step.
    model.fit(*tones(40, 0), max_steps=20)
    assert "classifier: 10 steps" in capsys.readouterr().err
    # The weights of the lowest loss are kept.
    np.testing.assert_array_equal(model(*held_out)[0], outputs[1])
    assert not np.array_equal(outputs[1], outputs[-1])


def test_without_held_out_rows_the_last_weights_are_kept(monkeypatch, capsys):
    model = classifier.Classifier(2000, 3, 8000)
    audio, labels = tones(20, 0)
    measured, outputs = model._loss, []

    def loss(*held_out):
        assert np.isnan(measured(*held_out))
        outputs.append(model(audio)[0])
        return np.nan

    monkeypatch.setattr(model, "_loss", loss)
    model.fit(audio, labels, max_steps=10, hold_out=False)
    assert "classifier: 10 steps" in capsys.readouterr().err
    np.testing.assert_array_equal(model(audio)[0], outputs[-1])
