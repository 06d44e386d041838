"""Full disks, kills and Ctrl-C: nothing incomplete is ever published."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, preprocess_tiny
from tests.pipeline.data_sets import digests


@pytest.fixture
def small_disk():
    """A disk of 200 kB."""
    directory = Path(tempfile.mkdtemp())
    options = ["-t", "tmpfs", "-o", "size=200k"]
    command = ["mount", *options, "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no permission to mount a tmpfs")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)
    directory.rmdir()


def test_a_full_disk(recordings, small_disk, capsys):
    output = small_disk / "x"
    assert preprocess_tiny(recordings, output) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: the Beam job failed")
    assert "No space left on device" in last
    assert not list(small_disk.iterdir())


def test_a_limit_on_file_sizes(recordings, tmp_path):
    """Writes fail as on a full disk, also where no disk can be mounted."""
    limit = (20000, 20000)
    job = start(
        recordings,
        tmp_path / "x",
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    _, error = job.communicate()
    assert job.returncode == 1
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: the Beam job failed") and "large" in last
    assert not list(tmp_path.iterdir())


def start(recordings, output, *more, before=lambda: None):
    def prepare():
        # A shell ignores SIGINT in what it runs in the background.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        before()

    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipeline.preprocess",
            "--runner=FnApiRunner",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
            *more,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def incomplete(directory):
    """What jobs are writing, or were writing when they were killed."""
    return set(directory.glob(".incomplete-x-*"))


def wait_for_new_output(directory, job, before=frozenset()):
    while not incomplete(directory) - before:
        assert job.poll() is None, job.communicate()
        time.sleep(0.005)


def check_kills(recordings, shards, directory, pauses):
    output = directory / "x"
    running = 0
    for pause in pauses:
        before = incomplete(directory)
        job = start(recordings, output)
        wait_for_new_output(directory, job, before)
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(pause)
        running += job.poll() is None
        job.kill()
        job.communicate()
        if output.exists():
            assert digests(output) == digests(shards)
            shutil.rmtree(output)
    assert preprocess_tiny(recordings, output) == 0
    assert digests(output) == digests(shards)
    assert [p.name for p in directory.iterdir()] == ["x"]
    return running


def test_a_killed_job_publishes_nothing(recordings, shards, tmp_path):
    assert check_kills(recordings, shards, tmp_path, [0.0]) == 1


@pytest.mark.slow
def test_a_job_killed_at_any_moment(recordings, shards, tmp_path):
    # Fixed moments that cover the whole job.
    assert check_kills(recordings, shards, tmp_path, np.linspace(0, 1.5, 10))


def test_ctrl_c_leaves_nothing(recordings, tmp_path):
    # Many seconds of work.
    more = ["--set=window.stride_frames=1", "--set=stft.frame_step=1"]
    job = start(recordings, tmp_path / "x", *more)
    wait_for_new_output(tmp_path, job)
    os.kill(job.pid, signal.SIGINT)
    _, error = job.communicate()
    assert job.returncode == 130, error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
