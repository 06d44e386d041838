"""Differentiable augmentation of the windows that the critic sees.

With little data the critic memorises the windows. It is shown real and
generated windows with the same random changes, whose probability follows how
well the critic separates the two (Karras et al. 2020, "Training GANs with
Limited Data"), so that the changes do not leak into what is generated.
"""

import math

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments

# Uniform random numbers that the changes of one window need.
DRAWS = 9

# Up to this probability, a change hardly leaks into what is generated, because
# the critic sees enough windows without it (Karras et al. 2020, section 2.2).
_MAX_PROBABILITY = 0.8


class Augment:
    """Gain, shift in time, and masks of time and frequency.

    Each change has probability p. The masks are those of SpecAugment (Park et
    al. 2019, section 2).
    """

    def __init__(self, config: Config, moments: Moments):
        """`moments` are those of the training split; they define silence."""
        settings = config.augment
        self._frames, self._bins = config.window_shape
        sigmas = CLIP_SIGMAS * moments.std
        gain = settings.gain_db / 20 * math.log(10)
        self._gain = tf.constant(gain / sigmas)  # (F,)
        self._silence = tf.constant(moments.silent_frame(config))  # (F,)
        self._shift = min(settings.shift_frames, self._frames - 1)
        self._mask_frames = min(settings.mask_frames, self._frames)
        self._mask_bins = min(settings.mask_bins, self._bins)

    def __call__(
        self, windows: tf.Tensor, draws: tf.Tensor, p: tf.Tensor
    ) -> tf.Tensor:
        """Changes windows.

        Args:
          windows: float32 [B, T, F].
          draws: float32 [B, DRAWS], uniform in [0, 1).
          p: probability of each change, a scalar.

        Returns:
          float32 [B, T, F], in [-1, 1] if the windows are.
        """
        enabled = tf.cast(draws[:, :3] < p, tf.float32)  # (B, 3)
        amounts = draws[:, 3:]  # (B, 6)
        gain = enabled[:, 0] * (2 * amounts[:, 0] - 1)
        windows = windows + gain[:, None, None] * self._gain
        windows = tf.clip_by_value(windows, -1.0, 1.0)
        shift = enabled[:, 1] * (2 * amounts[:, 1] - 1)
        windows = self._shifted(windows, shift)
        sizes = enabled[:, 2:3] * amounts[:, 2:4]  # (B, 2)
        times = _mask(
            self._frames, sizes[:, 0] * self._mask_frames, amounts[:, 4]
        )
        bands = _mask(self._bins, sizes[:, 1] * self._mask_bins, amounts[:, 5])
        return windows * times[:, :, None] * bands[:, None, :]

    def _shifted(self, windows: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
        """Delays windows by `amount` [B] (-1 to 1) of the largest shift."""
        if not self._shift:
            return windows
        silence = tf.broadcast_to(self._silence, tf.shape(windows))
        silence = silence[:, : self._shift]
        padded = tf.concat([silence, windows, silence], axis=1)
        delay = tf.cast(tf.round(amount * self._shift), tf.int32)
        frames = tf.range(self._frames) + self._shift
        return tf.gather(padded, frames - delay[:, None], batch_dims=1)


def _mask(size: int, width: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """0 inside a span of `width` [B] and 1 outside of it, float32 [B, size]."""
    width = tf.round(width)
    start = tf.floor(place * (size - width + 1))
    index = tf.range(size, dtype=tf.float32)
    inside = (index >= start[:, None]) & (index < (start + width)[:, None])
    return 1.0 - tf.cast(inside, tf.float32)


def next_probability(
    p: tf.Tensor, separation: tf.Tensor, windows: tf.Tensor, config: Config
) -> tf.Tensor:
    """Moves the probability of augmentation after a critic update.

    Args:
      p: the current probability, a scalar.
      separation: mean sign of a real window's score minus that of its
        generated partner, from -1 to 1. It replaces r_t of Karras et al. 2020
        (equation 1), because the scores of a Wasserstein critic have no zero.
      windows: number of windows in the update, float32.
      config: target and speed (`augment.target`, `augment.adjust_windows`).

    Returns:
      The next probability, in [0, 0.8].
    """
    settings = config.augment
    move = tf.sign(separation - settings.target) * windows
    return tf.clip_by_value(
        p + move / settings.adjust_windows, 0.0, _MAX_PROBABILITY
    )
