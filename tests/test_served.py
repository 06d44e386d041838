import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import served


def test_seeds_stand_for_normal_latents():
    seeds = tf.range(2000, dtype=tf.int64)
    latents = served.latents_of(seeds, 16).numpy()
    assert latents.mean() == pytest.approx(0, abs=0.02)
    assert latents.std() == pytest.approx(1, abs=0.02)
    between = np.corrcoef(latents.T) - np.eye(16)
    assert np.abs(between).max() < 0.1


def test_classes_are_drawn_as_often_as_the_data_has_them():
    prior = np.float32([0.1, 0.0, 0.6, 0.3])
    drawn = served.classes_of(tf.range(4000, dtype=tf.int64), prior)
    shares = np.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(shares, prior, atol=0.03)
    assert shares[1] == 0


def test_half_way_between_orthogonal_latents():
    a, b = tf.constant([[3.0, 0.0]]), tf.constant([[0.0, 3.0]])
    middle = served.slerp(a, b, tf.constant([0.5]))
    np.testing.assert_allclose(middle, [[3 / 2**0.5] * 2], rtol=1e-6)


def test_the_way_between_keeps_the_length_of_normal_latents():
    rng = np.random.default_rng(0)
    a, b = np.float32(rng.standard_normal((2, 1000, 64)))
    way = served.slerp(a, b, np.float32(np.linspace(0, 1, 1000)))
    lengths = np.linalg.norm(way, axis=1)
    assert abs(lengths.mean() - 8) < 0.1 and lengths.min() > 5


def test_the_way_from_a_latent_to_itself_stays_there():
    a = np.float32([[1.0, -2.0, 0.5]])
    for b in (a, 2 * a):
        way = served.slerp(a, b, np.float32([0.5]))
        np.testing.assert_allclose(way, (a + b) / 2, rtol=1e-6)
