"""Losses of the WGAN family as pure functions.

Scores are float32 [B, 1], windows [B, T, F]. A penalty has one value for each
sample, so it does not depend on the batch size. (Where the critic sees the
standard deviation of a group of windows, the gradient is that of the group's
scores together, as in ProGAN.)
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

Critic = Callable[[tf.Tensor], tf.Tensor]

# Added under the square root of the gradient norm, because the derivative of
# the root is infinite at zero.
_EPSILON = 1e-12


def wasserstein_critic(
    real_scores: tf.Tensor, fake_scores: tf.Tensor
) -> tf.Tensor:
    """Negative Wasserstein estimate (Arjovsky et al. 2017, equation 2)."""
    return tf.reduce_mean(fake_scores) - tf.reduce_mean(real_scores)


def wasserstein_generator(
    real_scores: tf.Tensor, fake_scores: tf.Tensor
) -> tf.Tensor:
    """Negative mean score (Arjovsky et al. 2017, algorithm 1)."""
    return -tf.reduce_mean(fake_scores)


def relativistic_critic(
    real_scores: tf.Tensor, fake_scores: tf.Tensor
) -> tf.Tensor:
    """Compares each real window with one generated window.

    RpGAN (Jolicoeur-Martineau 2019, section 4) with the logistic function, as
    in R3GAN (Huang et al. 2024, equation 2).
    """
    return tf.reduce_mean(tf.nn.softplus(fake_scores - real_scores))


def relativistic_generator(
    real_scores: tf.Tensor, fake_scores: tf.Tensor
) -> tf.Tensor:
    """`relativistic_critic` with real and fake exchanged."""
    return tf.reduce_mean(tf.nn.softplus(real_scores - fake_scores))


def squared_gradient_norm(critic: Critic, windows: tf.Tensor) -> tf.Tensor:
    """Squared norm of the score's gradient at each window, float32 [B]."""
    with tf.GradientTape() as tape:
        tape.watch(windows)
        scores = critic(windows)
    gradients = tf.cast(tape.gradient(scores, windows), tf.float32)
    axes = list(range(1, gradients.shape.rank))
    return tf.reduce_sum(tf.square(gradients), axis=axes)


def interpolate(
    real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Points on the straight lines from real to generated windows.

    Args:
      real: windows [B, ...].
      fake: generated windows of the same shape.
      weights: float32 [B] in [0, 1): 0 is the real window, 1 the generated.
    """
    shape = [-1] + [1] * (real.shape.rank - 1)
    return real + tf.reshape(weights, shape) * (fake - real)


def gradient_penalty(
    critic: Critic, real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """(norm - 1)^2 of the gradient between real and generated windows, [B].

    Gulrajani et al. 2017, equation 3; the arguments are those of
    `interpolate`.
    """
    points = interpolate(real, fake, weights)
    square = squared_gradient_norm(critic, points)
    return tf.square(tf.sqrt(square + _EPSILON) - 1.0)


def zero_centred_penalty(
    critic: Critic, real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Mean of norm^2 at the real and norm^2 at the generated window, [B].

    R1 + R2 (Mescheder et al. 2018, section 4.1; R3GAN, equation 3). `weights`
    are not used. The critic takes both halves as one batch.
    """
    square = squared_gradient_norm(critic, tf.concat([real, fake], 0))
    real_square, fake_square = tf.split(square, 2)
    return (real_square + fake_square) / 2


@dataclasses.dataclass(frozen=True)
class Loss:
    """What the two networks minimise.

    Attributes:
      critic: function of (real scores, fake scores), a scalar.
      generator: the same for the generator.
      penalty: function of (critic, real, fake, weights) with values [B], or
        None if the critic's weights are clipped instead.
      relativistic: whether the generator's loss uses scores of real windows.
    """

    critic: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    penalty: Callable[..., tf.Tensor] | None
    relativistic: bool = False


# By `train.loss`.
LOSSES = {
    "wgan": Loss(wasserstein_critic, wasserstein_generator, None),
    "wgan-gp": Loss(
        wasserstein_critic, wasserstein_generator, gradient_penalty
    ),
    "rpgan-r1r2": Loss(
        relativistic_critic,
        relativistic_generator,
        zero_centred_penalty,
        relativistic=True,
    ),
}
