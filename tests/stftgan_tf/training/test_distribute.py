import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.replicas import value_of
from stftgan_tf.training import distribute
from tests.conftest import ROOT, train_args, worker_environments
from tests.stftgan_tf.training import runs

# Logical devices must be created before TensorFlow does anything else.
TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
"""

TRAIN_ON_TWO_DEVICES = (
    TWO_DEVICES
    + """
from stftgan_tf import train
sys.exit(train.main(sys.argv[1:]))
"""
)

# One update of the critic on two replicas; prints the noise of each, the
# weights, and what Adam stores of the squares of the gradients.
ONE_UPDATE = (
    TWO_DEVICES
    + """
import json
import numpy as np
from stftgan_tf import config
from stftgan_tf.models.build import build_wgan
settings = config.load("tiny", ["train.strategy=mirrored"])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = build_wgan(settings)
local = strategy.experimental_local_results
step = tf.constant(0, tf.int64)
noise = strategy.run(lambda: model.noise.normal([4], step, 0))
windows = np.float32(np.random.default_rng(0).uniform(-1, 1, (8, 16, 32)))
fake = windows[::-1].copy()

def part(context):
    i = context.replica_id_in_sync_group
    return tf.constant(windows[4 * i : 4 * i + 4]), tf.zeros([4], tf.int64)

def generate(label, step, update):
    i = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.gather(fake, tf.range(4) + 4 * tf.cast(i, tf.int32))

class Halves:
    def uniform(self, shape, *_):
        return tf.fill(shape, 0.5)

model.generate, model.noise = generate, Halves()
data = strategy.experimental_distribute_values_from_function(part)
update = tf.function(lambda data: model.update_critic(*data, step, 0))
strategy.run(update, args=(data,))
weights = [local(v.value) for v in model.critic.trainable_variables]
squares = [
    local(v.value)[0]
    for v in model.critic_optimizer.variables if "velocity" in v.path
]
print(json.dumps({
    "noise": [n.numpy().tolist() for n in local(noise)],
    "same": all(bool((a.numpy() == b.numpy()).all()) for a, b in weights),
    "weights": [a.numpy().ravel().tolist() for a, _ in weights],
    "squares": [a.numpy().ravel().tolist() for a in squares],
    "digest": model.digest(),
}))
"""
)

# The recipe of digits8k.yaml, which the manifests of kubernetes/ use, and a
# texture critic.
RECIPE = [
    "--set=train.loss=rpgan-r1r2",
    "--set=train.penalty_interval=4",
    "--set=train.texture_weight=0.5",
    "--set=augment.target=0.6",
    "--set=augment.adjust_windows=500",
    "--set=model.condition=cluster",
    "--set=model.clusters=5",
]


def run_script(script, *args):
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )


@pytest.mark.slow
def test_two_replicas_equal_one_batch_and_draw_different_noise():
    process = run_script(ONE_UPDATE)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["same"] and len(result["digest"]) == 8
    assert result["noise"][0] != result["noise"][1]
    # The same update on one device, with all eight windows at once.
    model = build_wgan(config_lib.load("tiny"))
    windows = np.float32(np.random.default_rng(0).uniform(-1, 1, (8, 16, 32)))
    model.generate = lambda *_: tf.constant(windows[::-1].copy())
    model.noise = types.SimpleNamespace(
        uniform=lambda shape, *_: tf.fill(shape, 0.5)
    )
    step, labels = tf.constant(0, tf.int64), tf.zeros([8], tf.int64)
    model.update_critic(tf.constant(windows), labels, step, 0)
    one = np.concatenate([w.ravel() for w in model.critic.get_weights()])
    two = np.concatenate(result["weights"])
    # Adam's first steps are signs of gradients; those near zero may flip.
    assert np.mean(np.abs(one - two) < 1e-5) > 0.98
    # The size of the gradients shows in their squares.
    variables = model.critic_optimizer.variables
    squares = [v.numpy().ravel() for v in variables if "velocity" in v.path]
    two = np.concatenate(result["squares"])
    np.testing.assert_allclose(
        two, np.concatenate(squares), rtol=1e-2, atol=1e-3 * two.max()
    )


@pytest.mark.slow
def test_mirrored_training_resumes_as_if_never_stopped(shards, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    more = ["--set=train.strategy=mirrored", *RECIPE]
    for run in (whole, resumed):
        if run == resumed:
            shutil.copytree(whole, resumed)
            shutil.rmtree(runs.newest(resumed))
            more.append("--resume")
        args = train_args(shards, run, *more)
        process = run_script(TRAIN_ON_TWO_DEVICES, *args)
        assert process.returncode == 0, process.stderr
        assert "2 replicas" in process.stderr
    assert "resumed at step 10" in process.stderr
    runs.assert_same_weights(resumed, whole)


def start_workers(shards, run, *more):
    """Two worker processes of one training."""
    return [
        runs.start(
            shards, run, "--set=train.strategy=multiworker", *more, env=env
        )
        for env in worker_environments(2)
    ]


def finish(processes):
    """Exit codes and what each process wrote to stderr."""
    errors = [process.communicate(timeout=240)[1] for process in processes]
    return [process.returncode for process in processes], errors


@pytest.mark.slow
def test_two_workers_are_killed_and_resume_as_if_never_stopped(
    shards, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--set=train.checkpoint_every=10", "--set=watch.every=15"]
    more += ["--set=train.preview_every=1000", "--steps=60", *RECIPE]
    codes, errors = finish(start_workers(shards, whole, *more))
    assert codes == [0, 0], errors
    processes = start_workers(shards, killed, *more)
    runs.wait_for(lambda: list((killed / "checkpoints").glob("step-*")))
    os.kill(processes[1].pid, signal.SIGKILL)
    codes, errors = finish(processes)
    assert codes[0] == 1
    lost = r"lost the connection to worker 1 \(127\.0\.0\.1:\d+\); start all "
    assert re.search(f"^error: {lost}", errors[0], re.M)
    codes, errors = finish(start_workers(shards, killed, *more, "--resume"))
    assert codes == [0, 0], errors
    runs.assert_same_weights(killed, whole)
    # Both measured the same variety, and ended with the same weights.
    lines = [
        re.findall(r"variety.*|weights \w{8}", (run / name).read_text())
        for run in (whole, killed)
        for name in ("log.txt", "log-1.txt")
    ]
    assert lines[0] == lines[1] and len(lines[0]) >= 5
    assert lines[0][-1] == lines[2][-1] == lines[3][-1]
    assert lines[0][-1].startswith("weights ")


@pytest.mark.parametrize(
    "text", ["", "{}", '{"cluster": {"worker": ["a:1"]}, "task": 3}', "no"]
)
def test_a_malformed_tf_config_is_named(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    config = config_lib.load("tiny", ["train.strategy=multiworker"])
    with pytest.raises(UserError, match="TF_CONFIG is .*; expected"):
        distribute.open_strategy(config)


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    class ThreeReplicas:
        num_replicas_in_sync = 3

    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", lambda _: ThreeReplicas()
    )
    config = config_lib.load("tiny", ["train.strategy=mirrored"])
    with pytest.raises(UserError, match="expected a multiple of 3"):
        distribute.open_strategy(config)


def test_one_device_is_the_default(tiny):
    devices = distribute.open_strategy(tiny)
    assert devices.chief
    assert devices.strategy.num_replicas_in_sync == 1
    assert value_of(tf.Variable(7)) == 7


@pytest.mark.parametrize(
    ("message", "worker"),
    [
        (
            "Detected at node x\nError reported from /job:worker/task:1: Task "
            "/job:worker/replica:0/task:1 heartbeat timeout.",
            "worker 1 (b:2)",
        ),
        (
            "Additional GRPC error information from remote target "
            "/job:worker/replica:0/task:0 while calling Heartbeat",
            "worker 0 (a:2)",
        ),
        ("connection reset", "another worker"),
    ],
)
def test_a_lost_worker_is_named_in_one_line(message, worker):
    expected = f"lost the connection to {worker}; start all workers again"
    with pytest.raises(UserError, match=re.escape(expected)):
        with distribute.worker_loss_as_error(["a:2", "b:2"]):
            raise tf.errors.UnavailableError(None, None, message)
