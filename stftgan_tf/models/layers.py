"""Layers of both kinds of networks, and a factory that configures them."""

import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.models.devices import resolve_precision

# Slope of the leaky ReLUs, as in DCGAN (Radford et al. 2016, section 3).
_LEAKY_SLOPE = 0.2


class LayerFactory:
    """Makes the layers of one network with its precision, seeds and classes.

    Each layer with weights gets the next initializer, so the order of calls
    determines the weights.
    """

    def __init__(self, config: Config, network: str, classes: int):
        """Starts a network.

        Args:
          config: precision, and the seed of the weights.
          network: name of the network; networks differ in their weights.
          classes: number of labels or clusters, 0 if unconditional.
        """
        self._dtype = resolve_precision(config)
        self._classes = classes
        self._initializers = _initializers(config, network)
        self._class_input = None

    def inputs(self, shape: list[int], name: str, class_shape: list[int]):
        """Makes the main input, and that of classes if there are any."""
        if self._classes:
            self._class_input = keras.Input(
                class_shape, dtype="int64", name="label"
            )
        return keras.Input(shape, name=name)

    def model(self, main_input: Any, output: Any, name: str) -> keras.Model:
        """Makes the network; a conditional one takes [main input, classes]."""
        inputs = main_input
        if self._class_input is not None:
            inputs = [main_input, self._class_input]
        return keras.Model(inputs, output, name=name)

    def conv1d(self, x: Any, width: int, kernel: int, strides: int = 1) -> Any:
        """1-D convolution: [B, T, D] -> [B, T / strides, width]."""
        return self._apply(
            layers.Conv1D, x, width, kernel, strides=strides, padding="same"
        )

    def conv1d_up(self, x: Any, width: int, kernel: int) -> Any:
        """1-D convolution that doubles the steps: -> [B, 2 T, width]."""
        return self._apply(UpConv1D, x, width, kernel)

    def conv2d(self, x: Any, width: int, kernel: int, strides: int = 2) -> Any:
        """2-D convolution, by default to half the size in both dimensions."""
        return self._apply(
            layers.Conv2D, x, width, kernel, strides=strides, padding="same"
        )

    def conv2d_up(self, x: Any, width: int, kernel: int) -> Any:
        """2-D transposed convolution to twice the size in both dimensions."""
        return self._apply(
            layers.Conv2DTranspose, x, width, kernel, strides=2, padding="same"
        )

    def dense(self, x: Any, width: int, dtype: str | None = None) -> Any:
        """Fully connected layer: [B, D] -> [B, width]."""
        return self._apply(layers.Dense, x, width, dtype=dtype or self._dtype)

    def leaky_relu(self, x: Any) -> Any:
        """Leaky ReLU with the slope of DCGAN."""
        return LeakyRelu(dtype=self._dtype)(x)

    def relu(self, x: Any) -> Any:
        """ReLU."""
        return layers.ReLU(dtype=self._dtype)(x)

    def add(self, x: Any, y: Any) -> Any:
        """Sum of two tensors of the same shape."""
        return layers.Add(dtype=self._dtype)([x, y])

    def repeat(self, x: Any) -> Any:
        """Each step twice: [B, T, D] -> [B, 2 T, D]."""
        return layers.UpSampling1D(2, dtype=self._dtype)(x)

    def average(self, x: Any) -> Any:
        """Mean of each two steps: [B, T, D] -> [B, T / 2, D]."""
        return layers.AveragePooling1D(2, dtype=self._dtype)(x)

    def scale_by_class(self, x: Any) -> Any:
        """Multiplies each channel by a factor that the class selects.

        The gain of conditional normalisation (Dumoulin et al. 2017, section
        2.2) without the normalisation. Unconditional networks return `x`.
        """
        if self._class_input is None:
            return x
        scale = layers.Embedding(
            self._classes,
            x.shape[-1],
            embeddings_initializer="ones",
            dtype=self._dtype,
        )(self._class_input)  # (B, D)
        ones = [1] * (len(x.shape) - 2)
        scale = layers.Reshape([*ones, x.shape[-1]], dtype=self._dtype)(scale)
        return layers.Multiply(dtype=self._dtype)([x, scale])

    def score(self, x: Any) -> Any:
        """The critic's score [B, 1] of features [B, D], always float32.

        A conditional critic adds the projection of Miyato & Koyama 2018
        (equation 3).
        """
        score = self.dense(x, 1, dtype="float32")
        if self._class_input is None:
            return score
        init = keras.initializers.RandomNormal(
            stddev=x.shape[-1] ** -0.5, seed=next(self._initializers).seed
        )
        vectors = layers.Embedding(
            self._classes,
            x.shape[-1],
            embeddings_initializer=init,
            dtype="float32",
        )(self._class_input)  # (B, 1, D)
        vectors = layers.Flatten(dtype="float32")(vectors)  # (B, D)
        projection = layers.Dot(axes=1, dtype="float32")([x, vectors])
        return layers.Add(dtype="float32")([score, projection])

    def critic(self, window: Any, x: Any, stddev_group: int) -> keras.Model:
        """Makes a critic of its input and the last features [B, ..., D]."""
        if stddev_group > 1:
            x = MinibatchStddev(stddev_group, dtype="float32")(x)
        x = layers.Flatten(dtype="float32")(x)
        return self.model(window, self.score(x), "critic")

    def _apply(
        self, layer_type: type, x: Any, *args: Any, **kwargs: Any
    ) -> Any:
        layer = layer_type(
            *args,
            kernel_initializer=next(self._initializers),
            **{"dtype": self._dtype, **kwargs},
        )
        return layer(x)


def _initializers(config: Config, network: str) -> Iterator:
    """Yields Glorot initializers, each with its own seed.

    (Keras' global seed would also change the seeds of tf.data.)
    """
    seeds = random.Random(f"{config.train.seed} {network}")
    while True:
        yield keras.initializers.GlorotUniform(seed=seeds.getrandbits(31))


class LeakyRelu(layers.Layer):
    """Multiplies negative values by the slope.

    The factors are computed once for both directions, because TensorFlow's own
    gradient is 8 times slower than the function in bfloat16 on a CPU.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Multiplies the negative values of a tensor of any shape."""
        positive = tf.cast(x > 0, x.dtype)
        return x * (positive * (1 - _LEAKY_SLOPE) + _LEAKY_SLOPE)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Returns the same shape."""
        return shape


class UpConv1D(layers.Layer):
    """Repeats each step twice and convolves, without computing on repeats.

    Kernel weights that meet the same repeated step are added up first. A
    kernel of 5 becomes one of 3 for even outputs and one for odd outputs,
    which takes 3/5 of the multiplications of `UpSampling1D` and `Conv1D` (Shi
    et al. 2016, "Is the deconvolution layer the same as a convolutional
    layer?").

    Attributes:
      taps: number of input steps that affect an output step.
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
        # Weight j of output step 2 i + p meets input step i + steps[p, j].
        steps = (np.arange(kernel) - kernel // 2 + [[0], [1]]) // 2
        self.taps = 1 + int(steps.max() - steps.min())
        meets = steps - steps.min() == np.arange(self.taps)[:, None, None]
        self._meets = np.float32(meets)  # (taps, 2, kernel)

    def build(self, shape: tuple) -> None:
        """Creates the same weights as `Conv1D`."""
        size = self._meets.shape[-1]
        self.kernel = self.add_weight(
            (size, shape[-1], self._width), self._initializer, name="kernel"
        )
        self.bias = self.add_weight((self._width,), "zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps [B, T, D] to [B, 2 T, width]."""
        kernel = tf.convert_to_tensor(self.kernel)
        meets = tf.cast(self._meets, kernel.dtype)
        folded = tf.einsum("tpj,jdw->tdpw", meets, kernel)
        folded = tf.reshape(folded, [self.taps, x.shape[-1], 2 * self._width])
        both = tf.nn.conv1d(x, folded, 1, "SAME")  # (B, T, 2 width)
        return tf.reshape(both, [-1, 2 * x.shape[1], self._width]) + self.bias

    def compute_output_shape(self, shape: tuple) -> tuple:
        """The output has twice the steps."""
        return shape[0], 2 * shape[1], self._width


class MinibatchStddev(layers.Layer):
    """Appends a channel with the standard deviation within groups of rows.

    Karras et al. 2018, section 3, in groups as in StyleGAN. A group consists of
    neighbours, so real and generated rows of one batch stay apart.
    """

    def __init__(self, group: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._group = group

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps [B, ..., D] to [B, ..., D + 1]; B is a multiple of the group."""
        shape = tf.shape(x)
        rows = tf.reshape(x, tf.concat([[-1, self._group], shape[1:]], 0))
        stddev = tf.sqrt(tf.math.reduce_variance(rows, axis=1) + 1e-8)
        stddev = tf.reduce_mean(stddev, axis=list(range(1, x.shape.rank)))
        stddev = tf.repeat(stddev, self._group)  # (B,)
        ones = tf.ones(tf.concat([shape[:-1], [1]], 0), x.dtype)
        stddev = tf.reshape(stddev, [-1] + [1] * (x.shape.rank - 1))
        return tf.concat([x, ones * stddev], axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """The output has one more channel."""
        return *shape[:-1], shape[-1] + 1
