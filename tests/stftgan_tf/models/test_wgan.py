import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import losses, wgan


def model_of(*overrides):
    return build_wgan(config_lib.load("tiny", overrides))


def windows(count, seed=0):
    """Real windows [count, 16, 32] in [-1, 1]."""
    noise = tf.random.stateless_uniform([count, 16, 32], [0, seed], -1.0, 1.0)
    return noise


def batch_of(count, classes=3):
    """What a training batch is: windows and their labels."""
    return windows(count), tf.range(count, dtype=tf.int64) % classes


def trained(model, steps, batch=8):
    data = tf.data.Dataset.from_tensor_slices(batch_of(steps * batch))
    model.fit(data.batch(batch), epochs=1, verbose=0, shuffle=False)
    return model


def test_one_step_is_n_critic_updates_and_one_of_the_generator():
    model = model_of("train.critic_steps=3")
    model.train_step(batch_of(24))
    assert int(model.critic_optimizer.iterations) == 3
    assert int(model.generator_optimizer.iterations) == 1


def test_each_critic_update_sees_its_own_real_windows():
    model = model_of("train.critic_steps=3")
    seen = []
    update = model._update_critic

    def spy(real, label, step, index):
        seen.append(real.numpy())
        return update(real, label, step, index)

    model._update_critic = spy
    data = batch_of(24)
    model.train_step(data)
    np.testing.assert_array_equal(np.concatenate(seen), data[0])
    assert [len(s) for s in seen] == [8, 8, 8]


def test_no_two_draws_share_a_seed():
    model, seeds = model_of("train.critic_steps=3"), set()
    for step in range(5):
        step = tf.constant(step, tf.int64)
        for index in range(4):
            for purpose in range(4):
                seed = model._seed(step, index, purpose)
                seeds.add(tuple(seed.numpy()))
    assert len(seeds) == 5 * 4 * 4


def test_clipped_wgan_keeps_every_critic_weight_in_its_bounds():
    model = model_of("train.loss=wgan", "train.optimizer=rmsprop")
    model.train_step(batch_of(8))
    for weight in model.critic.get_weights():
        assert np.abs(weight).max() <= np.float32(0.01)
    assert float(model.metrics[2].result()) == 0.0


def test_gradient_penalty_leaves_the_weights_free():
    model = model_of()
    logs = model.train_step(batch_of(8))
    assert max(np.abs(w).max() for w in model.critic.get_weights()) > 0.01
    assert float(logs["penalty"]) > 0


def test_the_average_follows_the_generator_by_hand():
    # A half-life of one batch.
    model = model_of("train.ema_half_life_windows=8")
    model.generator_optimizer.iterations.assign(1000)
    before = model.ema_generator.get_weights()
    model.train_step(batch_of(8))
    after = model.generator.get_weights()
    average = model.ema_generator.get_weights()
    for a, b, c in zip(before, after, average, strict=True):
        np.testing.assert_allclose(c, (a + b) / 2, atol=1e-7)


def test_the_average_warms_up():
    # At step 0 the half-life is a twentieth of a batch: 2^-20 of the start.
    model = model_of("train.ema_half_life_windows=1e6")
    model.train_step(batch_of(8))
    pairs = zip(
        model.ema_generator.get_weights(),
        model.generator.get_weights(),
        strict=True,
    )
    for average, value in pairs:
        np.testing.assert_allclose(average, value, atol=1e-5)


def test_the_critic_learns_to_tell_apart():
    # Real windows are bright, the untrained generator's are near zero.
    model = model_of("train.generator_lr=0.0")
    bright, zeros = tf.fill([8, 16, 32], 0.8), tf.zeros([8], tf.int64)
    losses = []
    for _ in range(30):
        model.reset_metrics()
        losses.append(float(model.train_step((bright, zeros))["critic_loss"]))
    assert losses[-1] < losses[0] - 0.5


def test_a_value_that_is_not_finite_is_remembered_with_its_step():
    model = model_of()
    model.train_step(batch_of(8))
    assert int(model.first_bad_step) == -1
    bad = tf.fill([8, 16, 32], float("nan"))
    model.train_step((bad, tf.zeros([8], tf.int64)))
    model.train_step(batch_of(8))
    assert int(model.first_bad_step) == 1


def test_same_seed_same_weights():
    one, two = (trained(model_of(), 4) for _ in range(2))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def with_noise_by_hand(model):
    """XLA's generator gives other noise; this is the same with and without."""

    def normal(shape, step, index):
        numbers = tf.range(shape[0] * 8, dtype=tf.float32) + tf.cast(
            step, tf.float32
        )
        return tf.reshape(tf.sin(37 * numbers + index), [shape[0], 8])

    model._normal = normal
    model._uniform = lambda shape, *_: tf.linspace(0.0, 1.0, shape[0])
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
    logs = model.train_step(batch_of(16))
    assert all(np.isfinite(float(v)) for v in logs.values())
    after = model.generator.get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


REMEDIES = {
    "pac_size": ["model.pac_size=2"],
    "stddev": ["model.minibatch_stddev=4"],
    "spectral": ["model.spectral_norm=true"],
    "augment": ["augment.target=0.6"],
    "label": ["model.condition=label"],
    "drift": ["train.drift_weight=0.001"],
    "lazy": ["train.penalty_interval=4"],
    "shipped": [
        "model.condition=cluster",
        "augment.target=0.6",
        "train.penalty_interval=4",
    ],
    "bfloat16": ["train.precision=mixed_bfloat16"],
    "all": [
        "model.pac_size=2",
        "model.minibatch_stddev=2",
        "model.spectral_norm=true",
        "augment.target=0.6",
        "model.condition=label",
        "train.precision=mixed_bfloat16",
        "train.penalty_interval=2",
    ],
}


def build(*overrides):
    config = config_lib.load("tiny", overrides)
    moments = Moments(
        np.zeros(32, np.float32), np.ones(32, np.float32)
    )
    classes = 3 if config.model.condition != "none" else 0
    return build_wgan(config, moments, classes)


@pytest.mark.parametrize("network", ["frames", "dcgan"])
@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_remedy_trains_both_networks(network, remedy):
    model = build(
        f"model.networks={network}",
        "train.loss=rpgan-r1r2",
        "train.critic_steps=2",
        *REMEDIES[remedy],
    )
    before = model.get_weights()
    data = batch_of(16)
    for _ in range(2):
        logs = model.train_step(data)
    assert all(np.isfinite(float(v)) for v in logs.values())
    after = model.get_weights()
    changed = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.9
    assert all(w.dtype != "bfloat16" for w in model.weights)


# What `digits8k` is, which a GPU compiles, and all that can be switched on.
@pytest.mark.parametrize("remedy", ["shipped", "all"])
def test_xla_takes_every_remedy_and_lazy_penalties(remedy):
    # The step must be no constant to XLA: it would compile each one, or fail.
    model = build(
        "train.jit_compile=true",
        "train.loss=rpgan-r1r2",
        "train.critic_steps=2" if remedy == "all" else "train.critic_steps=1",
        *REMEDIES[remedy],
    )
    before = model.get_weights()
    trained(model, steps=5, batch=16 if remedy == "all" else 8)
    assert model.jit_compile and int(model.step) == 5
    assert int(model.first_bad_step) == -1
    after = model.get_weights()
    changed = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.9


@pytest.mark.parametrize("loss", ["wgan-gp", "rpgan-r1r2"])
def test_penalties_in_bfloat16_are_near_those_in_float32(loss):
    # Of critics with the same weights. (That penalties are summed in float32
    # is held by hand in test_losses.)
    step, found = tf.constant(0, tf.int64), []
    for precision in ("float32", "mixed_bfloat16"):
        model = build(f"train.loss={loss}", f"train.precision={precision}")
        model.critic.set_weights([3 * w for w in model.critic.get_weights()])
        parts = (windows(8, 1), windows(8, 2), tf.zeros([8], tf.int64))
        found.append(model._penalty(*parts, step, 0))
        assert found[-1].dtype == tf.float32
    np.testing.assert_allclose(found[1], found[0], rtol=0.1)
    assert float(found[0]) > 0.1


@pytest.mark.parametrize(
    "loss", ["wgan-gp", "wgan-lp", "wgan-div", "rpgan-r1r2"]
)
def test_every_loss_tells_the_critic_real_from_generated(loss):
    model = build(f"train.loss={loss}", "train.generator_lr=0.0")
    bright, zeros = tf.fill([8, 16, 32], 0.8), tf.zeros([8], tf.int64)
    for _ in range(40):
        model.train_step((bright, zeros))
    fake = model.generator(tf.zeros([8, 8]))
    gap = model._score(bright, zeros) - model._score(fake, zeros)
    assert float(tf.reduce_min(gap)) > 0.1


def test_a_lazy_penalty_comes_every_fourth_update_and_counts_fourfold():
    model = build("train.penalty_interval=4", "train.critic_lr=0.0")
    eager = build("train.critic_lr=0.0")
    lazy, usual = [], []
    for _ in range(5):
        for m, found in ((model, lazy), (eager, usual)):
            m.reset_metrics()
            found.append(float(m.train_step(batch_of(8))["penalty"]))
    assert lazy[1:4] == [0, 0, 0]
    assert lazy[0] == pytest.approx(4 * usual[0], rel=1e-5)
    assert lazy[4] > 0


@pytest.mark.parametrize("loss", ["wgan-gp", "rpgan-r1r2"])
def test_the_penalty_is_of_packs_as_a_whole(loss):
    model = build(f"train.loss={loss}", "model.pac_size=2")
    real, fake = (
        tf.random.stateless_normal([8, 16, 32], [seed, 0]) for seed in (0, 1)
    )
    step = tf.constant(0, tf.int64)
    found = model._penalty(real, fake, tf.zeros([8], tf.int64), step, 0)

    def square(packs):
        with tf.GradientTape() as tape:
            tape.watch(packs)
            scores = model.critic(packs)
        gradients = tape.gradient(scores, packs).numpy()
        return np.square(gradients).sum(axis=(1, 2, 3))

    ours, theirs = wgan.pack(real, 2), wgan.pack(fake, 2)
    if loss == "rpgan-r1r2":
        expected = (square(ours) + square(theirs)) / 2
    else:
        mixed = model._uniform([4], step, 0, wgan._MIXING)
        points = losses.between(ours, theirs, mixed)
        expected = np.square(np.sqrt(square(points)) - 1)
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-4)


def test_reported_are_means_over_all_critic_updates():
    model = build(
        "train.loss=rpgan-r1r2",
        "train.critic_steps=2",
        "train.penalty_interval=4",
    )
    batch = tf.random.stateless_normal([16, 16, 32], [0, 0])
    told = model.train_step((batch, tf.zeros([16], tf.int64)))
    # It comes in the first of the two.
    assert float(told["penalty"]) > 0


def test_packs_are_neighbours():
    packed = wgan.pack(tf.reshape(tf.range(24), [4, 3, 2]), 2)
    assert packed.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(
        packed[1, :, :, 0], [[12, 13], [14, 15], [16, 17]]
    )
    np.testing.assert_array_equal(
        packed[1, :, :, 1], [[18, 19], [20, 21], [22, 23]]
    )
    np.testing.assert_array_equal(wgan.pack(tf.range(4), 2), [[0, 1], [2, 3]])


def test_drift_pulls_the_scores_of_real_windows_to_zero():
    free, held = build(), build("train.drift_weight=100")
    for model in (free, held):
        # A bias that the Wasserstein loss does not see.
        model.critic.layers[-1].bias.assign([5.0])
        step = tf.function(model.train_step)
        for _ in range(60):
            step(batch_of(8))
    scores = [
        abs(float(tf.reduce_mean(m._score(windows(8), None))))
        for m in (free, held)
    ]
    assert scores[1] < 4.9 < scores[0] + 0.5


def test_the_probability_of_augmentation_follows_the_critic():
    # A critic that tells all windows apart raises it, by one batch in 80.
    model = build("augment.target=0.6", "augment.adjust_windows=80")
    ahead, behind = tf.ones([8, 1]), -tf.ones([8, 1])
    for expected in (0.1, 0.2):
        model._adapt(ahead, behind, tf.constant(8))
        assert float(model.augment_p) == pytest.approx(expected)
    for expected in (0.1, 0.0, 0.0):
        model._adapt(behind, ahead, tf.constant(8))
        assert float(model.augment_p) == pytest.approx(expected)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_both_updates_see_windows_as_augmentation_changes_them(probability):
    model = build("augment.target=0.6", "train.loss=rpgan-r1r2")
    seen, score = [], model._score

    def spy(rows, label):
        seen.extend(rows.numpy())
        return score(rows, label)

    model._score = spy
    model.augment_p.assign(probability)
    data = batch_of(8)
    model.train_step(data)
    # Critic: real and generated; generator: generated and real.
    assert len(seen) == 32
    for real in (seen[:8], seen[24:]):
        same = [
            np.array_equal(a, b)
            for a, b in zip(real, data[0].numpy(), strict=True)
        ]
        assert same == [probability == 0] * 8


def test_a_step_moves_the_probability_of_augmentation():
    model = build("augment.target=0.6", "augment.adjust_windows=100")
    bright, zeros = tf.fill([8, 16, 32], 0.8), tf.zeros([8], tf.int64)
    # What is told apart with ease is changed more often.
    for _ in range(20):
        model.train_step((bright, zeros))
    assert float(model.augment_p) > 0.3


def test_the_generator_is_asked_for_the_labels_of_the_batch():
    model, asked = build("model.condition=label"), []
    generator = model.generator

    def spy(inputs, training):
        asked.append(inputs[1].numpy())
        return generator(inputs, training=training)

    model.generator = spy
    _, labels = batch_of(8)
    for index in range(2):
        model._generate(labels, tf.constant(0, tf.int64), index)
    np.testing.assert_array_equal(asked, [labels, labels])


@pytest.mark.parametrize("pac_size", [1, 2])
def test_real_and_generated_windows_have_the_labels_of_the_batch(pac_size):
    model = build("model.condition=label", f"model.pac_size={pac_size}")
    for weight in model.critic.weights:
        weight.assign(tf.random.stateless_normal(weight.shape, [3, 4]))
    (real, label), fake = batch_of(8), windows(8, seed=1)
    both = model._score(tf.concat([real, fake], 0), label)
    apart = [model._score(rows, label) for rows in (real, fake)]
    np.testing.assert_allclose(both, np.concatenate(apart), rtol=1e-4)
    other = model._score(real, tf.roll(label, 1, 0))
    assert not np.allclose(other, apart[0], rtol=1e-2)


def test_an_average_in_bfloat16_stays_in_float32():
    model = build("train.precision=mixed_bfloat16")
    model.train_step(batch_of(8))
    assert all(w.dtype == "float32" for w in model.ema_generator.weights)
    assert model(tf.zeros([2, 8])).dtype == tf.float32


def test_several_steps_in_one_execution_are_the_same_steps():
    one = trained(model_of(), 4)
    four = trained(model_of("train.steps_per_execution=4", *_EVERY_4), 4)
    for a, b in zip(one.get_weights(), four.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert int(four.step) == 4


_EVERY_4 = [
    f"{key}=4"
    for key in (
        "train.log_every",
        "train.preview_every",
        "train.checkpoint_every",
        "watch.every",
    )
]
