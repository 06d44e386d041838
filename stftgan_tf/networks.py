"""Generators and critics, as Functional models built from the config.

A generator maps latents [B, Z] to windows [B, T, F] in [-1, 1]; a critic maps
windows to scores [B, 1].
"""

import random
from collections.abc import Iterator

import keras
from keras import layers

from stftgan_tf.config import Config

# Slope of the leaky ReLUs, as in DCGAN (Radford et al. 2016, section 3).
_SLOPE = 0.2

# Kernel of the first critic and the last generator convolution of `frames`.
_EDGE_KERNEL = 3


def build_generator(config: Config) -> keras.Model:
    """The generator that `model.networks` names."""
    build = {"frames": _frames_generator, "dcgan": _dcgan_generator}
    return build[config.model.networks](config)


def build_critic(config: Config) -> keras.Model:
    """The critic that `model.networks` names."""
    build = {"frames": _frames_critic, "dcgan": _dcgan_critic}
    return build[config.model.networks](config)


def _initializers(config: Config, network: str) -> Iterator:
    """Glorot's initializer with a seed of its own for each layer.

    (Keras' global seed would also change the seeds of tf.data.)
    """
    seeds = random.Random(f"{config.train.seed} {network}")
    while True:
        yield keras.initializers.GlorotUniform(seed=seeds.getrandbits(31))


def _frames_generator(config: Config) -> keras.Model:
    """1-D convolutions over time; every layer mixes all frequencies."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    init = _initializers(config, "generator")
    base = frames // 2**model.halvings
    latent = keras.Input([model.latent_dim], name="latent")
    x = layers.Dense(base * width, kernel_initializer=next(init))(latent)
    x = layers.Reshape([base, width])(x)  # (B, base, width)
    for _ in range(model.halvings):
        x = layers.UpSampling1D(2)(x)
        x = layers.Conv1D(
            width, kernel, padding="same", kernel_initializer=next(init)
        )(x)
        x = layers.LeakyReLU(negative_slope=_SLOPE)(x)
    x = layers.Conv1D(
        bins, _EDGE_KERNEL, padding="same", kernel_initializer=next(init)
    )(x)  # (B, T, F)
    window = layers.Activation("tanh", dtype="float32")(x)
    return keras.Model(latent, window, name="generator")


def _frames_critic(config: Config) -> keras.Model:
    """The generator's mirror image, with strides for upsampling."""
    width, kernel = config.model.critic.width, config.model.critic.kernel
    init = _initializers(config, "critic")
    window = keras.Input(config.window_shape, name="window")
    x = layers.Conv1D(
        width, _EDGE_KERNEL, padding="same", kernel_initializer=next(init)
    )(window)
    x = layers.LeakyReLU(negative_slope=_SLOPE)(x)
    for _ in range(config.model.halvings):
        x = layers.Conv1D(
            width,
            kernel,
            strides=2,
            padding="same",
            kernel_initializer=next(init),
        )(x)
        x = layers.LeakyReLU(negative_slope=_SLOPE)(x)
    x = layers.Flatten()(x)
    score = layers.Dense(1, kernel_initializer=next(init), dtype="float32")(
        x
    )  # (B, 1)
    return keras.Model(window, score, name="critic")


def _dcgan_generator(config: Config) -> keras.Model:
    """SpecGAN's generator (Donahue et al. 2019, appendix D, table 6)."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    init = _initializers(config, "generator")
    factor = 2**model.halvings
    widest = width * factor // 2 if model.halvings else width
    latent = keras.Input([model.latent_dim], name="latent")
    base = (frames // factor, bins // factor, widest)
    x = layers.Dense(
        base[0] * base[1] * base[2], kernel_initializer=next(init)
    )(latent)
    x = layers.ReLU()(layers.Reshape(base)(x))
    for left in reversed(range(model.halvings)):
        channels = width * 2**left // 2 if left else 1
        x = layers.Conv2DTranspose(
            channels, kernel, 2, padding="same", kernel_initializer=next(init)
        )(x)
        x = layers.ReLU()(x) if left else x
    if not model.halvings:
        x = layers.Conv2D(
            1, kernel, padding="same", kernel_initializer=next(init)
        )(x)
    x = layers.Reshape([frames, bins])(x)
    window = layers.Activation("tanh", dtype="float32")(x)
    return keras.Model(latent, window, name="generator")


def _dcgan_critic(config: Config) -> keras.Model:
    """SpecGAN's critic (Donahue et al. 2019, appendix D, table 7)."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.critic.width, model.critic.kernel
    init = _initializers(config, "critic")
    window = keras.Input([frames, bins], name="window")
    x = layers.Reshape([frames, bins, 1])(window)
    for halving in range(model.halvings):
        channels = width * 2**halving
        x = layers.Conv2D(
            channels,
            kernel,
            strides=2,
            padding="same",
            kernel_initializer=next(init),
        )(x)
        x = layers.LeakyReLU(negative_slope=_SLOPE)(x)
    x = layers.Flatten()(x)
    score = layers.Dense(1, dtype="float32", kernel_initializer=next(init))(x)
    return keras.Model(window, score, name="critic")
