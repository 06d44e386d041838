import functools
import json
import shutil

import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf import evaluate, train
from stftgan_tf import export as export_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.files import digest_of
from stftgan_tf.saved_model import loading as exported
from tests.conftest import preprocess_tiny, train_args


def run(export, shards, *more):
    return evaluate.main([f"--model={export}", f"--data={shards}", *more])


def test_figures_of_real_and_generated_windows(export, kept, tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert run(export, kept, f"--output={path}") == 0
    report = json.loads(path.read_text())
    assert report["clusters"] == 5
    real, ours = report["real"], report["generated"]
    assert real.keys() == ours.keys()
    assert ours["windows"] == 64
    assert real["diversity_ratio"] == 1.0
    assert 0 <= ours["ndb"] <= 5
    # An untrained generator is neither.
    assert real["recall"] > 0.2 > ours["recall"]
    assert real["frechet"] < 0.8 * ours["frechet"]
    assert real["fid"] < ours["fid"]
    assert real["label_recognised"] > 0.15
    assert ours["label_recognised"] is None
    for row in (real, ours):
        assert list(row["labels"]) == list("0123456789")
        assert sum(row["labels"].values()) == pytest.approx(1, abs=0.01)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["real", "generated"]
    assert "inception_score" in printed


def test_a_model_replaced_meanwhile_gets_no_verdict(
    export, kept, tmp_path, capsys, monkeypatch
):
    model, verdict = tmp_path / "model", tmp_path / "verdict"
    shutil.copytree(export, model)
    measure = evaluate.evaluate

    def slowly(*args):
        (model / "model_card.md").write_text("of another one")
        return measure(*args)

    monkeypatch.setattr(evaluate, "evaluate", slowly)
    assert run(model, kept, f"--blessing={verdict}") == 1
    assert "was changed meanwhile" in capsys.readouterr().err
    assert not verdict.exists()


def test_the_judge_is_kept_with_the_data_set(export, shards_copy, capsys):
    assert run(export, shards_copy) == 0
    first = capsys.readouterr()
    assert "judge: 40 epochs" in first.err
    (kept,) = shards_copy.glob("judge-*.npz")
    assert run(export, shards_copy) == 0
    second = capsys.readouterr()
    assert "judge" not in second.err
    assert second.out == first.out
    kept.write_bytes(kept.read_bytes()[:100])
    assert run(export, shards_copy) == 0
    third = capsys.readouterr()
    assert "judge: 40 epochs" in third.err and third.out == first.out


def test_the_export_brings_its_config_and_set_overrides_it(
    export, kept, tmp_path
):
    path = tmp_path / "figures.json"
    more = ["--set=evaluate.clusters=3", f"--output={path}"]
    assert run(export, kept, *more) == 0
    assert json.loads(path.read_text())["clusters"] == 3


class Repeating:
    """Stands where an export would, with a few windows only."""

    path, asks_for_labels = "repeating", False

    def __init__(self, windows, moments, config):
        self._windows = windows
        self._audio = evaluate.to_audio(windows, moments, config)

    def batches(self, seed, count, batch, labels):
        rows = np.arange(count) % len(self._windows)
        yield {"window": self._windows[rows], "audio": self._audio[rows]}


@pytest.fixture(scope="module")
def report_of(kept, tiny):
    """Evaluates a generator that must not be published, once."""
    opened = dataset.open_shards(kept, tiny)
    windows, _ = dataset.load_windows(opened, tiny, "train", 10**6)

    @functools.cache
    def report(kind):
        model = Repeating(planted(kind, windows), opened.moments, tiny)
        return evaluate.evaluate(model, opened, tiny)

    return report


def test_a_collapsed_model_shows(report_of):
    found = report_of("constant")["generated"]
    assert found["diversity_ratio"] < 1e-5
    assert found["ndb"] >= 3
    assert found["coverage"] < 0.2
    assert found["inception_score"] == pytest.approx(1, abs=1e-3)
    assert max(found["labels"].values()) == 1.0


def test_four_repeated_windows_show(report_of):
    found = report_of("four repeated")["generated"]
    assert found["nearest_self"] == pytest.approx(0, abs=1e-3)
    assert found["coverage"] < 0.4


def planted(kind, windows):
    """Windows of a generator that must not be published."""
    rng = np.random.default_rng(0)
    if kind == "noise":
        return np.float32(rng.uniform(-1, 1, (64, *windows.shape[1:])))
    return {
        "constant": windows[:1],
        "four repeated": windows[:4],
        "copies": windows[:64],
        "silence": np.full_like(windows[:1], -1.0),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("constant", "all windows are alike"),
        ("four repeated", "windows are repeated"),
        ("copies", "training windows are copied"),
        ("noise", "unlike any real window"),
        ("silence", "all windows are alike"),
    ],
)
def test_a_planted_bad_generator_is_not_blessed(report_of, tiny, kind, reason):
    found = blessing.reasons(blessing.checks(report_of(kind), tiny.bless))
    assert any(line.startswith(reason) for line in found), found


def test_real_windows_would_be_blessed(kept, tiny):
    opened = dataset.open_shards(kept, tiny)
    windows, _ = dataset.load_windows(opened, tiny, "eval", 10**6)
    model = Repeating(windows, opened.moments, tiny)
    config = config_lib.load("tiny", [f"evaluate.samples={len(windows)}"])
    report = evaluate.evaluate(model, opened, config)
    assert blessing.reasons(blessing.checks(report, tiny.bless)) == []


def test_how_many_windows_there_are_does_not_count(kept, tiny):
    opened = dataset.open_shards(kept, tiny)
    train, _ = dataset.load_windows(opened, tiny, "train", 10**6)
    real, _ = dataset.load_windows(opened, tiny, "eval", 20)
    # Real windows, five times as many as they are compared with.
    yardstick = evaluate.Windows(train, opened.moments, tiny)
    few = yardstick.figures(real, real)
    many = yardstick.figures(np.concatenate([real] * 5), real)
    for name in ("coverage", "recall", "frechet", "nearest_self"):
        assert many[name] == pytest.approx(few[name], rel=1e-3), name


def test_few_labelled_windows_are_judged_without_a_classifier(
    recordings, tmp_path
):
    # Labels of two of 60 recordings, none of which is held out.
    sets = [r"audio.name_regex=(?P<label>[01])_adam_0\.wav$"]
    sets += ["split.by=regex", r"split.eval_regex=_dora_2\.wav$"]
    output = tmp_path / "shards"
    flags = [f"--set={text}" for text in sets]
    assert preprocess_tiny(recordings, output, *flags) == 0
    config = config_lib.load("tiny", [*sets, "evaluate.samples=64"])
    opened = dataset.open_shards(output, config)
    assert opened.manifest["labels"] == ["0", "1"]
    windows, _ = dataset.load_windows(opened, config, "train", 64)
    model = Repeating(windows, opened.moments, config)
    sets = [f"evaluate.clusters={len(windows)}", *sets]
    report = evaluate.evaluate(
        model, opened, config_lib.load("tiny", [*sets, "evaluate.samples=64"])
    )
    assert "ndb" in report["generated"] and "fid" not in report["generated"]


def test_an_empty_evaluation_split_is_told_of(recordings, tmp_path, capsys):
    output = tmp_path / "shards"
    sets = ["split.eval_fraction=0"]
    assert preprocess_tiny(recordings, output, f"--set={sets[0]}") == 0
    config = config_lib.load("tiny", sets)
    opened = dataset.open_shards(output, config)
    windows, _ = dataset.load_windows(opened, config, "train", 64)
    model = Repeating(windows, opened.moments, config)
    with pytest.raises(UserError, match="and 0 evaluation windows"):
        evaluate.evaluate(model, opened, config)
    flags = [f"--set={sets[0]}", "--steps=1"]
    assert train.main(train_args(output, tmp_path / "run", *flags)) == 0
    assert "no windows are held out" in capsys.readouterr().err


class Asked(Repeating):
    """Gives windows of the label asked for, or of one further on."""

    asks_for_labels = True

    def __init__(self, train, shift, moments, config):
        super().__init__(train[0], moments, config)
        self._labels, self._shift = train[1], shift

    def batches(self, seed, count, batch, labels):
        asked = (labels + self._shift) % 10
        rows = [np.flatnonzero(self._labels == label)[0] for label in asked]
        yield {"window": self._windows[rows], "audio": self._audio[rows]}


@pytest.mark.parametrize("shift", [0, 4])
def test_labels_that_are_asked_for_are_recognised(kept, tiny, shift):
    opened = dataset.open_shards(kept, tiny)
    train_ = dataset.load_windows(opened, tiny, "train", 10**6)
    model = Asked(train_, shift, opened.moments, tiny)
    found = evaluate.evaluate(model, opened, tiny)["generated"]
    # A window of tiny is too short to tell more than a part of the digits.
    if shift:
        assert found["label_recognised"] < 0.2
    else:
        assert found["label_recognised"] > 0.35


def test_single_frames_go_all_the_way(recordings, tmp_path):
    shards, run_ = tmp_path / "shards", tmp_path / "run"
    sets = ["window.frames=1", "window.stride_frames=50"]
    sets = [f"--set={text}" for text in (*sets, "model.num_downsamples=0")]
    assert preprocess_tiny(recordings, shards, *sets) == 0
    assert train.main(train_args(shards, run_, "--steps=3", *sets)) == 0
    made = tmp_path / "export"
    args = [f"--run={run_}", f"--output={made}", "--long_secs=0.05"]
    assert export_lib.main(args) == 0
    (rows,) = exported.load(made).batches(0, 2, 2)
    assert rows["audio"].shape == (2, 64) and rows["window"].shape[1] == 1
    assert np.isfinite(rows["audio"]).all()
    assert run(made, shards, "--set=evaluate.samples=64") == 0


def test_labels_that_are_asked_for_but_held_out_of_none(tiny):
    figures = dict.fromkeys(
        ("diversity_ratio", "nearest_self", "precision", "coverage", "recall"),
        1.0,
    )
    figures |= {"ndb": 0, "frechet": 1.0, "memorised": 0.0}
    report = {
        "real": {**figures, "label_recognised": None},
        "generated": {**figures, "label_recognised": 0.1},
        "clusters": 5,
        "dimensions": 9,
    }
    assert blessing.reasons(blessing.checks(report, tiny.bless)) == []


def test_the_verdict_on_an_export(export, kept, tmp_path, capsys):
    """Twenty steps are not enough to be blessed."""
    folder = tmp_path / "verdict"
    assert run(export, kept, f"--blessing={folder}") == 0
    assert "NOT_BLESSED" in capsys.readouterr().out.splitlines()
    verdict = blessing.read(folder)
    assert verdict["digest"] == digest_of(export)
    assert verdict["reasons"] and verdict["generated"]["windows"] == 64


@pytest.mark.parametrize(
    ("pattern", "what"), [("*_[12]", "moments"), ("[0-4]_*", "labels")]
)
def test_other_data_than_the_model_learnt_from_is_refused(
    export, recordings, tmp_path, capsys, pattern, what
):
    other = tmp_path / "other"
    assert preprocess_tiny(recordings, other, f"--pattern={pattern}.wav") == 0
    assert run(export, other) == 1
    assert f"{other} has other {what} than" in capsys.readouterr().err


def test_copies_of_the_training_windows_are_called_memorised(report_of):
    assert report_of("copies")["generated"]["memorised"] == 1.0


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--model=nowhere"], 1, "nowhere is no export"),
        (["--data=nowhere"], 1, "nowhere holds no data set"),
        (["--set=evaluate.clusters=900"], 1, "expected at least 900"),
        (["--last_blessed=nowhere"], 1, "nowhere holds no verdict"),
        (["--blessing=/usr"], 1, "holds something else (no evaluation.json)"),
        (["--output=/usr"], 2, "--output /usr is a folder; expected a file"),
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
