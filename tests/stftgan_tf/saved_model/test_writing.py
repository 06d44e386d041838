import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.metrics import registry
from stftgan_tf.saved_model import loading, writing
from tests.stftgan_tf.training import runs


@pytest.fixture(scope="module")
def metadata(export):
    return json.loads((export / "metadata.json").read_text())


def test_the_metadata_describes_the_model(metadata, tiny, trained_run):
    assert metadata["sample_rate_hz"] == 8000
    assert metadata["samples"] == tiny.window_samples
    assert metadata["step"] == 20
    assert metadata["config"] == tiny.to_dict()
    manifest = (trained_run / "manifest.json").read_bytes()
    assert metadata["data_config_hash"] == json.loads(manifest)["config_hash"]
    digest = hashlib.sha256(manifest).hexdigest()
    assert metadata["data_manifest_sha256"] == digest


def test_the_weights_are_saved_once(export, metadata):
    [weights] = (export / "variables").glob("variables.data-*")
    size = weights.stat().st_size
    assert size == pytest.approx(4 * metadata["parameters"], rel=0.1, abs=4096)


def test_the_card_states_what_it_is_and_how_good(export, metadata, trained_run):
    card = (export / "model_card.md").read_text()
    assert "0.07 s of audio at 8000 Hz" in card
    assert "windows of\n  16 x 32" in card
    assert metadata["data_manifest_sha256"] in card
    row = runs.measurements(trained_run)[-1]
    assert metadata["watch"] == registry.from_watch_row(row)
    assert registry.watch_list(metadata["watch"]) in card
    assert f"checkpoint {metadata['checkpoint']}: the " in card


def test_a_step_that_was_not_measured_has_no_metrics(labelled):
    assert labelled.metadata["watch"] == {}
    card = (labelled.path / "model_card.md").read_text()
    assert "Not measured at this step." in card
    assert "A request may name a label: 0, 1, 2" in card


def test_an_export_of_a_bfloat16_run_computes_in_float32(
    trained_run, export, tmp_path
):
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    text = (run / "config.yaml").read_text()
    assert text.count("precision: float32") == 1
    text = text.replace("precision: float32", "precision: mixed_bfloat16")
    (run / "config.yaml").write_text(text)
    output = writing.export(run, tmp_path / "export").path
    audio = [loading.load(path).sample(4, seed=1) for path in (output, export)]
    np.testing.assert_array_equal(*audio)


def test_a_note_is_part_of_the_card(trained_run, tmp_path):
    note = tmp_path / "note.md"
    note.write_text("## Origin\n\nSpoken digits, CC BY-SA 4.0\n")
    output = tmp_path / "export"
    writing.export(trained_run, output, note=note)
    card = (output / "model_card.md").read_text()
    assert "\n\n## Origin\n\nSpoken digits, CC BY-SA 4.0\n\n- " in card
    with pytest.raises(UserError, match=r"note .*x\.md cannot be read"):
        writing.export(trained_run, tmp_path / "y", note=tmp_path / "x.md")
    assert not (tmp_path / "y").exists()


def test_what_cannot_be_exported_is_refused(trained_run, export, tmp_path):
    with pytest.raises(UserError, match="is not a run .no config.yaml"):
        writing.export(tmp_path, tmp_path / "x")
    with pytest.raises(UsageError, match="secs is 601; expected above 0"):
        writing.export(trained_run, tmp_path / "x", secs=601)
    with pytest.raises(UsageError, match="expected best, last or the number"):
        writing.export(trained_run, tmp_path / "x", checkpoint="newest")
    with pytest.raises(UserError, match=r"no checkpoint of step 7; .* 10, 20"):
        writing.export(trained_run, tmp_path / "x", checkpoint="7")
    with pytest.raises(UserError, match="use --overwrite"):
        writing.export(trained_run, export)
    assert not list(tmp_path.iterdir())
