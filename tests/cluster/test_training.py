"""Two workers on two hosts train one model; the link of one is cut."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from tests.cluster.hosts import namespaces
from tests.conftest import train_args
from tests.stftgan_tf.training import runs

pytestmark = pytest.mark.cluster

PORT = 2222


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    # The data set and the runs are what all hosts share.
    base = tmp_path_factory.getbasetemp()
    with namespaces(["one", "two"], base) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def whole(hosts, shards, tmp_path_factory):
    """A run without a cut."""
    run = tmp_path_factory.mktemp("whole") / "digits"
    codes, errors = finish(start(hosts, shards, run))
    assert codes == [0, 0], errors
    addresses = ", ".join(f"{host.address}:{PORT}" for host in hosts)
    for index, error in enumerate(errors):
        assert f"worker {index} waits for all of: {addresses}" in error
    return run


def start(hosts, shards, run, *more):
    """The same command on every host, each with its own TF_CONFIG."""
    flags = ["--set=train.strategy=multiworker", "--steps=120"]
    flags += ["--set=train.checkpoint_every=10", "--set=watch.every=50"]
    flags += ["--set=train.preview_every=1000", *more]
    workers = [f"{host.address}:{PORT}" for host in hosts]
    return [
        host.popen(
            [sys.executable, "-m", "stftgan_tf.train"]
            + train_args(shards, run, *flags),
            env=environment(workers, index),
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, host in enumerate(hosts)
    ]


def environment(workers, index):
    task = {"type": "worker", "index": index}
    config = {"cluster": {"worker": workers}, "task": task}
    return {**os.environ, "TF_CONFIG": json.dumps(config)}


def finish(processes):
    """Exit codes, and what each process wrote to stderr."""
    errors = [process.communicate(timeout=400)[1] for process in processes]
    return [process.returncode for process in processes], errors


def cut_after_a_checkpoint(host, run, processes):
    def has_checkpoint():
        assert all(process.poll() is None for process in processes)
        return list((run / "checkpoints").glob("step-*"))

    runs.wait_for(has_checkpoint)
    host.down()


def digests(run):
    """What each worker logged last about its weights."""
    logs = [(run / name).read_text() for name in ("log.txt", "log-1.txt")]
    return [re.findall(r"weights (\w{8})", text)[-1] for text in logs]


def test_workers_without_a_link_name_each_other_and_resume(
    hosts, shards, whole, tmp_path
):
    run = tmp_path / "cut"
    processes = start(hosts, shards, run)
    cut_after_a_checkpoint(hosts[1], run, processes)
    codes, errors = finish(processes)
    assert codes == [1, 1], errors
    for error, other in zip(errors, (1, 0), strict=True):
        # TensorFlow may log another line after it.
        assert [s for s in error.splitlines() if s.startswith("error: ")] == [
            f"error: lost the connection to worker {other} "
            f"({hosts[other].address}:{PORT}); start all workers again with "
            "--resume"
        ]
    hosts[1].up()
    codes, errors = finish(start(hosts, shards, run, "--resume"))
    assert codes == [0, 0], errors
    assert "resumed at step" in errors[0]
    assert digests(run) == digests(whole)
    runs.assert_same_weights(run, whole)


def test_a_cut_that_is_shorter_than_the_timeout_does_no_harm(
    hosts, shards, whole, tmp_path
):
    run = tmp_path / "blink"
    processes = start(hosts, shards, run)
    cut_after_a_checkpoint(hosts[1], run, processes)
    time.sleep(2)
    hosts[1].up()
    codes, errors = finish(processes)
    assert codes == [0, 0], errors
    assert digests(run) == digests(whole)
