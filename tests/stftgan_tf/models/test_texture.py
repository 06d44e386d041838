import keras
import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import ConfigError
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.texture import TextureCritic

RECIPE = ["train.loss=rpgan-r1r2", "train.texture_weight=0.5"]


@pytest.fixture
def config():
    return config_lib.load("tiny", RECIPE)


@pytest.fixture
def critic(config):
    """Of windows [16, 32], whose bins have the deviations 1, 1.1, 1.2 ..."""
    mean = np.linspace(-5, 2, 32, dtype=np.float32)
    std = np.arange(32, dtype=np.float32) / 10 + 1
    moments = Moments(mean, std)
    return TextureCritic(config, moments), moments


def noise(seed, smooth):
    """Log-magnitudes [64, 16, 32], with or without fine structure."""
    values = np.random.default_rng(seed).normal(size=(64, 16, 32))
    if smooth:
        values = values.mean(axis=(1, 2), keepdims=True) + 0 * values
    return tf.constant(values / 4, tf.float32)


def test_second_differences_of_log_magnitudes_by_hand(critic):
    critic, moments = critic
    times, bins = np.meshgrid(np.arange(16), np.arange(32), indexing="ij")
    logs = 0.02 * times**2 - 0.01 * bins**2 + 0.1 * times * bins
    window = (logs - moments.mean) / (3 * moments.std)
    window = tf.constant(window[None], tf.float32)
    for place in (0.0, 0.99):
        texture, _ = critic.crop(window, window, tf.constant([place, place]))
        assert texture.shape == (1, 14, 30, 2)
        # Half of the second derivatives.
        np.testing.assert_allclose(texture[..., 0], 0.02, atol=1e-4)
        np.testing.assert_allclose(texture[..., 1], -0.01, atol=1e-4)


def test_the_seed_determines_the_weights(config):
    moments = Moments.neutral(config)
    other = config_lib.load("tiny", [*RECIPE, "train.seed=7"])
    first, again, different = (
        [w.tobytes() for w in TextureCritic(c, moments).network.get_weights()]
        for c in (config, config, other)
    )
    assert first == again
    kernels = range(0, len(first), 2)
    assert all(first[i] != different[i] for i in kernels)


def test_the_same_random_part_of_both_is_used():
    config = config_lib.load("digits8k")
    critic = TextureCritic(config, Moments.neutral(config))
    windows = tf.random.stateless_normal([2, 64, 128], [0, 0])
    parts = [
        critic.crop(windows[:1], windows[:1], tf.constant(draws))
        for draws in ([0.0, 0.0], [0.999, 0.0], [0.0, 0.999])
    ]
    for real, fake in parts:
        assert real.shape == (1, 22, 62, 2)
        np.testing.assert_array_equal(real, fake)
    times = 3 * np.diff(windows[0], 2, axis=0)[:, 1:-1] / 2
    firsts = times[:22, :62], times[40:, :62], times[:22, 64:]
    for (real, _), expected in zip(parts, firsts, strict=True):
        np.testing.assert_allclose(real[0, ..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("smooth", [True, False])
def test_it_learns_to_tell_smooth_from_rough(critic, smooth):
    critic, _ = critic
    optimizer = keras.optimizers.Adam(1e-2, 0, 0.99)
    variables = critic.network.trainable_variables
    losses = []
    for step in range(20):
        real, fake = noise(2 * step, smooth), noise(2 * step + 1, not smooth)
        textures = critic.crop(real, fake, tf.zeros(2))
        with tf.GradientTape() as tape:
            loss = critic.critic_loss(*textures, penalty_weight=0)
        losses.append(float(loss))
        optimizer.apply(tape.gradient(loss, variables), variables)
    assert losses[-1] < min(0.1, losses[0])
    # Now the generator loses with its windows, but not with real ones.
    late = tf.constant(10**6, tf.int64)
    caught = critic.generator_loss(*textures, late)
    equal = critic.generator_loss(textures[0], textures[0], late)
    assert float(equal) < 0.5 < 1 < float(caught)


def test_the_weight_in_the_generators_loss_grows(critic, config):
    critic, _ = critic
    textures = critic.crop(noise(0, True), noise(1, False), tf.zeros(2))
    windows = np.array([0, 80_000, 320_000, 3_200_000])
    losses = [
        float(critic.generator_loss(*textures, tf.constant(step)))
        for step in windows // config.train.batch_size
    ]
    expected = np.array([0, 0.25, 1, 1]) * losses[-1]
    np.testing.assert_allclose(losses, expected, rtol=0.01)


def test_the_penalty_by_hand(critic):
    critic, _ = critic
    real, fake = critic.crop(noise(0, False), noise(1, False), tf.zeros(2))

    def doubled_sums(texture, training=False):
        return 2 * tf.reduce_sum(texture, axis=[1, 2, 3], keepdims=True)

    # The gradient is 2 for each of 14 * 30 * 2 values.
    critic.network = doubled_sums
    plain = critic.critic_loss(real, fake, penalty_weight=0)
    penalised = critic.critic_loss(real, fake, penalty_weight=4)
    assert float(penalised - plain) == pytest.approx(0.1 * 4 * 4 * 840)


def test_updates_use_crops_of_windows_before_augmentation():
    config = config_lib.load(
        "tiny",
        [*RECIPE, "train.penalty_interval=4", "augment.target=0.6"],
    )
    model = build_wgan(config, Moments.neutral(config))
    texture, penalties, places = model._texture, [], []
    crop, critic_loss = texture.crop, texture.critic_loss
    windows = tf.random.stateless_uniform([8, 16, 32], [0, 0], -1.0, 1.0)

    def spy_crop(real, fake, draws):
        np.testing.assert_array_equal(real, windows)
        places.append(draws.numpy().tolist())
        return crop(real, fake, draws)

    def spy_loss(real, fake, penalty_weight):
        penalties.append(penalty_weight)
        return critic_loss(real, fake, penalty_weight)

    texture.crop, texture.critic_loss = spy_crop, spy_loss
    model.augment_p.assign(0.8)
    for step in tf.range(5, dtype=tf.int64):
        model.update_critic(windows, tf.zeros([8], tf.int64), step, 0)
    model.update_generator(windows, tf.zeros([8], tf.int64), step)
    assert penalties == [4, 0, 0, 0, 4]
    assert len(places) == 6 and len(set(map(tuple, places))) == 6


def test_the_smallest_windows():
    size = ["window.frames=12", "window.stride_frames=12"]
    config = config_lib.load(
        "tiny", [*RECIPE, *size, "model.num_downsamples=1"]
    )
    critic = TextureCritic(config, Moments.neutral(config))
    assert critic.network.output_shape[1] == 1


def test_it_trains_and_changes_what_the_generator_learns():
    digests = []
    for weight in (0, 0.5, 5):
        config = config_lib.load(
            "tiny", ["train.loss=rpgan-r1r2", f"train.texture_weight={weight}"]
        )
        model = build_wgan(config, Moments.neutral(config))
        assert (model.texture_critic is None) == (weight == 0)
        before = model.texture_critic.get_weights() if weight else []
        windows = tf.random.stateless_uniform([8, 16, 32], [0, 0], -1.0, 1.0)
        for _ in range(3):
            logs = model.train_step((windows, tf.zeros([8], tf.int64)))
        assert all(np.isfinite(float(value)) for value in logs.values())
        after = model.texture_critic.get_weights() if weight else []
        assert all((a != b).any() for a, b in zip(before, after, strict=True))
        weights = [w.tobytes() for w in model.generator.get_weights()]
        digests.append(b"".join(weights))
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.loss=wgan-gp"], "the texture critic needs rpgan-r1r2"),
        (
            [
                "window.frames=11",
                "window.stride_frames=11",
                "model.num_downsamples=0",
            ],
            "windows of 11 frames and 32 bins are too small",
        ),
    ],
)
def test_what_it_cannot_work_with(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load("tiny", [*RECIPE, *overrides])
