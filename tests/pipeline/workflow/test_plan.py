import dataclasses
import os
import shutil

import pytest

from pipeline.workflow import plan
from pipeline.workflow.step import STEPS
from stftgan_tf import config as config_lib


def request_of(tmp_path, overrides=(), **changes):
    return plan.Request(
        config=config_lib.load("tiny", overrides),
        config_flags=["--config=tiny", *(f"--set={o}" for o in overrides)],
        **{
            "source": "demo",
            "pattern": "*",
            "tfds_data_dir": None,
            "root": tmp_path / "root",
            "base_path": tmp_path / "serving",
            **changes,
        },
    )


def ids(request):
    return {step.name: step.id for step in plan.steps(request)}


def test_the_steps_are_in_order(tmp_path):
    steps = plan.steps(request_of(tmp_path))
    assert [step.name for step in steps] == list(STEPS)
    for index, step in enumerate(steps):
        assert set(step.inputs) <= set(steps[:index])


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("audio.level=rms", "preprocess"),
        ({"pattern": "[0-8]*"}, "preprocess"),
        ("validate.max_silent=0.5", "validate"),
        ({"reference": "another"}, "validate"),
        ("train.seed=1", "train"),
        ("model.latent_dim=4", "train"),
        ("augment.target=0.5", "train"),
        ("watch.every=20", "train"),
        ("train.steps=40", "train"),
        ({"minutes": 1.0}, "train"),
        ({"steps": 10}, "train"),
        ("evaluate.samples=65", "evaluate"),
        ("evaluate.seed=1", "evaluate"),
        ("bless.max_ndb=1.0", "evaluate"),
        ({"base_path": "elsewhere"}, "evaluate"),
        ({"unblessed": True}, "push"),
        ({"new_contract": True}, "push"),
    ],
)
def test_a_change_reruns_the_steps_that_depend_on_it(tmp_path, change, first):
    if isinstance(change, str):
        changed = request_of(tmp_path, [change])
    else:
        changed = request_of(tmp_path, **change)
    expected = list(STEPS)[list(STEPS).index(first) :]
    if first == "evaluate":
        expected.remove("infra-validate")
    if first == "validate":
        expected = ["validate", "evaluate", "report", "push"]
    before, after = ids(request_of(tmp_path)), ids(changed)
    assert [name for name in STEPS if before[name] != after[name]] == expected


def test_limits_change_the_record_of_a_training_and_not_its_run(tmp_path):
    def training(overrides=(), **changes):
        return plan.steps(request_of(tmp_path, overrides, **changes))[2]

    first = training()
    longer = training(steps=40)
    assert longer.output == first.output and longer.record != first.record
    # 20 are the steps of the config.
    assert training(steps=20).record == first.record
    assert training(["train.steps=40"]).record == longer.record
    assert training(minutes=5.0).output == first.output
    assert training(["train.seed=1"]).output != first.output


def test_the_root_does_not_change_the_ids(tmp_path):
    moved = request_of(tmp_path, root=tmp_path / "moved")
    assert ids(moved) == ids(request_of(tmp_path))


def test_commands_pass_outputs_on(tmp_path):
    request = request_of(
        tmp_path,
        steps=7,
        minutes=2.0,
        unblessed=True,
        new_contract=True,
        reference="good",
    )
    steps = {step.name: step for step in plan.steps(request)}
    commands = {name: step.command() for name, step in steps.items()}
    data = f"--data={steps['preprocess'].output}"
    for name in ("validate", "train", "evaluate", "report"):
        assert data in commands[name]
    assert {"--steps=7", "--minutes=2"} <= set(commands["train"])
    assert "--reference=good" in commands["validate"]
    evaluation = steps["evaluate"].output
    assert f"--output={evaluation}" in commands["evaluate"]
    for name in ("report", "push"):
        assert f"--evaluation={evaluation}" in commands[name]
    flags = {"--compared", "--unblessed", "--new_contract"}
    assert flags <= set(commands["push"])
    # There is no run yet whose history the report could show.
    assert not any(flag.startswith("--run=") for flag in commands["report"])


def test_a_training_that_has_begun_is_resumed(tmp_path):
    training = plan.steps(request_of(tmp_path))[2]
    assert "--resume" not in training.command()
    training.output.mkdir(parents=True)
    (training.output / "config.yaml").touch()
    assert "--resume" in training.command()


def test_the_fingerprint_changes_with_the_recordings(recordings, tmp_path):
    request = request_of(tmp_path)

    def fingerprint(source, **changes):
        changed = dataclasses.replace(request, source=str(source), **changes)
        return plan.recordings_fingerprint(changed)

    table, link = tmp_path / "table.csv", tmp_path / "link"
    link.symlink_to(recordings)
    relative = os.path.relpath(recordings)
    assert fingerprint(recordings) == fingerprint(relative)
    copy = shutil.copytree(recordings, tmp_path / recordings.name)
    assert fingerprint(recordings) == fingerprint(copy)
    names = [f"{copy}/{path.name}" for path in copy.glob("*.wav")]
    table.write_text("\n".join(["file", *names]))
    before = fingerprint(copy), fingerprint(table), fingerprint(link)
    os.utime(sorted(copy.glob("*.wav"))[0], (0, 0))
    assert fingerprint(copy) != before[0] and fingerprint(table) != before[1]
    assert fingerprint(link) == before[2] != fingerprint(link, pattern="1*")
    assert fingerprint("tfds:a") != fingerprint("tfds:b")
    # A file that is left out anyway changes nothing.
    fewer = {"exclude": ("1*", "*.txt")}
    before = fingerprint(copy, **fewer)
    assert before != fingerprint(copy)
    os.utime(copy / "1_adam_0.wav", (0, 0))
    assert before == fingerprint(copy, **fewer)
    steps = plan.steps(dataclasses.replace(request, **fewer))
    command = steps[0].command()
    assert "--exclude=1*" in command and "--exclude=*.txt" in command
