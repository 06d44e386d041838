import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.saved_model import latents


def test_seeds_draw_normal_latents():
    seeds = tf.range(2000, dtype=tf.int64)
    # As a graph, which is faster.
    values = tf.function(latents.of_seeds)(seeds, 16).numpy()
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.02)
    correlations = np.corrcoef(values.T) - np.eye(16)
    assert np.abs(correlations).max() < 0.1


def test_classes_have_the_shares_of_the_data():
    prior = np.float32([0.1, 0.0, 0.6, 0.3])
    draw = tf.function(lambda seeds: latents.classes_of_seeds(seeds, prior))
    classes = draw(tf.range(4000, dtype=tf.int64))
    shares = np.bincount(classes, minlength=4) / 4000
    np.testing.assert_allclose(shares, prior, atol=0.03)
    assert shares[1] == 0


@pytest.mark.parametrize("first", [0, 12345, -500, 2**62])
def test_consecutive_seeds_are_balanced(first):
    prior = np.float32([0.1, 0.0, 0.6, 0.25, 0.05])
    seeds = tf.constant(first + np.arange(200))
    classes = latents.classes_of_seeds(seeds, prior).numpy()
    for count in (20, 200):
        expected = count * prior
        counts = np.bincount(classes[:count], minlength=5)
        # Random draws would be off by more than 5 in 200.
        assert np.abs(counts - expected).max() < 2
    alone = latents.classes_of_seeds(seeds[7:8], prior)
    assert alone[0] == classes[7]


def test_the_middle_of_orthogonal_latents():
    a, b = tf.constant([[3.0, 0.0]]), tf.constant([[0.0, 3.0]])
    middle = latents.slerp(a, b, tf.constant([0.5]))
    np.testing.assert_allclose(middle, [[3 / 2**0.5] * 2], rtol=1e-6)


def test_interpolated_latents_keep_their_length():
    rng = np.random.default_rng(0)
    a, b = np.float32(rng.standard_normal((2, 1000, 64)))
    points = latents.slerp(a, b, np.float32(np.linspace(0, 1, 1000)))
    lengths = np.linalg.norm(points, axis=1)
    assert abs(lengths.mean() - 8) < 0.1 and lengths.min() > 5


def test_parallel_latents_are_interpolated_along_a_line():
    a = np.float32([[1.0, -2.0, 0.5]])
    for b in (a, 2 * a):
        middle = latents.slerp(a, b, np.float32([0.5]))
        np.testing.assert_allclose(middle, (a + b) / 2, rtol=1e-6)


def test_a_path_alternates_between_draws_and_their_middles():
    seeds = tf.constant([4, 9], tf.int64)
    path = latents.path(seeds, 8, 5).numpy()
    np.testing.assert_array_equal(path[:, 0], latents.of_seeds(seeds, 8))
    half = np.float32([0.5, 0.5])
    for middle in (1, 3):
        ends = path[:, middle - 1], path[:, middle + 1]
        np.testing.assert_allclose(
            path[:, middle], latents.slerp(*ends, half), rtol=1e-5
        )
    assert len(np.unique(path.reshape(10, 8), axis=0)) == 10
    alone = latents.path(seeds[1:], 8, 5)
    np.testing.assert_array_equal(alone[0], path[1])
