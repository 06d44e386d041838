"""A Flink cluster on three hosts, with and without faults."""

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster import flink as flink_lib
from tests.cluster.hosts import loopback, namespaces
from tests.conftest import ROOT, run_command
from tests.pipeline.data_sets import digests

pytestmark = pytest.mark.cluster

# Seconds that a job may take on a busy machine, restarts included.
TIMEOUT_SECS = 400


@pytest.fixture(scope="module")
def small_disk():
    """A file system of 128 KiB, mounted before the hosts start."""
    # All hosts see /var/tmp, but each has its own /tmp.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        size = "-osize=128k"
        command = ["mount", "-t", "tmpfs", size, "tmpfs", directory]
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            pytest.skip("only root can mount a small disk")
        yield Path(directory)
        subprocess.run(["umount", directory], check=True)


@pytest.fixture(scope="module")
def hosts(small_disk, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    with namespaces(["master", "one", "two"], base) as result:
        yield result


@pytest.fixture(scope="module")
def flink(hosts, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    with flink_lib.flink(hosts[0], hosts[1:], logs) as cluster:
        yield cluster


@contextlib.contextmanager
def running(flink, source, output, *more):
    """The process of a job, which is killed at the end."""
    command = [
        *(sys.executable, "-m", "pipeline.preprocess", *flink.flags),
        *("--config=tiny", f"--source={source}", f"--output={output}", *more),
    ]
    with loopback(["client"]) as (client,):
        yield client.popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def failure(flink, source, output, *more):
    """The last line of `error:` of a job that fails."""
    with running(flink, source, output, *more) as job:
        _, stderr = job.communicate(timeout=TIMEOUT_SECS)
    assert job.returncode == 1
    assert "Traceback" not in stderr.splitlines()[0]
    assert not output.exists()
    return [s for s in stderr.splitlines() if s.startswith("error: ")][-1]


def check_success(job):
    _, stderr = job.communicate(timeout=TIMEOUT_SECS)
    assert job.returncode == 0, stderr


def wait_for_shards(directory):
    """Returns when workers write shards below a directory."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while not list(directory.glob(".incomplete-*/Split-*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_same_bytes(flink, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    with running(flink, recordings, output) as job:
        check_success(job)
    assert digests(output) == digests(shards)


def test_a_pipeline_ingests_with_flink(flink, recordings, shards, tmp_path):
    result = run_command(
        "pipeline.run",
        *flink.flags,
        "--config=tiny",
        f"--source={recordings}",
        f"--root={tmp_path}",
        "--until=validate",
    )
    assert result.returncode == 0, result.stderr
    (output,) = (tmp_path / "preprocess").iterdir()
    assert digests(output) == digests(shards)


def test_a_worker_without_the_source(flink, recordings, tmp_path):
    # Outside the directory that the hosts share.
    with tempfile.TemporaryDirectory(dir="/tmp") as private:
        path = Path(private, "digits")
        path.symlink_to(recordings)
        message = failure(flink, path, tmp_path / "digits")
    assert "worker one cannot see" in message or "worker two" in message
    assert str(path) in message


def test_a_full_disk(flink, recordings, small_disk):
    message = failure(flink, recordings, small_disk / "digits")
    assert "worker one cannot write" in message or "worker two" in message
    assert "No space left on device" in message
    assert not list(small_disk.iterdir())


def test_a_killed_client(flink, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    with running(flink, recordings, output):
        wait_for_shards(tmp_path)
    assert not output.exists()
    with running(flink, recordings, output) as job:
        check_success(job)
    assert digests(output) == digests(shards)


def test_a_killed_task_manager(flink, hosts, recordings, shards, tmp_path):
    """The job starts again on the other one."""
    output = tmp_path / "digits"
    with running(flink, recordings, output) as job:
        wait_for_shards(tmp_path)
        hosts[1].kill()
        check_success(job)
    assert digests(output) == digests(shards)
