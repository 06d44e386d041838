import json

import pytest

from pipeline.workflow.step import StepError
from stftgan_tf.errors import UsageError
from stftgan_tf.evaluation import lineage


def test_a_step_is_done_once_its_record_is_written(make_step):
    step = make_step("preprocess")
    assert not step.done()
    step.run()
    assert step.done() and step.output.is_dir()
    record = lineage.read(step.record)
    assert record["step"] == "preprocess" and record["id"] == step.id
    assert record["output"] == str(step.output) and record["inputs"] == {}
    assert record["command"] == step.command()
    assert {"code", "started", "secs"} <= set(record)


def test_the_id_depends_on_settings_and_on_inputs(make_step):
    shards = make_step("preprocess", settings=[1])
    assert shards.id == make_step("preprocess", settings=[1]).id
    changed = make_step("preprocess", settings=[2])
    assert shards.id != changed.id
    ids = {make_step("train", [step]).id for step in (shards, changed)}
    assert len(ids) == 2


def test_a_step_runs_again_when_an_input_was_made_again(make_step):
    shards = make_step("preprocess")
    training = make_step("train", [shards])
    for step in (shards, training):
        step.run()
    assert training.done()
    record = json.loads(shards.record.read_text())
    shards.record.write_text(json.dumps({**record, "started": "later"}))
    assert shards.done() and not training.done()


def test_a_failure_says_which_step_failed_and_why(make_step):
    flags = ["--stderr=error: no window is left", "--code=1"]
    step = make_step("preprocess", flags=flags)
    with pytest.raises(StepError, match="^step preprocess failed: no window i"):
        step.run()
    assert not step.done()


def test_a_wrong_config_is_wrong_usage_of_the_pipeline(make_step):
    flags = ["--stderr=error: steps is 3; expected 4", "--code=2"]
    with pytest.raises(UsageError, match="^step train failed: steps is 3"):
        make_step("train", flags=flags).run()


def test_a_missing_input_is_reported_before_the_command_runs(make_step):
    shards = make_step("preprocess")
    shards.run()
    shards.output.rmdir()
    with pytest.raises(StepError, match="--from=preprocess"):
        make_step("train", [shards]).run()


def test_an_interrupted_command_interrupts_the_pipeline(make_step):
    step = make_step("train", flags=["--code=130"])
    with pytest.raises(KeyboardInterrupt):
        step.run()
    assert not step.done()


def test_a_forgotten_training_is_kept_under_another_name(make_step):
    shards, training = make_step("preprocess"), make_step("train")
    for step in (shards, training):
        step.run()
        step.forget()
        assert not step.done()
    assert shards.output.is_dir() and not training.output.exists()
    (kept,) = training.output.parent.iterdir()
    assert kept.name.startswith(f"{training.id}-before-")


def test_a_push_is_repeated_only_if_all_versions_are_gone(make_step, tmp_path):
    version = tmp_path / "serving" / "1"
    push = make_step("push", flags=[f"--print={version}"])
    push.run()
    assert lineage.read(push.record)["output"] == str(version)
    # No directory of versions at all.
    assert not push.done()
    version.parent.mkdir()
    # This version was rolled back or pruned.
    assert push.done()
