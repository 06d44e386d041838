"""The running average of the generator's weights."""

import keras
import tensorflow as tf

from stftgan_tf.config import TrainConfig

# Upper limit of the half-life as a share of the windows seen so far, as in
# StyleGAN2-ADA (Karras et al. 2020, appendix C: ramp-up .05).
_RAMP_UP = 0.05


def update_average(
    average: keras.Model,
    network: keras.Model,
    step: tf.Tensor,
    train: TrainConfig,
) -> None:
    """Moves the averaged weights towards those of the network.

    The half-life grows with the windows seen, up to
    `train.ema_half_life_windows`, so the first weights do not linger.

    Args:
      average: network whose variables are the averages.
      network: network of the same shape that was just updated.
      step: steps before this one, int64.
      train: batch size and half-life.
    """
    batch = float(train.batch_size)
    seen = batch * (1.0 + tf.cast(step, tf.float32))
    half_life = tf.minimum(train.ema_half_life_windows, _RAMP_UP * seen)
    decay = tf.pow(0.5, batch / tf.maximum(half_life, 1e-3))
    pairs = zip(average.variables, network.variables, strict=True)
    for mean, value in pairs:
        mean.assign(decay * mean + (1.0 - decay) * value)
