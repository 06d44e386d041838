"""Variation of windows that the critic sees, differentiable, in the graph.

Training with little data, the critic learns the windows by heart. It is shown
real and generated windows that are changed alike, with a probability that
follows how well it tells them apart (Karras et al. 2020, "Training GANs with
Limited Data"), so that the changes do not leak into what is generated.
"""

import math

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments

# Uniform numbers that one window's changes take.
DRAWS = 9


class Augment:
    """Gain, shift in time, hidden stretch and band, each with probability p.

    The masks are those of SpecAugment (Park et al. 2019, section 2).
    """

    def __init__(self, config: Config, moments: Moments):
        """`moments` are of the training split: they say what silence is."""
        settings = config.augment
        self._frames, self._bins = config.window_shape
        sigmas = CLIP_SIGMAS * moments.std
        most = settings.gain_db / 20 * math.log(10)
        self._gain = tf.constant(most / sigmas)  # (F,)
        self._silence = tf.constant(moments.silent_frame(config))
        self._shift = min(settings.shift_frames, self._frames - 1)
        self._mask_frames = min(settings.mask_frames, self._frames)
        self._mask_bins = min(settings.mask_bins, self._bins)

    def __call__(
        self, windows: tf.Tensor, draws: tf.Tensor, p: tf.Tensor
    ) -> tf.Tensor:
        """Changed windows.

        Args:
          windows: float32 [B, T, F].
          draws: float32 [B, DRAWS], uniform in [0, 1).
          p: probability of each change, a scalar.

        Returns:
          float32 [B, T, F], in [-1, 1] where the windows are.
        """
        on = tf.cast(draws[:, :3] < p, tf.float32)  # (B, 3)
        amounts = draws[:, 3:]
        gain = on[:, 0] * (2 * amounts[:, 0] - 1)
        windows = windows + gain[:, None, None] * self._gain
        windows = tf.clip_by_value(windows, -1.0, 1.0)
        windows = self._shifted(windows, on[:, 1] * (2 * amounts[:, 1] - 1))
        sizes = on[:, 2:3] * amounts[:, 2:4]
        times = _span(
            self._frames, sizes[:, 0] * self._mask_frames, amounts[:, 4]
        )
        bands = _span(self._bins, sizes[:, 1] * self._mask_bins, amounts[:, 5])
        return windows * times[:, :, None] * bands[:, None, :]

    def _shifted(self, windows: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
        """Later by `amount` [B] (-1 to 1) of the largest shift, silence in."""
        if not self._shift:
            return windows
        silence = tf.broadcast_to(self._silence, tf.shape(windows))
        silence = silence[:, : self._shift]
        padded = tf.concat([silence, windows, silence], axis=1)
        by = tf.cast(tf.round(amount * self._shift), tf.int32)
        frames = tf.range(self._frames) + self._shift
        return tf.gather(padded, frames - by[:, None], batch_dims=1)


def _span(size: int, width: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """1 outside of a span and 0 inside, float32 [B, size]."""
    width = tf.round(width)
    start = tf.floor(place * (size - width + 1))
    index = tf.range(size, dtype=tf.float32)
    inside = (index >= start[:, None]) & (index < (start + width)[:, None])
    return 1.0 - tf.cast(inside, tf.float32)
