"""Short trainings, and comparisons of runs."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.training import checkpoints, loop, metrics_log, run_dir, state
from tests.conftest import ROOT, train_args


def train(shards, run, *overrides, steps=None, minutes=None, resume=False):
    """Trains with the config `tiny`, in this process."""
    config = config_lib.load("tiny", overrides)
    return loop.train(config, shards, run, steps, minutes, resume)


def untrained_run(shards, run, *overrides):
    """A run of the config `tiny` with a checkpoint of random weights."""
    config = config_lib.load("tiny", overrides)
    opened = dataset.open_shards(shards, config)
    condition = None
    if config.model.condition != "none":
        shares = np.full(len(opened.manifest["labels"]), 0.1, np.float32)
        condition = condition_lib.Condition(prior=shares)
    model = build_wgan(
        config, opened.moments, condition.classes if condition else 0
    )
    # Fresh networks treat all classes alike.
    rng = np.random.default_rng(0)
    model.ema_generator.set_weights(
        [
            weight + np.float32(rng.normal(0, 0.1, weight.shape))
            for weight in model.ema_generator.get_weights()
        ]
    )
    run.mkdir()
    run_dir.write_identity(run, config, opened, condition)
    checkpoints.save(run / checkpoints.DIRECTORY, model, state.State(), keep=1)
    return run


def start(shards, run, *more, env=None):
    """`python -m stftgan_tf.train` in its own process."""
    args = train_args(shards, run, *more)
    return subprocess.Popen(
        [sys.executable, "-m", "stftgan_tf.train", *args],
        cwd=ROOT,
        env=env or os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    """Waits until `condition()` is true."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def newest(run):
    """The newest checkpoint of a run."""
    return checkpoints.newest_first(run / checkpoints.DIRECTORY)[0]


def weights(run):
    """Every tensor of a run's newest checkpoint by name."""
    reader = tf.train.load_checkpoint(str(newest(run) / "weights"))
    names = reader.get_variable_to_shape_map()
    return {
        name: reader.get_tensor(name)
        for name in names
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH" and "save_counter" not in name
    }


def assert_same_weights(run, other):
    """Compares the newest checkpoints and the last measurements of two runs."""
    left, right = weights(run), weights(other)
    assert left.keys() == right.keys() and len(left) > 30
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)
    left, right = measurements(run)[-1], measurements(other)[-1]
    left.pop("secs"), right.pop("secs")
    # Different processes may add up the sums in a different order.
    assert left == pytest.approx(right, rel=1e-5)


def losses(run):
    """Rows of metrics.jsonl with losses."""
    return [row for row in metrics_log.rows(run) if "critic_loss" in row]


def measurements(run):
    """Rows of metrics.jsonl that the watch wrote."""
    return [row for row in metrics_log.rows(run) if "watch/variety" in row]
