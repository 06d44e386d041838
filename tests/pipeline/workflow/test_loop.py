import pytest

from pipeline.workflow import loop
from pipeline.workflow.step import StepError


@pytest.fixture
def steps(make_step):
    """Three steps, each the input of the next one."""
    chain = []
    for name in ("preprocess", "validate", "train"):
        chain.append(make_step(name, chain[-1:]))
    return chain


def run(steps, tmp_path, capsys):
    loop.run(steps, tmp_path / "root")
    return capsys.readouterr().out.splitlines()


def test_each_step_runs_once(steps, tmp_path, capsys):
    lines = run(steps, tmp_path, capsys)
    assert lines[0].startswith("[1/3] preprocess: cut the recordings into")
    assert lines[1].startswith("[1/3] preprocess: done in 00:0")
    assert lines[4] == "[3/3] train: train the model"
    assert run(steps, tmp_path, capsys) == [
        "[1/3] preprocess: up to date",
        "[2/3] validate: up to date",
        "[3/3] train: up to date",
    ]


def test_a_failure_stops_the_rest(steps, make_step, tmp_path, capsys):
    failing = make_step("validate", steps[:1], flags=["--code=1"])
    last = make_step("train", [failing])
    with pytest.raises(StepError, match="step validate failed"):
        loop.run([steps[0], failing, last], tmp_path / "root")
    assert "[3/3]" not in capsys.readouterr().out
    # The same pipeline continues where it failed.
    with pytest.raises(StepError):
        loop.run([steps[0], failing, last], tmp_path / "root")
    assert "preprocess: up to date" in capsys.readouterr().out


def test_earlier_times_give_an_estimate(steps, tmp_path, capsys):
    run(steps, tmp_path, capsys)
    for step, secs in zip(steps, (60, 5, 600), strict=True):
        text = step.record.read_text()
        start = text.index('"secs": ')
        step.record.write_text(f'{text[:start]}"secs": {secs}}}')
    steps[1].forget()
    lines = run(steps, tmp_path, capsys)
    assert "took" not in lines[1]
    assert lines[-2].endswith("(took 10:00 before; 10:00 to the end)")


def test_a_preview_follows_the_inputs(steps, tmp_path, capsys):
    assert list(loop.preview(steps, []).values()) == [True] * 3
    run(steps, tmp_path, capsys)
    assert list(loop.preview(steps, []).values()) == [False] * 3
    preview = loop.preview(steps, steps[1:2])
    assert list(preview.values()) == [False, True, True]
