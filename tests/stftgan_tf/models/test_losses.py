import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.models import losses

# Values for a critic whose gradient norm is 4 everywhere.
PENALTIES = {
    losses.gradient_penalty: (4 - 1) ** 2,
    losses.zero_centred_penalty: (16 + 16) / 2,
}


def double_sum(windows):
    """A critic whose gradient is 2 everywhere: norm 4 on four values."""
    return 2 * tf.reduce_sum(windows, axis=[1, 2])[:, None]


def scores(*values):
    return tf.constant([[float(v)] for v in values])


def test_wasserstein_by_hand():
    real, fake = scores(3, 5), scores(1, 2)
    assert float(losses.wasserstein_critic(real, fake)) == 1.5 - 4.0
    assert float(losses.wasserstein_generator(real, fake)) == -1.5


def test_relativistic_by_hand():
    # Real scores are 2 and 0 above their partners.
    real, fake = scores(3, 5), scores(1, 5)
    critic = (np.log1p(np.exp(-2)) + np.log(2)) / 2
    generator = (np.log1p(np.exp(2)) + np.log(2)) / 2
    assert float(losses.relativistic_critic(real, fake)) == pytest.approx(
        critic
    )
    assert float(losses.relativistic_generator(real, fake)) == pytest.approx(
        generator
    )


@pytest.mark.parametrize(("penalty", "expected"), PENALTIES.items())
def test_penalties_by_hand(penalty, expected):
    real, fake = tf.zeros([3, 2, 2]), tf.ones([3, 2, 2])
    weights = tf.constant([0.0, 0.5, 1.0])
    values = penalty(double_sum, real, fake, weights)
    np.testing.assert_allclose(values, [expected] * 3, rtol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_do_not_depend_on_the_batch(penalty):
    windows = tf.random.stateless_normal([8, 2, 2], [0, 1])
    weights = tf.linspace(0.0, 1.0, 8)

    def critic(x):
        return tf.reduce_sum(x**3, axis=[1, 2])[:, None]

    whole = penalty(critic, windows, 2 * windows, weights)
    parts = [
        penalty(critic, windows[i:][:1], 2 * windows[i:][:1], weights[i:][:1])
        for i in range(8)
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5)


def test_the_gradient_penalty_is_two_sided():
    zeros, half = tf.zeros([2, 2, 2]), tf.fill([2], 0.5)

    def half_sum(windows):
        """Norm 0.5 on four values."""
        return double_sum(windows) / 8

    values = losses.gradient_penalty(half_sum, zeros, zeros, half)
    np.testing.assert_allclose(values, 0.25, rtol=1e-5)


def test_the_gradient_penalty_is_between_real_and_generated_windows():
    points = []

    def critic(windows):
        points.append(windows)
        return double_sum(windows)

    real, fake = tf.zeros([3, 1, 1]), tf.constant([[[4.0]]] * 3)
    weights = tf.constant([0.0, 0.25, 1.0])
    losses.gradient_penalty(critic, real, fake, weights)
    np.testing.assert_allclose(tf.reshape(points[0], [-1]), [0.0, 1.0, 4.0])


def test_r1_and_r2_are_at_the_windows_themselves():
    # The gradient of x^2 / 2 is x: norms 1 and 3.
    def critic(windows):
        return tf.reduce_sum(windows**2 / 2, axis=[1, 2])[:, None]

    real, fake = tf.ones([1, 1, 1]), tf.fill([1, 1, 1], 3.0)
    values = losses.zero_centred_penalty(critic, real, fake, tf.zeros([1]))
    np.testing.assert_allclose(values, [(1 + 9) / 2])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_penalty_of_a_flat_critic_has_a_finite_gradient(penalty):
    slope = tf.Variable(0.0)

    def critic(windows):
        return slope * tf.reduce_sum(windows, axis=[1, 2])[:, None]

    zeros = tf.zeros([2, 1, 1])
    with tf.GradientTape() as tape:
        values = penalty(critic, zeros, zeros, tf.zeros([2]))
    assert np.isfinite(values).all()
    assert np.isfinite(float(tape.gradient(values, slope)))


def test_penalties_of_a_bfloat16_critic_are_summed_in_float32():
    def critic(windows):
        return tf.cast(tf.cast(double_sum(windows), tf.bfloat16), tf.float32)

    ones = tf.ones([2, 2, 2])
    for penalty, expected in PENALTIES.items():
        values = penalty(critic, ones, ones, tf.zeros([2]))
        assert values.dtype == tf.float32
        np.testing.assert_allclose(values, [expected] * 2, rtol=1e-5)
    # bfloat16 cannot represent 1001.
    wide = tf.ones([1, 1001], tf.bfloat16)
    norm = losses.squared_gradient_norm(lambda x: tf.reduce_sum(x, 1), wide)
    assert norm.dtype == tf.float32 and float(norm[0]) == 1001
