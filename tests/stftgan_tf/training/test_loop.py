import concurrent.futures
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import requests
import soundfile
import tensorflow as tf
import yaml

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.files import locked
from stftgan_tf.training import checkpoints, metrics_log, preview
from tests.stftgan_tf.conftest import free_port
from tests.stftgan_tf.training import runs


def names(run, pattern):
    return sorted(path.name for path in run.rglob(pattern))


@pytest.fixture
def run_copy(trained_run, tmp_path):
    """A run of 20 steps that a test may change."""
    return shutil.copytree(trained_run, tmp_path / "run")


# What a run contains.


def test_the_files_of_a_run(trained_run, tiny):
    assert {path.name for path in trained_run.iterdir()} == {
        ".lock",
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "sessions.jsonl",
        "log.txt",
        "samples",
        "checkpoints",
        "tensorboard",
    }
    stored = yaml.safe_load((trained_run / "config.yaml").read_text())
    assert config_lib.from_dict(stored) == tiny
    assert names(trained_run, "step-*00010") == ["step-00000010"]
    assert names(trained_run, "step-*00020") == ["step-00000020"]


def test_losses_have_a_row_for_every_report(trained_run):
    rows = runs.losses(trained_run)
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    for row in rows:
        assert set(row) == {
            "step",
            "secs",
            "critic_loss",
            "generator_loss",
            "penalty",
            "augment_p",
            "critic_gradient_norm",
            "generator_gradient_norm",
            "windows_per_sec",
        }
        assert all(np.isfinite(value) for value in row.values())
        assert row["windows_per_sec"] > 0


def test_variety_has_a_row_for_every_measurement(trained_run):
    rows = runs.measurements(trained_run)
    assert [row["step"] for row in rows] == [10, 20]
    secs = [row["secs"] for row in metrics_log.rows(trained_run)]
    assert secs == sorted(secs) and secs[0] > 0


def test_previews_are_pictures_and_audio(trained_run, tiny):
    assert names(trained_run / "samples", "*") == [
        f"step-000000{step}.{kind}"
        for step in (10, 20)
        for kind in ("png", "wav")
    ]
    samples, rate = soundfile.read(
        trained_run / "samples" / "step-00000020.wav"
    )
    assert rate == 8000
    assert len(samples) == 16 * tiny.window_samples
    assert 0 < np.abs(samples).max() < 1


def test_tensorboard_plays_the_previews(trained_run):
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--load_fast=false"]
    process = subprocess.Popen(
        [*command, f"--logdir={trained_run / 'tensorboard'}", f"--port={port}"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    url = f"http://localhost:{port}/data/plugin/audio"
    query = {"run": ".", "tag": "audio"}
    try:
        clips = []
        deadline = time.monotonic() + 60
        while not clips and time.monotonic() < deadline:
            time.sleep(0.5)
            with contextlib.suppress(requests.RequestException, ValueError):
                clips = requests.get(
                    f"{url}/audio", query | {"sample": 15}
                ).json()
        # The newest preview, its last latent.
        assert [clip["step"] for clip in clips] == [10, 20]
        wav = requests.get(
            f"{url}/individualAudio?{clips[-1]['query']}"
        ).content
    finally:
        process.kill()
        process.wait()
    audio, rate = soundfile.read(io.BytesIO(wav))
    assert rate == 8000
    whole, _ = soundfile.read(
        preview.preview_path(trained_run, 20).with_suffix(".wav")
    )
    np.testing.assert_allclose(audio, whole[-len(audio) :], atol=1e-3)


def test_tensorboard_has_scalars_pictures_and_audio(trained_run):
    (path,) = (trained_run / "tensorboard").iterdir()
    tags = {
        value.tag
        for event in tf.data.TFRecordDataset(str(path))
        for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value
    }
    assert {"critic_loss", "watch/variety", "windows", "audio"} <= tags


def test_the_log_states_sizes_costs_devices_and_progress(trained_run):
    text = (trained_run / "log.txt").read_text()
    # A block: 3 x 16 x 8 and 3 x 8 x 16, each with its biases.
    block, biases = 3 * 16 * 8 + 3 * 8 * 16, 8 + 16
    # 8 -> 4 x 16, blocks that end at 8 and 16 frames, 3 x 16 x 32 at 16.
    weights = 8 * 64 + 64 + 2 * (block + biases) + 1536 + 32
    macs = 8 * 64 + (8 + 16) * block + 16 * 1536
    assert f"generator: {weights:,} parameters, {macs:,} multiply-adds" in text
    # Of the critic 3 x 32 x 16 at 16 frames, blocks that end at 8 and 4, then
    # 4 x 16 -> 1.
    weights = 1536 + 16 + 2 * (block + biases) + 64 + 1
    macs = 16 * 1536 + (8 + 4) * block + 64
    assert f"critic: {weights:,} parameters, {macs:,} multiply-adds" in text
    assert "jit_compile: auto (resolved to " in text
    for words in ("windows/s", "ETA", "watch  variety", "done at step 20"):
        assert words in text


# Resuming.


def test_resuming_repeats_the_steps_after_the_checkpoint(
    shards, trained_run, run_copy
):
    shutil.rmtree(run_copy / "checkpoints" / "step-00000020")
    with open(run_copy / "metrics.jsonl", "a") as file:
        file.write('{"step": 25, "secs')
    # As left by a kill.
    preview = run_copy / "samples" / "step-00000025.png"
    preview.touch()
    runs.train(shards, run_copy, resume=True)
    runs.assert_same_weights(run_copy, trained_run)
    steps = [row["step"] for row in metrics_log.rows(run_copy)]
    assert steps == [5, 10, 10, 15, 20, 20]
    assert not preview.exists()


def test_the_last_step_is_measured_even_after_a_kill(
    shards, trained_run, tmp_path, caplog
):
    run, healthy = tmp_path / "run", "watch.min_variety=0.0"
    runs.train(shards, run, healthy, steps=15)
    distances = {
        row["step"]: row["watch/frechet"] for row in runs.measurements(run)
    }
    assert list(distances) == [10, 15]
    # Beside the best checkpoint that a longer training would have.
    assert names(run, "best-*") == ["best-00000010"]
    is_best = distances[15] <= 1.03 * distances[10]
    last = names(run, "last-*")
    assert last == ["last-00000015"] * is_best
    # As left by a kill right after the last checkpoint.
    preview = run / "samples" / "step-00000015.png"
    preview.unlink()
    for path in run.rglob("last-*"):
        shutil.rmtree(path)
    for measures in (True, False):
        caplog.clear()
        runs.train(shards, run, healthy, steps=15, resume=True)
        assert "already trained for 15 steps" in caplog.text
        assert ("step 15  watch" in caplog.text) == measures
    assert preview.is_file()
    assert names(run, "last-*") == last
    runs.train(shards, run, healthy, steps=20, resume=True)
    assert not names(run, "last-*")
    runs.assert_same_weights(run, trained_run)


RECIPES = [
    pytest.param(
        [
            "train.loss=rpgan-r1r2",
            "train.penalty_interval=4",
            "train.texture_weight=0.5",
            "augment.target=0.6",
            "augment.adjust_windows=100",
            "model.condition=cluster",
            "model.clusters=5",
            "train.steps_per_execution=5",
        ],
        id="digits8k-and-texture",
    ),
    pytest.param(
        [
            "train.loss=wgan",
            "train.critic_steps=3",
            "train.optimizer=rmsprop",
            "model.networks=dcgan",
        ],
        id="clipped-dcgan",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        [
            "model.condition=label",
            "model.minibatch_stddev=4",
            "train.precision=mixed_bfloat16",
        ],
        id="labels-bfloat16",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("overrides", RECIPES)
def test_resumed_equals_uninterrupted(shards, tmp_path, overrides):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    overrides = [*overrides, "train.checkpoint_every=5"]
    runs.train(shards, whole, *overrides)
    shutil.copytree(whole, resumed)
    shutil.rmtree(runs.newest(resumed))
    runs.train(shards, resumed, *overrides, resume=True)
    runs.assert_same_weights(resumed, whole)
    assert [row["step"] for row in runs.losses(resumed)] == [5, 10, 15, 20]


def kill_repeatedly(shards, run, flags, delays):
    """Starts or resumes a run, and kills it after its first checkpoint."""
    directory = run / "checkpoints"
    for delay in delays:
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        before = checkpoints.newest_first(directory)[:1]
        process = runs.start(shards, run, *flags, *resume)
        while process.poll() is None and (
            checkpoints.newest_first(directory)[:1] == before
        ):
            time.sleep(0.005)
        time.sleep(delay)
        assert process.poll() is None, process.communicate()[1]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_killed_at_20_random_moments_equals_uninterrupted(shards, tmp_path):
    overrides = [
        "train.steps=700",
        "train.checkpoint_every=10",
        "train.preview_every=350",
        "watch.every=40",
        "watch.min_variety=0.0",
        "augment.target=0.6",
    ]
    flags = [f"--set={override}" for override in overrides]
    whole, killed = tmp_path / "whole", [tmp_path / "a", tmp_path / "b"]
    delays = np.random.default_rng(0).uniform(0, 0.1, [2, 10])
    # At the same time, because most of it goes into starting.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(kill_repeatedly, shards, run, flags, moments)
            for run, moments in zip(killed, delays, strict=True)
        ]
    for job in jobs:
        job.result()
    runs.train(shards, whole, *overrides)
    for run in killed:
        assert runs.newest(run).name < "step-00000700"
        runs.train(shards, run, *overrides, resume=True)
        runs.assert_same_weights(run, whole)
        assert names(run, "best-*") == names(whole, "best-*")


@pytest.mark.slow
def test_xla_compiles_a_training_step(shards, tmp_path, caplog):
    caplog.set_level("INFO", logger="stftgan_tf")
    runs.train(shards, tmp_path / "x", "train.jit_compile=true", steps=5)
    assert "jit_compile: true (resolved to true" in caplog.text


# Limits and failures.


def test_minutes_limit_a_training_including_resumed_ones(
    shards, run_copy, caplog
):
    # A run that was killed before its first checkpoint starts again.
    shutil.rmtree(run_copy / "checkpoints")
    limits = {"steps": 10**6, "minutes": 0.001, "resume": True}
    result = runs.train(shards, run_copy, **limits)
    assert result.secs >= 0.06 and 0 < result.step < 20
    assert not result.interrupted
    text = (run_copy / "log.txt").read_text()
    assert f"time limit reached at step {result.step}" in text
    assert "resumed at step" not in text
    before = runs.weights(run_copy)
    again = runs.train(shards, run_copy, **limits)
    assert again.step == result.step
    assert "already trained for" in caplog.text
    after = runs.weights(run_copy)
    assert all((after[name] == before[name]).all() for name in before)


def test_a_value_that_is_not_finite_stops_with_its_step(shards, tmp_path):
    # Adam's steps have the size of the rate, so weights overflow at once.
    overrides = ["train.critic_lr=10", "train.generator_lr=10"]
    overrides += ["train.penalty_weight=1e6", "train.steps=2000"]
    with pytest.raises(UserError, match="was not finite at step [0-9]+"):
        runs.train(shards, tmp_path, *overrides)
    for path in checkpoints.newest_first(tmp_path / "checkpoints"):
        reader = tf.train.load_checkpoint(str(path / "weights"))
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            if getattr(value, "dtype", None) == np.float32:
                assert np.isfinite(value).all()


def test_a_collapse_stops_and_keeps_earlier_checkpoints(shards, tmp_path):
    overrides = ["watch.on_collapse=stop", "watch.patience=2"]
    overrides += ["watch.min_variety=1.0", "watch.every=5"]
    overrides += ["train.checkpoint_every=5"]
    with pytest.raises(UserError, match="variety collapsed: 2 measurements"):
        runs.train(shards, tmp_path, *overrides)
    assert names(tmp_path, "step-*5") == ["step-00000005"]


def test_data_that_disappears_ends_the_training(shards_copy, tmp_path):
    run = tmp_path / "run"

    def remove():
        runs.wait_for((run / "config.yaml").exists)
        shutil.rmtree(shards_copy)

    thread = threading.Thread(target=remove)
    thread.start()
    with pytest.raises((UserError, tf.errors.OpError), match="No such file"):
        runs.train(shards_copy, run, steps=100000)
    thread.join()


def test_a_full_disk_keeps_earlier_checkpoints(shards, trained_run, run_copy):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files makes writes fail as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50000, hard))
    try:
        with pytest.raises(UserError, match="^cannot write .*step-00000029"):
            runs.train(shards, run_copy, steps=29, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert runs.newest(run_copy).name == "step-00000020"
    runs.assert_same_weights(run_copy, trained_run)


def test_a_damaged_shard_is_named(shards_copy, tmp_path):
    shard = sorted(shards_copy.glob("Split-train/*"))[1]
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=f"{shard.name} is damaged"):
        runs.train(shards_copy, tmp_path / "run")


def test_missing_labels_are_named_before_the_run_is_written(
    shards_copy, tmp_path
):
    path = shards_copy / "stats.json"
    stats = json.loads(path.read_text())
    count = sum(stats["labels"]["train"].values())
    stats["labels"]["train"] = {"-1": count}
    path.write_text(json.dumps(stats))
    run = tmp_path / "run"
    with pytest.raises(UserError, match=f"{count} of {count} training windows"):
        runs.train(shards_copy, run, "model.condition=label")
    # So the same directory may be used with clusters, as the message suggests.
    assert not (run / "config.yaml").exists()


# Whether a training may use the directory and the data.


def test_a_different_config_is_refused(shards, trained_run):
    with pytest.raises(UserError, match="train.batch_size: 8 .*, 4 "):
        runs.train(shards, trained_run, "train.batch_size=4", resume=True)


def test_settings_of_the_judgement_may_change(shards, run_copy):
    runs.train(shards, run_copy, "bless.max_ndb=0.1", resume=True)
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    assert config["bless"]["max_ndb"] == 0.1


def test_an_existing_run_is_continued_only_on_request(
    shards, trained_run, caplog
):
    with pytest.raises(UserError, match="use --resume to continue it"):
        runs.train(shards, trained_run)
    runs.train(shards, trained_run, resume=True)
    assert "already trained for 20 steps" in caplog.text


def test_a_run_has_one_training_at_a_time(shards, trained_run):
    with locked(trained_run / ".lock", "unexpected"):
        with pytest.raises(UserError, match="another training is using"):
            runs.train(shards, trained_run, resume=True)


def test_different_shards_are_refused(shards_copy, trained_run):
    path = shards_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "recordings": 61}))
    with pytest.raises(UserError, match="trained on different shards"):
        runs.train(shards_copy, trained_run, resume=True)


def test_a_single_window_is_refused(shards_copy, tmp_path):
    path = shards_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["windows"]["train"] = 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="contains 1 training windows"):
        runs.train(shards_copy, tmp_path / "run")


@pytest.mark.parametrize("kinds", [("step", "best"), ("best",)])
def test_checkpoints_without_a_config_are_refused(shards, run_copy, kinds):
    (run_copy / "config.yaml").unlink()
    for path in (run_copy / "checkpoints").iterdir():
        if not path.name.startswith(kinds):
            shutil.rmtree(path)
    with pytest.raises(UserError, match="checkpoints but no config.yaml"):
        runs.train(shards, run_copy)


def test_a_damaged_manifest_is_named(shards, run_copy):
    (run_copy / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json is not JSON"):
        runs.train(shards, run_copy, resume=True)
