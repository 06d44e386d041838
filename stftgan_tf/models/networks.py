"""Generators and critics, as Keras Functional models built from the config.

A generator maps latents [B, Z] to windows [B, T, F] in [-1, 1]; a critic maps
windows [B, T, F, 1] to scores [B, 1]. Conditional networks also take a class
(a label or a cluster): [latents, int [B]] and [windows, int [B, 1]].
"""

import math

import keras
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import dcgan, frames
from stftgan_tf.models.layers import UpConv1D


def build_generator(
    config: Config, classes: int = 0, moments: Moments | None = None
) -> keras.Model:
    """Builds the generator that `model.networks` names.

    Args:
      config: kind, sizes and precision of the network, seed of the weights.
      classes: number of labels or clusters, 0 for an unconditional network.
      moments: moments of the data, with which the windows of `frames` do not
        fall below silence; None leaves them unlimited.
    """
    if config.model.networks == "dcgan":
        return dcgan.build_generator(config, classes)
    return frames.build_generator(config, classes, moments)


def build_critic(
    config: Config, classes: int = 0, moments: Moments | None = None
) -> keras.Model:
    """Builds the critic that `model.networks` names.

    Args:
      config: kind, sizes and precision of the network, seed of the weights.
      classes: number of labels or clusters, 0 for an unconditional network.
      moments: moments of the data, which `model.critic_input` with mel bands
        requires; None leaves the bands out.
    """
    if config.model.networks == "dcgan":
        return dcgan.build_critic(config, classes)
    return frames.build_critic(config, classes, moments)


def scale_latents(generator: keras.Model, scale: float) -> None:
    """Changes the weights as if all latents were multiplied by `scale`."""
    # Latents only enter the first layer with weights.
    first = next(x for x in generator.layers if isinstance(x, layers.Dense))
    first.kernel.assign(scale * first.kernel)


def macs(model: keras.Model) -> int:
    """Counts the multiply-accumulate operations for one row.

    Only those of matrix products and convolutions count.
    """
    return sum(_layer_macs(x) for x in model.layers if hasattr(x, "kernel"))


def _layer_macs(layer: layers.Layer) -> int:
    shape = layer.kernel.shape
    if isinstance(layer, layers.Conv2DTranspose):
        # Each input value meets all weights of its channel.
        return math.prod(layer.input.shape[1:-1]) * math.prod(shape)
    if isinstance(layer, UpConv1D):
        return math.prod(layer.output.shape[1:]) * layer.taps * shape[1]
    # Each output value takes all weights of its channel.
    return math.prod(layer.output.shape[1:]) * math.prod(shape[:-1])
