import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pipeline import run
from pipeline import steps as step
from stftgan_tf import config as config_lib
from stftgan_tf.files import held
from tests.conftest import ROOT, worker_environments

FLAGS = [
    "--config=tiny",
    "--runner=FnApiRunner",
    "--set=evaluate.samples=64",
]


def steps(text):
    """What was said of each step: done, or up to date."""
    found = {}
    for line in text.splitlines():
        if line.startswith("== "):
            name, _, rest = line[3:].partition(" ")
            found[name.rstrip(":")] = "done" if rest[0] == "(" else rest
    return found


@pytest.fixture(scope="module")
def place(recordings, tmp_path_factory):
    """Flags of a pipeline of its own, and its folders."""
    folder = tmp_path_factory.mktemp("pipeline")
    root, base = folder / "root", folder / "served"
    flags = [*FLAGS, f"--source={recordings}", f"--root={root}"]
    return [*flags, f"--base_path={base}"], root, base


def test_from_recordings_to_a_version(place, capfd):
    flags, root, base = place
    # Twenty steps make no speech: it is not blessed, and not pushed.
    assert run.main(flags) == 1
    told = capfd.readouterr()
    assert steps(told.out) == dict.fromkeys(run.STEPS, "done")
    assert "NOT_BLESSED" in told.out and "INFRA_BLESSED" in told.out
    assert "is not blessed: " in told.err
    assert told.err.rstrip().splitlines()[-1].startswith("error: push failed")
    assert not base.exists()
    assert "== train (3 of 8, 00:" in told.out and "to go" not in told.out
    last = told.out.splitlines()[-1].removeprefix("report: ")
    (page,) = (root / "report").glob("*/report.html")
    assert last == str(page) and "NOT_BLESSED" in page.read_text()
    for name in ("preprocess", "validate", "train", "export", "evaluate"):
        assert f"<strong>{name}</strong> {root / name}" in page.read_text()
    assert run.main([*flags, "--unblessed"]) == 0
    done = steps(capfd.readouterr().out)
    assert done.pop("push") == "done"
    assert set(done.values()) == {"up to date"}
    record = json.loads((base / "1" / "pushed.json").read_text())
    assert record["unblessed"]
    start = time.monotonic()
    assert run.main([*flags, "--unblessed"]) == 0
    assert time.monotonic() - start < 5
    done = steps(capfd.readouterr().out)
    assert done == dict.fromkeys(run.STEPS, "up to date")
    assert [p.name for p in base.iterdir() if p.name.isdigit()] == ["1"]


def planned(flags, capsys):
    assert run.main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines if " to do " in line]


def test_what_has_changed_is_done_again(place, capsys, monkeypatch):
    flags, root, _ = place
    flags = [*flags, "--unblessed"]
    assert planned(flags, capsys) == []
    # It also tells where outputs lie, which `make demo` samples from.
    assert run.main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    where = {line.split()[0]: line.split()[-1] for line in lines}
    (made,) = (root / "export").iterdir()
    assert where["export"] == str(made)
    # The same folder by another name is no change.
    monkeypatch.chdir(root.parent)
    assert planned([*flags, f"--root={root.name}"], capsys) == []
    for change, first in (
        ("--set=train.seed=1", "train"),
        ("--set=model.latent_dim=4", "train"),
        ("--set=augment.target=0.5", "train"),
        ("--set=watch.every=20", "train"),
        ("--minutes=1", "train"),
        ("--set=evaluate.samples=65", "evaluate"),
        (f"--base_path={root / 'other'}", "evaluate"),
        ("--reference=another", "validate"),
        ("--set=evaluate.seed=1", "evaluate"),
        ("--set=bless.max_ndb=1.0", "evaluate"),
        ("--set=validate.max_silent=0.5", "validate"),
        ("--set=audio.level=rms", "preprocess"),
        ("--pattern=[0-8]*", "preprocess"),
        ("--from=export", "export"),
        ("--force", "preprocess"),
    ):
        wanted = list(run.STEPS[run.STEPS.index(first) :])
        if first == "evaluate":
            wanted.remove("infra-validate")
        if first == "validate":
            wanted = ["validate", "evaluate", "report", "push"]
        assert planned([*flags, change], capsys) == wanted, change
    assert planned([*flags, "--force", "--until=train"], capsys) == [
        "preprocess",
        "validate",
        "train",
    ]


def test_other_recordings_are_another_data_set(recordings, tmp_path):
    def of(source, **more):
        args = run._parser().parse_args([f"--source={source}"])
        vars(args).update(more)
        return run._recordings(args, config_lib.load("tiny"))

    table = tmp_path / "table.csv"
    linked = tmp_path / "linked"
    linked.symlink_to(recordings)
    assert of(recordings) == of(os.path.relpath(recordings))
    copy = shutil.copytree(recordings, tmp_path / recordings.name)
    assert of(recordings) == of(copy)
    first = sorted(copy.glob("*.wav"))[0]
    names = [f"{copy}/{path.name}" for path in copy.glob("*.wav")]
    table.write_text("\n".join(["file", *names]))
    before = of(copy), of(table), of(linked)
    os.utime(first, (0, 0))
    assert of(copy) != before[0] and of(table) != before[1]
    assert of(linked) == before[2] != of(linked, pattern="1*")
    assert of("tfds:a") != of("tfds:b")


def test_what_is_gone_is_made_anew(place, capfd):
    flags, root, base = place
    flags = [*flags, "--unblessed"]
    base.rename(root / "elsewhere")
    assert planned(flags, capfd) == ["push"]
    (root / "elsewhere").rename(base)
    (run_folder,) = (root / "train").iterdir()
    run_folder.rename(root / "elsewhere")
    assert planned(flags, capfd) == []
    assert run.main([*flags, "--from=export"]) == 1
    told = capfd.readouterr()
    assert f"{run_folder} is gone; --from=train makes it anew" in told.err
    (root / "elsewhere").rename(run_folder)
    assert run.main(flags) == 0


def test_what_ran_and_what_a_version_came_from(place, capsys):
    _, root, base = place
    assert run.main(["status", f"--root={root}"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    # The push was refused at first, and done in the end.
    assert [line.split()[0] for line in lines] == list(run.STEPS)
    assert run.main(["lineage", str(base / "1")]) == 0
    told = capsys.readouterr().out
    for name in ("evaluate", "export", "train", "validate", "preprocess"):
        assert f"{name} {root / name}" in told
    assert "unblessed: " in told.splitlines()[0]


def test_a_training_is_done_again_and_the_old_one_kept(place, capfd):
    flags, root, _ = place
    (before,) = (root / "train").iterdir()
    again = [*flags, "--from=train", "--until=train"]
    assert run.main(again) == 0
    assert steps(capfd.readouterr().out) == {
        "preprocess": "up to date",
        "validate": "up to date",
        "train": "done",
    }
    names = sorted(path.name for path in (root / "train").iterdir())
    assert names[0] == before.name
    assert names[1].startswith(f"{before.name}-before-") and len(names) == 2


def test_one_pipeline_at_a_time_works_below_a_root(place, capfd):
    flags, root, _ = place
    before = sorted((root / "train").iterdir())
    with held(root / ".lock", "mine"):
        assert run.main([*flags, "--from=train"]) == 1
    assert f"another pipeline runs in {root}" in capfd.readouterr().err
    # Nothing was moved away.
    assert sorted((root / "train").iterdir()) == before


def test_secrets_are_in_no_record():
    command = ["pipeline.preprocess", "--s3_access_key_id", "me", "--x=1"]
    command += ["--s3_secret_access_key=him", "--azure_token", "it", "--y"]
    told = " ".join(step.without_secrets(command))
    assert told == (
        "pipeline.preprocess --s3_access_key_id ... --x=1 "
        "--s3_secret_access_key=... --azure_token ... --y"
    )


def test_the_newest_blessed_version_is_the_one_to_beat(tmp_path):
    assert run._last_blessed(tmp_path / "nowhere") == []
    for version, unblessed in (
        ("8", None),
        ("9", None),
        ("10", None),
        ("11", "in a hurry"),
        ("x", None),
    ):
        (tmp_path / version).mkdir()
        record = json.dumps({"unblessed": unblessed})
        (tmp_path / version / "pushed.json").write_text(record)
    assert run._last_blessed(tmp_path) == [f"--last_blessed={tmp_path}/10"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--config=none"], 2, "no config file 'none'"),
        (["--minuts=3", "--dry-run"], 2, "unknown arguments --minuts=3"),
        (["--runner=PortablRunner"], 2, "--runner PortablRunner"),
        (["--output=here"], 2, "outputs are below --root"),
        (["--minutes=0"], 2, "--minutes is 0.0; expected more than 0"),
        (
            [
                "--minutes=9",
                "--set=train.strategy=multiworker",
                "--set=watch.on_collapse=stop",
            ],
            2,
            "use --set train.steps=N",
        ),
        (
            ["--from=export", "--until=train"],
            2,
            "--from=export comes after --until=train",
        ),
        (["--source=nowhere.csv", "--dry-run"], 0, ""),
        (["status", "--root=nowhere"], 1, "nowhere holds no records"),
        (["lineage", "nowhere"], 1, "nowhere is no pushed version"),
    ],
)
def test_bad_usage(flags, code, message, capsys):
    assert run.main(flags) == code
    assert message in capsys.readouterr().err


def test_a_failing_step_stops_the_rest(recordings, tmp_path, capfd):
    flags = [*FLAGS, f"--source={recordings}", f"--root={tmp_path / 'root'}"]
    flags += [f"--base_path={tmp_path / 'served'}"]
    # No data set has so many speakers.
    assert run.main([*flags, "--set=validate.min_speakers=9"]) == 1
    told = capfd.readouterr()
    assert list(steps(told.out)) == ["preprocess", "validate"]
    assert "anomaly: speakers: 2 in the training split" in told.out
    assert not (tmp_path / "root" / "train").exists()


def test_workers_train_together_and_the_first_leads(recordings, tmp_path):
    root = tmp_path / "root"
    flags = [*FLAGS, f"--source={recordings}", f"--root={root}"]
    flags += ["--set=train.strategy=multiworker", "--until=export"]

    def start(environment, *more):
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.run", *flags, *more],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for time_ in ("first", "second"):
        jobs = [start(environment) for environment in worker_environments(2)]
        told = [job.communicate(timeout=200) for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0], told
        done = "done" if time_ == "first" else "up to date"
        wanted = dict.fromkeys(run.STEPS[:4], done)
        assert steps(told[0][0]) == wanted
        if time_ == "first":
            assert told[1][0].startswith("== train: waits for ")
            (run_,) = (root / "train").iterdir()
            names = {path.name for path in run_.iterdir()}
            assert {"log.txt", "log-1.txt"} <= names
            assert "2 replicas" in (run_ / "log-1.txt").read_text()
        else:
            assert told[1][0] == "== train: up to date\n"
    # The other one comes first, and does not take the old training for new.
    leader, other = worker_environments(2)
    helping = start(other, "--from=train")
    with selectors.DefaultSelector() as selector:
        selector.register(helping.stdout, selectors.EVENT_READ)
        assert selector.select(timeout=100)
    jobs = [start(leader, "--from=train"), helping]
    told = [job.communicate(timeout=200) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    assert steps(told[0][0])["train"] == "done"
    folders = (root / "train").iterdir()
    (run_,) = (path for path in folders if "-before-" not in path.name)
    assert "2 replicas" in (run_ / "log-1.txt").read_text()
    assert len(list((root / "records").iterdir())) == 4


def test_killed_and_interrupted_it_goes_on(recordings, tmp_path):
    """Killed in the training, interrupted in it, then let go."""
    flags = [*FLAGS, f"--source={recordings}", f"--root={tmp_path / 'root'}"]
    flags += [f"--base_path={tmp_path / 'served'}", "--until=train"]
    flags += ["--set=train.steps=600", "--set=watch.min_variety=0.0"]

    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.run", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def step():
        """Of the training's newest checkpoint."""
        found = (tmp_path / "root").glob("train/*/checkpoints/step-*")
        return max((int(path.name.split("-")[1]) for path in found), default=0)

    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        before, job = step(), start()
        while step() == before:
            assert job.poll() is None, job.communicate()
            time.sleep(0.01)
        if number == signal.SIGKILL:
            # The pipeline alone; what it started must not go on.
            job.kill()
            job.communicate()
        else:
            # It alone; what it started is told by it.
            job.send_signal(number)
            told, error = job.communicate(timeout=60)
            assert job.returncode == 130, error
            # What was done before the kill is not done again.
            assert steps(told)["validate"] == "up to date"
            assert "Traceback" not in error and "interrupted at step" in error
    assert 0 < step() < 600
    job = start()
    told, error = job.communicate(timeout=120)
    assert job.returncode == 0, error
    assert "resumed at step" in error
    assert steps(told) == {
        "preprocess": "up to date",
        "validate": "up to date",
        "train": "done",
    }
    assert step() == 600
