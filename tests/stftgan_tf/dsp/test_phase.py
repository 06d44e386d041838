import numpy as np
import pytest
import soundfile

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import features, phase
from stftgan_tf.dsp import pghi as heap


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
        assert many_db < -18, many_db


def test_integrated_phase_alone_is_near(config, magnitudes):
    unit = phase.integrated(magnitudes, config.stft).numpy()
    np.testing.assert_allclose(np.abs(unit), 1, atol=1e-5)
    audio = features.inverse_stft(magnitudes * unit, config.stft).numpy()
    zero = features.inverse_stft(magnitudes.astype("complex64"), config.stft)
    near_db, far_db = (
        np.mean([convergence_db(*pair, config) for pair in rows])
        for rows in (
            zip(audio, magnitudes, strict=True),
            zip(zero.numpy(), magnitudes, strict=True),
        )
    )
    assert near_db < min(-10, far_db - 6), (near_db, far_db)


@pytest.mark.parametrize("hz", [437.0, 1250.0, 3111.0])
def test_a_steady_sine_comes_back(config, hz):
    """Its phase turns as its frequency says, which no bin is centred on."""
    rate = config.audio.sample_rate_hz
    sine = np.sin(2 * np.pi * hz * np.arange(config.window_samples) / rate)
    wanted = np.abs(features.stft(np.float32(0.5 * sine), config.stft))[None]
    unit = phase.integrated(wanted, config.stft)
    audio = features.inverse_stft(wanted * unit.numpy(), config.stft).numpy()
    assert convergence_db(audio[0], wanted[0], config) < -20


# 400 samples make 200 bins, which is no whole number of vectors.
@pytest.mark.parametrize("length", [256, 400])
def test_rows_are_independent(magnitudes, length, recordings):
    config = config_lib.load(
        "digits8k", [f"stft.frame_length={length}", "stft.frame_step=50"]
    )
    rng = np.random.default_rng(0)
    speech = magnitudes.ravel()[: 5 * config.window_samples]
    rows = rng.permutation(speech).reshape(5, -1)
    wanted = np.stack([np.abs(features.stft(r, config.stft)) for r in rows])
    together = phase.griffin_lim(wanted, config.stft, 4).numpy()
    for row in range(5):
        alone = phase.griffin_lim(wanted[row : row + 1], config.stft, 4)
        np.testing.assert_array_equal(together[row], alone.numpy()[0])


@pytest.mark.parametrize("window", ["hann", "gaussian"])
def test_phase_by_heap_and_in_the_graph_are_near(recordings, window):
    config = config_lib.load("digits8k", [f"stft.window={window}"])
    speech, _ = soundfile.read(recordings / "3_adam_0.wav", dtype="float32")
    speech = np.resize(speech, config.window_samples)
    wanted = np.abs(features.stft(speech, config.stft))[None]
    found = {}
    for name, method in (("heap", heap), ("graph", phase)):
        unit = np.asarray(method.integrated(wanted, config.stft))
        np.testing.assert_allclose(np.abs(unit), 1, atol=1e-5)
        audio = phase.griffin_lim(wanted, config.stft, 0, unit).numpy()
        found[name] = convergence_db(audio[0], wanted[0], config)
    assert found["heap"] < -17 and found["graph"] < -12, found


def test_a_known_phase_is_kept(config, recordings):
    """With a recording's own frequencies the recording comes back."""
    config = config_lib.from_dict(
        config.to_dict(),
        [
            "window.phase=true",
            "model.phase=frequency",
            "model.griffin_lim_iterations=1",
        ],
    )
    speech, _ = soundfile.read(recordings / "3_adam_0.wav", dtype="float32")
    speech = 0.7 * np.resize(speech, config.window_samples)
    stfts = features.stft(speech, config.stft)
    logs = features.log_magnitude(stfts, config)
    moments = features.Moments(
        mean=logs.mean(axis=0), std=np.abs(logs - logs.mean(axis=0)).max(axis=0)
    )
    scaled = features.standardise(logs, moments).numpy()
    turned = features.instantaneous_frequency(stfts)
    window = np.concatenate([scaled, turned], axis=-1)[None]
    assert window.shape[1:] == config.learnt_shape
    audio = phase.audio_of(window, moments, config).numpy()[0]
    inner = slice(config.stft.frame_length, -config.stft.frame_length)
    error = np.linalg.norm((audio - speech)[inner])
    assert error < 0.1 * np.linalg.norm(speech[inner])


def test_a_phase_that_begins_with_zero_is_further_off(config, magnitudes):
    few = config_lib.from_dict(
        config.to_dict(), ["model.griffin_lim_iterations=2"]
    )
    other = config_lib.from_dict(few.to_dict(), ["model.phase=griffin_lim"])
    near, far = (
        np.mean(
            [
                convergence_db(*pair, config)
                for pair in zip(
                    phase.audible(magnitudes, c).numpy(),
                    magnitudes,
                    strict=True,
                )
            ]
        )
        for c in (few, other)
    )
    assert near < far - 3, (near, far)


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
