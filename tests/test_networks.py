import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import networks


@pytest.mark.parametrize("name", sorted(config_lib.shipped()))
def test_shapes_and_range(name):
    config = config_lib.load(name)
    latent = tf.random.stateless_normal([3, config.model.latent_dim], [0, 0])
    windows = networks.build_generator(config)(latent).numpy()
    assert windows.shape == (3, *config.window_shape)
    assert np.abs(windows).max() <= 1
    assert networks.build_critic(config)(windows).shape == (3, 1)


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("halvings", [0, 1])
def test_few_halvings(kind, halvings):
    config = config_lib.load(
        "tiny", [f"model.networks={kind}", f"model.halvings={halvings}"]
    )
    windows = networks.build_generator(config)(tf.zeros([2, 8]))
    assert windows.shape == (2, *config.window_shape)
    assert networks.build_critic(config)(windows).shape == (2, 1)


def test_a_single_frame_can_be_modelled():
    config = config_lib.load("tiny", ["window.frames=1", "model.halvings=0"])
    assert networks.build_generator(config)(tf.zeros([2, 8])).shape == (
        2,
        1,
        32,
    )


def test_specgans_generator_has_its_19_million_parameters():
    config = config_lib.load("specgan16k")
    count = networks.build_generator(config).count_params()
    assert count == pytest.approx(19.1e6, rel=0.01)


def test_digits_generator_is_light():
    config = config_lib.load("digits8k")
    assert networks.build_generator(config).count_params() < 2e6


def test_weights_come_from_the_seed():
    def weights(build, seed):
        config = config_lib.load("tiny", [f"train.seed={seed}"])
        return build(config).get_weights()

    for build in (networks.build_generator, networks.build_critic):
        ours, same, other = (weights(build, seed) for seed in (0, 0, 1))
        for a, b in zip(ours, same, strict=True):
            np.testing.assert_array_equal(a, b)
        assert any((a != b).any() for a, b in zip(ours, other, strict=True))


def test_layers_do_not_share_their_draws():
    kernels = [
        w
        for w in networks.build_critic(config_lib.load("tiny")).get_weights()
        if w.shape == (3, 16, 16)
    ]
    assert len(kernels) == 2
    assert not np.array_equal(*kernels)
