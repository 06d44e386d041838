import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import train


def model_of(*overrides):
    return train.build(config_lib.load("tiny", overrides))


def windows(count, seed=0):
    """Real windows [count, 16, 32] in [-1, 1]."""
    noise = tf.random.stateless_uniform([count, 16, 32], [0, seed], -1.0, 1.0)
    return noise


def trained(model, steps, batch=8):
    data = tf.data.Dataset.from_tensor_slices(windows(steps * batch))
    model.fit(data.batch(batch), epochs=1, verbose=0, shuffle=False)
    return model


def test_one_step_is_n_critic_updates_and_one_of_the_generator():
    model = model_of("train.critic_steps=3")
    model.train_step(windows(24))
    assert int(model.critic_optimizer.iterations) == 3
    assert int(model.generator_optimizer.iterations) == 1


def test_each_critic_update_sees_its_own_real_windows():
    model = model_of("train.critic_steps=3")
    seen = []
    update = model._update_critic

    def spy(real, step, index):
        seen.append(real.numpy())
        return update(real, step, index)

    model._update_critic = spy
    data = windows(24)
    model.train_step(data)
    np.testing.assert_array_equal(np.concatenate(seen), data)
    assert [len(s) for s in seen] == [8, 8, 8]


def test_no_two_draws_share_a_seed():
    model = model_of("train.critic_steps=3")
    seeds = {
        tuple(model._seed(tf.constant(step, tf.int64), index, purpose).numpy())
        for step in range(5)
        for index in range(4)
        for purpose in range(2)
    }
    assert len(seeds) == 5 * 4 * 2


def test_clipped_wgan_keeps_every_critic_weight_in_its_bounds():
    model = model_of("train.loss=wgan", "train.optimizer=rmsprop")
    model.train_step(windows(8))
    for weight in model.critic.get_weights():
        assert np.abs(weight).max() <= np.float32(0.01)
    assert float(model.metrics[2].result()) == 0.0


def test_gradient_penalty_leaves_the_weights_free():
    model = model_of()
    logs = model.train_step(windows(8))
    assert max(np.abs(w).max() for w in model.critic.get_weights()) > 0.01
    assert float(logs["gradient_penalty"]) > 0


def test_the_average_follows_the_generator_by_hand():
    model = model_of("train.ema_decay=0.5")
    before = model.ema_generator.get_weights()
    start = model.generator.get_weights()
    for a, b in zip(before, start, strict=True):
        np.testing.assert_array_equal(a, b)
    model.train_step(windows(8))
    # The warm-up's decay at step 0 is 1 / 10.
    after = model.generator.get_weights()
    average = model.ema_generator.get_weights()
    for a, b, c in zip(start, after, average, strict=True):
        np.testing.assert_allclose(c, 0.1 * a + 0.9 * b, atol=1e-7)


def test_the_critic_learns_to_tell_apart():
    # Real windows are bright, the untrained generator's are near zero.
    model = model_of("train.generator_lr=0.0")
    bright = tf.fill([8, 16, 32], 0.8)
    losses = []
    for _ in range(30):
        model.reset_metrics()
        losses.append(float(model.train_step(bright)["critic_loss"]))
    assert losses[-1] < losses[0] - 0.5


def test_a_value_that_is_not_finite_is_remembered_with_its_step():
    model = model_of()
    model.train_step(windows(8))
    assert int(model.first_bad_step) == -1
    model.train_step(tf.fill([8, 16, 32], float("nan")))
    model.train_step(windows(8))
    assert int(model.first_bad_step) == 1


def test_same_seed_same_weights():
    one, two = (trained(model_of(), 4) for _ in range(2))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def with_noise_by_hand(model):
    """XLA's generator gives other noise; this is the same with and without."""

    def latents(batch, step, index):
        numbers = tf.range(batch * 8, dtype=tf.float32) + tf.cast(
            step, tf.float32
        )
        return tf.reshape(tf.sin(37 * numbers + index), [batch, 8])

    model._latents = latents
    model._mixing = lambda batch, *_: tf.linspace(0.0, 1.0, batch)
    return model


def test_xla_does_the_same_steps():
    sets = ["train.critic_steps=2", "train.critic_lr=1e-3"]
    graph, xla = (
        trained(
            with_noise_by_hand(model_of(f"train.jit_compile={jit}", *sets)),
            steps=3,
            batch=16,
        )
        for jit in ("false", "true")
    )
    assert xla.jit_compile and not graph.jit_compile
    ours, theirs = (
        np.concatenate([w.ravel() for w in m.generator.get_weights()])
        for m in (graph, xla)
    )
    # Adam's first steps are signs of gradients: those near zero may flip.
    assert np.mean(np.abs(ours - theirs) < 1e-5) > 0.99


def test_there_is_no_third_optimizer():
    assert model_of().optimizer is None


@pytest.mark.parametrize("network", ["frames", "dcgan"])
def test_both_kinds_of_networks_train(network):
    model = model_of(f"model.networks={network}", "train.critic_steps=2")
    before = model.generator.get_weights()
    logs = model.train_step(windows(16))
    assert all(np.isfinite(float(v)) for v in logs.values())
    after = model.generator.get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
