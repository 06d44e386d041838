"""Random numbers that depend only on their place in the training."""

import enum
from typing import Any

import tensorflow as tf


class Purpose(enum.IntEnum):
    """What random numbers are used for; each has its own seeds."""

    LATENTS = 0
    PENALTY_POINTS = 1
    REAL_AUGMENTATION = 2
    FAKE_AUGMENTATION = 3
    TEXTURE_CROP = -1


# Of them, those that are not negative.
_PURPOSES = 4


class Noise:
    """Random numbers keyed by (seed, replica, step, update, purpose).

    A resumed training therefore draws the same numbers as an uninterrupted
    one. (XLA has a different generator: the same seeds give other numbers.)
    """

    def __init__(self, seed: int, updates_per_step: int):
        """A step consists of `updates_per_step` updates of a network."""
        self._seed, self._updates = seed, updates_per_step

    def normal(self, shape: Any, step: tf.Tensor, update: int) -> tf.Tensor:
        """Normally distributed float32 numbers, for latents."""
        seed = self.seed(step, update, Purpose.LATENTS)
        return tf.random.stateless_normal(shape, seed, alg="philox")

    def uniform(
        self, shape: Any, step: tf.Tensor, update: int, purpose: Purpose
    ) -> tf.Tensor:
        """Uniformly distributed float32 numbers in [0, 1)."""
        seed = self.seed(step, update, purpose)
        return tf.random.stateless_uniform(shape, seed, alg="philox")

    def seed(self, step: tf.Tensor, update: int, purpose: Purpose) -> tf.Tensor:
        """A seed, int64 [2], that no other draw of the training uses."""
        place = step * self._updates + update
        if purpose == Purpose.TEXTURE_CROP:
            # So that the other purposes keep the seeds that they had before it.
            draw = -1 - place
        else:
            draw = _PURPOSES * place + int(purpose)
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # `train.seed` has 31 bits.
        return tf.stack([self._seed + replica * 2**32, draw])
