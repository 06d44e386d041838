import itertools

import numpy as np
import tensorflow as tf

from stftgan_tf.models.noise import Noise, Purpose


def test_no_two_draws_share_a_seed():
    noise = Noise(seed=7, updates_per_step=4)
    places = itertools.product(range(5), range(4), Purpose)
    seeds = [
        tuple(noise.seed(tf.constant(step, tf.int64), update, purpose).numpy())
        for step, update, purpose in places
    ]
    assert len(set(seeds)) == 5 * 4 * len(Purpose)


def test_seeds_stay_the_same_from_version_to_version():
    noise = Noise(seed=7, updates_per_step=2)
    place = tf.constant(3, tf.int64), 1
    draws = {p: noise.seed(*place, p).numpy().tolist() for p in Purpose}
    assert draws == {
        Purpose.LATENTS: [7, 28],
        Purpose.PENALTY_POINTS: [7, 29],
        Purpose.REAL_AUGMENTATION: [7, 30],
        Purpose.FAKE_AUGMENTATION: [7, 31],
        Purpose.TEXTURE_CROP: [7, -8],
    }


def test_numbers_depend_only_on_seed_and_place():
    step = tf.constant(3, tf.int64)
    first, again, other = (
        Noise(seed, updates_per_step=2).normal([4], step, 1).numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
