"""The command; its parts have their tests in `workflow`."""

import json
import selectors
import signal
import subprocess
import sys
import time

import pytest

from pipeline import run
from pipeline.workflow.step import STEPS
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import locked
from tests.conftest import ROOT, run_command, worker_environments

FLAGS = [
    "--config=tiny",
    "--runner=FnApiRunner",
    "--set=evaluate.samples=64",
]


def states(text):
    """What the output says of each step: `done` or `up to date`."""
    result = {}
    for line in text.splitlines():
        if line.startswith("[") and "up to date" in line:
            result[line.split()[1].rstrip(":")] = "up to date"
        elif line.startswith("[") and ": done in " in line:
            result[line.split()[1].rstrip(":")] = "done"
    return result


@pytest.fixture
def place(recordings, tmp_path):
    """Flags of a pipeline, its root and its versions."""
    root, base = tmp_path / "root", tmp_path / "serving"
    flags = [*FLAGS, f"--source={recordings}", f"--root={root}"]
    return [*flags, f"--base_path={base}"], root, base


@pytest.mark.trains
def test_from_recordings_to_a_version(place, capfd):
    flags, root, base = place
    # After 20 steps the export is not blessed, so it is not pushed.
    assert run.main(flags) == 1
    captured = capfd.readouterr()
    done = {name: "done" for name in STEPS if name != "push"}
    assert states(captured.out) == done
    assert "INFRA_BLESSED" in captured.out
    assert "blessed: no, " in captured.out
    error = captured.err.rstrip().splitlines()[-1]
    assert error.startswith("error: step push failed: ")
    assert "is not blessed, for " in error and not base.exists()
    # Each reason appears once, with what to do.
    evaluation = blessing.read(next((root / "evaluate").iterdir()))
    for reason in evaluation["reasons"]:
        assert (captured.out + captured.err).count(reason) == 1
    for remedy in set(evaluation["remedies"]) - {""}:
        assert (captured.out + captured.err).count(remedy) == 1
    (page,) = (root / "report").glob("*/report.html")
    assert f"report:  {page}" in captured.out
    text = page.read_text()
    for name in ("preprocess", "validate", "train", "export", "evaluate"):
        assert f"<strong>{name}</strong> {root / name}" in text
    # Nothing but the push is repeated.
    assert run.main([*flags, "--unblessed"]) == 0
    out = capfd.readouterr().out
    up_to_date = dict.fromkeys(STEPS, "up to date")
    assert states(out) == {**up_to_date, "push": "done"}
    assert f"version: {base / '1'}" in out
    record = json.loads((base / "1" / "pushed.json").read_text())
    assert record["unblessed"]
    assert run.main([*flags, "--unblessed"]) == 0
    assert states(capfd.readouterr().out) == up_to_date
    assert [p.name for p in base.iterdir() if p.name.isdigit()] == ["1"]
    check_history(root, base, capfd)


def check_history(root, base, capfd):
    assert run.main(["status", f"--root={root}"]) == 0
    rows = capfd.readouterr().out.splitlines()[1:]
    # The push was refused at first and is the last one now.
    assert [row.split()[0] for row in rows] == list(STEPS)
    assert run.main(["lineage", str(base / "1")]) == 0
    out = capfd.readouterr().out
    for name in ("evaluate", "export", "train", "validate", "preprocess"):
        assert f"{name} {root / name}" in out
    assert "unblessed: " in out.splitlines()[0]


def dry_run(flags, capsys):
    """State and path of each step."""
    assert run.main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {
        line.split()[0]: ("to do" if " to do " in line else "up to date")
        for line in lines
    }


def test_part_of_a_pipeline(place, capfd):
    flags, root, base = place
    # No data set has so many speakers.
    failing = [*flags, "--set=validate.min_speakers=9"]
    assert run.main(failing) == 1
    captured = capfd.readouterr()
    assert states(captured.out) == {"preprocess": "done"}
    assert "anomaly: speakers: 2 in the training split" in captured.out
    assert "error: step validate failed: " in captured.err
    assert not (root / "train").exists()
    assert run.main([*flags, "--until=validate"]) == 0
    assert states(capfd.readouterr().out) == {
        "preprocess": "up to date",
        "validate": "done",
    }
    planned = dry_run(flags, capfd)
    assert list(planned) == list(STEPS)
    pending = [name for name in STEPS if planned[name] == "to do"]
    assert pending == list(STEPS)[2:]
    # Another process must not run in the same root.
    with locked(root / ".lock", "taken"):
        assert run.main([*flags, "--force"]) == 1
    assert "another pipeline is running" in capfd.readouterr().err
    forced = dry_run([*flags, "--from=validate", "--until=train"], capfd)
    assert forced == {
        "preprocess": "up to date",
        "validate": "to do",
        "train": "to do",
    }
    assert set(dry_run([*flags, "--force"], capfd).values()) == {"to do"}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--config=none"], 2, "'none'"),
        (["--minuts=3", "--dry-run"], 2, "--minuts; did you mean --minutes?"),
        (["--nonsense=3"], 2, "unknown argument --nonsense; see --help"),
        (["--runner=PortablRunner"], 2, "--runner PortablRunner"),
        (["--output=here"], 2, "--output cannot be set"),
        (["--minutes=0"], 2, "--minutes is 0.0; expected above 0"),
        (["--steps=0"], 2, "--steps is 0; expected at least 1"),
        (
            [
                "--minutes=9",
                "--set=train.strategy=multiworker",
                "--set=watch.on_collapse=stop",
            ],
            2,
            "use --steps",
        ),
        (
            ["--from=export", "--until=train"],
            2,
            "--from=export comes after --until=train",
        ),
        (["--config=tiny", "--source=nowhere.csv", "--dry-run"], 0, ""),
        (["--source=nowhere.csv", "--dry-run"], 1, "source nowhere.csv: No"),
        (["status", "--root=nowhere"], 1, "no step has been completed in no"),
        (["lineage", "nowhere"], 1, "nowhere is not a pushed version"),
    ],
)
def test_bad_usage(flags, code, message, capsys):
    assert run.main(flags) == code
    assert message in capsys.readouterr().err


def start(flags, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.run", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


@pytest.mark.slow
def test_workers_train_together_and_the_first_leads(place):
    flags, root, _ = place
    flags += ["--set=train.strategy=multiworker", "--until=export"]
    for time_ in ("first", "second"):
        jobs = [start(flags, env=env) for env in worker_environments(2)]
        outputs = [job.communicate(timeout=200) for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0], outputs
        state = "done" if time_ == "first" else "up to date"
        assert states(outputs[0][0]) == dict.fromkeys(list(STEPS)[:4], state)
        if time_ == "first":
            assert outputs[1][0].startswith("train: waiting for ")
            (run_,) = (root / "train").iterdir()
            names = {path.name for path in run_.iterdir()}
            assert {"log.txt", "log-1.txt"} <= names
            assert "2 replicas" in (run_ / "log-1.txt").read_text()
        else:
            assert outputs[1][0] == "train: up to date\n"
    # The helper starts first, and must not take the old training for the new.
    leader_env, helper_env = worker_environments(2)
    helper = start([*flags, "--from=train"], env=helper_env)
    with selectors.DefaultSelector() as selector:
        selector.register(helper.stdout, selectors.EVENT_READ)
        assert selector.select(timeout=100)
    jobs = [start([*flags, "--from=train"], env=leader_env), helper]
    outputs = [job.communicate(timeout=200) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert states(outputs[0][0])["train"] == "done"
    runs = (root / "train").iterdir()
    (run_,) = (path for path in runs if "-before-" not in path.name)
    assert "2 replicas" in (run_ / "log-1.txt").read_text()
    assert len(list((root / "records").iterdir())) == 4


@pytest.mark.slow
def test_a_pipeline_is_extended(place, capfd):
    """Killed in the middle, trained by hand, and asked for less again."""
    flags, root, base = place
    flags += ["--unblessed"]
    assert run.main([*flags, "--steps=40"]) == 0
    first = (base / "1" / "pushed.json").read_bytes()
    (run_,) = (root / "train").iterdir()
    job = start([*flags, "--steps=400"])
    while not list(run_.glob("checkpoints/step-00000060")):
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    job.kill()
    job.communicate()
    # What was made of the shorter training is still up to date.
    capfd.readouterr()
    assert run.main([*flags, "--steps=40"]) == 0
    out = capfd.readouterr().out
    assert states(out) == dict.fromkeys(STEPS, "up to date")
    by_hand = run_command(
        "stftgan_tf.train", f"--run={run_}", "--resume", "--steps=200"
    )
    assert by_hand.returncode == 0, by_hand.stderr
    assert run.main([*flags, "--steps=150"]) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert "at step 200 " in error and "by hand (from step " in error
    assert run.main([*flags, "--steps=240"]) == 0
    out = capfd.readouterr().out
    assert "was trained by hand (from step " in out
    assert run.main(["lineage", str(base / "2")]) == 0
    lines = capfd.readouterr().out.splitlines()
    trained = [line.strip() for line in lines if " to step " in line]
    assert "to step 240 " in trained[0] and "to step 40 " in trained[1]
    assert "of step 40, BY HAND from step " in trained[0]
    assert (base / "1" / "pushed.json").read_bytes() == first
    # Trained anew, the lineage of the versions stays what it was.
    flags.append("--until=train")
    assert run.main([*flags, "--steps=40", "--from=train"]) == 0
    capfd.readouterr()
    assert run.main(["lineage", str(base / "2")]) == 0
    assert capfd.readouterr().out.splitlines() == lines
    assert run.main([*flags, "--steps=60"]) == 0
    (record,) = (
        record
        for path in root.glob("records/train-*.json")
        if (record := lineage.read(path))["run"]["step"] == 60
    )
    assert record["previous"]["run"]["step"] == 40
    assert "by_hand" not in record and "by_hand" not in record["previous"]


@pytest.mark.slow
def test_another_contract_is_refused_and_forced(place, capfd):
    flags, _, base = place
    flags += ["--unblessed"]
    assert run.main(flags) == 0
    capfd.readouterr()
    flags.append("--set=stft.frame_step=16")
    assert run.main(flags) == 1
    error = capfd.readouterr().err
    assert "note: the push will be refused, because clients of " in error
    assert "STFT 64/32 -> 64/16" in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("error: step push failed: ")
    assert run.main([*flags, "--new_contract"]) == 0
    assert "note: " not in capfd.readouterr().err
    record = json.loads((base / "2" / "pushed.json").read_text())
    assert "STFT 64/32 -> 64/16" in record["new_contract"]["changes"]
    assert run.main(["lineage", str(base / "2")]) == 0
    assert "new contract, compared with version 1: STFT" in (
        capfd.readouterr().out
    )


@pytest.mark.slow
def test_a_pipeline_continues_after_a_kill_and_signals(place):
    """Killed in the training, interrupted in it, then left alone."""
    flags, root, _ = place
    flags += ["--until=train", "--set=train.steps=600"]
    flags += ["--set=watch.min_variety=0.0"]

    def step():
        """Step of the training's newest checkpoint."""
        checkpoints = root.glob("train/*/checkpoints/step-*")
        steps = (int(path.name.split("-")[1]) for path in checkpoints)
        return max(steps, default=0)

    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        before, job = step(), start(flags, start_new_session=True)
        while step() == before:
            assert job.poll() is None, job.communicate()
            time.sleep(0.01)
        if number == signal.SIGKILL:
            # Only the pipeline: its step must end with it.
            job.kill()
            job.communicate()
        else:
            # Only the pipeline, which forwards the signal to its step.
            job.send_signal(number)
            out, error = job.communicate(timeout=60)
            assert job.returncode == 130, error
            # Steps that were done before the kill are not repeated.
            assert states(out)["validate"] == "up to date"
            assert "Traceback" not in error and "interrupted at step" in error
    assert 0 < step() < 600
    job = start(flags)
    out, error = job.communicate(timeout=120)
    assert job.returncode == 0, error
    assert "resumed at step" in error
    assert states(out) == {
        "preprocess": "up to date",
        "validate": "up to date",
        "train": "done",
    }
    assert step() == 600
