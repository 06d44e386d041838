import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import train
from stftgan_tf.errors import UserError
from stftgan_tf.models.replicas import value_of
from stftgan_tf.training import distribute
from tests.conftest import ROOT, train_args, worker_environments
from tests.test_train import assert_same_weights, weights

# Two logical devices must be made before anything else runs.
TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
"""

TRAIN = (
    TWO_DEVICES
    + """
from stftgan_tf import train
sys.exit(train.main(sys.argv[1:]))
"""
)

# One update on two replicas; prints what each of them drew and kept.
ONE_UPDATE = (
    TWO_DEVICES
    + """
import json
import numpy as np
from stftgan_tf import config, train
settings = config.load("tiny", ["train.strategy=mirrored", *sys.argv[1:]])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = train.build(settings)
local = strategy.experimental_local_results
noise = strategy.run(lambda: model._normal([4], tf.constant(0, tf.int64), 0))
windows = np.float32(np.random.default_rng(0).uniform(-1, 1, (8, 16, 32)))
def part(context):
    i = context.replica_id_in_sync_group
    return tf.constant(windows[4 * i : 4 * i + 4]), tf.zeros([4], tf.int64)
data = strategy.experimental_distribute_values_from_function(part)
fake = windows[::-1].copy()
def generate(label, step, index):
    i = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.gather(fake, tf.range(4) + 4 * tf.cast(i, tf.int32))
model._generate = generate
def halves(shape, *_):
    return tf.fill(shape, 0.5)
model._uniform = halves
def update(data):
    return model.update_critic(*data, tf.constant(0, tf.int64), 0)
strategy.run(tf.function(update), args=(data,))
kept = [local(v.value) for v in model.critic.trainable_variables]
squares = [local(v.value)[0] for v in model.critic_optimizer._velocities]
rates = model.go_another_way(2)
print(json.dumps({
    "noise": [n.numpy().tolist() for n in local(noise)],
    "same": all(bool((a.numpy() == b.numpy()).all()) for a, b in kept),
    "weights": [a.numpy().ravel().tolist() for a, _ in kept],
    "squares": [a.numpy().ravel().tolist() for a in squares],
    "rates": rates,
    "digest": model.digest(),
}))
"""
)


def run_script(script, *args):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )


def test_two_replicas_are_one_batch_with_noise_of_their_own():
    done = run_script(ONE_UPDATE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert found["noise"][0] != found["noise"][1]
    assert found["rates"] == [5e-5, 5e-5] and len(found["digest"]) == 8
    # The same update on one device, all eight windows at once.
    model = train.build(config_lib.load("tiny"))
    windows = np.float32(np.random.default_rng(0).uniform(-1, 1, (8, 16, 32)))
    model._generate = lambda *_: tf.constant(windows[::-1].copy())
    model._uniform = lambda shape, *_: tf.fill(shape, 0.5)
    zero = tf.constant(0, tf.int64)
    model.update_critic(tf.constant(windows), tf.zeros([8], tf.int64), zero, 0)
    ours = np.concatenate([w.ravel() for w in model.critic.get_weights()])
    theirs = np.concatenate(found["weights"])
    # Adam's first steps are signs of gradients: those near zero may flip.
    assert np.mean(np.abs(ours - theirs) < 1e-5) > 0.98
    # Their sizes show in what it keeps of their squares.
    ours = [v.numpy().ravel() for v in model.critic_optimizer._velocities]
    theirs = np.concatenate(found["squares"])
    np.testing.assert_allclose(
        theirs, np.concatenate(ours), rtol=1e-2, atol=1e-3 * theirs.max()
    )


# What digits8k.yaml, and with it kubernetes/, trains with.
SHIPPED = [
    "--set=train.loss=rpgan-r1r2",
    "--set=train.penalty_interval=4",
    "--set=augment.target=0.6",
    "--set=augment.adjust_windows=500",
    "--set=model.condition=cluster",
    "--set=model.clusters=5",
]


def test_mirrored_training_resumes_as_if_never_stopped(shards, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    mirrored = "--set=train.strategy=mirrored"
    args = train_args(shards, whole, mirrored, *SHIPPED)
    done = run_script(TRAIN, *args)
    assert done.returncode == 0, done.stderr
    assert "2 replicas" in done.stderr
    for more in (["--steps=10"], ["--resume"]):
        args = train_args(shards, parts, mirrored, *more, *SHIPPED)
        assert run_script(TRAIN, *args).returncode == 0
    assert_same_weights(parts, whole)


def start_workers(shards, run, *more):
    """Two worker processes of one training."""
    args = train_args(shards, run, "--set=train.strategy=multiworker", *more)
    return [
        subprocess.Popen(
            [sys.executable, "-m", "stftgan_tf.train", *args],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in worker_environments(2)
    ]


def finish(jobs):
    """Exit codes and what each wrote to stderr."""
    errors = [job.communicate(timeout=240)[1] for job in jobs]
    return [job.returncode for job in jobs], errors


def test_two_workers_are_killed_and_resume_as_if_never_stopped(
    shards, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--set=train.checkpoint_every=10", "--set=watch.every=15"]
    more += ["--set=train.preview_every=1000", "--steps=60", *SHIPPED]
    codes, errors = finish(start_workers(shards, whole, *more))
    assert codes == [0, 0], errors
    jobs = start_workers(shards, killed, *more)
    end = time.monotonic() + 120
    while not list((killed / "checkpoints").glob("step-*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(jobs[1].pid, signal.SIGKILL)
    codes, errors = finish(jobs)
    assert codes[0] == 1
    assert "another worker was lost; start all workers" in errors[0]
    codes, errors = finish(start_workers(shards, killed, *more, "--resume"))
    assert codes == [0, 0], errors
    assert_same_weights(killed, whole)
    # Both saw the same variety, and ended with the same weights.
    seen = [
        re.findall(r"variety.*|weights \w{8}", (run / name).read_text())
        for run in (whole, killed)
        for name in ("log.txt", "log-1.txt")
    ]
    assert seen[0] == seen[1] and len(seen[0]) >= 5
    assert seen[0][-1] == seen[2][-1] == seen[3][-1]
    assert seen[0][-1].startswith("weights ")
    assert len(weights(whole)) > 40


@pytest.mark.parametrize(
    "text", ["", "{}", '{"cluster": {"worker": ["a:1"]}, "task": 3}', "no"]
)
def test_a_bad_tf_config_is_named(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    config = config_lib.load("tiny", ["train.strategy=multiworker"])
    with pytest.raises(UserError, match="TF_CONFIG is .*; expected"):
        distribute.open_strategy(config)


def test_minutes_are_refused_with_workers(shards, tmp_path, capsys):
    more = ["--set=train.strategy=multiworker", "--minutes=1"]
    assert train.main(train_args(shards, tmp_path / "x", *more)) == 2
    assert "would end the workers at different steps" in capsys.readouterr().err


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    class Three:
        num_replicas_in_sync = 3

    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda _: Three())
    config = config_lib.load("tiny", ["train.strategy=mirrored"])
    with pytest.raises(UserError, match="expected a multiple of 3"):
        distribute.open_strategy(config)


def test_one_device_is_the_default(tiny):
    devices = distribute.open_strategy(tiny)
    assert devices.chief
    assert devices.strategy.num_replicas_in_sync == 1
    assert value_of(tf.Variable(7)) == 7
