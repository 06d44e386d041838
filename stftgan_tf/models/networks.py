"""Generators and critics, as Functional models built from the config.

A generator maps latents [B, Z] to windows [B, T, F] in [-1, 1] ;
a critic maps windows [B, T, F, 1] to scores [B, 1]. Conditional networks take
a class (label or cluster) too: [latents, int [B]] and [windows, int [B, 1]].
"""

import math
import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments

# Slope of the leaky ReLUs, as in DCGAN (Radford et al. 2016, section 3).
_SLOPE = 0.2

# Kernel of the convolutions of `frames` that keep the number of steps.
_KERNEL = 3


def build_generator(
    config: Config,
    classes: int = 0,
    moments: Moments | None = None,
) -> keras.Model:
    """The generator that `model.networks` names.

    Args:
      config: kind, sizes, precision, seed of the weights.
      classes: labels or clusters that a sample is asked for by; 0 is none.
      moments: of the data; only with them windows of `frames` keep to silence.
    """
    parts = _Parts(config, "generator", classes)
    if config.model.networks == "dcgan":
        return _dcgan_generator(config, parts)
    return _frames_generator(config, parts, moments)


def build_critic(config: Config, classes: int = 0) -> keras.Model:
    """The critic that `model.networks` names; arguments as above."""
    build = {"frames": _frames_critic, "dcgan": _dcgan_critic}
    return build[config.model.networks](
        config, _Parts(config, "critic", classes)
    )


def macs(model: keras.Model) -> int:
    """Multiplications with an addition for one row, of all matrix products."""
    total = 0
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        shape = layer.kernel.shape
        if isinstance(layer, layers.Conv2DTranspose):
            # Each input value meets all weights of its channel.
            total += math.prod(layer.input.shape[1:-1]) * math.prod(shape)
        elif isinstance(layer, UpConv1D):
            total += math.prod(layer.output.shape[1:]) * layer.taps * shape[1]
        else:
            # Each output value takes all weights of its channel.
            total += math.prod(layer.output.shape[1:]) * math.prod(shape[:-1])
    return total


class _Parts:
    """The layers of one network, with precision, seeds and labels in place."""

    def __init__(self, config: Config, network: str, classes: int):
        self._dtype = config.train.precision
        self._classes = classes
        self._initializers = _initializers(config, network)
        self.label = None

    def conv1d(self, x: Any, width: int, kernel: int, strides: int = 1) -> Any:
        return self._add(
            layers.Conv1D, x, width, kernel, strides=strides, padding="same"
        )

    def conv1d_up(self, x: Any, width: int, kernel: int) -> Any:
        return self._add(UpConv1D, x, width, kernel)

    def conv2d(self, x: Any, width: int, kernel: int, strides: int = 2) -> Any:
        return self._add(
            layers.Conv2D, x, width, kernel, strides=strides, padding="same"
        )

    def conv2d_up(self, x: Any, width: int, kernel: int) -> Any:
        return self._add(
            layers.Conv2DTranspose, x, width, kernel, strides=2, padding="same"
        )

    def dense(self, x: Any, width: int, dtype: str | None = None) -> Any:
        return self._add(layers.Dense, x, width, dtype=dtype or self._dtype)

    def leaky(self, x: Any) -> Any:
        return layers.LeakyReLU(negative_slope=_SLOPE, dtype=self._dtype)(x)

    def relu(self, x: Any) -> Any:
        return layers.ReLU(dtype=self._dtype)(x)

    def add(self, x: Any, y: Any) -> Any:
        return layers.Add(dtype=self._dtype)([x, y])

    def repeated(self, x: Any) -> Any:
        return layers.UpSampling1D(2, dtype=self._dtype)(x)

    def averaged(self, x: Any) -> Any:
        return layers.AveragePooling1D(2, dtype=self._dtype)(x)

    def inputs(self, shape: list[int], name: str, label: list[int]) -> Any:
        """The network's main input; makes that of labels if it has one."""
        if self._classes:
            self.label = keras.Input(label, dtype="int64", name="label")
        return keras.Input(shape, name=name)

    def model(self, main: Any, output: Any, name: str) -> keras.Model:
        inputs = main if self.label is None else [main, self.label]
        return keras.Model(inputs, output, name=name)

    def scaled(self, x: Any) -> Any:
        """Channels multiplied by what the label says, if there is one.

        Conditional scaling: the gain of conditional normalisation (Dumoulin
        et al. 2017, section 2.2) without the normalisation.
        """
        if self.label is None:
            return x
        scale = layers.Embedding(
            self._classes,
            x.shape[-1],
            embeddings_initializer="ones",
            dtype=self._dtype,
        )(self.label)
        ones = [1] * (len(x.shape) - 2)
        scale = layers.Reshape([*ones, x.shape[-1]], dtype=self._dtype)(scale)
        return layers.Multiply(dtype=self._dtype)([x, scale])

    def score(self, x: Any) -> Any:
        """The critic's score [B, 1] of features [B, D], always float32.

        With labels, the projection of Miyato & Koyama 2018 (equation 3).
        """
        score = self.dense(x, 1, dtype="float32")
        if self.label is None:
            return score
        init = keras.initializers.RandomNormal(
            stddev=x.shape[-1] ** -0.5, seed=next(self._initializers).seed
        )
        vectors = layers.Embedding(
            self._classes,
            x.shape[-1],
            embeddings_initializer=init,
            dtype="float32",
        )(self.label)
        vectors = layers.Flatten(dtype="float32")(vectors)  # (B, D)
        projection = layers.Dot(axes=1, dtype="float32")([x, vectors])
        return layers.Add(dtype="float32")([score, projection])

    def _add(self, kind: type, x: Any, *args: Any, **more: Any) -> Any:
        layer = kind(
            *args,
            kernel_initializer=next(self._initializers),
            **{"dtype": self._dtype, **more},
        )
        return layer(x)


class UpConv1D(layers.Layer):
    """Steps doubled by repetition, then a convolution, at the shorter length.

    Of the kernel's weights those that meet one repeated step are added up
    first: a kernel of 5 becomes one of 3 for even outputs and one for odd
    ones, for 3/5 of the multiplications of `UpSampling1D` and `Conv1D` (Shi et
    al. 2016, "Is the deconvolution layer the same as a convolutional layer?").

    Attributes:
      taps: input steps that an output step sees.
    """

    def __init__(
        self,
        width: int,
        kernel: int,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        """`kernel` is odd."""
        super().__init__(**kwargs)
        self._width = width
        self._initializer = kernel_initializer
        # Weight j of output step 2 i + p meets input step i + places[p, j].
        places = (np.arange(kernel) - kernel // 2 + [[0], [1]]) // 2
        self.taps = 1 + int(places.max() - places.min())
        found = places - places.min() == np.arange(self.taps)[:, None, None]
        self._meets = np.float32(found)  # (taps, 2, kernel)

    def build(self, shape: tuple) -> None:
        """The same weights as `Conv1D`."""
        size = self._meets.shape[-1]
        self.kernel = self.add_weight(
            (size, shape[-1], self._width), self._initializer, name="kernel"
        )
        self.bias = self.add_weight((self._width,), "zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, D] to [B, 2 T, width]."""
        kernel = tf.convert_to_tensor(self.kernel)
        meets = tf.cast(self._meets, kernel.dtype)
        folded = tf.einsum("tpj,jdw->tdpw", meets, kernel)
        folded = tf.reshape(folded, [self.taps, x.shape[-1], 2 * self._width])
        both = tf.nn.conv1d(x, folded, 1, "SAME")  # (B, T, 2 width)
        return tf.reshape(both, [-1, 2 * x.shape[1], self._width]) + self.bias

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Twice the steps."""
        return shape[0], 2 * shape[1], self._width


class MinibatchStddev(layers.Layer):
    """Adds a channel: the spread of each group of neighbouring rows.

    Karras et al. 2018, section 3, in groups as in StyleGAN. A group holds
    neighbours so that real and generated rows of one batch stay apart.
    """

    def __init__(self, group: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._group = group

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, ..., D] to [B, ..., D + 1]; B a multiple of the group."""
        shape = tf.shape(x)
        rows = tf.reshape(x, tf.concat([[-1, self._group], shape[1:]], 0))
        spread = tf.sqrt(tf.math.reduce_variance(rows, axis=1) + 1e-8)
        spread = tf.reduce_mean(spread, axis=list(range(1, x.shape.rank)))
        spread = tf.repeat(spread, self._group)  # (B,)
        ones = tf.ones(tf.concat([shape[:-1], [1]], 0), x.dtype)
        spread = tf.reshape(spread, [-1] + [1] * (x.shape.rank - 1))
        return tf.concat([x, ones * spread], axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """One channel more."""
        return *shape[:-1], shape[-1] + 1


def _initializers(config: Config, network: str) -> Iterator:
    """Glorot's initializer with a seed of its own for each layer.

    (Keras' global seed would also change the seeds of tf.data.)
    """
    seeds = random.Random(f"{config.train.seed} {network}")
    while True:
        yield keras.initializers.GlorotUniform(seed=seeds.getrandbits(31))


def _frames_generator(
    config: Config, parts: _Parts, moments: Moments | None
) -> keras.Model:
    """1-D convolutions over time; each layer mixes all frequencies.

    Residual blocks, whose first convolution goes to half of the channels: the
    two of a block cost what a plain one of all channels would.

    A third of a recording may be at the floor exactly, which a smooth function
    cannot be: cut off at silence.
    """
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    base = frames // 2**model.num_downsamples
    latent = parts.inputs([model.latent_dim], "latent", [])
    x = parts.dense(latent, base * width)
    x = parts.scaled(layers.Reshape([base, width])(x))  # (B, base, width)
    for _ in range(model.num_downsamples):
        y = parts.scaled(parts.leaky(x))
        y = parts.leaky(parts.conv1d_up(y, -(-width // 2), kernel))
        y = parts.conv1d(parts.scaled(y), width, _KERNEL)
        x = parts.add(parts.repeated(x), y)
    x = parts.conv1d(parts.leaky(x), bins, _KERNEL)  # (B, T, F)
    window = layers.Activation("tanh", dtype="float32")(x)
    if moments is not None:
        silence = moments.silent_frame(config)
        window = keras.ops.maximum(window, silence)
    return parts.model(latent, window, "generator")


def _frames_critic(config: Config, parts: _Parts) -> keras.Model:
    """The generator's mirror image, with strides and means for repetition.

    (Blocks as those of Gulrajani et al. 2017, appendix C, on time alone.)
    """
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.critic.width, model.critic.kernel
    window = parts.inputs([frames, bins, 1], "window", [1])
    x = layers.Reshape([frames, bins])(window)
    x = parts.conv1d(x, width, _KERNEL)
    # As in the generator, a block costs what one convolution would.
    inner = -(-width * kernel // (kernel + _KERNEL))
    for _ in range(model.num_downsamples):
        y = parts.leaky(parts.conv1d(parts.leaky(x), inner, kernel, strides=2))
        x = parts.add(parts.averaged(x), parts.conv1d(y, width, _KERNEL))
    return _scored(config, parts, window, parts.leaky(x))


def _dcgan_generator(config: Config, parts: _Parts) -> keras.Model:
    """SpecGAN's generator (Donahue et al. 2019, appendix D, table 6)."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    factor = 2**model.num_downsamples
    widest = width * factor // 2 if model.num_downsamples else width
    base = (frames // factor, bins // factor, widest)
    latent = parts.inputs([model.latent_dim], "latent", [])
    x = parts.dense(latent, math.prod(base))
    x = parts.scaled(parts.relu(layers.Reshape(base)(x)))
    for left in reversed(range(model.num_downsamples)):
        channels = width * 2**left // 2 if left else 1
        x = parts.conv2d_up(x, channels, kernel)
        x = parts.scaled(parts.relu(x)) if left else x
    if not model.num_downsamples:
        x = parts.conv2d(x, 1, kernel, strides=1)
    x = layers.Reshape([frames, bins])(x)
    window = layers.Activation("tanh", dtype="float32")(x)
    return parts.model(latent, window, "generator")


def _dcgan_critic(config: Config, parts: _Parts) -> keras.Model:
    """SpecGAN's critic (Donahue et al. 2019, appendix D, table 7)."""
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.critic.width, model.critic.kernel
    window = parts.inputs([frames, bins, 1], "window", [1])
    x = window
    for halving in range(model.num_downsamples):
        x = parts.leaky(parts.conv2d(x, width * 2**halving, kernel))
    return _scored(config, parts, window, x)


def _scored(config: Config, parts: _Parts, window: Any, x: Any) -> keras.Model:
    """The end of both critics: spread of the batch, features, score."""
    if config.model.minibatch_stddev > 1:
        group = config.model.minibatch_stddev
        x = MinibatchStddev(group, dtype="float32")(x)
    x = layers.Flatten(dtype="float32")(x)
    return parts.model(window, parts.score(x), "critic")
