import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import ConfigError
from stftgan_tf.metrics import embedding
from stftgan_tf.models import networks
from stftgan_tf.models.hearing import Hearing


@pytest.fixture(scope="module")
def config():
    return config_lib.load(
        "tiny",
        ["model.critic_input=window_and_mel", "audio.sample_rate_hz=8000"],
    )


@pytest.fixture(scope="module")
def moments(config):
    """Two deviations above the floor, for all 32 bins."""
    mean = np.full(32, config.log_floor + 2, np.float32)
    return Moments(mean=mean, std=np.ones(32, np.float32))


def heard(config, moments, magnitudes):
    """The bands [bands] of a frame with these magnitudes [F]."""
    window = moments.standardise(np.log(magnitudes))
    frames = tf.tile(window[None, None], [1, 2, 1])
    output = Hearing(config, moments)(frames)
    np.testing.assert_array_equal(output[..., :32], frames)
    return output[0, 0, 32:].numpy()


def test_bands_by_hand(config, moments):
    floor = np.exp(config.log_floor)
    magnitudes = np.full(32, floor, np.float32)
    magnitudes[10] = 40 * floor
    bands = heard(config, moments, magnitudes)
    weights = embedding.mel_matrix(config)
    weights = weights[:, weights.sum(axis=0) > 0]
    share = weights[10] / weights.sum(axis=0)
    # The floor is subtracted before, and added after, the mean over a band.
    level = (40 - config.model.subtract_floor) * share + 1
    np.testing.assert_allclose(bands, (np.log(level) - 2) / 3, atol=1e-4)
    assert np.argmax(bands) == np.argmax(share)


def test_noise_just_above_the_floor_is_not_heard(config, moments):
    floor = np.exp(config.log_floor)
    silent = heard(config, moments, np.full(32, floor, np.float32))
    noise = heard(config, moments, np.full(32, 1.04 * floor, np.float32))
    np.testing.assert_array_equal(silent, noise)


def test_the_critic_sees_mel_bands_if_it_knows_the_moments(config, moments):
    with_bands = networks.build_critic(config, moments=moments)
    plain = networks.build_critic(config)
    bands = heard(config, moments, np.ones(32, np.float32)).size
    first = [network.get_weights()[0].shape for network in (with_bands, plain)]
    assert first[0][1] == first[1][1] + bands


def test_other_networks_do_not_take_mel_bands():
    with pytest.raises(ConfigError, match="only the frames networks take mel"):
        config_lib.load(
            "tiny",
            ["model.critic_input=window_and_mel", "model.networks=dcgan"],
        )
