import numpy as np
import pytest
import scipy.signal
import soundfile
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import features
from tests.conftest import SPEECH, needs_speech


@pytest.fixture(scope="module")
def config():
    return config_lib.load("digits8k")


@pytest.fixture(scope="module")
def speech(recordings):
    """A few seconds of spoken digits, float32."""
    files = sorted(recordings.glob("*_0.wav"))
    return np.concatenate(
        [soundfile.read(f, dtype="float32")[0] for f in files]
    )


def snr_db(wanted, got):
    return 10 * np.log10(np.sum(wanted**2) / np.sum((wanted - got) ** 2))


def round_trip(samples, config):
    stfts = features.stft(samples, config.stft)
    back = features.inverse_stft(stfts, config.stft).numpy()
    edge = config.stft.frame_length
    inner = slice(edge, len(back) - edge)
    return snr_db(samples[inner], back[inner])


def test_stft_is_scipys_to_the_phase(config, speech):
    length, step = config.stft.frame_length, config.stft.frame_step
    _, _, theirs = scipy.signal.stft(
        speech.astype(np.float64),
        window="hann",
        nperseg=length,
        noverlap=length - step,
        boundary=None,
        padded=False,
    )
    ours = features.stft(speech, config.stft)
    assert ours.dtype == np.complex64
    # SciPy's spectrum is two-sided; ours gives a sine its own amplitude.
    np.testing.assert_allclose(ours, 2 * theirs.T, atol=1e-6)


def test_in_blocks_it_is_the_same_to_the_bit(config, speech):
    whole = features.log_magnitude(features.stft(speech, config.stft), config)
    assert len(whole) > 3 * features._BLOCK
    np.testing.assert_array_equal(
        features.log_spectrogram(speech, config), whole
    )
    one = speech[: config.stft.frame_length + 1]
    assert features.log_spectrogram(one, config).shape == (1, config.stft.bins)


@pytest.mark.parametrize("length", [1, 7])
def test_instantaneous_frequency_and_back(config, speech, length):
    stfts = features.stft(speech, config.stft)[100 : 100 + length]
    turned = features.instantaneous_frequency(stfts)
    assert turned.dtype == np.float32 and np.abs(turned).max() <= 1
    phases = features.inverse_instantaneous_frequency(turned).numpy()
    wanted = np.exp(1j * np.angle(stfts[:, :-1]))
    np.testing.assert_allclose(np.exp(1j * phases), wanted, atol=1e-4)


def test_a_steady_sine_turns_at_its_frequency(config):
    rate, step = config.audio.sample_rate_hz, config.stft.frame_step
    hz = 20.25 * rate / config.stft.frame_length
    sine = np.float32(np.sin(2 * np.pi * hz * np.arange(4096) / rate))
    turned = features.instantaneous_frequency(features.stft(sine, config.stft))
    half_turns = 2 * hz * step / rate
    wanted = half_turns - 2 * np.round(half_turns / 2)
    np.testing.assert_allclose(turned[1:, 20], wanted, atol=1e-3)


def test_a_sine_has_its_amplitude(config):
    rate, length = config.audio.sample_rate_hz, config.stft.frame_length
    bin_hz = 20 * rate / length
    sine = 0.25 * np.sin(2 * np.pi * bin_hz * np.arange(4096) / rate)
    magnitudes = np.abs(features.stft(np.float32(sine), config.stft))
    np.testing.assert_allclose(magnitudes[:, 20], 0.25, rtol=1e-4)


def test_round_trip_of_spoken_digits(config, speech):
    assert round_trip(speech, config) > 80


@needs_speech
@pytest.mark.parametrize("name", ["digits8k", "speech16k", "specgan16k"])
def test_round_trip_of_real_speech(name):
    file = sorted((SPEECH / "librispeech16k").rglob("*.flac"))[0]
    samples = soundfile.read(file, dtype="float32")[0]
    assert round_trip(samples, config_lib.load(name)) > 80


def test_edges_of_the_inverse_fade_and_never_blow_up(config, speech):
    length = config.stft.frame_length
    window = speech[4000 : 4000 + config.window_samples]
    stfts = features.stft(window, config.stft)
    back = features.inverse_stft(stfts, config.stft).numpy()
    assert back.shape == window.shape
    # The dual window is never above 1 / the sum of squared windows.
    assert np.abs(back[:length]).max() <= 1.5 * np.abs(window).max()


def test_gaussian_frames_come_back_and_are_gaussian(speech):
    config = config_lib.load("digits8k", ["stft.window=gaussian"])
    assert round_trip(speech, config) > 100
    window = features.analysis_window(config.stft)
    assert window[128] == 1 and window[0] == pytest.approx(0.01, rel=1e-3)
    # Its logarithm is a parabola.
    bends = np.diff(np.log(window.astype(np.float64)), 2)
    np.testing.assert_allclose(bends, bends.mean(), rtol=1e-2)
    with pytest.raises(config_lib.ConfigError, match="gaussian frames of 256"):
        config_lib.load(
            "digits8k", ["stft.window=gaussian", "stft.frame_step=256"]
        )


def test_a_single_frame_works(speech):
    config = config_lib.load(
        "digits8k", ["window.frames=1", "model.num_downsamples=0"]
    )
    assert config.window_samples == config.stft.frame_length
    stfts = features.stft(speech[4000:4256], config.stft)
    logs = features.log_magnitude(stfts, config)
    assert logs.shape == config.window_shape == (1, 128)
    back = features.inverse_stft(stfts, config.stft).numpy()
    hann = features.analysis_window(config.stft)
    np.testing.assert_allclose(
        back, speech[4000:4256] * hann**2 / 1.5, atol=1e-6
    )


def test_less_than_a_frame_is_refused(config):
    with pytest.raises(ValueError, match="255 samples; expected at least 256"):
        features.stft(np.zeros(255, np.float32), config.stft)


def test_log_magnitude_and_back(config, speech):
    stfts = features.stft(speech, config.stft)
    logs = features.log_magnitude(stfts, config)
    assert logs.dtype == np.float32
    assert logs.min() >= np.float32(config.log_floor)
    back = features.inverse_log_magnitude(tf.constant(logs)).numpy()
    floor = np.exp(config.log_floor)
    wanted = np.maximum(np.abs(stfts[:, :-1]), floor)
    np.testing.assert_allclose(back[:, :-1], wanted, rtol=1e-5)
    assert not back[:, -1].any()


def test_standardise_and_back_from_both_sides():
    rng = np.random.default_rng(0)
    moments = features.Moments(
        mean=np.float32(rng.normal(size=5)),
        std=np.float32(rng.uniform(0.5, 2, size=5)),
    )
    inside = np.float32(
        moments.mean + moments.std * rng.uniform(-2.9, 2.9, (7, 5))
    )
    window = features.standardise(inside, moments)
    back = features.inverse_standardise(window, moments)
    np.testing.assert_allclose(back, inside, rtol=1e-5, atol=1e-5)
    again = features.standardise(back, moments)
    np.testing.assert_allclose(again, window, atol=1e-6)


def test_three_sigma_are_one_and_beyond_is_clipped():
    moments = features.Moments(mean=np.float32([1.0]), std=np.float32([2.0]))
    values = np.float32([[1.0], [7.0], [-5.0], [100.0]])
    window = features.standardise(values, moments).numpy()
    np.testing.assert_allclose(window, [[0], [1], [-1], [1]], atol=1e-6)


def test_silence_is_the_window_of_no_sound():
    config = config_lib.load("tiny")
    rng = np.random.default_rng(0)
    moments = features.Moments(
        mean=np.float32(rng.uniform(-9, 0, 32)),
        std=np.float32(rng.uniform(0.5, 2, 32)),
    )
    logs = features.log_spectrogram(np.zeros(64, np.float32), config)
    np.testing.assert_allclose(
        features.silence(moments, config),
        features.standardise(logs, moments)[0],
        atol=1e-6,
    )


def test_a_bin_that_never_varies_does_not_blow_up():
    moments = features.Moments.from_dict({"mean": [0.0], "std": [0.0]})
    assert moments.std[0] == np.float32(features.MIN_STD)
