import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from stftgan_tf import export as export_lib
from stftgan_tf import sample as sample_lib
from stftgan_tf import train
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.models import networks
from stftgan_tf.saved_model import loading as exported
from stftgan_tf.saved_model import signatures as served
from stftgan_tf.serving.errors import RequestError
from stftgan_tf.serving.model import ModelVersion
from stftgan_tf.training import checkpoints
from tests.conftest import train_args


@pytest.fixture(scope="module")
def loaded(export):
    return exported.load(export)


def sample(loaded, *seeds):
    made = loaded.signatures["serving_default"](
        seed=tf.constant(seeds, tf.int64)
    )
    return {name: value.numpy() for name, value in made.items()}


def test_outputs_by_their_stable_names(loaded, tiny):
    made = sample(loaded, 0, 1, 2)
    assert sorted(made) == ["audio", "wav_bytes", "window"]
    assert made["audio"].shape == (3, tiny.window_samples)
    assert made["window"].shape == (3, *tiny.window_shape)
    assert made["audio"].dtype == made["window"].dtype == np.float32
    assert np.isfinite(made["audio"]).all()
    assert np.abs(made["audio"]).max() > 1e-3


def test_wav_bytes_are_the_audio(loaded, tiny):
    made = sample(loaded, 3)
    audio, rate = tf.audio.decode_wav(made["wav_bytes"][0])
    assert int(rate) == tiny.audio.sample_rate_hz
    np.testing.assert_allclose(audio[:, 0], made["audio"][0], atol=2**-14)


def test_a_seed_makes_the_same_alone_or_in_any_batch(loaded):
    alone = sample(loaded, 7)["audio"][0]
    np.testing.assert_array_equal(sample(loaded, 1, 7, 5)["audio"][1], alone)
    np.testing.assert_array_equal(sample(loaded, *range(9))["audio"][7], alone)


def test_seeds_differ(loaded):
    audio = sample(loaded, *range(8), 2**62)["audio"]
    assert len(np.unique(audio, axis=0)) == 9


def test_sample_is_the_default(loaded):
    ours = loaded.signatures["sample"](
        seed=tf.constant([4], tf.int64), truncation=tf.constant([1.0])
    )
    np.testing.assert_array_equal(ours["audio"], sample(loaded, 4)["audio"])


def test_psi_brings_latents_nearer_to_the_middle(loaded, tiny):
    call = loaded.signatures["sample"]
    seed = tf.constant([3, 9], tf.int64)
    size = tiny.model.latent_dim
    made = call(seed=seed, truncation=tf.constant([0.5, 1.0]))["window"]
    latent = served.latents_of(seed, size) * [[0.5], [1.0]]
    wanted = loaded.signatures["generate"](latent=latent)["window"]
    np.testing.assert_array_equal(made, wanted)
    # One for all rows.
    made = call(seed=seed, truncation=tf.constant([0.5]))["window"]
    np.testing.assert_array_equal(made[0], wanted[0])


def test_a_server_need_not_be_given_psi(export):
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((export / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["sample"]
    assert list(signature.defaults) == ["truncation"]
    assert tf.make_ndarray(signature.defaults["truncation"]).tolist() == [1.0]


def test_between_two_seeds(loaded):
    def call(a, b, weight):
        return loaded.signatures["interpolate"](
            seed_a=tf.constant(a, tf.int64),
            seed_b=tf.constant(b, tf.int64),
            weight=tf.constant(weight),
        )["audio"].numpy()

    made = call([7, 7, 7], [1, 1, 1], [0.0, 0.5, 1.0])
    ends = sample(loaded, 7, 1)["audio"]
    np.testing.assert_allclose(made[[0, 2]], ends, atol=1e-4)
    assert np.abs(made[1] - made[0]).max() > 1e-3
    # Rows are independent, and a seed with itself is that seed.
    alone = call([7], [1], [0.5])
    np.testing.assert_array_equal(alone[0], made[1])
    np.testing.assert_allclose(call([7], [7], [0.3])[0], ends[0], atol=1e-4)


def test_long_begins_as_the_sample_does_and_rows_are_independent(
    loaded, export, tiny
):
    def call(*seeds):
        made = loaded.signatures["long"](seed=tf.constant(seeds, tf.int64))
        return made["audio"].numpy()

    made = call(3, 8)
    assert made.shape == (2, loaded.metadata["long_samples"])
    assert made.shape[1] >= 5 * tiny.audio.sample_rate_hz
    np.testing.assert_array_equal(call(8)[0], made[1])
    # Magnitudes of the first half window are the sample's.
    half = tiny.window_samples // 2
    parts = (made[0, :half], sample(loaded, 3)["audio"][0, :half])
    ours, wanted = (np.abs(stft.forward(part, tiny.stft)) for part in parts)
    assert np.linalg.norm(ours - wanted) < 0.5 * np.linalg.norm(wanted)


def test_generate_is_the_averaged_generator(loaded, trained, tiny):
    moments = json.loads((trained / "manifest.json").read_text())["moments"]
    moments = Moments.from_dict(moments)
    generator = networks.build_generator(tiny, moments=moments)
    checkpoints.restore_average(trained / "checkpoints", generator)
    latent = tf.random.stateless_normal([2, tiny.model.latent_dim], [0, 0])
    made = loaded.signatures["generate"](latent=latent)
    np.testing.assert_allclose(made["window"], generator(latent), atol=1e-6)


def test_no_function_asks_for_xla(export):
    assert b"_XlaMustCompile" not in (export / "saved_model.pb").read_bytes()


# Runs an export in a process that knows nothing of this project, with XLA
# switched off the way the stock model server switches it off.
SERVER_LIKE = """
import ctypes, glob, os, sys
import tensorflow as tf
folder = os.path.dirname(tf.__file__)
(library,) = glob.glob(folder + "/libtensorflow_cc.so.2")
ctypes.CDLL(library)._ZN10tensorflow21DisableXlaCompilationEv()
model = tf.saved_model.load(sys.argv[1])
seeds = tf.constant([7, 1], tf.int64)
made = model.signatures["serving_default"](seed=seeds)
for name, signature in model.signatures.items():
    inputs = {
        key: seeds if spec.dtype == tf.int64 else tf.ones(
            [2 if size is None else size for size in spec.shape])
        for key, spec in signature.structured_input_signature[1].items()
    }
    assert signature(**inputs)["audio"].shape[0] == 2, name
assert not any(name.startswith("stftgan") for name in sys.modules)
sys.stdout.buffer.write(made["audio"].numpy()[0].tobytes())
"""


def test_a_process_without_the_package_and_xla_makes_the_same(
    export, loaded, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", SERVER_LIKE, str(export)],
        capture_output=True,
        cwd=tmp_path,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr.decode()
    audio = np.frombuffer(done.stdout, np.float32)
    np.testing.assert_array_equal(audio, sample(loaded, 7)["audio"][0])


def test_metadata_tells_what_it_is(export, tiny, trained):
    metadata = json.loads((export / "metadata.json").read_text())
    assert metadata["sample_rate_hz"] == 8000
    assert metadata["samples"] == tiny.window_samples
    assert metadata["step"] == 20
    assert metadata["config"] == tiny.to_dict()
    manifest = json.loads((trained / "manifest.json").read_text())
    assert metadata["data_config_hash"] == manifest["config_hash"]


def test_the_card_says_what_it_is_and_how_good(export, trained):
    card = (export / "model_card.md").read_text()
    assert "0.07 s of audio at 8000 Hz" in card
    assert "windows of\n  16 x 32" in card
    metadata = json.loads((export / "metadata.json").read_text())
    manifest = (trained / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    assert digest in card and metadata["data_manifest_sha256"] == digest
    rows = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    (seen,) = [r for r in rows if r["step"] == 20 and "frechet" in r]
    assert metadata["watch"]["ndb"] == seen["ndb"]
    assert f"- frechet: {seen['frechet']:.4g}" in card


@pytest.mark.parametrize(
    ("run", "message"),
    [("nowhere", "nowhere holds no run"), ("", "holds no run")],
)
def test_what_is_no_run_is_refused(tmp_path, capsys, run, message):
    args = [f"--run={run or tmp_path}", f"--output={tmp_path / 'x'}"]
    assert export_lib.main(args) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_export_is_replaced_only_on_demand(
    trained, export, tmp_path, capsys
):
    output = tmp_path / "x"
    output.mkdir()
    args = [f"--run={trained}", f"--output={output}"]
    assert export_lib.main(args) == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert export_lib.main([*args, "--overwrite"]) == 0
    assert (output / "saved_model.pb").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def conditional(shards, tmp_path, kind):
    """The export of a model that has learnt labels or clusters."""

    sets = [f"--set=model.condition={kind}", "--set=model.clusters=4"]
    run, output = tmp_path / "run", tmp_path / "export"
    assert train.main(train_args(shards, run, *sets)) == 0
    args = [f"--run={run}", f"--output={output}"]
    assert export_lib.main(args) == 0
    return exported.load(output)


def test_a_label_is_asked_for_or_drawn(shards, tmp_path):
    model = conditional(shards, tmp_path, "label")
    call = model.signatures["serving_default"]
    seeds = tf.constant([1, 1, 1], tf.int64)
    asked = call(seed=seeds, label=tf.constant([0, 7, -1], tf.int64))["window"]
    assert not np.array_equal(asked[0], asked[1])
    drawn = [
        label
        for label in range(10)
        if np.allclose(
            call(seed=seeds[:1], label=tf.constant([label], tf.int64))[
                "window"
            ],
            asked[2],
            atol=1e-6,
        )
    ]
    assert len(drawn) == 1
    latent = served.latents_of(seeds[:1], 8)
    made = model.signatures["generate"](
        latent=latent, label=tf.constant([7], tf.int64)
    )
    np.testing.assert_allclose(made["window"][0], asked[1], atol=1e-6)
    with pytest.raises(UserError, match="knows no label '11'; expected one of"):
        model.label("11")
    wanted = call(seed=[3, 4], label=tf.constant([7, 7], tf.int64))
    args = ["--num=2", "--seed=3", f"--output={tmp_path / 'by_name'}"]
    assert sample_lib.main([f"--model={model.path}", "--label=7", *args]) == 0
    for seed, wav in zip((3, 4), wanted["wav_bytes"].numpy(), strict=True):
        file = tmp_path / "by_name" / f"label-7-seed-{seed:06d}.wav"
        assert file.read_bytes() == wav
    between = next(model.between((3, 4), 2, 2, np.array([7, 7])))
    np.testing.assert_allclose(between["audio"], wanted["audio"], atol=1e-3)
    loaded = ModelVersion(model.path, 1, 64)
    for wrong in (10, -2):
        inputs = {"seed": np.array([1]), "label": np.array([wrong])}
        with pytest.raises(RequestError) as caught:
            loaded.run("serving_default", inputs)
        assert caught.value.code.name == "INVALID_ARGUMENT"
        assert "label must be -1 to 9" in caught.value.message
    seed, drawn = np.array([5, 6]), np.array([-1, -1])
    without = loaded.run("serving_default", {"seed": seed})
    told = loaded.run("serving_default", {"seed": seed, "label": drawn})
    np.testing.assert_array_equal(without["audio"], told["audio"])
    # Layers would take -1 for the last label.
    inputs = {"latent": latent.numpy(), "label": np.array([-1])}
    with pytest.raises(RequestError, match="label must be 0 to 9"):
        loaded.run("generate", inputs)
    loaded.close()


def test_a_cluster_is_drawn_by_the_seed(shards, tmp_path):
    model = conditional(shards, tmp_path, "cluster")
    seeds = tf.range(16, dtype=tf.int64)
    whole = model.signatures["serving_default"](seed=seeds)["window"].numpy()
    alone = model.signatures["serving_default"](seed=seeds[5:6])[
        "window"
    ].numpy()
    np.testing.assert_allclose(alone[0], whole[5], atol=1e-6)
    made = model.signatures["generate"](
        latent=served.latents_of(seeds[:1], 8),
        cluster=tf.constant([2], tf.int64),
    )
    assert made["window"].shape == (1, 16, 32)
    with pytest.raises(UserError, match="has learnt no labels"):
        model.label("1")
