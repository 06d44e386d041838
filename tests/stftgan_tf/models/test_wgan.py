import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import losses
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.noise import Purpose

STEP = tf.constant(0, tf.int64)


def model_with(*overrides):
    config = config_lib.load("tiny", overrides)
    classes = 3 if config.model.condition != "none" else 0
    return build_wgan(config, Moments.neutral(config), classes)


def small(*overrides):
    """A model whose graph compiles quickly."""
    return model_with("model.num_downsamples=1", *overrides)


@pytest.fixture(scope="module")
def trained_model():
    """A model after 4 steps."""
    return fitted(small(), 4)


def windows(count, seed=0):
    """Real windows [count, 16, 32] in [-1, 1]."""
    return tf.random.stateless_uniform([count, 16, 32], [0, seed], -1.0, 1.0)


def batch_of(count, classes=3):
    """Windows and their labels."""
    return windows(count), tf.range(count, dtype=tf.int64) % classes


def bright(count):
    """Real windows that an untrained generator does not produce."""
    return tf.fill([count, 16, 32], 0.8), tf.zeros([count], tf.int64)


def fitted(model, steps, batch=8):
    data = tf.data.Dataset.from_tensor_slices(batch_of(steps * batch))
    model.fit(data.batch(batch), epochs=1, verbose=0, shuffle=False)
    return model


def share_changed(before, after):
    pairs = zip(before, after, strict=True)
    return np.mean([(a != b).any() for a, b in pairs])


def assert_equal_weights(first, second, **tolerance):
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, **{"atol": 0, **tolerance})


def test_a_step_is_several_critic_updates_and_one_of_the_generator():
    model, batches = model_with("train.critic_steps=3"), []
    update_critic = model.update_critic

    def spy(real, label, step, update):
        batches.append(real.numpy())
        return update_critic(real, label, step, update)

    model.update_critic = spy
    data = batch_of(24)
    model.train_step(data)
    assert int(model.critic_optimizer.iterations) == 3
    assert int(model.generator_optimizer.iterations) == int(model.step) == 1
    # Each critic update has its own real windows.
    assert [len(batch) for batch in batches] == [8, 8, 8]
    np.testing.assert_array_equal(np.concatenate(batches), data[0])


def test_there_is_no_third_optimizer():
    assert model_with().optimizer is None


def test_the_clipped_loss_limits_every_critic_weight():
    model = model_with("train.loss=wgan", "train.optimizer=rmsprop")
    logs = model.train_step(batch_of(8))
    for weight in model.critic.get_weights():
        assert np.abs(weight).max() <= np.float32(0.01)
    assert float(logs["penalty"]) == 0.0


def test_the_penalised_loss_does_not_clip_weights():
    model = model_with("train.loss=wgan-gp")
    logs = model.train_step(batch_of(8))
    assert max(np.abs(w).max() for w in model.critic.get_weights()) > 0.01
    assert float(logs["penalty"]) > 0


@pytest.mark.parametrize("loss", ["wgan-gp", "rpgan-r1r2"])
def test_the_critic_learns_to_separate_real_from_generated(loss):
    model = small(f"train.loss={loss}", "train.generator_lr=0.0")
    real, labels = bright(8)
    step = tf.function(model.train_step)
    for _ in range(40):
        step((real, labels))
    fake = model.generator(tf.zeros([8, 8]))
    gap = model.score(real, labels) - model.score(fake, labels)
    assert float(tf.reduce_min(gap)) > 0.1


def test_the_first_step_with_a_non_finite_value_is_remembered():
    model = model_with()
    model.train_step(batch_of(8))
    assert int(model.first_bad_step) == -1
    bad = tf.fill([8, 16, 32], float("nan"))
    model.train_step((bad, tf.zeros([8], tf.int64)))
    model.train_step(batch_of(8))
    assert int(model.first_bad_step) == 1


def test_the_same_seed_gives_the_same_weights(trained_model):
    again = fitted(small(), 4)
    assert_equal_weights(trained_model, again)
    assert trained_model.digest() == again.digest() != small().digest()


def test_several_steps_in_one_execution_are_the_same_steps(trained_model):
    keys = (
        "train.steps_per_execution",
        "train.log_every",
        "train.preview_every",
        "train.checkpoint_every",
        "watch.every",
    )
    at_once = fitted(small(*(f"{key}=4" for key in keys)), 4)
    assert int(at_once.step) == 4
    assert_equal_weights(trained_model, at_once, atol=1e-6)


def test_fit_accepts_windows_without_labels(trained_model):
    data = tf.data.Dataset.from_tensor_slices(windows(32)).batch(8)
    model = small()
    model.fit(data, epochs=1, verbose=0, shuffle=False)
    assert_equal_weights(model, trained_model)


def test_unsuitable_batches_are_errors_that_say_what_is_expected():
    with pytest.raises(ValueError, match="a conditional model trains on pair"):
        model_with("model.condition=label").train_step(windows(8))
    model = model_with("train.critic_steps=3")
    with pytest.raises(ValueError, match="a multiple of train.critic_steps, 3"):
        model.train_step(batch_of(8))
    with pytest.raises(ValueError, match=r"expected \[B, T, F\]"):
        model.train_step(windows(9)[..., None])


class SameNoise:
    """Noise that XLA, which has its own generator, draws as well."""

    def normal(self, shape, step, update):
        numbers = tf.range(shape[0] * 8, dtype=tf.float32)
        numbers += tf.cast(step, tf.float32)
        return tf.reshape(tf.sin(37 * numbers + update), [shape[0], 8])

    def uniform(self, shape, step, update, purpose):
        return tf.linspace(0.0, 1.0, shape[0])


def test_xla_does_the_same_steps():
    graph, xla = (
        small(f"train.jit_compile={jit}", "train.critic_lr=1e-3")
        for jit in ("false", "true")
    )
    for model in (graph, xla):
        model.noise = SameNoise()
        fitted(model, steps=3)
    assert xla.jit_compile and not graph.jit_compile
    expected, result = (
        np.concatenate([w.ravel() for w in m.generator.get_weights()])
        for m in (graph, xla)
    )
    # Adam's first steps are signs of gradients; those near zero may flip.
    assert np.mean(np.abs(expected - result) < 1e-5) > 0.99


FEATURES = {
    "none": [],
    # What `digits8k` uses.
    "shipped": [
        "model.condition=cluster",
        "model.critic_input=window_and_mel",
        "model.stem_stride=2",
        "augment.target=0.6",
        "train.penalty_interval=4",
    ],
    "all": [
        "model.minibatch_stddev=4",
        "augment.target=0.6",
        "model.condition=label",
        "train.precision=mixed_bfloat16",
        "train.penalty_interval=2",
        "train.texture_weight=0.5",
    ],
}


def kind_of_networks(kind):
    if kind == "frames":
        return ["model.networks=frames"]
    return [
        "model.networks=dcgan",
        "model.critic_input=window",
        "model.stem_stride=1",
    ]


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("features", FEATURES)
def test_both_kinds_of_networks_train_with_every_feature(kind, features):
    model = model_with(
        "train.loss=rpgan-r1r2",
        "train.critic_steps=2",
        *FEATURES[features],
        *kind_of_networks(kind),
    )
    before = model.get_weights()
    for _ in range(2):
        logs = model.train_step(batch_of(16))
    assert all(np.isfinite(float(v)) for v in logs.values())
    assert share_changed(before, model.get_weights()) > 0.9
    assert all(w.dtype != "bfloat16" for w in model.weights)


@pytest.mark.parametrize(
    "features", ["shipped", pytest.param("all", marks=pytest.mark.slow)]
)
def test_xla_compiles_every_feature_and_penalty_intervals(features):
    # XLA must not need the step as a constant: it would compile again
    # for every step, or fail.
    model = small(
        "train.jit_compile=true", "train.loss=rpgan-r1r2", *FEATURES[features]
    )
    before = model.get_weights()
    fitted(model, steps=5)
    assert model.jit_compile and int(model.step) == 5
    assert int(model.first_bad_step) == -1
    assert share_changed(before, model.get_weights()) > 0.9


@pytest.mark.parametrize("loss", ["wgan-gp", "rpgan-r1r2"])
def test_penalties_in_bfloat16_are_near_those_in_float32(loss):
    penalties = []
    for precision in ("float32", "mixed_bfloat16"):
        model = model_with(f"train.loss={loss}", f"train.precision={precision}")
        model.critic.set_weights([3 * w for w in model.critic.get_weights()])
        labels = tf.zeros([8], tf.int64)
        penalty = model.penalty(windows(8, 1), windows(8, 2), labels, STEP, 0)
        assert penalty.dtype == tf.float32
        penalties.append(float(penalty))
    assert penalties[1] == pytest.approx(penalties[0], rel=0.1)
    assert penalties[0] > 0.1


@pytest.mark.parametrize("loss", ["wgan-gp", "rpgan-r1r2"])
def test_the_penalty_by_hand(loss):
    model = model_with(f"train.loss={loss}")
    real, fake = windows(8, 1), windows(8, 2)
    labels = tf.zeros([8], tf.int64)

    def square(points):
        with tf.GradientTape() as tape:
            tape.watch(points)
            scores = model.critic(points[..., None])
        gradients = tape.gradient(scores, points).numpy()
        return np.square(gradients).sum(axis=(1, 2))

    if loss == "rpgan-r1r2":
        expected = (square(real) + square(fake)) / 2
    else:
        weights = model.noise.uniform([8], STEP, 0, Purpose.PENALTY_POINTS)
        points = losses.interpolate(real, fake, weights)
        expected = np.square(np.sqrt(square(points)) - 1)
    penalty = model.penalty(real, fake, labels, STEP, 0)
    np.testing.assert_allclose(penalty, expected.mean(), rtol=1e-4)


def test_a_penalty_at_intervals_counts_accordingly_more():
    at_intervals = small("train.penalty_interval=4", "train.critic_lr=0.0")
    always = small("train.critic_lr=0.0")
    real, labels = batch_of(8)
    rare = [
        float(at_intervals.update_critic(real, labels, step, 0)["penalty"])
        for step in tf.range(5, dtype=tf.int64)
    ]
    usual = always.update_critic(real, labels, STEP, 0)["penalty"]
    assert rare[1:4] == [0, 0, 0]
    assert rare[0] == pytest.approx(4 * float(usual), rel=1e-5)
    assert rare[4] > 0


def test_logs_are_means_over_all_critic_updates():
    two, one = (
        model_with("train.penalty_interval=4", f"train.critic_steps={steps}")
        for steps in (2, 1)
    )
    data = batch_of(16)
    logs = two.train_step(data)
    # Only the first of the two updates has a penalty. Its noise is the same.
    first = one.update_critic(data[0][:8], data[1][:8], STEP, 0)
    assert float(logs["penalty"]) == pytest.approx(float(first["penalty"]) / 2)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_both_updates_score_augmented_windows(probability):
    model = model_with("augment.target=0.6", "train.loss=rpgan-r1r2")
    scored, score = [], model.score

    def spy(rows, label):
        scored.extend(rows.numpy())
        return score(rows, label)

    # Without the penalty, which scores windows, too.
    model.penalty = lambda *_: tf.constant(0.0)
    model.score = spy
    model.augment_p.assign(probability)
    model._adapt_augmentation = lambda *_: None
    data = batch_of(8)
    model.train_step(data)
    # Critic: real and generated. Generator: generated and real.
    assert len(scored) == 32
    for real in (scored[:8], scored[24:]):
        pairs = zip(real, data[0].numpy(), strict=True)
        same = [np.array_equal(a, b) for a, b in pairs]
        assert same == [probability == 0] * 8


def test_a_critic_update_moves_the_probability_of_augmentation():
    model = model_with("augment.target=0.6", "augment.adjust_windows=100")
    model.augment_p.assign(0.5)
    model.train_step(batch_of(8))
    # The untrained critic does not separate the windows.
    assert float(model.augment_p) == pytest.approx(0.5 - 8 / 100)


def test_windows_are_generated_for_the_labels_of_the_batch():
    model, requested = model_with("model.condition=label"), []
    generator = model.generator

    def spy(inputs, training):
        requested.append(inputs[1].numpy())
        return generator(inputs, training=training)

    model.generator = spy
    _, labels = batch_of(8)
    model.generate(labels, STEP, 0)
    np.testing.assert_array_equal(requested, [labels])


def test_real_and_generated_windows_are_scored_with_the_same_labels():
    model = model_with("model.condition=label")
    for weight in model.critic.weights:
        weight.assign(tf.random.stateless_normal(weight.shape, [3, 4]))
    (real, label), fake = batch_of(8), windows(8, seed=1)
    together = model.score(tf.concat([real, fake], 0), label)
    apart = [model.score(rows, label) for rows in (real, fake)]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-4)
    other = model.score(real, tf.roll(label, 1, 0))
    assert not np.allclose(other, apart[0], rtol=1e-2)


def test_calling_the_model_uses_the_average_and_returns_float32():
    model = model_with("train.precision=mixed_bfloat16")
    model.train_step(batch_of(8))
    assert all(w.dtype == "float32" for w in model.ema_generator.weights)
    latents = tf.random.stateless_normal([2, 8], [0, 0])
    result = model(latents)
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, model.ema_generator(latents))
