import numpy as np
import pytest
import soundfile

from stftgan_tf import config as config_lib
from stftgan_tf import features, phase


@pytest.fixture(scope="module")
def config():
    return config_lib.load("digits8k")


@pytest.fixture(scope="module")
def magnitudes(config, recordings):
    """Magnitudes [4, T, F + 1] of windows of speech."""
    files = sorted(recordings.glob("*_0.wav"))
    speech = np.concatenate(
        [soundfile.read(f, dtype="float32")[0] for f in files]
    )
    size = config.window_samples
    rows = speech[: 4 * size].reshape(4, size)
    return np.stack([np.abs(features.stft(r, config.stft)) for r in rows])


def convergence_db(audio, magnitudes, config):
    """Spectral convergence of one row (Sturmel & Daudet 2011)."""
    got = np.abs(features.stft(audio, config.stft))
    gap = np.linalg.norm(got - magnitudes) / np.linalg.norm(magnitudes)
    return 20 * np.log10(gap)


def test_magnitudes_are_met_and_more_iterations_help(config, magnitudes):
    few = phase.griffin_lim(magnitudes, config.stft, 2).numpy()
    many = phase.griffin_lim(magnitudes, config.stft, 32).numpy()
    assert many.shape == (4, config.window_samples)
    for row in range(4):
        few_db = convergence_db(few[row], magnitudes[row], config)
        many_db = convergence_db(many[row], magnitudes[row], config)
        assert many_db < few_db - 2
        assert many_db < -15


def test_rows_are_independent(config, magnitudes):
    together = phase.griffin_lim(magnitudes, config.stft, 8).numpy()
    alone = phase.griffin_lim(magnitudes[2:3], config.stft, 8).numpy()
    np.testing.assert_array_equal(together[2], alone[0])


def test_silence_stays_silent_and_finite(config):
    silence = np.zeros((1, *np.add(config.window_shape, (0, 1))), np.float32)
    audio = phase.griffin_lim(silence, config.stft, 8).numpy()
    assert not audio.any()


def test_audio_is_turned_down_rather_than_clipped(config):
    loud = np.ones((1, *config.window_shape), np.float32)
    bins = config.stft.bins
    moments = features.Moments(
        mean=np.zeros(bins, np.float32), std=np.ones(bins, np.float32)
    )
    audio = phase.audio_of(loud, moments, config).numpy()
    assert np.abs(audio).max() == pytest.approx(phase.PEAK_LIMIT, rel=1e-5)
