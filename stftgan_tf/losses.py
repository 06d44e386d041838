"""Losses of the WGAN family as pure functions; scores are [B, 1]."""

from collections.abc import Callable

import tensorflow as tf

# Under the root of the gradient norm, whose derivative is infinite at zero.
_EPSILON = 1e-12


def critic_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Negative Wasserstein estimate (Arjovsky et al. 2017, equation 2)."""
    return tf.reduce_mean(fake) - tf.reduce_mean(real)


def generator_loss(fake: tf.Tensor) -> tf.Tensor:
    """Negative mean score (Arjovsky et al. 2017, algorithm 1)."""
    return -tf.reduce_mean(fake)


def gradient_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor],
    real: tf.Tensor,
    fake: tf.Tensor,
    weights: tf.Tensor,
) -> tf.Tensor:
    """Mean of (gradient norm - 1)^2 between real and generated windows.

    Gulrajani et al. 2017, equation 3: the norm is that of each sample, the
    points lie on straight lines, uniformly.

    Args:
      critic: maps windows [B, T, F] to scores [B, 1].
      real: windows [B, T, F].
      fake: windows [B, T, F].
      weights: float32 [B], uniform in [0, 1): 0 is real, 1 generated.

    Returns:
      A scalar, not yet multiplied by lambda.
    """
    weights = tf.reshape(weights, [-1, 1, 1])
    between = real + weights * (fake - real)
    with tf.GradientTape() as tape:
        tape.watch(between)
        scores = critic(between)
    gradients = tape.gradient(scores, between)
    square = tf.reduce_sum(tf.square(gradients), axis=[1, 2])
    norms = tf.sqrt(square + _EPSILON)  # (B,)
    return tf.reduce_mean(tf.square(norms - 1.0))
