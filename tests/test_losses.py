import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import losses


def doubled_sum(windows):
    """A critic whose gradient is 2 everywhere."""
    return 2 * tf.reduce_sum(windows, axis=[1, 2])[:, None]


def scores(*values):
    return tf.constant([[float(v)] for v in values])


def test_critic_loss_is_the_negative_wasserstein_estimate():
    loss = losses.critic_loss(scores(3, 5), scores(1, 2))
    assert float(loss) == 1.5 - 4.0


def test_generator_loss_is_the_negative_mean_score():
    assert float(losses.generator_loss(scores(1, 2))) == -1.5


def test_penalty_by_hand():
    # Four values with gradient 2 each: norm 4, penalty (4 - 1)^2.
    real, fake = tf.zeros([3, 2, 2]), tf.ones([3, 2, 2])
    weights = tf.constant([0.0, 0.5, 1.0])
    penalty = losses.gradient_penalty(doubled_sum, real, fake, weights)
    assert float(penalty) == pytest.approx(9.0, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_penalty_does_not_depend_on_the_batch_size(batch):
    windows = tf.random.stateless_normal([batch, 2, 2], [0, batch])
    weights = tf.fill([batch], 0.5)
    penalty = losses.gradient_penalty(doubled_sum, windows, -windows, weights)
    assert float(penalty) == pytest.approx(9.0, rel=1e-6)


def test_points_lie_between_real_and_generated():
    seen = []

    def critic(windows):
        seen.append(windows)
        return doubled_sum(windows)

    real, fake = tf.zeros([3, 1, 1]), tf.constant([[[4.0]]] * 3)
    weights = tf.constant([0.0, 0.25, 1.0])
    losses.gradient_penalty(critic, real, fake, weights)
    np.testing.assert_allclose(tf.reshape(seen[0], [-1]), [0.0, 1.0, 4.0])


def test_each_samples_own_norm_is_taken():
    # Gradients 1 and 3 on one value each: (0 + 4) / 2, not (norm - 1)^2 of
    # both together.
    slopes = tf.constant([[[1.0]], [[3.0]]])

    def critic(windows):
        return tf.reduce_sum(slopes * windows, axis=[1, 2])[:, None]

    zeros = tf.zeros([2, 1, 1])
    penalty = losses.gradient_penalty(critic, zeros, zeros, tf.zeros([2]))
    assert float(penalty) == pytest.approx(2.0, rel=1e-6)


def test_a_flat_critic_has_a_finite_gradient():
    slope = tf.Variable(0.0)

    def critic(windows):
        return slope * tf.reduce_sum(windows, axis=[1, 2])[:, None]

    zeros = tf.zeros([2, 1, 1])
    with tf.GradientTape() as tape:
        penalty = losses.gradient_penalty(critic, zeros, zeros, tf.zeros([2]))
    assert float(penalty) == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(float(tape.gradient(penalty, slope)))
