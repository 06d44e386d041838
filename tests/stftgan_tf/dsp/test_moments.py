import numpy as np

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import MIN_STD, Moments


def test_standardise_and_its_inverse_in_both_orders():
    rng = np.random.default_rng(0)
    moments = Moments(
        mean=np.float32(rng.normal(size=5)),
        std=np.float32(rng.uniform(0.5, 2, size=5)),
    )
    logs = np.float32(
        moments.mean + moments.std * rng.uniform(-2.9, 2.9, (7, 5))
    )
    window = moments.standardise(logs)
    result = moments.inverse_standardise(window)
    np.testing.assert_allclose(result, logs, rtol=1e-5, atol=1e-5)
    again = moments.standardise(result)
    np.testing.assert_allclose(again, window, atol=1e-6)


def test_three_sigma_become_one_and_the_rest_is_clipped():
    moments = Moments(mean=np.float32([1.0]), std=np.float32([2.0]))
    logs = np.float32([[1.0], [7.0], [-5.0], [100.0]])
    window = moments.standardise(logs).numpy()
    np.testing.assert_allclose(window, [[0], [1], [-1], [1]], atol=1e-6)


def test_silent_frame_is_the_window_of_zero_samples():
    config = config_lib.load("tiny")
    rng = np.random.default_rng(0)
    moments = Moments(
        mean=np.float32(rng.uniform(-9, 0, 32)),
        std=np.float32(rng.uniform(0.5, 2, 32)),
    )
    logs = stft.log_spectrogram(np.zeros(64, np.float32), config)
    np.testing.assert_allclose(
        moments.silent_frame(config), moments.standardise(logs)[0], atol=1e-6
    )


def test_a_constant_bin_is_not_amplified():
    moments = Moments.from_dict({"mean": [0.0], "std": [0.0]})
    assert moments.std[0] == np.float32(MIN_STD)
