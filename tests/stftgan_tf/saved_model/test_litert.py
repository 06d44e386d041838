"""LiteRT models give the SavedModel's audio in processes without TensorFlow."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import stftgan_tf as stftgan
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import litert, writing
from tests.stftgan_tf.saved_model.test_signatures import call

# What a user's program does, where neither TensorFlow nor this project is.
PROGRAM = """
import json, sys, zipfile
sys.modules["tensorflow"] = sys.modules["stftgan_tf"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model, inputs, output = sys.argv[1:]
metadata = json.loads(zipfile.ZipFile(model).read("metadata.json"))
generate = Interpreter(model).get_signature_runner("generate")
rows = dict(np.load(inputs))
if "label" in rows:
    names = rows["label"]
    rows["label"] = np.int64([metadata["labels"].index(n) for n in names])
results = [
    generate(**{name: values[i : i + 1] for name, values in rows.items()})
    for i in range(len(rows["latent"]))
]
np.savez(output, **{
    name: np.concatenate([r[name] for r in results])
    for name in ("audio", "window")
})
"""


@pytest.fixture(scope="module")
def unlabelled_file(trained_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "digits.tflite"
    return litert.export(trained_run, path).path


@pytest.fixture(scope="module")
def labelled_file(labelled, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "labelled.tflite"
    return stftgan.export(labelled.path, path, format="litert")


def run_without_tensorflow(directory, model, **inputs):
    pytest.importorskip("ai_edge_litert")
    np.savez(directory / "inputs.npz", **inputs)
    paths = model, directory / "inputs.npz", directory / "outputs.npz"
    subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)], check=True
    )
    return np.load(directory / "outputs.npz")


def error_db(values, expected):
    """Level of the difference below the expected values, row by row."""
    axes = tuple(range(1, expected.ndim))
    error = np.square(values - expected).sum(axis=axes)
    return 10 * np.log10(error / np.square(expected).sum(axis=axes))


def latents(rows, loaded):
    size = loaded.metadata["latent_dim"]
    return np.random.default_rng(0).standard_normal((rows, size), np.float32)


def test_latents_give_the_audio_of_the_savedmodel(
    unlabelled_file, loaded, tmp_path
):
    latent = latents(8, loaded)
    outputs = run_without_tensorflow(tmp_path, unlabelled_file, latent=latent)
    expected = call(loaded, "generate", latent=latent)
    for name in ("audio", "window"):
        assert outputs[name].dtype == np.float32
        assert error_db(outputs[name], expected[name]).max() < -40


def test_labels_are_found_by_their_names(labelled_file, labelled, tmp_path):
    latent = latents(4, labelled)
    names = np.array(["3", "9", "0", "3"])
    outputs = run_without_tensorflow(
        tmp_path, labelled_file, latent=latent, label=names
    )
    expected = call(
        labelled, "generate", latent=latent, label=names.astype(int)
    )
    assert error_db(outputs["audio"], expected["audio"]).max() < -40
    other = call(labelled, "generate", latent=latent, label=[0, 1, 2, 4])
    assert error_db(outputs["audio"], other["audio"]).min() > -40


@pytest.mark.parametrize("label", [-1, 10])
def test_an_unknown_label_is_an_error(labelled_file, labelled, label):
    generate = litert.runner(labelled_file)
    latent = latents(1, labelled)
    with pytest.raises(RuntimeError, match="out of bounds"):
        generate(latent=latent, label=np.int64([label]))
    assert generate(latent=latent, label=np.int64([9]))["audio"].any()


def test_the_file_contains_metadata_and_card(labelled_file, labelled):
    with zipfile.ZipFile(labelled_file) as archive:
        metadata = json.loads(archive.read("metadata.json"))
        card = archive.read("model_card.md").decode()
    expected = dict(labelled.metadata)
    del expected["long_samples"]
    assert metadata == expected
    assert card == (labelled.path / "model_card.md").read_text()


def test_a_failed_export_leaves_the_directory_as_it_was(
    labelled_file, tmp_path
):
    output = tmp_path / "digits.tflite"
    with pytest.raises(UserError, match="nowhere is not a run"):
        litert.export(tmp_path / "nowhere", output)
    note = tmp_path / "note.md"
    with pytest.raises(UserError, match=r"note .*note\.md cannot be read"):
        litert.export(tmp_path / "nowhere", output, note=note)
    assert not list(tmp_path.iterdir())
    output.write_bytes(labelled_file.read_bytes())
    with pytest.raises(UserError, match="use --overwrite"):
        litert.export(tmp_path / "nowhere", output)
    with pytest.raises(UserError, match="nowhere is not a run"):
        litert.export(tmp_path / "nowhere", output, overwrite=True)
    assert output.read_bytes() == labelled_file.read_bytes()
    output.write_text("a diary")
    with pytest.raises(UserError, match="was not written by this command"):
        litert.export(tmp_path / "nowhere", output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.tflite"]


def test_an_export_can_be_exported_again(labelled, tmp_path):
    from stftgan_tf.saved_model import loading

    again = loading.load(
        writing.export(labelled.path, tmp_path / "again", secs=0.2).path
    )
    np.testing.assert_array_equal(
        again.sample(4, seed=3), labelled.sample(4, seed=3)
    )
    assert again.metadata == labelled.metadata
    for name in ("model_card.md", "map.json"):
        texts = [(x.path / name).read_text() for x in (again, labelled)]
        assert texts[0] == texts[1]
