import json

import numpy as np
import pytest

from stftgan_tf import dataset, evaluate


def run(export, shards, *more):
    return evaluate.main([f"--model={export}", f"--data={shards}", *more])


def test_figures_of_real_and_generated_windows(
    export, shards, tmp_path, capsys
):
    path = tmp_path / "figures.json"
    assert run(export, shards, f"--output={path}") == 0
    report = json.loads(path.read_text())
    assert report["clusters"] == 5
    assert report["generated"]["windows"] == 64
    assert report["real"]["diversity_ratio"] == 1.0
    assert 0 <= report["generated"]["ndb"] <= 5
    assert report["real"]["judge_accuracy"] > 0.3
    for row in ("real", "generated"):
        shares = report[row]["labels"]
        assert list(shares) == list("0123456789")
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("real {")


def test_the_export_brings_its_config_and_set_overrides_it(
    export, shards, tmp_path
):
    path = tmp_path / "figures.json"
    more = ["--set=evaluate.clusters=3", f"--output={path}"]
    assert run(export, shards, *more) == 0
    assert json.loads(path.read_text())["clusters"] == 3


class Collapsed:
    """Stands where an export would, with one window only."""

    path = "collapsed"

    def __init__(self, window):
        self._window = window

    def batches(self, seed, count, batch):
        yield {"window": np.repeat(self._window[None], count, axis=0)}


def test_a_collapsed_model_shows(shards, tiny):
    opened = dataset.open_shards(shards, tiny)
    windows, _ = dataset.load_windows(opened, tiny, "train", 10)
    report = evaluate.evaluate(Collapsed(windows[0]), opened, tiny)
    assert report["generated"]["diversity_ratio"] < 1e-5
    assert report["generated"]["ndb"] >= 3
    assert max(report["generated"]["labels"].values()) == 1.0


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--model=nowhere"], 1, "nowhere is no export"),
        (["--data=nowhere"], 1, "nowhere holds no data set"),
        (["--set=evaluate.clusters=900"], 1, "expected at least 900"),
        (["--set=evaluate.cluster=9"], 2, "did you mean evaluate.clusters"),
        (["--set=stft.frame_step=16"], 1, "stft.frame_step: 32 there, 16 here"),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    export, shards, capsys, more, code, message
):
    assert run(export, shards, *more) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
