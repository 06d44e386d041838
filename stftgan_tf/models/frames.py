"""The `frames` networks: residual 1-D convolutions over time.

Frequencies are channels, so every layer mixes all of them. Each block halves
the frames in the critic and doubles them in the generator. There are
`model.num_downsamples` of them, or one less if the stem does the same
(`model.stem_stride`).
"""

import keras
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models.hearing import Hearing
from stftgan_tf.models.layers import LayerFactory

# Kernel of the convolutions that keep the number of frames.
_KERNEL = 3

# Kernel of the critic's first convolution if it has a stride of 2: each frame
# counts twice.
_STEM_KERNEL = 4


def build_generator(
    config: Config, classes: int, moments: Moments | None
) -> keras.Model:
    """Builds the generator; see `networks.build_generator`.

    The first convolution of a residual block has half of the channels, so the
    two together cost as much as a single one with all channels.

    Up to a third of a recording may be exactly at the floor, which a smooth
    function cannot produce. With `moments`, windows are cut off at silence.
    """
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.generator.width, model.generator.kernel
    base = frames // 2**model.num_downsamples
    make = LayerFactory(config, "generator", classes)
    latent = make.inputs([model.latent_dim], "latent", class_shape=[])
    x = make.dense(latent, base * width)
    x = make.scale_by_class(layers.Reshape([base, width])(x))
    for _ in range(_blocks(config)):
        y = make.scale_by_class(make.leaky_relu(x))  # (B, T, width)
        y = make.leaky_relu(make.conv1d_up(y, -(-width // 2), kernel))
        y = make.conv1d(make.scale_by_class(y), width, _KERNEL)
        x = make.add(make.repeat(x), y)  # (B, 2 T, width)
    x = make.leaky_relu(x)
    if model.stem_stride == 2:
        x = make.conv1d_up(x, bins, kernel)  # (B, T, F)
    else:
        x = make.conv1d(x, bins, _KERNEL)  # (B, T, F)
    window = layers.Activation("tanh", dtype="float32")(x)
    if moments is not None:
        window = keras.ops.maximum(window, moments.silent_frame(config))
    return make.model(latent, window, "generator")


def build_critic(
    config: Config, classes: int, moments: Moments | None
) -> keras.Model:
    """Builds the critic, the generator's mirror image; see `networks`.

    Strides replace doubling, means replace repetition. The blocks are those of
    Gulrajani et al. 2017, appendix C, along time only.
    """
    model, (frames, bins) = config.model, config.window_shape
    width, kernel = model.critic.width, model.critic.kernel
    make = LayerFactory(config, "critic", classes)
    window = make.inputs([frames, bins, 1], "window", class_shape=[1])
    x = layers.Reshape([frames, bins])(window)
    if model.critic_input == "window_and_mel" and moments is not None:
        x = Hearing(config, moments)(x)
    if model.stem_stride == 2:
        x = make.conv1d(x, width, _STEM_KERNEL, strides=2)
    else:
        x = make.conv1d(x, width, _KERNEL)
    # As in the generator, a block costs as much as one convolution would.
    inner = -(-width * kernel // (kernel + _KERNEL))
    for _ in range(_blocks(config)):
        y = make.conv1d(make.leaky_relu(x), inner, kernel, strides=2)
        y = make.conv1d(make.leaky_relu(y), width, _KERNEL)
        x = make.add(make.average(x), y)  # (B, T / 2, width)
    return make.critic(window, make.leaky_relu(x), model.minibatch_stddev)


def _blocks(config: Config) -> int:
    """Number of residual blocks."""
    return config.model.num_downsamples - (config.model.stem_stride == 2)
