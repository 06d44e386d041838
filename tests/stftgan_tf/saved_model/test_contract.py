import json
import shutil

import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import contract, loading


def copy_with(export, directory, **metadata):
    """A copy of an export whose metadata says something else."""
    shutil.copytree(export, directory)
    path = directory / "metadata.json"
    values = {**json.loads(path.read_text()), **metadata}
    path.write_text(json.dumps(values))
    return directory


def test_an_export_keeps_its_own_contract(export, labelled, tiny):
    assert contract.changes(export, export) == []
    assert contract.changes(labelled.path, labelled.path) == []
    assert contract.planned_changes(export, tiny) == []


def test_an_export_without_labels_changes_that_of_one_with_labels(
    export, labelled, tiny
):
    changes = contract.changes(labelled.path, export)
    assert "labels 10 (0, 1, 2, 3, 4, 5, ...) -> none" in changes
    assert "sample.inputs.label int64 -> none" in changes
    assert "serving_default.inputs.label int64 -> none" in changes
    assert not any("audio" in change for change in changes)
    assert contract.audio_changes(labelled.path, export) == []
    assert contract.planned_changes(labelled.path, tiny) == [
        "labels 10 (0, 1, 2, 3, 4, 5, ...) -> none"
    ]
    assert "labels none -> 10 (0, 1, 2, 3, 4, 5, ...)" in contract.changes(
        export, labelled.path
    )
    config = config_lib.load("tiny", ["model.condition=label"])
    assert contract.planned_changes(labelled.path, config) == []
    assert contract.planned_changes(export, config) == [
        "labels none -> those of the recordings"
    ]


def test_other_audio_is_another_contract(export, tmp_path, tiny):
    stft = {"frame_length": 128, "frame_step": 64}
    other = copy_with(
        export,
        tmp_path / "other",
        sample_rate_hz=16000,
        samples=1088,
        config={"stft": stft},
    )
    expected = [
        "sample rate 8000 Hz -> 16000 Hz",
        "STFT 64/32 -> 128/64",
        "window of 544 samples (0.068 s) -> of 1088 samples (0.068 s)",
    ]
    assert contract.changes(export, other) == expected
    assert contract.audio_changes(export, other) == expected
    config = config_lib.load("tiny", ["audio.sample_rate_hz=16000"])
    assert contract.planned_changes(export, config)[0] == expected[0]


def test_labels_in_another_order_are_another_contract(labelled, tmp_path):
    other = copy_with(
        labelled.path, tmp_path / "other", labels=list("1023456789")
    )
    assert contract.changes(labelled.path, other) == [
        "labels 10 (0, 1, 2, 3, 4, 5, ...) -> 10 (1, 0, 2, 3, 4, 5, ...)"
    ]


def test_a_renamed_output_or_another_shape_is_another_contract(
    export, tmp_path, monkeypatch
):
    other = copy_with(export, tmp_path / "other")
    definitions = loading.signature_defs

    def changed(path):
        result = definitions(path)
        if path == other:
            outputs = result["long"].outputs
            outputs["sound"].CopyFrom(outputs["audio"])
            del outputs["audio"]
            latent = result["generate"].inputs["latent"]
            latent.tensor_shape.dim[1].size = 9
        return result

    monkeypatch.setattr(loading, "signature_defs", changed)
    changes = contract.changes(export, other)
    assert "generate.inputs.latent float32[?, 8] -> float32[?, 9]" in changes
    assert any(c.startswith("long.outputs.audio float32[") for c in changes)
    assert any(c.startswith("long.outputs.sound none -> ") for c in changes)
    assert len(changes) == 3


def test_models_of_other_projects_have_no_known_contract(export, tmp_path):
    assert contract.changes(tmp_path, tmp_path) == []
    assert contract.changes(tmp_path, export)[0] == (
        "sample rate unknown -> 8000 Hz"
    )
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(UserError, match="metadata.json cannot be read"):
        contract.changes(tmp_path, export)
