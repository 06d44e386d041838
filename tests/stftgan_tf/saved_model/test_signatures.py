import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.saved_model import signatures as served


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


def test_parts_are_faded_one_into_the_next():
    parts = np.float32([[1, 1, 1, 1], [3, 3, 3, 3]])
    # Two samples alone, two where a falls and b rises (3:1, 1:3), two alone.
    wanted = [1, 1, 1 * 0.75 + 3 * 0.25, 1 * 0.25 + 3 * 0.75, 3, 3]
    np.testing.assert_allclose(served.faded_together(parts), wanted, rtol=1e-6)


@pytest.mark.parametrize(("count", "length"), [(2, 1), (3, 7), (5, 16)])
def test_weights_sum_to_one_everywhere(count, length):
    faded = served.faded_together(tf.ones([2, count, length])).numpy()
    assert faded.shape == (2, (count - 1) * max(1, length // 2) + length)
    np.testing.assert_allclose(faded, 1, rtol=1e-6)


def test_a_path_goes_through_draws_by_way_of_what_lies_between():
    seeds = tf.constant([4, 9], tf.int64)
    path = served.path_of(seeds, 8, 5).numpy()
    np.testing.assert_array_equal(path[:, 0], served.latents_of(seeds, 8))
    half = np.float32([0.5, 0.5])
    for between in (1, 3):
        ends = path[:, between - 1], path[:, between + 1]
        np.testing.assert_allclose(
            path[:, between], served.slerp(*ends, half), rtol=1e-5
        )
    assert len(np.unique(path.reshape(10, 8), axis=0)) == 10
    alone = served.path_of(seeds[1:], 8, 5)
    np.testing.assert_array_equal(alone[0], path[1])


def test_enough_windows_for_the_seconds_asked_for(tiny):
    rate, stft = tiny.audio.sample_rate_hz, tiny.stft
    for secs in (0.01, 0.5, 3.0):
        parts = served.long_parts(tiny, secs)
        frames = 16 + (parts - 1) * 8
        samples = (frames - 1) * stft.frame_step + stft.frame_length
        assert samples >= secs * rate
        assert parts == 2 or samples - 8 * stft.frame_step < secs * rate
