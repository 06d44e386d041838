"""Benchmarks start and measure what they say; measuring takes too long here."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

DIRECTORY = ROOT / "benchmarks"

# Libraries that a script needs besides those of the tests.
NEEDS = {
    "hlo_run": ["jax"],
    "phase": ["librosa", "pesq", "pystoi"],
    "train_step": ["torch"],
}


@pytest.fixture
def load(monkeypatch):
    """Imports a script of benchmarks/."""

    def load_script(name):
        path = DIRECTORY / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load_script


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in DIRECTORY.glob("*.py"))
)
def test_every_script_has_help_with_an_example(load, capsys, name):
    for library in NEEDS.get(name, []):
        pytest.importorskip(library)
    script = load(name)
    with pytest.raises(SystemExit) as exit_info:
        script.main(["--help"])
    assert exit_info.value.code == 0
    assert f"{name}.py --" in capsys.readouterr().out or name == "hlo_run"


def test_known_modes_are_counted(load):
    modes = load("modes")
    patterns = modes.make_patterns(25)
    real, labels = modes.draw(patterns, 2500, 0)
    covered, good, divergence = modes.compare(real, patterns)
    assert (covered, good) == (25, 1.0) and divergence < 1e-6
    one_of_two = modes.compare(real[labels == 3], patterns[3:5])
    assert one_of_two[:2] == (1, 1.0) and (labels == 3).sum() == 100
    copies = modes.compare(np.repeat(patterns[3:4], 900, 0), patterns)
    assert copies[:2] == (1, 1.0) and copies[2] > 0.5
    noise = np.random.default_rng(0).uniform(-1, 1, real.shape)
    assert modes.compare(np.float32(noise), patterns)[:2] == (0, 0.0)


def test_a_row_of_known_modes_trains(load):
    modes = load("modes")
    result = modes.run(modes.ROWS["digits8k"], 25, seed=0, windows=128)
    assert 0 <= result.modes <= 25 and result.secs > 0


def test_a_training_step_is_written_as_a_program(load, tmp_path):
    args = ["--config=tiny", "--batch_size", "8", f"--output={tmp_path / 'x'}"]
    args += ["--set=model.condition=cluster", "--set=train.loss=rpgan-r1r2"]
    args += ["--set=augment.target=0.6", "--set=model.num_downsamples=1"]
    assert load("hlo_step").main(args) == 0
    directory = tmp_path / "x" / "batch_8"
    meta = json.loads((directory / "meta.json").read_text())
    with np.load(directory / "inputs.npz") as inputs:
        assert len(inputs.files) == len(meta["parameters"])
    with np.load(directory / "expected.npz") as results:
        assert len(results.files) == len(meta["results"])
        assert all(np.isfinite(results[name]).all() for name in results.files)
    assert (directory / "step.hlo.pb").stat().st_size > 10000


def test_every_row_of_remedies_is_a_config(load):
    remedies = load("remedies")
    for name in remedies.ROWS:
        values, steps = remedies.changes(name, "digits8k", 1000)
        five = name in ("clipped wgan", "5 critic steps")
        assert steps == (200 if five else 1000)
        assert ("model.condition=none" in values) == (name != "config")


@pytest.mark.slow
def test_a_remedy_is_trained_evaluated_and_not_repeated(
    load, cached_shards, tmp_path, capsys
):
    remedies = load("remedies")
    args = [
        f"--data={cached_shards}",
        f"--output={tmp_path}",
        "--config=tiny",
    ]
    args += ["--updates=10", "--rows", "labels"]
    assert remedies.main(args) == 0
    table = capsys.readouterr().out.splitlines()[-3:]
    names = [row.split(" | ")[0] for row in table[1:]]
    assert names == ["real, held out", "labels"]
    path = tmp_path / "labels-10" / "evaluation" / "evaluation.json"
    result = json.loads(path.read_text())
    assert table[2].split(" | ")[1] == str(result["generated"]["ndb"])
    assert result["generated"]["label_recognised"] is not None
    written = path.stat().st_mtime_ns
    assert remedies.main(args) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == table
    assert path.stat().st_mtime_ns == written
