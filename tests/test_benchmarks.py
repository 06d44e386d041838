"""What benchmarks measure with; the measuring itself takes too long here."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from tests.conftest import ROOT


@pytest.fixture
def load(monkeypatch):
    """Imports a script of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def found(name):
        path = ROOT / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return found


def test_known_modes_are_counted(load):
    modes = load("modes")
    kinds = modes.patterns(25)
    real, labels = modes.draw(kinds, 2500, 0)
    found, good, divergence = modes.judge(real, kinds)
    assert (found, good) == (25, 1.0) and divergence < 1e-6
    third = modes.judge(real[labels == 3], kinds[3:5])
    assert third[:2] == (1, 1.0) and (labels == 3).sum() == 100
    few = modes.judge(np.repeat(kinds[3:4], 900, 0), kinds)
    assert few[:2] == (1, 1.0) and few[2] > 0.5
    noise = np.random.default_rng(0).uniform(-1, 1, real.shape)
    assert modes.judge(np.float32(noise), kinds)[:2] == (0, 0.0)


def test_a_row_of_known_modes_trains(load):
    modes = load("modes")
    for name in ("default", "labels", "digits8k"):
        found = modes.run(modes.ROWS[name], 25, seed=0, windows=640)
        assert 0 <= found.modes <= 25 and found.secs > 0


def test_a_step_is_written_as_a_program(load, tmp_path):
    args = ["--config=tiny", "--batch_size", "8", f"--output={tmp_path / 'x'}"]
    args += ["--set=model.condition=cluster", "--set=train.loss=rpgan-r1r2"]
    args += ["--set=augment.target=0.6"]
    assert load("hlo_step").main(args) == 0
    folder = tmp_path / "x" / "batch_8"
    told = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "inputs.npz") as inputs:
        assert len(inputs.files) == len(told["parameters"])
    with np.load(folder / "expected.npz") as results:
        assert len(results.files) == len(told["results"])
        assert all(np.isfinite(results[name]).all() for name in results.files)
    assert (folder / "step.hlo.pb").stat().st_size > 10000


def test_remedies_are_trained_and_judged(load, kept, tmp_path, capsys):
    remedies = load("remedies")
    for name in remedies.ROWS:
        values, steps = remedies.changes(name, "digits8k", 1000)
        five = name in ("clipped wgan", "5 critic steps")
        assert steps == (200 if five else 1000)
        assert ("model.condition=none" in values) == (name != "config")
    args = [f"--data={kept}", f"--output={tmp_path}", "--config=tiny"]
    args += ["--updates=10", "--rows", "labels"]
    assert remedies.main(args) == 0
    table = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split(" | ")[0] for row in table[1:]] == [
        "real, held out",
        "labels",
    ]
    said = json.loads((tmp_path / "labels-10" / "evaluation.json").read_text())
    assert table[2].split(" | ")[1] == str(said["generated"]["ndb"])
    assert said["generated"]["label_recognised"] is not None
    # What is done is not done again.
    assert remedies.main(args) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == table
