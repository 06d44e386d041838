import numpy as np
import pytest
import scipy.signal
import soundfile
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import graph_stft, stft
from tests.conftest import SPEECH, needs_speech


def snr_db(expected, actual):
    error = np.sum((expected - actual) ** 2)
    return 10 * np.log10(np.sum(expected**2) / error)


def inverse(stfts, config, kind=graph_stft.GraphStft):
    """Samples [N] of an STFT [T, F + 1], in the graph."""
    return kind(config.stft).inverse(stfts.real[None], stfts.imag[None])[0]


def round_trip_snr_db(samples, config):
    """Signal-to-noise ratio of a round trip, without the fading edges."""
    stfts = stft.forward(samples, config.stft)
    result = inverse(stfts, config).numpy()
    edge = config.stft.frame_length
    inner = slice(edge, len(result) - edge)
    return snr_db(samples[inner], result[inner])


def test_forward_equals_scipy_including_phase(config, speech):
    length, step = config.stft.frame_length, config.stft.frame_step
    _, _, reference = scipy.signal.stft(
        speech.astype(np.float64),
        window="hann",
        nperseg=length,
        noverlap=length - step,
        boundary=None,
        padded=False,
    )
    stfts = stft.forward(speech, config.stft)
    assert stfts.dtype == np.complex64
    # SciPy's spectrum is two-sided; ours gives a sine its own amplitude.
    np.testing.assert_allclose(stfts, 2 * reference.T, atol=1e-6)


# A frame of 4 steps, 3 1/3 steps and 2 steps.
@pytest.mark.parametrize("step", [64, 77, 128])
@pytest.mark.parametrize("name", ["GraphStft", "MatrixStft"])
def test_the_graph_computes_forward_and_inverts_it(speech, name, step):
    config = config_lib.load("digits8k", [f"stft.frame_step={step}"])
    kind = getattr(graph_stft, name)
    stfts = stft.forward(speech[:4000], config.stft)
    parts = kind(config.stft).forward(speech[None, :4000])
    for part, expected in zip(parts, (stfts.real, stfts.imag), strict=True):
        np.testing.assert_allclose(part[0], expected, atol=2e-6)
    samples = inverse(stfts, config, kind).numpy()
    assert len(samples) == 256 + step * (len(stfts) - 1)
    inner = slice(256, len(samples) - 256)
    assert snr_db(speech[inner], samples[inner]) > 80


def test_log_spectrogram_equals_its_parts_bit_for_bit(config, speech):
    whole = stft.log_magnitude(stft.forward(speech, config.stft), config)
    assert len(whole) > 500  # several blocks
    blocks = stft.log_spectrogram(speech, config)
    np.testing.assert_array_equal(blocks, whole)
    frame = speech[: config.stft.frame_length + 1]
    assert stft.log_spectrogram(frame, config).shape == (1, config.stft.bins)


def test_a_sine_has_its_amplitude_in_its_bin(config):
    rate = config.audio.sample_rate_hz
    hz = stft.bin_hz(config)[20]
    sine = 0.25 * np.sin(2 * np.pi * hz * np.arange(4096) / rate)
    magnitudes = np.abs(stft.forward(np.float32(sine), config.stft))
    np.testing.assert_allclose(magnitudes[:, 20], 0.25, rtol=1e-4)


def test_round_trip_of_spoken_digits(config, speech):
    assert round_trip_snr_db(speech, config) > 80


@needs_speech
@pytest.mark.parametrize("name", ["digits8k", "speech16k", "specgan16k"])
def test_round_trip_of_real_speech(name):
    file = sorted((SPEECH / "librispeech16k").rglob("*.flac"))[0]
    samples = soundfile.read(file, dtype="float32")[0]
    assert round_trip_snr_db(samples, config_lib.load(name)) > 80


def test_edges_of_the_inverse_fade_and_never_blow_up(config, speech):
    length = config.stft.frame_length
    samples = speech[4000 : 4000 + config.window_samples]
    stfts = stft.forward(samples, config.stft)
    result = inverse(stfts, config).numpy()
    assert result.shape == samples.shape
    # The dual window never exceeds 1 / the sum of squared windows.
    assert np.abs(result[:length]).max() <= 1.5 * np.abs(samples).max()


def test_a_single_frame_works(speech):
    config = config_lib.load(
        "digits8k",
        [
            "window.frames=1",
            "model.num_downsamples=0",
            "model.stem_stride=1",
        ],
    )
    assert config.window_samples == config.stft.frame_length
    frame = speech[4000:4256]
    stfts = stft.forward(frame, config.stft)
    logs = stft.log_magnitude(stfts, config)
    assert logs.shape == config.window_shape == (1, 128)
    result = inverse(stfts, config).numpy()
    hann = scipy.signal.get_window("hann", 256)
    np.testing.assert_allclose(result, frame * hann**2 / 1.5, atol=1e-6)


def test_less_than_one_frame_is_an_error(config):
    with pytest.raises(ValueError, match="255 samples; expected at least 256"):
        stft.forward(np.zeros(255, np.float32), config.stft)


def test_log_magnitude_and_its_inverse(config, speech):
    stfts = stft.forward(speech, config.stft)
    logs = stft.log_magnitude(stfts, config)
    assert logs.dtype == np.float32
    assert logs.min() >= np.float32(config.log_floor)
    exact = config_lib.from_dict(config.to_dict(), ["model.subtract_floor=0"])
    magnitudes = stft.inverse_log_magnitude(tf.constant(logs), exact).numpy()
    floor = np.exp(config.log_floor)
    expected = np.maximum(np.abs(stfts[:, :-1]), floor)
    np.testing.assert_allclose(magnitudes[:, :-1], expected, rtol=1e-5)
    assert not magnitudes[:, -1].any()


@pytest.mark.parametrize(
    "above_db, times, expected",
    [(0, 1.05, 0), (0.4, 1.05, 0), (20, 1.05, 8.95), (20, 4, 6), (20, 0, 10)],
)
def test_the_floor_is_subtracted(config, above_db, times, expected):
    values = [f"model.subtract_floor={times}"]
    config = config_lib.from_dict(config.to_dict(), values)
    logs = np.full((1, 128), config.log_floor + above_db / 20 * np.log(10))
    magnitudes = stft.inverse_log_magnitude(np.float32(logs), config).numpy()
    floor = np.exp(config.log_floor)
    np.testing.assert_allclose(
        magnitudes[:, :-1] / floor, expected, rtol=1e-4, atol=1e-6
    )
