"""Losses of the WGAN family as pure functions.

Scores are float32 [B, 1]; windows [B, T, F], with more axes where they are
packed. Penalties come as one value a sample, so that none depends on the size
of the batch (where the critic sees the spread of a group, the gradient is of
the group's scores together, as in ProGAN).
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

Critic = Callable[[tf.Tensor], tf.Tensor]

# Under the root of the gradient norm, whose derivative is infinite at zero.
_EPSILON = 1e-12


def wasserstein_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Negative Wasserstein estimate (Arjovsky et al. 2017, equation 2)."""
    return tf.reduce_mean(fake) - tf.reduce_mean(real)


def wasserstein_generator(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Negative mean score (Arjovsky et al. 2017, algorithm 1)."""
    return -tf.reduce_mean(fake)


def relativistic_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Each real window against one generated one.

    RpGAN (Jolicoeur-Martineau 2019, section 4) with the logistic function, as
    in R3GAN (Huang et al. 2024, equation 2).
    """
    return tf.reduce_mean(tf.nn.softplus(fake - real))


def relativistic_generator(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """`relativistic_critic` with the parts exchanged."""
    return tf.reduce_mean(tf.nn.softplus(real - fake))


def squared_gradient_norm(critic: Critic, windows: tf.Tensor) -> tf.Tensor:
    """Squared norm of the score's gradient at each window, float32 [B]."""
    with tf.GradientTape() as tape:
        tape.watch(windows)
        scores = critic(windows)
    gradients = tf.cast(tape.gradient(scores, windows), tf.float32)
    axes = list(range(1, gradients.shape.rank))
    return tf.reduce_sum(tf.square(gradients), axis=axes)


def between(real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Points on the straight lines from real to generated windows.

    Args:
      real: windows [B, ...].
      fake: windows of the same shape.
      weights: float32 [B], uniform in [0, 1): 0 is real, 1 generated.
    """
    shape = [-1] + [1] * (real.shape.rank - 1)
    return real + tf.reshape(weights, shape) * (fake - real)


def gradient_penalty(
    critic: Critic, real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """(norm - 1)^2 between real and generated windows, [B].

    Gulrajani et al. 2017, equation 3; arguments as in `between`.
    """
    square = squared_gradient_norm(critic, between(real, fake, weights))
    return tf.square(tf.sqrt(square + _EPSILON) - 1.0)


def zero_centred_penalty(
    critic: Critic, real: tf.Tensor, fake: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """(norm^2 at the real window + norm^2 at the generated one) / 2, [B].

    R1 + R2 (Mescheder et al. 2018, section 4.1; R3GAN, equation 3). One call
    for both: the critic takes the pairs as one batch.
    """
    square = squared_gradient_norm(critic, tf.concat([real, fake], 0))
    ours, theirs = tf.split(square, 2)
    return (ours + theirs) / 2


@dataclasses.dataclass(frozen=True)
class Loss:
    """What the two networks minimise.

    Attributes:
      critic, generator: of (real, fake) scores, a scalar.
      penalty: of (critic, real, fake, weights), [B]; None where the weights
        are clipped instead.
      relativistic: whether the generator's loss reads scores of real windows.
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
