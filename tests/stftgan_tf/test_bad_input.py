"""Damaged files of all kinds: every command ends in one line that names them.

The commands run in this process, so that TensorFlow is loaded once.
"""

import importlib
import json
import shutil

import pytest

COMMANDS = {
    "inspect": "pipeline.inspect",
    "validate": "pipeline.validate",
    "push": "pipeline.push",
    "train": "stftgan_tf.train",
    "export": "stftgan_tf.export",
    "sample": "stftgan_tf.sample",
    "evaluate": "stftgan_tf.evaluate",
    "report": "stftgan_tf.report",
}


def run(command, *flags):
    module = importlib.import_module(COMMANDS[command])
    try:
        return module.main([str(flag) for flag in flags])
    except SystemExit as stop:
        return stop.code


def error_of(capsys, code):
    """The only error line of a command that failed as it should."""
    assert code in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines), lines
    assert "unexpected" not in errors[0], lines
    return errors[0]


def text(content):
    return lambda path: path.write_text(content)


def binary(path):
    path.write_bytes(b"\xff\xfe\0\0 no text")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def directory(path):
    path.unlink()
    path.mkdir()


def update(**changes):
    def change(path):
        values = json.loads(path.read_text())
        path.write_text(json.dumps({**values, **changes}))

    return change


TEXTS = [cut, binary, directory, text("[]"), text("{}"), text("[" * 99999)]


@pytest.mark.parametrize(
    "damage",
    [
        *TEXTS,
        update(labels=[7]),
        update(windows={"train": "many", "eval": 1}),
        update(windows={"train": -1, "eval": 1}),
        update(moments={"mean": [float("nan")] * 32, "std": [1.0] * 32}),
        update(moments={"mean": [0.0] * 5, "std": [1.0] * 5}),
        update(shards=[]),
        update(shards=["x"]),
        update(config={"audio": [1]}),
        update(config={}),
    ],
)
def test_a_damaged_manifest(shards, tmp_path, capsys, damage):
    for name in ("manifest.json", "stats.json", "schema.pbtxt"):
        shutil.copy(shards / name, tmp_path)
    damage(tmp_path / "manifest.json")
    data, run_dir = f"--data={tmp_path}", tmp_path / "run"
    for command, *flags in (
        ("train", "--config=tiny", f"--run={run_dir}"),
        ("validate", "--config=tiny"),
        ("inspect", f"--output={tmp_path / 'x.png'}"),
    ):
        error_of(capsys, run(command, data, *flags))
    assert not run_dir.exists()


def test_damaged_statistics(shards_copy, capsys):
    for damage in (text("[]"), text('{"labels": {}, "speakers": 7}')):
        damage(shards_copy / "stats.json")
        code = run("validate", f"--data={shards_copy}", "--config=tiny")
        assert "stats.json cannot be read" in error_of(capsys, code)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("metadata.json", damage) for damage in TEXTS),
        ("saved_model.pb", cut),
        ("saved_model.pb", text("")),
        ("saved_model.pb", directory),
        ("variables/variables.index", cut),
        ("variables/variables.data-00000-of-00001", cut),
    ],
)
def test_a_damaged_export(export, tmp_path, capsys, name, damage):
    model = shutil.copytree(export, tmp_path / "model")
    damage(model / name)
    output = tmp_path / "samples"
    code = run("sample", f"--model={model}", "--num=1", f"--output={output}")
    assert str(model) in error_of(capsys, code)
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("config.yaml", damage) for damage in (*TEXTS, text(""))),
        *(("manifest.json", damage) for damage in TEXTS),
    ],
)
def test_a_damaged_run(trained_run, tmp_path, capsys, name, damage):
    for file in ("config.yaml", "manifest.json"):
        shutil.copy(trained_run / file, tmp_path)
    damage(tmp_path / name)
    code = run("export", f"--run={tmp_path}", f"--output={tmp_path / 'x'}")
    assert str(tmp_path) in error_of(capsys, code)


@pytest.mark.parametrize(
    "damage",
    [*TEXTS, update(generated="x"), update(checks=["x"]), update(reasons=1)],
)
def test_a_damaged_evaluation(
    evaluation, export, shards, tmp_path, capsys, damage
):
    copy = shutil.copytree(evaluation, tmp_path / "evaluation")
    damage(copy / "evaluation.json")
    flags = [f"--model={export}", f"--evaluation={copy}"]
    code = run("push", *flags, f"--base_path={tmp_path / 'base'}")
    assert str(copy) in error_of(capsys, code)
    output = f"--output={tmp_path / 'report.html'}"
    code = run("report", *flags, f"--data={shards}", output)
    assert str(copy) in error_of(capsys, code)
