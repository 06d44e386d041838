"""A small second critic, which judges the texture of patches of windows.

The gradient penalty keeps the critic of whole windows smooth, so it hardly
sees fine structure: harmonics, onsets, and the zeros between them, which make
an image the spectrogram of a signal. This critic sees nothing else. It scores
patches of about 10 frames and 10 bins, wherever they lie (Isola et al. 2017,
"Image-to-Image Translation", section 3.2.2), and its input is the second
differences of log-magnitudes, which TiFGAN's measure of consistency compares
(Marafioti et al. 2019, section 3). Its penalty limits the slope with respect to
these differences, not to the values of the window.
"""

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments
from stftgan_tf.models.devices import resolve_precision
from stftgan_tf.models.layers import LeakyRelu
from stftgan_tf.models.losses import (
    relativistic_critic,
    relativistic_generator,
    squared_gradient_norm,
)

# Frames and bins of the part of each window that an update uses. Whole windows
# would cost more, and a part contains enough patches.
_CROP = 24, 64

# Channels, kernel and stride of each convolution but the last.
_LAYERS = (16, 3, 1), (24, 4, 2), (32, 3, 1)

# Brings second differences, in nepers, to a deviation of about 0.5.
_SCALE = 0.5

# Weight of the penalty, relative to the loss.
_PENALTY_WEIGHT = 0.1

# Windows until the loss has its full weight. The generator learns the content
# of windows first, and faster without this loss.
_RAMP_WINDOWS = 320_000


class TextureCritic:
    """Scores patches of crops of windows.

    Attributes:
      network: maps second differences along time and along frequency,
        [B, frames - 2, bins - 2, 2], to scores [B, t, f, 1].
    """

    def __init__(self, config: Config, moments: Moments):
        """Makes the network, whose weights depend on `train.seed`.

        Args:
          config: shape of windows, precision and seed.
          moments: of the log-magnitudes.
        """
        self._train = config.train
        self._shape = config.window_shape
        self._size = np.minimum(_CROP, self._shape)
        self._mean = np.float32(moments.mean)
        self._deviation = np.float32(CLIP_SIGMAS * moments.std)
        dtype = resolve_precision(config)
        frames, bins = self._size - 2
        seeds = itertools.count(config.train.seed)

        def convolve(x: Any, *args: int, **kwargs: Any) -> Any:
            init = keras.initializers.HeNormal(seed=next(seeds))
            return layers.Conv2D(*args, kernel_initializer=init, **kwargs)(x)

        texture = x = keras.Input([frames, bins, 2], name="texture")
        for width, kernel, stride in _LAYERS:
            x = convolve(x, width, kernel, stride, dtype=dtype)
            x = LeakyRelu(dtype=dtype)(x)
        # The losses compare scores, so a bias would cancel.
        x = convolve(x, 1, 1, dtype="float32", use_bias=False)
        self.network = keras.Model(texture, x, name="texture_critic")

    def crop(
        self, real: tf.Tensor, fake: tf.Tensor, draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The texture of the same random part of real and generated windows.

        Args:
          real: windows [B, T, F].
          fake: generated windows of the same shape.
          draws: two random numbers in [0, 1), which place the part.
        """
        places = self._shape - self._size + 1
        starts = tf.cast(draws * np.float32(places), tf.int32)
        frames, bins = (
            start + tf.range(size)
            for start, size in zip(
                tf.unstack(starts), self._size.tolist(), strict=True
            )
        )
        deviation = tf.gather(self._deviation, bins)
        mean = tf.gather(self._mean, bins)

        def texture(windows: tf.Tensor) -> tf.Tensor:
            values = tf.gather(tf.gather(windows, frames, axis=1), bins, axis=2)
            logs = values * deviation + mean
            inner = logs[:, 1:-1, 1:-1]
            times = logs[:, 2:, 1:-1] + logs[:, :-2, 1:-1] - 2 * inner
            along = logs[:, 1:-1, 2:] + logs[:, 1:-1, :-2] - 2 * inner
            return _SCALE * tf.stack([times, along], axis=-1)

        return texture(real), texture(fake)

    def critic_loss(
        self, real: tf.Tensor, fake: tf.Tensor, penalty_weight: float
    ) -> tf.Tensor:
        """What this critic minimises, for textures as `crop` returns them.

        Args:
          real: texture of real windows [B, frames, bins, 2].
          fake: texture of generated windows, of the same shape.
          penalty_weight: factor of the penalty, 0 for none in this update.
        """
        both = tf.concat([real, fake], axis=0)
        scores = self.network(both, training=True)
        real_scores, fake_scores = tf.split(scores, 2)
        loss = relativistic_critic(real_scores, fake_scores)
        if not penalty_weight:
            return loss
        # R1 + R2 of the sum of a window's scores, divided by their number.
        squares = squared_gradient_norm(self.network, both)
        patches = np.prod(scores.shape[1:])
        penalty = tf.reduce_mean(squares) / patches
        return loss + penalty_weight * _PENALTY_WEIGHT * penalty

    def generator_loss(
        self, real: tf.Tensor, fake: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """What the generator minimises in addition to its other loss.

        Args:
          real: as for `critic_loss`.
          fake: as for `critic_loss`.
          step: generator updates so far, int64. The weight grows with them.
        """
        windows = tf.cast(step, tf.float32) * self._train.batch_size
        ramp = tf.minimum(windows / _RAMP_WINDOWS, 1.0)
        loss = relativistic_generator(self.network(real), self.network(fake))
        return self._train.texture_weight * ramp * loss
