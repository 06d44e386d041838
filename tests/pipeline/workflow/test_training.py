"""Trainings that are extended, interrupted, and changed by hand.

The commands are fakes that leave the files of a training; `test_run.py` runs
real ones.
"""

import pytest

from pipeline.workflow import history, run_state
from pipeline.workflow.publishing import Export
from pipeline.workflow.step import StepError
from pipeline.workflow.training import Training
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import lineage
from tests.pipeline.workflow import child
from tests.pipeline.workflow.conftest import CHILD


@pytest.fixture
def training(make_step, tmp_path):
    """A function that makes a training to a number of steps."""
    shards = make_step("preprocess")
    shards.run()

    def make(steps, minutes=None, *, stops_at=None, secs=1.0, code=0):
        flags = [f"--steps={stops_at or steps}", f"--secs={secs}"]
        flags.append(f"--code={code}")
        return Training(
            tmp_path / "root",
            shards,
            {"seed": 0},
            (steps, minutes),
            lambda output: [CHILD, *flags, f"--output={output}"],
        )

    return make


def export_of(training, tmp_path):
    command = [CHILD, "--print=exported"]
    return Export(
        tmp_path / "root",
        training,
        lambda output: [*command, f"--output={output}"],
    )


def train_by_hand(run, step, secs=1.0):
    """As `python -m stftgan_tf.train --run RUN --resume` would."""
    child.train(run, step, secs)


def test_a_longer_training_continues_and_names_the_one_before(training):
    short, long = training(100), training(300)
    assert short.output == long.output and short.id != long.id
    short.run()
    assert long.notes() == [
        f"continues {long.output} at step 100 after 00:01 "
        f"({short.record.name} records step 100)"
    ]
    long.run()
    record = lineage.read(long.record)
    assert record["previous"] == lineage.read(short.record)
    assert record["run"]["step"] == 300 and "by_hand" not in record
    steps = [
        (depth, entry["run"]["step"])
        for depth, entry in lineage.walk(long.record)
        if entry["step"] == "train"
    ]
    assert steps == [(0, 300), (1, 100)]
    # Both are done, and neither says anything more.
    for step in (short, long):
        assert step.done() and step.notes() == []
    assert long.is_current() and not short.is_current()


def test_what_was_exported_of_a_shorter_training_stays(training, tmp_path):
    short, long = training(100), training(300)
    short.run()
    first = export_of(short, tmp_path)
    first.run()
    long.run()
    second = export_of(long, tmp_path)
    assert second.id != first.id and not second.done()
    second.run()
    assert first.done() and second.done()
    # It cannot be made again, because the run is further now.
    first.forget()
    with pytest.raises(
        StepError,
        match=r"step export failed: .*is of step 100, but .*is at step 300 "
        r"after 00:01 now; run again with --steps=300, or --from=train",
    ):
        first.run()
    # Trained anew, both exist; the longer run is kept.
    short.forget()
    short.run()
    first.run()
    assert first.done() and short.is_current() and not long.is_current()
    assert len(list(short.output.parent.glob("*-before-*"))) == 1


def test_fewer_steps_than_the_run_has_are_refused(training):
    training(300).run()
    between = training(200)
    assert between.notes() == []
    with pytest.raises(
        StepError,
        match=r"step train failed: .* is at step 300 after 00:01 already, "
        r"which is more than --steps=200; use --steps=300 or more .* "
        r"--from=train",
    ):
        between.run()
    assert not between.done()


def test_minutes_are_a_total(training):
    limit = 1000
    five = training(limit, 5.0, stops_at=100, secs=301.0)
    five.run()
    fifteen = training(limit, 15.0, stops_at=300, secs=902.0)
    fifteen.run()
    assert lineage.read(fifteen.record)["previous"]["id"] == five.id
    assert five.done()
    ten = training(limit, 10.0, stops_at=200)
    with pytest.raises(
        StepError, match=r"than --steps=1000 or --minutes=10; use --minutes=16"
    ):
        ten.run()
    # The last step of our own training may have taken long.
    slow = training(limit, 20.0, stops_at=400, secs=2000.0, code=1)
    with pytest.raises(StepError, match="exit code 1"):
        slow.run()
    training(limit, 20.0, stops_at=400).run()
    assert slow.done()


def test_minutes_alone_do_not_extend_a_training_with_all_its_steps(training):
    training(100).run()
    _, note = training(100, 5.0).notes()
    assert "has all of its 100 steps" in note and "more --steps" in note


def test_a_killed_extension_is_continued_and_is_not_by_hand(training):
    short, long = training(100), training(300)
    short.run()
    with pytest.raises(StepError):
        training(300, stops_at=200, code=1).run()
    assert not long.done() and short.done() and short.notes() == []
    assert "at step 200" in long.notes()[0]
    # Even if the user changes the target meanwhile.
    longer = training(500)
    longer.run()
    record = lineage.read(longer.record)
    assert record["previous"]["id"] == short.id and "by_hand" not in record


def test_a_training_by_hand_is_noticed_and_recorded(training, tmp_path):
    short, long = training(100), training(300)
    short.run()
    train_by_hand(short.output, 150)
    (note,) = short.notes()
    assert "was trained by hand (from step 100 to 150)" in note
    assert "its exports are of the recorded steps" in note
    with pytest.raises(
        StepError, match=r"is at step 150 .* by hand \(from step 100 to 150\)"
    ):
        export_of(short, tmp_path).run()
    _, note = long.notes()
    assert "the lineage will say so" in note
    # Killed after the training by hand, and continued.
    with pytest.raises(StepError):
        training(300, stops_at=200, code=1).run()
    long.run()
    record = lineage.read(long.record)
    (change,) = record["by_hand"]
    assert (change["from_step"], change["to_step"]) == (100, 150)
    assert "BY HAND from step 100 to 150" in history.status(tmp_path / "root")
    # A later training does not repeat it; the record before it says it.
    training(400).run()
    newest = lineage.read(training(400).record)
    assert "by_hand" not in newest and newest["previous"]["by_hand"]


def test_a_training_by_hand_beyond_the_limit_is_refused(training):
    training(100).run()
    run = training(100).output
    train_by_hand(run, 400)
    with pytest.raises(
        StepError,
        match=r"already by hand \(from step 100 to 400\), .* use --steps=400",
    ):
        training(300).run()
    training(400).run()
    record = lineage.read(training(400).record)
    assert record["by_hand"][0]["to_step"] == 400


def test_a_first_training_that_was_continued_by_hand(training):
    with pytest.raises(StepError):
        training(100, stops_at=50, code=1).run()
    train_by_hand(training(100).output, 70)
    training(100).run()
    (change,) = lineage.read(training(100).record)["by_hand"]
    assert (change["from_step"], change["to_step"]) == (50, 70)


def test_checkpoints_that_were_replaced_are_noticed(training, tmp_path):
    short, long = training(100), training(300)
    short.run()
    child.checkpoint(short.output, 100, weights="others")
    assert "by hand (from step 100 to 100)" in short.notes()[0]
    with pytest.raises(StepError, match="step export failed"):
        export_of(short, tmp_path).run()
    with pytest.raises(StepError):
        training(300, stops_at=200, code=1).run()
    long.run()
    (change,) = lineage.read(long.record)["by_hand"]
    assert (change["from_step"], change["to_step"]) == (100, 100)


def test_a_run_that_changes_during_the_export_is_not_recorded(
    training, tmp_path
):
    step = training(100)
    step.run()

    def command(output):
        train_by_hand(step.output, 150)
        return [CHILD, f"--output={output}"]

    export = Export(tmp_path / "root", step, command)
    with pytest.raises(StepError, match="step export failed: the record"):
        export.run()
    assert not export.record.exists()


def test_an_export_that_was_replaced_is_made_again(training, tmp_path):
    step = training(100)
    step.run()
    export = export_of(step, tmp_path)
    export.run()
    assert export.done()
    (export.output / "saved_model.pb").write_text("of another run")
    assert not export.done()
    digest = "of the replaced one"
    assert lineage.of_export(export.output, digest) == []


def test_a_run_without_sessions_or_checkpoints(tmp_path):
    """As earlier versions and killed trainings leave them."""
    assert run_state.read(tmp_path) is None
    child.checkpoint(tmp_path, 7, secs=61.0)
    state = run_state.read(tmp_path)
    assert (state.step, str(state)) == (7, "step 7 after 01:01")
    (tmp_path / "checkpoints" / ".incomplete-step-00000009").mkdir()
    assert run_state.read(tmp_path) == state
    (tmp_path / "checkpoints/step-00000007/state.json").write_text("{")
    assert run_state.read(tmp_path).secs == 0


def test_damaged_sessions_are_named(tmp_path):
    child.checkpoint(tmp_path, 7)
    (tmp_path / "sessions.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"sessions\.jsonl is damaged"):
        run_state.read(tmp_path)
