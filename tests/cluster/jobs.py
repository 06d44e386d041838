"""Jobs of `pipeline.preprocess` on a cluster."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster.hosts import loopback
from tests.conftest import ROOT

# Seconds that a job may take on a busy machine, restarts included.
TIMEOUT_SECS = 600


@contextlib.contextmanager
def running(
    flags: Sequence[str], source: str | Path, output: str | Path
) -> Iterator[subprocess.Popen]:
    """The process of a job with the config `tiny`; kills it at the end.

    Args:
      flags: of the cluster.
      source: directory of recordings, or its address.
      output: directory of the data set, or its address.
    """
    command = [sys.executable, "-m", "pipeline.preprocess", *flags]
    command += ["--config=tiny", f"--source={source}", f"--output={output}"]
    with loopback(["client"]) as (client,):
        yield client.popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def check_success(job: subprocess.Popen) -> None:
    """Waits for the end of a job."""
    _, stderr = job.communicate(timeout=TIMEOUT_SECS)
    assert job.returncode == 0, stderr


def wait_for_shards(directory: Path) -> None:
    """Returns when workers write shards of a data set of a directory."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while not list(directory.glob(".incomplete-*/Split-*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
