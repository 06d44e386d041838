"""The `dcgan` networks of SpecGAN: 2-D convolutions over time and frequency.

Donahue et al. 2019, "Adversarial Audio Synthesis", appendix D.
"""

import math

import keras
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.models.layers import LayerFactory


def build_generator(config: Config, classes: int) -> keras.Model:
    """Builds SpecGAN's generator (table 6); see `networks.build_generator`."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    factor = 2**model.num_downsamples
    widest = width * factor // 2 if model.num_downsamples else width
    base = (frames // factor, bins // factor, widest)
    make = LayerFactory(config, "generator", classes)
    latent = make.inputs([model.latent_dim], "latent", class_shape=[])
    x = make.dense(latent, math.prod(base))
    x = make.scale_by_class(make.relu(layers.Reshape(base)(x)))
    for remaining in reversed(range(model.num_downsamples)):
        channels = width * 2**remaining // 2 if remaining else 1
        x = make.conv2d_up(x, channels, kernel)  # (B, 2 T, 2 F, channels)
        x = make.scale_by_class(make.relu(x)) if remaining else x
    if not model.num_downsamples:
        x = make.conv2d(x, 1, kernel, strides=1)
    x = layers.Reshape([frames, bins])(x)
    window = layers.Activation("tanh", dtype="float32")(x)
    return make.model(latent, window, "generator")


def build_critic(config: Config, classes: int) -> keras.Model:
    """Builds SpecGAN's critic (table 7); see `networks.build_critic`."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.critic.width, model.critic.kernel
    make = LayerFactory(config, "critic", classes)
    window = make.inputs([frames, bins, 1], "window", class_shape=[1])
    x = window
    for index in range(model.num_downsamples):
        x = make.leaky_relu(make.conv2d(x, width * 2**index, kernel))
    return make.critic(window, x, model.minibatch_stddev)
