import keras
import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import ConfigError
from stftgan_tf.models import devices, networks


def tiny_with(*overrides):
    return config_lib.load("tiny", overrides)


def batch_shapes(config):
    """Shapes of a generated batch and of its scores."""
    latent = tf.random.stateless_normal([3, config.model.latent_dim], [0, 0])
    windows = networks.build_generator(config)(latent)
    assert np.abs(windows).max() <= 1
    return windows.shape, networks.build_critic(config)(
        windows[..., None]
    ).shape


@pytest.mark.parametrize("name", sorted(config_lib.shipped_configs()))
def test_shipped_configs_build_networks_of_their_shapes(name):
    config = config_lib.load(name)
    generator = networks.build_generator(config)
    critic = networks.build_critic(config)
    assert generator.output_shape == (None, *config.window_shape)
    assert critic.input_shape == (None, *config.window_shape, 1)
    assert critic.output_shape == (None, 1)


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("num_downsamples", [0, 1])
def test_shapes_and_range_of_values(kind, num_downsamples):
    config = tiny_with(
        f"model.networks={kind}", f"model.num_downsamples={num_downsamples}"
    )
    assert batch_shapes(config) == ((3, *config.window_shape), (3, 1))


def test_a_stem_of_stride_2_replaces_a_block():
    config, without = tiny_with("model.stem_stride=2"), tiny_with()
    assert batch_shapes(config) == batch_shapes(without)
    for build in (networks.build_generator, networks.build_critic):
        assert networks.macs(build(config)) < networks.macs(build(without))
        convolutions = [
            [layer for layer in build(c).layers if "conv1d" in layer.name]
            for c in (config, without)
        ]
        assert len(convolutions[0]) == len(convolutions[1]) - 2


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.networks=dcgan", "halve frames and bins in every layer"),
        ("model.num_downsamples=0", "model.num_downsamples is 0"),
    ],
)
def test_a_stem_that_cannot_halve_is_refused(override, reason):
    with pytest.raises(ConfigError, match=f"stem_stride is 2; .*{reason}"):
        tiny_with("model.stem_stride=2", override)


def test_single_frames_can_be_modelled():
    config = tiny_with("window.frames=1", "model.num_downsamples=0")
    assert batch_shapes(config) == ((3, 1, 32), (3, 1))


def test_windows_are_limited_to_silence_and_can_reach_it():
    config = tiny_with()
    # Silence rises from -1 to 0.
    mean = config.log_floor + np.linspace(3, 0, 32, dtype=np.float32)
    moments = Moments(mean=mean, std=np.ones(32, np.float32))
    silence = moments.silent_frame(config)
    generator = networks.build_generator(config, moments=moments)
    # The bias moves every second bin far below silence.
    generator.weights[-1].assign(tf.where(tf.range(32) % 2 == 0, -9.0, 0.0))
    windows = generator(tf.random.stateless_normal([5, 8], [0, 0])).numpy()
    assert (windows >= silence).all()
    assert (windows[..., 2::2] == silence[2::2]).all()


def test_the_dcgan_generator_has_specgans_19_million_parameters():
    config = config_lib.load("specgan16k")
    count = networks.build_generator(config).count_params()
    assert count == pytest.approx(19.1e6, rel=0.01)


def test_the_generator_of_digits8k_has_less_than_2_million_parameters():
    config = config_lib.load("digits8k")
    assert networks.build_generator(config).count_params() < 2e6


@pytest.mark.parametrize(
    "build", [networks.build_generator, networks.build_critic]
)
def test_weights_depend_on_the_seed(build):
    first, again, other = (
        build(tiny_with(f"train.seed={seed}")).get_weights()
        for seed in (0, 0, 1)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_layers_of_the_same_shape_have_different_weights():
    weights = networks.build_critic(tiny_with()).get_weights()
    kernels = [w for w in weights if w.shape == (3, 16, 8)]
    assert len(kernels) == 2
    assert not np.array_equal(*kernels)


def test_blocks_add_to_their_repeated_or_averaged_input():
    config = tiny_with()
    generator = networks.build_generator(config)
    critic = networks.build_critic(config)
    # With branches of zero, a block only repeats or averages its input.
    for model in (generator, critic):
        branch_ends = [w for w in model.weights if w.shape == (3, 8, 16)]
        assert len(branch_ends) == 2
        for weight in branch_ends:
            weight.assign(tf.zeros_like(weight))
    # The blocks end before the last activation, convolution and tanh.
    blocks = keras.Model(generator.input, generator.layers[-4].output)
    x = blocks(tf.random.stateless_normal([2, 8], [0, 0])).numpy()
    assert x.shape == (2, 16, 16)
    np.testing.assert_array_equal(x, np.repeat(x[:, ::4], 4, axis=1))
    assert np.abs(np.diff(x[:, ::4], axis=1)).min() > 0
    first = critic.layers[2]
    frames = tf.random.stateless_normal([2, 16, 32], [0, 1])
    means = tf.reduce_mean(tf.reshape(first(frames), [2, 4, 4, 16]), 2)
    score = critic.layers[-1](tf.reshape(tf.nn.leaky_relu(means, 0.2), [2, -1]))
    np.testing.assert_allclose(critic(frames[..., None]), score, atol=1e-5)


def test_classes_scale_the_generator_and_move_the_score():
    config = tiny_with("model.condition=label")
    generator = networks.build_generator(config, classes=3)
    latent, classes = tf.ones([2, 8]), tf.constant([0, 2], tf.int64)
    # All factors are 1 at first, so the class changes nothing yet.
    windows = generator([latent, classes]).numpy()
    np.testing.assert_array_equal(windows[0], windows[1])
    for layer in generator.layers:
        if isinstance(layer, keras.layers.Embedding):
            table = layer.embeddings.numpy()
            table[2] *= 2
            layer.embeddings.assign(table)
    windows = generator([latent, classes]).numpy()
    assert np.abs(windows[0] - windows[1]).max() > 1e-3
    critic = networks.build_critic(config, classes=3)
    same = tf.repeat(windows[:1, ..., None], 3, axis=0)
    scores = critic([same, tf.constant([[0], [1], [2]], tf.int64)]).numpy()
    assert len(np.unique(scores)) == 3


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_weights_can_widen_all_latents(kind, classes):
    config = tiny_with(f"model.networks={kind}", "model.condition=label")
    generator = networks.build_generator(config, classes)
    latent = tf.random.stateless_normal([2, config.model.latent_dim], [0, 0])

    def windows(latent):
        inputs = [latent, tf.constant([0, 2], tf.int64)] if classes else latent
        return generator(inputs).numpy()

    wider = windows(1.3 * latent)
    assert np.abs(wider - windows(latent)).max() > 1e-3
    networks.scale_latents(generator, 1.3)
    np.testing.assert_allclose(windows(latent), wider, atol=1e-6)


@pytest.mark.parametrize("kind", ["frames", "dcgan"])
@pytest.mark.parametrize(
    "build", [networks.build_generator, networks.build_critic]
)
def test_macs_equal_tensorflows_count(kind, build):
    model = build(
        tiny_with(
            f"model.networks={kind}",
            "model.generator.width=64",
            "model.critic.width=64",
        )
    )
    spec = tf.TensorSpec([1, *model.input_shape[1:]])
    graph = tf.function(model).get_concrete_function(spec).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with graph.as_default():
        total = tf.compat.v1.profiler.profile(graph, options=options)
    assert 2 * networks.macs(model) == pytest.approx(
        total.total_float_ops, rel=0.05
    )


def test_auto_precision_is_bfloat16_only_where_the_processor_has_it():
    assert devices.has_bfloat16("flags : fpu avx512_bf16 sha_ni\n")
    assert devices.has_bfloat16("flags : amx_bf16\n")
    assert not devices.has_bfloat16("flags : fpu avx2 avx512f\n")
    config = tiny_with("train.precision=auto")
    expected = {"mixed_bfloat16": "bfloat16", "float32": "float32"}
    layer = networks.build_generator(config).layers[1]
    precision = devices.resolve_precision(config)
    assert layer.compute_dtype == expected[precision]


def test_mixed_precision_keeps_weights_and_results_in_float32():
    config = tiny_with("train.precision=mixed_bfloat16")
    generator = networks.build_generator(config)
    assert generator.layers[1].compute_dtype == "bfloat16"
    assert all(w.dtype == "float32" for w in generator.weights)
    windows = generator(tf.zeros([2, 8]))
    assert windows.dtype == tf.float32
    scores = networks.build_critic(config)(windows[..., None])
    assert scores.dtype == tf.float32
