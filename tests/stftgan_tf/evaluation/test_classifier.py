import numpy as np
import pytest

from stftgan_tf.evaluation import classifier as judge


def tones(count, seed):
    """Noisy tones of three pitches, float32 [3 * count, 2000], and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], count)
    time = np.arange(2000) / 8000
    pitch = np.array([300.0, 900.0, 2400.0])[labels]
    audio = 0.3 * np.sin(2 * np.pi * pitch[:, None] * time)
    return np.float32(audio + 0.01 * rng.standard_normal(audio.shape)), labels


@pytest.fixture(scope="module")
def learnt():
    found = judge.Judge(2000, 3, 8000)
    found.fit(*tones(40, 0))
    return found


def test_the_judge_knows_the_labels_of_new_audio(learnt):
    audio, labels = tones(20, 1)
    probabilities, vectors = learnt(audio)
    assert probabilities.shape == (60, 3) and vectors.shape == (60, 64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.95


def test_the_judge_hears_through_level_shift_and_noise(learnt):
    audio, labels = tones(20, 2)
    varied = judge.vary(audio, 8000, np.random.default_rng(0))
    heard = learnt(varied)[0].argmax(axis=1)
    assert (heard == labels).mean() > 0.9


def test_what_was_learnt_is_kept(learnt, tmp_path):
    learnt.save(tmp_path / "x.npz")
    fresh = judge.Judge(2000, 3, 8000)
    assert fresh.load(tmp_path / "x.npz")
    audio, _ = tones(3, 3)
    for ours, theirs in zip(fresh(audio), learnt(audio), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_be_read_is_said(tmp_path):
    fresh = judge.Judge(2000, 3, 8000)
    assert not fresh.load(tmp_path / "missing.npz")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut")
    assert not fresh.load(tmp_path / "x.npz")


@pytest.mark.parametrize("samples", [2, 100, 479, 480])
def test_audio_shorter_than_the_shift_is_shifted_within(samples):
    audio = np.ones((50, samples), np.float32)
    varied = judge.vary(audio, 8000, np.random.default_rng(0))
    assert varied.shape == audio.shape and np.isfinite(varied).all()


def test_variation_by_hand(monkeypatch):
    # 6 dB up, noise 20 dB below.
    monkeypatch.setattr(judge, "_GAIN_DB", (6.0, 6.0))
    monkeypatch.setattr(judge, "_SHIFT_SECS", 0.0)
    monkeypatch.setattr(judge, "_SNR_DB", (20.0, 20.0))
    audio, _ = tones(1, 0)
    varied = judge.vary(audio, 8000, np.random.default_rng(0))
    noise = varied / 10 ** (6 / 20) - audio
    snr = 10 * np.log10(np.square(audio).mean() / np.square(noise).mean())
    assert snr == pytest.approx(20, abs=0.3)


def test_a_shift_by_hand(monkeypatch):
    monkeypatch.setattr(judge, "_GAIN_DB", (0.0, 0.0))
    monkeypatch.setattr(judge, "_SHIFT_SECS", 2 / 8000)
    monkeypatch.setattr(judge, "_SNR_DB", (200.0, 200.0))
    audio = np.tile(np.float32([1, 2, 3, 4, 5]), (60, 1))
    varied = judge.vary(audio, 8000, np.random.default_rng(0))
    found = {tuple(row) for row in varied.round(3).tolist()}
    assert found == {
        (3, 4, 5, 0, 0),
        (2, 3, 4, 5, 0),
        (1, 2, 3, 4, 5),
        (0, 1, 2, 3, 4),
        (0, 0, 1, 2, 3),
    }
