import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import networks
from stftgan_tf.saved_model import latents, signatures
from stftgan_tf.training import checkpoints, run_dir


def call(model, signature, **inputs):
    """Outputs of a signature; seeds and classes become int64."""
    tensors = {
        name: tf.constant(
            value,
            tf.int64
            if name.startswith(("seed", "label", "cluster"))
            else tf.float32,
        )
        for name, value in inputs.items()
    }
    outputs = model.signatures[signature](**tensors)
    return {name: value.numpy() for name, value in outputs.items()}


def sample(model, *seeds):
    return call(model, "serving_default", seed=seeds)


def test_the_outputs_have_stable_names_shapes_and_types(loaded, tiny):
    outputs = sample(loaded, 0, 1, 2)
    assert sorted(outputs) == ["audio", "wav_bytes", "window"]
    assert outputs["audio"].shape == (3, tiny.window_samples)
    assert outputs["window"].shape == (3, *tiny.window_shape)
    assert outputs["audio"].dtype == outputs["window"].dtype == np.float32
    assert np.isfinite(outputs["audio"]).all()
    assert np.abs(outputs["audio"]).max() > 1e-3
    audio, rate = tf.audio.decode_wav(outputs["wav_bytes"][0])
    assert int(rate) == tiny.audio.sample_rate_hz
    np.testing.assert_allclose(audio[:, 0], outputs["audio"][0], atol=2**-14)


def test_a_seed_gives_the_same_alone_and_in_any_batch(loaded):
    alone = sample(loaded, 7)["audio"][0]
    np.testing.assert_array_equal(sample(loaded, 1, 7, 5)["audio"][1], alone)
    np.testing.assert_array_equal(sample(loaded, *range(9))["audio"][7], alone)


def test_different_seeds_give_different_audio(loaded):
    audio = sample(loaded, *range(8), 2**62)["audio"]
    assert len(np.unique(audio, axis=0)) == 9


def test_truncation_scales_the_latents(loaded, tiny):
    windows = call(loaded, "sample", seed=[3, 9], truncation=[0.5, 1.0])
    seeds = tf.constant([3, 9], tf.int64)
    latent = latents.of_seeds(seeds, tiny.model.latent_dim) * [[0.5], [1.0]]
    expected = call(loaded, "generate", latent=latent)["window"]
    np.testing.assert_array_equal(windows["window"], expected)
    np.testing.assert_array_equal(
        windows["audio"][1], sample(loaded, 9)["audio"][0]
    )
    # One value for all rows.
    windows = call(loaded, "sample", seed=[3, 9], truncation=[0.5])["window"]
    np.testing.assert_array_equal(windows[0], expected[0])


def test_truncation_is_optional_for_servers(export):
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((export / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["sample"]
    assert list(signature.defaults) == ["truncation"]
    assert tf.make_ndarray(signature.defaults["truncation"]).tolist() == [1.0]


def test_interpolation_goes_from_one_seed_to_the_other(loaded):
    def interpolate(a, b, weight):
        outputs = call(loaded, "interpolate", seed_a=a, seed_b=b, weight=weight)
        return outputs["audio"]

    audio = interpolate([7, 7, 7], [1, 1, 1], [0.0, 0.5, 1.0])
    ends = sample(loaded, 7, 1)["audio"]
    np.testing.assert_allclose(audio[[0, 2]], ends, atol=1e-4)
    assert np.abs(audio[1] - audio[0]).max() > 1e-3
    # Rows are independent, and a seed with itself is that seed.
    np.testing.assert_array_equal(interpolate([7], [1], [0.5])[0], audio[1])
    np.testing.assert_allclose(
        interpolate([7], [7], [0.3])[0], ends[0], atol=1e-4
    )


def test_long_audio_begins_as_the_sample_of_its_seed(loaded, tiny):
    audio = call(loaded, "long", seed=[3, 8])["audio"]
    assert audio.shape == (2, loaded.metadata["long_samples"])
    assert audio.shape[1] >= 5 * tiny.audio.sample_rate_hz
    alone = call(loaded, "long", seed=[8])["audio"]
    np.testing.assert_array_equal(alone[0], audio[1])
    # The magnitudes of the first half window are those of the sample.
    half = tiny.window_samples // 2
    long, short = (
        np.abs(stft.forward(samples[:half], tiny.stft))
        for samples in (audio[0], sample(loaded, 3)["audio"][0])
    )
    assert np.linalg.norm(long - short) < 0.5 * np.linalg.norm(short)


def test_generate_is_the_averaged_generator(loaded, trained_run, tiny):
    _, manifest = run_dir.open_run(trained_run)
    moments = Moments.from_dict(manifest["moments"])
    generator = networks.build_generator(tiny, moments=moments)
    directory = trained_run / "checkpoints"
    choice = checkpoints.restore_average(directory, generator)
    networks.scale_latents(generator, choice.state.metrics["latent_scale"])
    latent = tf.random.stateless_normal([2, tiny.model.latent_dim], [0, 0])
    windows = call(loaded, "generate", latent=latent)["window"]
    np.testing.assert_allclose(windows, generator(latent), atol=1e-6)


def test_no_function_requires_xla(export):
    assert b"_XlaMustCompile" not in (export / "saved_model.pb").read_bytes()


# Runs an export in a process without this project, with XLA switched off the
# way the stock model server switches it off.
SERVER_LIKE = """
import ctypes, glob, os, sys
import tensorflow as tf
directory = os.path.dirname(tf.__file__)
(library,) = glob.glob(directory + "/libtensorflow_cc.so.2")
ctypes.CDLL(library)._ZN10tensorflow21DisableXlaCompilationEv()
model = tf.saved_model.load(sys.argv[1])
seeds = tf.constant([7, 1], tf.int64)
outputs = model.signatures["serving_default"](seed=seeds)
for name, signature in model.signatures.items():
    inputs = {
        key: seeds if spec.dtype == tf.int64 else tf.ones(
            [2 if size is None else size for size in spec.shape])
        for key, spec in signature.structured_input_signature[1].items()
    }
    assert signature(**inputs)["audio"].shape[0] == 2, name
assert not any(name.startswith("stftgan") for name in sys.modules)
sys.stdout.buffer.write(outputs["audio"].numpy()[0].tobytes())
"""


def test_a_process_without_the_package_and_xla_gives_the_same(
    export, loaded, tmp_path
):
    process = subprocess.run(
        [sys.executable, "-c", SERVER_LIKE, str(export)],
        capture_output=True,
        cwd=tmp_path,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""},
    )
    assert process.returncode == 0, process.stderr.decode()
    audio = np.frombuffer(process.stdout, np.float32)
    np.testing.assert_array_equal(audio, sample(loaded, 7)["audio"][0])


def test_a_label_is_requested_or_drawn(labelled):
    windows = call(
        labelled, "serving_default", seed=[1, 1, 1], label=[0, 7, -1]
    )["window"]
    assert not np.array_equal(windows[0], windows[1])
    every = call(labelled, "serving_default", seed=[1] * 10, label=range(10))[
        "window"
    ]
    matches = np.abs(every - windows[2]).max(axis=(1, 2)) < 1e-6
    assert matches.sum() == 1
    latent = latents.of_seeds(tf.constant([1], tf.int64), 8)
    generated = call(labelled, "generate", latent=latent, label=[7])["window"]
    np.testing.assert_allclose(generated[0], windows[1], atol=1e-6)


@pytest.mark.parametrize(
    ("signature", "label", "message"),
    [
        ("serving_default", 10, "label must be -1 to 9"),
        ("serving_default", -2, "label must be -1 to 9"),
        # Layers would take -1 for the last label.
        ("generate", -1, "label must be 0 to 9"),
    ],
)
def test_a_label_out_of_range_is_refused(labelled, signature, label, message):
    inputs = {"seed": [1]}
    if signature == "generate":
        inputs = {"latent": np.zeros([1, 8])}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(labelled, signature, label=[label], **inputs)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        (
            "sample",
            {"seed": [1], "truncation": [3e38]},
            "truncation must be 0 to",
        ),
        (
            "sample",
            {"seed": [1], "truncation": [-1.0]},
            "truncation must be 0 to",
        ),
        (
            "generate",
            {"latent": np.full([1, 8], np.inf)},
            "latent must be -1000",
        ),
        (
            "generate",
            {"latent": np.full([1, 8], np.nan)},
            "latent must be -1000",
        ),
        (
            "interpolate",
            {"seed_a": [1], "seed_b": [2], "weight": [1.1]},
            "weight must be 0 to 1",
        ),
    ],
)
def test_what_would_not_be_finite_is_refused(
    loaded, signature, inputs, message
):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(loaded, signature, **inputs)


def test_the_largest_latents_give_finite_audio(loaded):
    largest = np.full([2, 8], 1000.0)
    audio = call(loaded, "generate", latent=largest)["audio"]
    assert np.isfinite(audio).all()
    audio = call(loaded, "sample", seed=[1, 2], truncation=[100.0])["audio"]
    assert np.isfinite(audio).all()


def test_a_cluster_is_drawn_by_the_seed():
    config = config_lib.load("tiny", ["model.condition=cluster"])
    generator = networks.build_generator(config, 10, Moments.neutral(config))
    module = signatures.SamplingModule(
        generator,
        Moments.neutral(config),
        config,
        prior=np.full(10, 0.1, np.float32),
    )
    functions = module.signatures()
    whole = functions["serving_default"](tf.range(16, dtype=tf.int64))
    alone = functions["serving_default"](tf.constant([5], tf.int64))
    np.testing.assert_allclose(
        alone["window"][0], whole["window"][5], atol=1e-6
    )
    latent = latents.of_seeds(tf.constant([0], tf.int64), 8)
    generated = functions["generate"](latent, tf.constant([2], tf.int64))
    assert generated["window"].shape == (1, 16, 32)


def test_parts_are_crossfaded():
    parts = np.float32([[1, 1, 1, 1], [3, 3, 3, 3]])
    # Two samples alone, two where a falls and b rises (3:1, 1:3), two alone.
    expected = [1, 1, 1 * 0.75 + 3 * 0.25, 1 * 0.25 + 3 * 0.75, 3, 3]
    np.testing.assert_allclose(signatures.crossfade(parts), expected, rtol=1e-6)


@pytest.mark.parametrize(("count", "length"), [(2, 1), (3, 7), (5, 16)])
def test_the_weights_of_a_crossfade_sum_to_one(count, length):
    result = signatures.crossfade(tf.ones([2, count, length])).numpy()
    assert result.shape == (2, (count - 1) * max(1, length // 2) + length)
    np.testing.assert_allclose(result, 1, rtol=1e-6)


def test_long_audio_has_enough_windows_but_not_more(tiny):
    rate, config = tiny.audio.sample_rate_hz, tiny.stft
    for secs in (0.01, 0.5, 3.0):
        parts = signatures.num_long_parts(tiny, secs)
        frames = 16 + (parts - 1) * 8
        samples = (frames - 1) * config.frame_step + config.frame_length
        assert samples >= secs * rate
        assert parts == 2 or samples - 8 * config.frame_step < secs * rate
