import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import yaml

from stftgan_tf import config as config_lib
from stftgan_tf import train
from stftgan_tf.files import held
from stftgan_tf.training import callbacks, checkpoints
from tests.conftest import (
    ROOT,
    preprocess_tiny,
    run_command,
    train_args,
)


def weights(run):
    """Every tensor of a run's newest checkpoint by name."""
    path = checkpoints.newest_first(run / "checkpoints")[0]
    reader = tf.train.load_checkpoint(str(path / "weights"))
    names = reader.get_variable_to_shape_map()
    return {
        name: reader.get_tensor(name)
        for name in names
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH" and "save_counter" not in name
    }


def assert_same_weights(run, other):
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys() and len(ours) > 30
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    ours, theirs = watched(run), watched(other)
    ours, theirs = ({**w.pop("seen"), **w} for w in (ours, theirs))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        # Measured by other processes: sums may be in another order.
        if isinstance(value, float):
            value = pytest.approx(value, rel=1e-5)
        assert theirs[name] == value, name


def watched(run):
    """What the newest checkpoint knows of the watch."""
    path = checkpoints.newest_first(run / "checkpoints")[0] / "state.json"
    return json.loads(path.read_text())["watch"]


def start(shards, run, *more):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stftgan_tf.train",
            *train_args(shards, run, *more),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(run, step):
    """Until `metrics.jsonl` tells of a step."""
    end = time.monotonic() + 120
    path = run / "metrics.jsonl"
    while not path.exists() or f'"step": {step},' not in path.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_is_named_by_its_data(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--config=tiny", f"--data={shards}", "--steps=1"]
    assert train.main(flags) == 0
    assert (tmp_path / "runs" / shards.name / "config.yaml").is_file()


def test_what_lies_in_a_run(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        ".lock",
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "log.txt",
        "samples",
        "checkpoints",
        "tensorboard",
    }
    config = config_lib.from_dict(
        yaml.safe_load((trained / "config.yaml").read_text())
    )
    assert config == config_lib.load("tiny")
    names = [p.name for p in checkpoints.newest_first(trained / "checkpoints")]
    assert names == ["step-00000020", "step-00000010"]


def test_same_seed_same_weights(shards, trained, tmp_path):
    assert train.main(train_args(shards, tmp_path / "x")) == 0
    assert_same_weights(tmp_path / "x", trained)


REMEDIES = [
    [],
    ["--set=train.critic_steps=3", "--set=train.loss=wgan"],
    [
        "--set=train.optimizer=rmsprop",
        "--set=model.networks=dcgan",
        "--set=train.critic_lr=4e-4",
    ],
    [
        "--set=train.loss=rpgan-r1r2",
        "--set=train.penalty_interval=4",
        "--set=augment.target=0.6",
        "--set=augment.adjust_windows=100",
    ],
    ["--set=model.condition=cluster", "--set=model.clusters=5"],
    [
        "--set=model.condition=label",
        "--set=model.minibatch_stddev=4",
        "--set=train.precision=mixed_bfloat16",
    ],
]


@pytest.mark.parametrize("changes", REMEDIES)
def test_resumed_in_parts_equals_uninterrupted(
    shards, trained, tmp_path, changes
):
    whole, parts = trained, tmp_path / "parts"
    if changes:
        whole = tmp_path / "whole"
        assert train.main(train_args(shards, whole, *changes)) == 0
    assert train.main(train_args(shards, parts, "--steps=7", *changes)) == 0
    more = ["--resume", *changes]
    assert train.main(train_args(shards, parts, *more)) == 0
    assert_same_weights(parts, whole)


def test_several_steps_in_one_execution_resume_as_well(shards, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ["--set=train.steps_per_execution=5"]
    assert train.main(train_args(shards, whole, *more)) == 0
    assert train.main(train_args(shards, parts, *more, "--steps=10")) == 0
    assert train.main(train_args(shards, parts, *more, "--resume")) == 0
    assert_same_weights(parts, whole)
    told = [json.loads(text) for text in (parts / "metrics.jsonl").open()]
    steps = [row["step"] for row in told if "critic_loss" in row]
    assert steps == [5, 10, 15, 20]
    newest = checkpoints.newest_first(parts / "checkpoints")[0]
    assert newest.name == "step-00000020"


def kill(shards, run, changes, moments):
    """Starts a run, or goes on with it, and kills it as each moment comes."""
    folder = run / "checkpoints"
    for moment in moments:
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        before = checkpoints.newest_first(folder)
        job = start(shards, run, *changes, *resume)
        while job.poll() is None and (
            checkpoints.newest_first(folder)[:1] == before[:1]
        ):
            time.sleep(0.005)
        time.sleep(moment)
        assert job.poll() is None, job.communicate()[1]
        os.kill(job.pid, signal.SIGKILL)
        job.communicate()


def test_killed_at_20_random_moments_equals_uninterrupted(shards, tmp_path):
    changes = ["--set=train.steps=700", "--set=train.checkpoint_every=10"]
    changes += ["--set=watch.every=40", "--set=watch.min_variety=0.0"]
    changes += ["--set=train.preview_every=350", "--set=augment.target=0.6"]
    whole = tmp_path / "whole"
    moments = np.random.default_rng(0).uniform(0, 0.1, [2, 10])
    killed = [tmp_path / "a", tmp_path / "b"]
    # At once: most of the time goes into starting.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(kill, shards, run, changes, delays)
            for run, delays in zip(killed, moments, strict=True)
        ]
    for job in jobs:
        job.result()
    assert train.main(train_args(shards, whole, *changes)) == 0
    best = [p.name for p in whole.rglob("best-*")]
    for run in killed:
        step = checkpoints.newest_first(run / "checkpoints")[0].name
        assert step < "step-00000700"
        assert train.main(train_args(shards, run, *changes, "--resume")) == 0
        assert_same_weights(run, whole)
        assert [p.name for p in run.rglob("best-*")] == best


def test_the_last_step_is_watched_too(shards, tmp_path):
    run = tmp_path / "x"
    more = ["--steps=15", "--set=watch.min_variety=0.0"]
    assert train.main(train_args(shards, run, *more)) == 0
    rows = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(row) for row in rows]
    distances = {r["step"]: r["frechet"] for r in rows if "frechet" in r}
    assert list(distances) == [10, 15]
    # Beside the best that a longer training would have.
    assert [p.name for p in run.rglob("best-*")] == ["best-00000010"]
    is_best = distances[15] <= 1.03 * distances[10]
    found = [p.name for p in run.rglob("last-*")]
    assert found == ["last-00000015"] * is_best
    more[0] = "--steps=20"
    assert train.main(train_args(shards, run, *more, "--resume")) == 0
    assert not list(run.rglob("last-*"))


def test_a_run_killed_before_it_looked_at_its_end_looks_then(
    shards, tmp_path, capsys
):
    run = tmp_path / "x"
    more = ["--steps=15", "--set=watch.min_variety=0.0"]
    assert train.main(train_args(shards, run, *more)) == 0
    last = [path.name for path in run.rglob("last-*")]
    # As a kill right after the last checkpoint leaves it.
    preview = run / "samples" / "step-00000015.png"
    preview.unlink()
    for path in run.rglob("last-*"):
        shutil.rmtree(path)
    for again in (True, False):
        capsys.readouterr()
        assert train.main(train_args(shards, run, *more, "--resume")) == 0
        error = capsys.readouterr().err
        assert "already trained for 15 steps" in error
        assert ("step 15  variety" in error) == again
    assert preview.is_file()
    assert [path.name for path in run.rglob("last-*")] == last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_so(shards, tmp_path, number):
    run = tmp_path / "x"
    job = start(
        shards, run, "--steps=1000000", "--set=train.preview_every=100000"
    )
    wait_for_step(run, 10)
    os.kill(job.pid, number)
    _, error = job.communicate(timeout=60)
    assert job.returncode == 130, error
    assert "Traceback" not in error
    assert "interrupted at step" in error
    newest = checkpoints.newest_first(run / "checkpoints")[0]
    step = json.loads((newest / "state.json").read_text())["step"]
    assert f"interrupted at step {step}" in error
    assert (run / "samples" / f"step-{step:08d}.png").exists()


def test_minutes_bound_a_training_resumed_ones_included(
    shards, tmp_path, capsys
):
    run = tmp_path / "x"
    bound = ["--steps=1000000", "--minutes=0.05"]
    assert train.main(train_args(shards, run, *bound)) == 0
    newest = checkpoints.newest_first(run / "checkpoints")[0]
    assert json.loads((newest / "state.json").read_text())["secs"] >= 3
    before = weights(run)
    assert train.main(train_args(shards, run, *bound, "--resume")) == 0
    error = capsys.readouterr().err
    assert "already trained for" in error.splitlines()[-1]
    after = weights(run)
    assert after.keys() == before.keys()
    assert all((after[name] == before[name]).all() for name in before)


def test_a_loss_that_is_not_finite_stops_with_its_step(
    shards, tmp_path, capsys
):
    run = tmp_path / "x"
    # Adam's steps have the size of the rate: weights overflow at once.
    more = ["--set=train.critic_lr=10", "--set=train.generator_lr=10"]
    more += ["--set=train.penalty_weight=1e6", "--steps=2000"]
    assert train.main(train_args(shards, run, *more)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: a loss or gradient was not finite at step ")
    for path in checkpoints.newest_first(run / "checkpoints"):
        reader = tf.train.load_checkpoint(str(path / "weights"))
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            if getattr(value, "dtype", None) == np.float32:
                assert np.isfinite(value).all()


def test_a_run_with_another_config_is_refused(shards, trained, capsys):
    more = ["--resume", "--set=train.batch_size=4"]
    assert train.main(train_args(shards, trained, *more)) == 1
    error = capsys.readouterr().err
    assert "train.batch_size: 8 there, 4 here" in error


def test_an_existing_run_is_gone_on_with_only_on_demand(
    shards, trained, capsys
):
    assert train.main(train_args(shards, trained)) == 1
    assert "use --resume to go on" in capsys.readouterr().err
    assert train.main(train_args(shards, trained, "--resume")) == 0
    assert "already trained for 20 steps" in capsys.readouterr().err


def test_how_it_is_judged_may_change(shards, tmp_path, capsys):
    run = tmp_path / "x"
    assert train.main(train_args(shards, run, "--steps=5")) == 0
    more = ["--resume", "--set=bless.max_ndb=0.1", "--set=evaluate.samples=60"]
    assert train.main(train_args(shards, run, *more, "--steps=10")) == 0
    assert (
        yaml.safe_load((run / "config.yaml").open())["bless"]["max_ndb"] == 0.1
    )


def test_a_single_window_is_refused(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    tone = np.sin(np.arange(544) / 3)
    soundfile.write(source / "a.wav", tone, 8000)
    data = tmp_path / "data"
    flags = ["--set=split.by=recording", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, data, *flags) == 0
    assert train.main(train_args(data, tmp_path / "x", *flags)) == 1
    told = capsys.readouterr().err
    assert "holds 1 training windows; expected at least 2" in told


def test_a_run_of_other_shards_is_refused(shards_copy, trained, capsys):
    path = shards_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "recordings": 61}))
    assert train.main(train_args(shards_copy, trained, "--resume")) == 1
    assert "trained on other shards" in capsys.readouterr().err


def test_a_collapse_is_rolled_back_and_training_goes_on(
    shards, tmp_path, monkeypatch, capsys
):
    measure = callbacks.Watch.measure

    def collapsing(watch, windows):
        step, rollbacks = watch._bounds.step, watch.state["rollbacks"]
        lost = step > 10 and not rollbacks
        return measure(watch, windows) | {"variety": 0.0 if lost else 1.0}

    monkeypatch.setattr(callbacks.Watch, "measure", collapsing)
    run = tmp_path / "x"
    more = ["--set=watch.on_collapse=rollback", "--set=watch.patience=2"]
    assert train.main(train_args(shards, run, *more, "--steps=50")) == 0
    error = capsys.readouterr().err
    assert "variety collapsed: 2 watches in a row" in error
    assert "rolled back to step 10, rates 0.0001 and 0.0001" in error
    assert "done at step 50" in error
    names = [p.name for p in checkpoints.newest_first(run / "checkpoints")]
    assert names == ["step-00000050-r1", "step-00000040-r1"]
    state = json.loads(
        (run / "checkpoints" / names[0] / "state.json").read_text()
    )
    assert state["watch"]["rollbacks"] == 1 and state["watch"]["alarms"] == 0
    # Nothing tells of the steps that were gone back over.
    told = [json.loads(t) for t in (run / "metrics.jsonl").open()]
    steps = [row["step"] for row in told if "critic_loss" in row]
    assert steps == list(range(5, 51, 5))
    assert all(row.get("windows_per_sec", 1) > 0 for row in told)
    # The noise is other than that of a training never rolled back.
    plain = tmp_path / "plain"
    monkeypatch.undo()
    assert train.main(train_args(shards, plain, "--steps=50")) == 0
    ours, theirs = weights(run), weights(plain)
    average = [n for n in ours if n.startswith("ema_generator")]
    assert any((ours[n] != theirs[n]).any() for n in average)


def test_a_training_rolled_back_resumes_as_if_never_stopped(
    shards, tmp_path, monkeypatch, capsys
):
    measure = callbacks.Watch.measure

    def collapsing(watch, windows):
        lost = watch._bounds.step > 10 and watch.state["rollbacks"] < 2
        return measure(watch, windows) | {"variety": 0.0 if lost else 1.0}

    monkeypatch.setattr(callbacks.Watch, "measure", collapsing)
    more = ["--set=watch.patience=2", "--set=watch.max_rollbacks=2"]
    more += ["--set=watch.on_collapse=rollback"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main(train_args(shards, whole, *more, "--steps=50")) == 0
    roll_back = callbacks.Checkpoints.roll_back

    def killed(saver):
        raise KeyboardInterrupt

    # Between a collapse and the rollback, and again after both of them.
    monkeypatch.setattr(callbacks.Checkpoints, "roll_back", killed)
    assert train.main(train_args(shards, parts, *more, "--steps=50")) == 130
    monkeypatch.setattr(callbacks.Checkpoints, "roll_back", roll_back)
    more.append("--resume")
    assert train.main(train_args(shards, parts, *more, "--steps=25")) == 0
    assert train.main(train_args(shards, parts, *more, "--steps=50")) == 0
    assert_same_weights(parts, whole)
    # No further than it may go back.
    monkeypatch.setattr(
        callbacks.Watch,
        "measure",
        lambda *args: measure(*args) | {"variety": 0.0},
    )
    capsys.readouterr()
    assert train.main(train_args(shards, parts, *more, "--steps=90")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "rolled back 2 times" in error and "another --run" in error


def test_a_run_whose_config_is_gone_is_refused(
    trained, shards, tmp_path, capsys
):
    run = shutil.copytree(trained, tmp_path / "x")
    (run / "config.yaml").unlink()
    for _ in range(2):
        assert train.main(train_args(shards, run)) == 1
        error = capsys.readouterr().err
        assert "holds checkpoints and no config.yaml" in error
        # The second time only the best is left.
        for path in (run / "checkpoints").glob("step-*"):
            shutil.rmtree(path)


def test_a_run_whose_manifest_is_damaged_is_told_of(
    trained, shards, tmp_path, capsys
):
    run = shutil.copytree(trained, tmp_path / "x")
    (run / "manifest.json").write_text("{")
    assert train.main(train_args(shards, run, "--resume")) == 1
    assert "manifest.json is no JSON" in capsys.readouterr().err


def test_data_that_go_away_end_a_training_in_one_line(
    shards_copy, tmp_path, capsys, monkeypatch
):
    load = callbacks.Watch.__init__

    def leave(*args):
        load(*args)
        shutil.rmtree(shards_copy)

    monkeypatch.setattr(callbacks.Watch, "__init__", leave)
    assert train.main(train_args(shards_copy, tmp_path / "x")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "No such file" in error


def test_a_collapse_without_a_healthy_checkpoint_stops(
    shards, tmp_path, capsys
):
    more = ["--set=watch.on_collapse=rollback", "--set=watch.patience=2"]
    more += ["--set=watch.min_variety=1.0"]
    assert train.main(train_args(shards, tmp_path / "x", *more)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(
        "error: variety collapsed before any healthy checkpoint"
    )


def test_sizes_and_costs_are_said_at_the_start(trained):
    text = (trained / "log.txt").read_text()
    # A block: 3 x 16 x 8 and 3 x 8 x 16, each with its biases.
    block, biases = 3 * 16 * 8 + 3 * 8 * 16, 8 + 16
    # 8 -> 4 x 16, blocks that end at 8 and 16 frames, 3 x 16 x 32 at 16.
    weights = 8 * 64 + 64 + 2 * (block + biases) + 1536 + 32
    products = 8 * 64 + (8 + 16) * block + 16 * 1536
    assert (
        f"generator: {weights:,} parameters, {products:,} multiply-adds"
    ) in text
    # Of the critic 3 x 32 x 16 at 16 frames, blocks that end at 8 and 4, then
    # 4 x 16 -> 1.
    weights = 1536 + 16 + 2 * (block + biases) + 64 + 1
    products = 16 * 1536 + (8 + 4) * block + 64
    assert (
        f"critic: {weights:,} parameters, {products:,} multiply-adds"
    ) in text


def test_labels_that_are_missing_are_named(recordings, tmp_path, capsys):
    plain = tmp_path / "plain"
    assert preprocess_tiny(recordings, plain, "--set=audio.name_regex=") == 0
    more = ["--set=audio.name_regex=", "--set=model.condition=label"]
    assert train.main(train_args(plain, tmp_path / "x", *more)) == 1
    assert "training windows have none: give them by" in capsys.readouterr().err
    # What the message advises works in the same folder.
    more[1] = "--set=model.condition=cluster"
    assert (
        train.main(train_args(plain, tmp_path / "x", *more, "--steps=5")) == 0
    )


def test_a_second_training_of_a_run_is_refused(
    shards, trained, tmp_path, capsys
):
    with held(trained / ".lock", "mine"):
        assert train.main(train_args(shards, trained, "--resume")) == 1
    assert "another training owns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--resume"], 1, "holds no run to resume"),
        (["--data=nowhere"], 1, "nowhere holds no data set"),
        (["--steps=0"], 2, "--steps is 0; expected more than 0"),
        (["--set=trian.steps=1"], 2, "did you mean train"),
        (["--set=stft.frame_step=16"], 1, "stft.frame_step: 32 there, 16 here"),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    shards, tmp_path, capsys, more, code, message
):
    assert train.main(train_args(shards, tmp_path / "x", *more)) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_shard_that_is_damaged_inside_is_named(shards_copy, tmp_path, capsys):
    shard = sorted(shards_copy.glob("Split-train/*"))[1]
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    assert train.main(train_args(shards_copy, tmp_path / "x")) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and f"{shard.name} is damaged" in last


def test_a_full_disk_is_one_line_and_keeps_what_was_good(
    shards, trained, tmp_path
):
    run = shutil.copytree(trained, tmp_path / "x")
    # A file-size limit makes writes fail as a full disk does.
    script = (
        "import resource, sys; from stftgan_tf import train;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000));"
        "sys.exit(train.main(sys.argv[1:]))"
    )
    more = ["--resume", "--steps=29", "--set=train.preview_every=10"]
    done = subprocess.run(
        [sys.executable, "-c", script, *train_args(shards, run, *more)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert_same_weights(run, trained)


def test_rows_after_the_checkpoint_are_written_once(shards, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "x")
    shutil.rmtree(run / "checkpoints" / "step-00000020")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 25, "secs')
    # As a kill in the middle of a rollback leaves it.
    stale = run / "samples" / "step-00000025.png"
    stale.touch()
    assert train.main(train_args(shards, run, "--resume")) == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [5, 10, 10, 15, 20, 20]
    assert not stale.exists()


def test_a_run_killed_before_its_first_checkpoint_starts_anew(
    shards, trained, tmp_path
):
    run = shutil.copytree(trained, tmp_path / "x")
    shutil.rmtree(run / "checkpoints")
    assert train.main(train_args(shards, run, "--resume")) == 0
    assert_same_weights(run, trained)


def test_xla_can_be_asked_for(shards, tmp_path, capsys):
    more = ["--set=train.jit_compile=true", "--steps=5"]
    assert train.main(train_args(shards, tmp_path / "x", *more)) == 0
    assert "jit_compile true became True" in capsys.readouterr().err


def test_help_shows_an_example():
    done = run_command("stftgan_tf.train", "--help")
    assert done.returncode == 0 and train.EXAMPLE in done.stdout
