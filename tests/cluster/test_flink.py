"""A Flink cluster on three hosts, with and without faults."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.cluster import flink as flink_lib
from tests.cluster import jars
from tests.cluster.hosts import namespaces
from tests.cluster.jobs import (
    TIMEOUT_SECS,
    check_success,
    running,
    wait_for_shards,
)
from tests.conftest import run_command
from tests.pipeline.data_sets import digests
from tests.test_kubernetes import PODS

pytestmark = pytest.mark.cluster


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


def failure(flink, source, output):
    """The last line of `error:` of a job that fails."""
    with running(flink.flags, source, output) as job:
        _, stderr = job.communicate(timeout=TIMEOUT_SECS)
    assert job.returncode == 1
    assert "Traceback" not in stderr.splitlines()[0]
    assert not output.exists()
    return [s for s in stderr.splitlines() if s.startswith("error: ")][-1]


def test_same_bytes(flink, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    with running(flink.flags, recordings, output) as job:
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


def test_a_standing_job_server(flink, hosts, recordings, shards, tmp_path):
    """With the flags of the example for Kubernetes."""
    master = hosts[0]
    here = {
        "flink-jobmanager:8081": flink.address,
        "beam-jobserver": master.address,
        "localhost:50000": flink.worker_pool,
        "/tmp/artifacts": str(tmp_path / "artifacts"),
    }

    def flags(pod):
        text = " ".join(PODS[pod]["spec"]["containers"][0]["args"])
        for place, replacement in here.items():
            text = text.replace(place, replacement)
        return text.split()

    jar = jars.job_server("flink")
    command = [*jars.java(), "-jar", jar, *flags("beam-jobserver")]
    with open(flink.logs / "job-server.log", "wb") as log:
        master.popen(command, stderr=log)
    runner = flags("pipeline")
    runner = runner[runner.index("--runner=PortableRunner") :]
    output = tmp_path / "digits"
    with running(runner, recordings, output) as job:
        check_success(job)
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
    with running(flink.flags, recordings, output):
        wait_for_shards(tmp_path)
    assert not output.exists()
    with running(flink.flags, recordings, output) as job:
        check_success(job)
    assert digests(output) == digests(shards)


def test_a_killed_task_manager(flink, hosts, recordings, shards, tmp_path):
    """The job starts again on the other one."""
    output = tmp_path / "digits"
    with running(flink.flags, recordings, output) as job:
        wait_for_shards(tmp_path)
        hosts[1].kill()
        check_success(job)
    assert digests(output) == digests(shards)
