import keras
import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import networks


@pytest.mark.parametrize("name", sorted(config_lib.shipped()))
def test_shapes_and_range(name):
    config = config_lib.load(name)
    latent = tf.random.stateless_normal([3, config.model.latent_dim], [0, 0])
    windows = networks.build_generator(config)(latent).numpy()
    assert windows.shape == (3, *config.window_shape)
    assert np.abs(windows).max() <= 1
    assert networks.build_critic(config)(windows[..., None]).shape == (3, 1)


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("num_downsamples", [0, 1])
def test_few_halvings(kind, num_downsamples):
    config = config_lib.load(
        "tiny",
        [f"model.networks={kind}", f"model.num_downsamples={num_downsamples}"],
    )
    windows = networks.build_generator(config)(tf.zeros([2, 8]))
    assert windows.shape == (2, *config.window_shape)
    critic = networks.build_critic(config)
    assert critic(windows[..., None]).shape == (2, 1)


def test_no_window_is_below_silence_and_all_of_one_can_be_silent():
    config = config_lib.load(
        "tiny", ["window.phase=true", "model.phase=frequency"]
    )
    # Silence rises from -1 to 0.
    mean = config.log_floor + np.linspace(3, 0, 32, dtype=np.float32)
    moments = Moments(mean=mean, std=np.ones(32, np.float32))
    silence = moments.silent_frame(config)
    generator = networks.build_generator(config, moments=moments)
    # Of every second bin, magnitude and frequency, far below.
    generator.weights[-1].assign(tf.where(tf.range(64) % 2 == 0, -9.0, 0.0))
    latents = tf.random.stateless_normal([5, 8], [0, 0])
    magnitudes, frequencies = np.split(generator(latents).numpy(), 2, axis=-1)
    assert (magnitudes >= silence).all()
    assert (magnitudes[..., 2::2] == silence[2::2]).all()
    assert (frequencies[..., ::2] < -0.99).all()


def test_a_single_frame_can_be_modelled():
    config = config_lib.load(
        "tiny", ["window.frames=1", "model.num_downsamples=0"]
    )
    assert networks.build_generator(config)(tf.zeros([2, 8])).shape == (
        2,
        1,
        32,
    )


def test_specgans_generator_has_its_19_million_parameters():
    config = config_lib.load("specgan16k")
    count = networks.build_generator(config).count_params()
    assert count == pytest.approx(19.1e6, rel=0.01)


def test_digits_generator_is_light():
    config = config_lib.load("digits8k")
    assert networks.build_generator(config).count_params() < 2e6


def test_weights_come_from_the_seed():
    def weights(build, seed):
        config = config_lib.load("tiny", [f"train.seed={seed}"])
        return build(config).get_weights()

    for build in (networks.build_generator, networks.build_critic):
        ours, same, other = (weights(build, seed) for seed in (0, 0, 1))
        for a, b in zip(ours, same, strict=True):
            np.testing.assert_array_equal(a, b)
        assert any((a != b).any() for a, b in zip(ours, other, strict=True))


def test_layers_do_not_share_their_draws():
    kernels = [
        w
        for w in networks.build_critic(config_lib.load("tiny")).get_weights()
        if w.shape == (3, 16, 8)
    ]
    assert len(kernels) == 2
    assert not np.array_equal(*kernels)


def test_blocks_add_to_their_repeated_or_averaged_input():
    config = config_lib.load("tiny")
    generator = networks.build_generator(config)
    critic = networks.build_critic(config)
    # Without what is added, four starts repeated four times, and one mean of
    # each four frames.
    for model in (generator, critic):
        added = [w for w in model.weights if w.shape == (3, 8, 16)]
        assert len(added) == 2
        for weight in added:
            weight.assign(tf.zeros_like(weight))
    # (Before its last activation and convolution, and tanh.)
    inner = keras.Model(generator.input, generator.layers[-4].output)
    x = inner(tf.random.stateless_normal([2, 8], [0, 0])).numpy()
    assert x.shape == (2, 16, 16)
    np.testing.assert_array_equal(x, np.repeat(x[:, ::4], 4, axis=1))
    assert np.abs(np.diff(x[:, ::4], axis=1)).min() > 0
    first = critic.layers[2]
    frames = tf.random.stateless_normal([2, 16, 32], [0, 1])
    means = tf.reduce_mean(tf.reshape(first(frames), [2, 4, 4, 16]), 2)
    score = critic.layers[-1](tf.reshape(tf.nn.leaky_relu(means, 0.2), [2, -1]))
    np.testing.assert_allclose(critic(frames[..., None]), score, atol=1e-5)


def test_labels_scale_the_generator_and_move_the_score():
    config = config_lib.load("tiny", ["model.condition=label"])
    generator = networks.build_generator(config, classes=3)
    latent, labels = tf.ones([2, 8]), tf.constant([0, 2], tf.int64)
    # All scales are 1 at first: a label changes nothing yet.
    windows = generator([latent, labels]).numpy()
    np.testing.assert_array_equal(windows[0], windows[1])
    for layer in generator.layers:
        if isinstance(layer, keras.layers.Embedding):
            table = layer.embeddings.numpy()
            table[2] *= 2
            layer.embeddings.assign(table)
    windows = generator([latent, labels]).numpy()
    assert np.abs(windows[0] - windows[1]).max() > 1e-3
    critic = networks.build_critic(config, classes=3)
    same = tf.repeat(windows[:1, ..., None], 3, axis=0)
    scores = critic([same, tf.constant([[0], [1], [2]], tf.int64)]).numpy()
    assert len(np.unique(scores)) == 3


def test_packed_labels_are_averaged():
    config = config_lib.load(
        "tiny", ["model.condition=label", "model.pac_size=2"]
    )
    critic = networks.build_critic(config, classes=3)
    window = tf.random.stateless_normal([1, 16, 32, 2], [0, 0])

    def score(*labels):
        return float(critic([window, tf.constant([labels], tf.int64)])[0, 0])

    both = (score(0, 0) + score(1, 1)) / 2
    assert score(0, 1) == score(1, 0) == pytest.approx(both, abs=1e-5)


def test_minibatch_stddev_by_hand():
    # Two groups of neighbours: 0 and 2 in the first, 5 and 5 in the second.
    rows = tf.constant([[[0.0]], [[2.0]], [[5.0]], [[5.0]]])
    found = networks.MinibatchStddev(2)(rows)
    assert found.shape == (4, 1, 2)
    np.testing.assert_array_equal(found[..., 0], rows[..., 0])
    np.testing.assert_allclose(
        found[:, 0, 1], [1.0, 1.0, 1e-4, 1e-4], atol=1e-6
    )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Dense(5), (4, 6)),
        (keras.layers.Conv1D(5, 3, strides=2, padding="same"), (4, 8, 6)),
        (keras.layers.Conv2D(5, 3, strides=2, padding="same"), (4, 8, 8, 6)),
    ],
)
def test_spectral_norm_divides_by_the_largest_singular_value(layer, shape):
    x = tf.random.stateless_normal(shape, [0, 0])
    normalised = networks.SpectralNorm(layer, keras.initializers.Ones())
    normalised(x)
    layer.bias.assign(tf.range(5.0))
    kernel = 7 * layer.kernel.numpy()
    layer.kernel.assign(kernel)
    for _ in range(300):
        with tf.GradientTape() as tape:
            made = normalised(x)
            loss = tf.reduce_sum(made**2)
    # The weights stay, and scaling them would change nothing.
    np.testing.assert_array_equal(layer.kernel, kernel)
    gradient = tape.gradient(loss, layer.kernel).numpy()
    assert np.linalg.norm(gradient) > 0.1
    assert abs(np.sum(gradient * kernel)) < 1e-3 * np.linalg.norm(gradient)
    matrix = kernel.reshape(-1, 5)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    layer.kernel.assign(kernel / largest)
    np.testing.assert_allclose(made, layer(x), atol=1e-4)


def test_spectral_norm_bounds_the_critic():
    config = config_lib.load("tiny", ["model.spectral_norm=true"])
    critic = networks.build_critic(config)
    window = tf.random.stateless_normal([4, 16, 32, 1], [0, 0])
    bias = critic.layers[-1].layer.bias
    for _ in range(30):
        critic(window)
    before = critic(window) - bias
    for layer in critic.layers:
        if isinstance(layer, networks.SpectralNorm):
            layer.layer.kernel.assign(100 * layer.layer.kernel)
    np.testing.assert_allclose(critic(window) - bias, before, rtol=1e-3)


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("network", ["generator", "critic"])
def test_multiply_adds_are_those_that_tensorflow_counts(kind, network):
    config = config_lib.load(
        "digits8k", [f"model.networks={kind}", "model.num_downsamples=2"]
    )
    if network == "generator":
        model = networks.build_generator(config)
    else:
        model = networks.build_critic(config)
    spec = tf.TensorSpec([1, *model.input_shape[1:]])
    graph = tf.function(model).get_concrete_function(spec).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with graph.as_default():
        total = tf.compat.v1.profiler.profile(graph, options=options)
    found = networks.macs(model)
    assert 2 * found == pytest.approx(total.total_float_ops, rel=0.05)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_doubling_and_convolving_are_one(kernel):
    x = tf.random.stateless_normal([2, 6, 3], [0, 0])
    ours = networks.UpConv1D(4, kernel)
    found = ours(x)
    theirs = keras.layers.Conv1D(4, kernel, padding="same")
    theirs.build((None, 12, 3))
    theirs.set_weights([ours.kernel.numpy(), np.arange(4)])
    ours.bias.assign(np.arange(4))
    expected = theirs(keras.layers.UpSampling1D(2)(x))
    np.testing.assert_allclose(ours(x), expected, atol=1e-5)
    assert found.shape == expected.shape


def test_precision_leaves_weights_and_results_in_float32():
    config = config_lib.load("tiny", ["train.precision=mixed_bfloat16"])
    generator = networks.build_generator(config)
    assert generator.layers[1].compute_dtype == "bfloat16"
    assert all(w.dtype == "float32" for w in generator.weights)
    windows = generator(tf.zeros([2, 8]))
    assert windows.dtype == tf.float32
    scores = networks.build_critic(config)(windows[..., None])
    assert scores.dtype == tf.float32
