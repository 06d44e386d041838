"""Latents and classes of seeds, in the graph.

All draws use Philox (Salmon et al. 2011) by name, because the default
generator of TensorFlow returns different numbers on different devices.
"""

import numpy as np
import tensorflow as tf

# 2^64 divided by the golden ratio.
_GOLDEN = 0x9E3779B97F4A7C15


def of_seeds(seed: tf.Tensor, latent_dim: int) -> tf.Tensor:
    """Latents float32 [B, Z] of seeds int64 [B], each row by its own seed."""

    def draw(seed):
        key = tf.stack([seed, tf.zeros_like(seed)])
        return tf.random.stateless_normal([latent_dim], key, alg="philox")

    return tf.map_fn(draw, seed, fn_output_signature=tf.float32)


def classes_of_seeds(seed: tf.Tensor, prior: np.ndarray) -> tf.Tensor:
    """Classes int64 [B] of seeds int64 [B], with the shares `prior` [K].

    Each seed has one class, and consecutive seeds have the classes in almost
    exactly their shares, unlike random draws: the class depends on the
    fraction of seed times the golden ratio, and these fractions fill the unit
    interval evenly (Knuth 1998, "The Art of Computer Programming", volume 3,
    section 6.4, theorem S).
    """
    bounds = np.cumsum(np.float64(prior))[:-1] / np.sum(prior, dtype=float)
    # The product modulo 2^64, of which the 31 highest bits are kept.
    position = tf.bitwise.right_shift(
        tf.cast(seed, tf.uint64) * tf.constant(_GOLDEN, tf.uint64),
        tf.constant(33, tf.uint64),
    )
    limits = tf.constant(np.ceil(bounds * 2**31), tf.int64)
    reached = tf.cast(position, tf.int64)[:, None] >= limits
    return tf.reduce_sum(tf.cast(reached, tf.int64), axis=1)


def path(seed: tf.Tensor, latent_dim: int, parts: int) -> tf.Tensor:
    """Latents [B, parts, Z]: draws of seeds [B] and the middles between them.

    The first latent is the one that `of_seeds` returns.
    """
    count = parts // 2 + 1

    def draw(seed):
        key = tf.stack([seed, 2 * tf.ones_like(seed)])
        shape = [count - 1, latent_dim]
        return tf.random.stateless_normal(shape, key, alg="philox")

    later = tf.map_fn(draw, seed, fn_output_signature=tf.float32)
    first = of_seeds(seed, latent_dim)[:, None]
    draws = tf.unstack(tf.concat([first, later], axis=1), num=count, axis=1)
    half = tf.fill(tf.shape(seed), 0.5)
    points = [
        slerp(draws[i // 2], draws[i // 2 + 1], half)
        if i % 2
        else draws[i // 2]
        for i in range(parts)
    ]
    return tf.stack(points, axis=1)


def slerp(a: tf.Tensor, b: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Spherical interpolation of latents [B, Z] by weights [B].

    A straight line between normal vectors passes through lengths that such
    vectors do not have (White 2016, "Sampling Generative Networks", section
    2.1).
    """
    lengths = tf.norm(a, axis=1) * tf.norm(b, axis=1)
    cosine = tf.reduce_sum(a * b, axis=1) / tf.maximum(lengths, 1e-12)
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))
    sine = tf.sin(angle)
    # A straight line is right for parallel vectors, such as a seed with itself.
    parallel = sine < 1e-4
    sine = tf.where(parallel, 1.0, sine)
    share_a = tf.where(
        parallel, 1 - weight, tf.sin((1 - weight) * angle) / sine
    )
    share_b = tf.where(parallel, weight, tf.sin(weight * angle) / sine)
    return share_a[:, None] * a + share_b[:, None] * b
