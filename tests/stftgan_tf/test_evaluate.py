"""Tests of the command; for the metrics, see tests/stftgan_tf/evaluation."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from stftgan_tf import evaluate, train
from stftgan_tf import export as export_lib
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, evaluator
from stftgan_tf.files import directory_digest
from stftgan_tf.saved_model import loading
from tests.conftest import ROOT, preprocess_tiny, train_args


def run(export, shards, *more):
    return evaluate.main([f"--model={export}", f"--data={shards}", *more])


def test_an_evaluation_contains_metrics_checks_and_examples(
    evaluation, export, cached_shards
):
    names = sorted(path.name for path in evaluation.iterdir())
    assert names == ["NOT_BLESSED", "evaluation.json", "examples.npz"]
    result = blessing.read(evaluation)
    assert result["digest"] == directory_digest(export)
    assert result["clusters"] == 5
    assert result["last_digest"] == "5ha"
    real, generated = result["real"], result["generated"]
    assert real.keys() == generated.keys()
    assert generated["windows"] == 64
    assert real["diversity_ratio"] == 1.0
    # 20 steps are too few for good samples.
    assert not result["blessed"] and result["reasons"]
    assert real["recall"] > 0.2 > generated["recall"]
    assert real["frechet"] < 0.8 * generated["frechet"]
    assert real["fid"] < generated["fid"]
    assert real["label_recognised"] > 0.15
    assert generated["label_recognised"] is None
    for row in (real, generated):
        assert list(row["labels"]) == list("0123456789")
        assert sum(row["labels"].values()) == pytest.approx(1, abs=0.01)
    (cache,) = cached_shards.glob("classifier-*.npz")
    assert cache.stat().st_size > 1000


def test_the_same_export_gets_the_same_evaluation(
    evaluation, export, cached_shards, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(export, cached_shards) == 0
    output = capsys.readouterr()
    # The classifier was read from the data set's directory, not trained.
    assert "classifier: " not in output.err
    directory = tmp_path / "evaluations" / export.name
    first, second = blessing.read(evaluation), blessing.read(directory)
    for name in ("real", "generated", "bins", "data_digest"):
        assert first[name] == second[name]
    arrays = [np.load(x / "examples.npz") for x in (evaluation, directory)]
    for name in arrays[0].files:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    lines = output.out.splitlines()
    assert lines[0].split() == ["metric", "real", "generated", "best"]
    failed = blessing.verdict_lines(second)
    assert lines[-1 - len(failed) : -1] == failed
    # 20 steps are all that the config asks for.
    assert len(second["remedies"]) == len(second["reasons"]) == len(failed)
    assert failed[0].endswith(". " + second["remedies"][0])
    assert "train longer, for instance --steps" in failed[0]
    assert lines[-1] == f"evaluations/{export.name}"


def test_a_model_that_changes_during_the_evaluation_is_refused(
    export, shards, tmp_path, capsys, monkeypatch
):
    model, output = tmp_path / "model", tmp_path / "evaluation"
    shutil.copytree(export, model)

    def change(*args):
        (model / "model_card.md").write_text("of a different export")

    monkeypatch.setattr(evaluator, "evaluate_loaded", change)
    assert run(model, shards, f"--output={output}") == 1
    assert f"{model} was changed" in capsys.readouterr().err
    assert not output.exists()


def test_single_frames_with_few_labels(recordings, tmp_path):
    """There are too few labelled windows to train a classifier."""
    shards, run_dir = tmp_path / "shards", tmp_path / "run"
    sets = ["window.frames=1", "window.stride_frames=50", "split.by=regex"]
    sets += [r"audio.name_regex=(?P<label>[01])_adam_0\.wav$"]
    sets += [r"split.eval_regex=_dora_2\.wav$", "model.num_downsamples=0"]
    sets += ["evaluate.clusters=20", "evaluate.samples=64"]
    flags = [f"--set={text}" for text in sets]
    assert preprocess_tiny(recordings, shards, *flags) == 0
    assert train.main(train_args(shards, run_dir, "--steps=3", *flags)) == 0
    export = tmp_path / "export"
    args = [f"--run={run_dir}", f"--output={export}", "--secs=0.05"]
    assert export_lib.main(args) == 0
    (rows,) = loading.load(export).batches(0, 2, 2)
    assert rows["audio"].shape == (2, 64) and rows["window"].shape[1] == 1
    output = tmp_path / "evaluation"
    assert run(export, shards, f"--output={output}") == 0
    generated = json.loads((output / "evaluation.json").read_text())[
        "generated"
    ]
    assert "ndb" in generated and "fid" not in generated
    assert not list(shards.glob("classifier-*"))


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--model=nowhere"], 1, "nowhere is not an export"),
        (["--data=nowhere"], 1, "nowhere is not a data set"),
        (["--set=evaluate.clusters=900"], 1, "expected at least 900"),
        (["--last_blessed=nowhere"], 1, "nowhere is not an evaluation"),
        (["--output=/usr"], 1, "(no evaluation.json)"),
        (["--set=evaluate.cluster=9"], 2, "did you mean evaluate.clusters"),
        (["--set=stft.frame_step=16"], 1, "stft.frame_step: 32"),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    export, shards, capsys, tmp_path, monkeypatch, more, code, message
):
    monkeypatch.chdir(tmp_path)
    assert run(export, shards, *more) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_print_config_prints_the_config_inside_the_export(export, capsys):
    flags = ["--print_config", "--set=evaluate.clusters=3"]
    assert run(export, "nowhere", *flags) == 0
    printed = capsys.readouterr().out
    assert "clusters: 3" in printed and "frame_step: 32" in printed


def test_bad_flags_are_reported_before_tensorflow_is_loaded():
    code = """
import sys
from stftgan_tf import evaluate, report
for command in (evaluate, report):
    try:
        command.main(["--nonsense"])
    except SystemExit as error:
        assert error.code == 2
print(*sys.modules)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    assert not {"tensorflow", "keras", "numpy"} & set(process.stdout.split())


def test_the_python_function_takes_text_paths_and_overrides(
    export, cached_shards
):
    with pytest.raises(UserError, match="expected at least 900"):
        evaluator.evaluate(
            str(export),
            str(cached_shards),
            overrides=["evaluate.clusters=900"],
        )
