import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.models import losses

PENALTIES = {
    # Of a critic whose gradient norm is 4 everywhere.
    losses.gradient_penalty: (4 - 1) ** 2,
    losses.one_sided_penalty: (4 - 1) ** 2,
    losses.divergence_penalty: 4**6,
    losses.zero_centred_penalty: (16 + 16) / 2,
}


def doubled_sum(windows):
    """A critic whose gradient is 2 everywhere: norm 4 on four values."""
    return 2 * tf.reduce_sum(windows, axis=[1, 2])[:, None]


def half_sum(windows):
    """Norm 0.5 on four values."""
    return doubled_sum(windows) / 8


def scores(*values):
    return tf.constant([[float(v)] for v in values])


def test_wasserstein_by_hand():
    real, fake = scores(3, 5), scores(1, 2)
    assert float(losses.wasserstein_critic(real, fake)) == 1.5 - 4.0
    assert float(losses.wasserstein_generator(real, fake)) == -1.5


def test_relativistic_by_hand():
    # Real is 2 and 0 above its partner: softplus(-2) and softplus(0).
    real, fake = scores(3, 5), scores(1, 5)
    critic = (np.log1p(np.exp(-2)) + np.log(2)) / 2
    generator = (np.log1p(np.exp(2)) + np.log(2)) / 2
    assert float(losses.relativistic_critic(real, fake)) == pytest.approx(
        critic
    )
    assert float(losses.relativistic_generator(real, fake)) == pytest.approx(
        generator
    )


def test_drift_by_hand():
    assert float(losses.drift(scores(3, -1))) == 5.0


@pytest.mark.parametrize(("penalty", "expected"), PENALTIES.items())
def test_penalties_by_hand(penalty, expected):
    real, fake = tf.zeros([3, 2, 2]), tf.ones([3, 2, 2])
    weights = tf.constant([0.0, 0.5, 1.0])
    found = penalty(doubled_sum, real, fake, weights)
    np.testing.assert_allclose(found, [expected] * 3, rtol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_do_not_depend_on_the_batch(penalty):
    windows = tf.random.stateless_normal([64, 2, 2], [0, 1])
    weights = tf.linspace(0.0, 1.0, 64)

    def critic(x):
        return tf.reduce_sum(x**3, axis=[1, 2])[:, None]

    whole = penalty(critic, windows, 2 * windows, weights)
    alone = [
        penalty(
            critic,
            windows[i : i + 1],
            2 * windows[i : i + 1],
            weights[i : i + 1],
        )
        for i in range(64)
    ]
    np.testing.assert_allclose(whole, np.concatenate(alone), rtol=1e-5)


def test_one_side_leaves_flat_critics_alone():
    zeros, half = tf.zeros([2, 2, 2]), tf.fill([2], 0.5)
    assert (
        losses.one_sided_penalty(half_sum, zeros, zeros, half).numpy().max()
        == 0
    )
    both = losses.gradient_penalty(half_sum, zeros, zeros, half)
    np.testing.assert_allclose(both, 0.25, rtol=1e-5)


@pytest.mark.parametrize(
    "penalty",
    [
        losses.gradient_penalty,
        losses.one_sided_penalty,
        losses.divergence_penalty,
    ],
)
def test_points_lie_between_real_and_generated(penalty):
    seen = []

    def critic(windows):
        seen.append(windows)
        return doubled_sum(windows)

    real, fake = tf.zeros([3, 1, 1]), tf.constant([[[4.0]]] * 3)
    penalty(critic, real, fake, tf.constant([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(tf.reshape(seen[0], [-1]), [0.0, 1.0, 4.0])


def test_r1_and_r2_are_at_the_windows_themselves():
    # The gradient of x^2 / 2 is x: norms 1 and 3.
    def critic(windows):
        return tf.reduce_sum(windows**2 / 2, axis=[1, 2])[:, None]

    real, fake = tf.ones([1, 1, 1]), tf.fill([1, 1, 1], 3.0)
    found = losses.zero_centred_penalty(critic, real, fake, tf.zeros([1]))
    np.testing.assert_allclose(found, [(1 + 9) / 2])


def test_packed_windows_are_one_sample():
    # [B, T, F, k]: the norm is that of all eight values.
    def critic(windows):
        return 2 * tf.reduce_sum(windows, axis=[1, 2, 3])[:, None]

    zeros = tf.zeros([2, 2, 2, 2])
    square = losses.squared_gradient_norm(critic, zeros)
    np.testing.assert_allclose(square, [32.0, 32.0])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_flat_critic_has_a_finite_gradient(penalty):
    slope = tf.Variable(0.0)

    def critic(windows):
        return slope * tf.reduce_sum(windows, axis=[1, 2])[:, None]

    zeros = tf.zeros([2, 1, 1])
    with tf.GradientTape() as tape:
        found = penalty(critic, zeros, zeros, tf.zeros([2]))
    assert np.isfinite(found).all()
    assert np.isfinite(float(tape.gradient(found, slope)))


def test_penalties_are_float32_for_a_critic_in_bfloat16():
    def critic(windows):
        return tf.cast(tf.cast(doubled_sum(windows), tf.bfloat16), tf.float32)

    ones = tf.ones([2, 2, 2])
    for penalty, expected in PENALTIES.items():
        found = penalty(critic, ones, ones, tf.zeros([2]))
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, [expected] * 2, rtol=1e-5)
    # bfloat16 has no 1001.
    many = tf.ones([1, 1001], tf.bfloat16)
    found = losses.squared_gradient_norm(lambda x: tf.reduce_sum(x, 1), many)
    assert found.dtype == tf.float32 and float(found[0]) == 1001
