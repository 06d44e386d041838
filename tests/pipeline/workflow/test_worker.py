import json
import threading
import time

import pytest

from pipeline.workflow import worker
from stftgan_tf import config as config_lib


@pytest.mark.parametrize(
    ("environment", "index"),
    [
        (None, 0),
        ("{", 0),
        (json.dumps({"task": {"type": "worker", "index": 1}}), 1),
    ],
)
def test_the_index_of_a_worker(monkeypatch, environment, index):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if environment:
        monkeypatch.setenv("TF_CONFIG", environment)
    assert worker.index(config_lib.load("tiny")) == 0
    several = config_lib.load("tiny", ["train.strategy=multiworker"])
    assert worker.index(several) == index


def test_a_finished_training_needs_no_help(make_step, capsys):
    steps = [make_step("validate"), make_step("train")]
    for step in steps:
        step.run()
    capsys.readouterr()
    assert worker.assist(steps, rerun=False) == 0
    assert capsys.readouterr().out == "train: up to date\n"
    assert worker.assist(steps[:1], rerun=False) == 0


def test_a_worker_waits_for_the_leader_and_trains_with_it(make_step, capfd):
    validation = make_step("validate")
    training = make_step("train")
    # Here the worker's own command completes the training.
    helper = make_step(
        "train", flags=[f"--record={training.record}", "--print=training"]
    )
    assert helper.id == training.id

    def lead():
        time.sleep(0.2)
        validation.record.parent.mkdir(parents=True)
        validation.record.write_text('{"inputs": {}}')

    leader = threading.Thread(target=lead)
    leader.start()
    assert worker.assist([validation, helper], rerun=False) == 0
    leader.join()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("train: waiting for the first worker (")
    assert "training" in lines


def test_a_worker_that_fails_ends_with_its_code(make_step):
    validation, training = (
        make_step("validate"),
        make_step("train", flags=["--code=3"]),
    )
    validation.run()
    assert worker.assist([validation, training], rerun=False) == 3


def test_a_new_training_is_not_taken_for_the_old_one(make_step, capsys):
    steps = [make_step("validate"), make_step("train")]
    for step in steps:
        step.run()

    def lead():
        time.sleep(0.2)
        text = steps[1].record.read_text()
        steps[1].record.write_text(f"{text} ")

    leader = threading.Thread(target=lead)
    leader.start()
    assert worker.assist(steps, rerun=True) == 0
    leader.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("train: waiting for the first worker")
    assert lines[-1] == "train: up to date"
