"""Every Beam runner writes the same bytes."""

import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import preprocess_tiny, run_command
from tests.pipeline.data_sets import digests


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DirectRunner"],
        pytest.param(
            [
                "--direct_running_mode=multi_processing",
                "--direct_num_workers=2",
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_direct_runner(shards, recordings, tmp_path, flags):
    output = tmp_path / "again"
    assert preprocess_tiny(recordings, output, *flags) == 0
    assert digests(output) == digests(shards)


@pytest.mark.slow
def test_the_dask_runner(shards, recordings, tmp_path):
    distributed = pytest.importorskip("distributed")
    output = tmp_path / "again"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        result = run_command(
            "pipeline.preprocess",
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
        )
    assert result.returncode == 0, result.stderr
    assert digests(output) == digests(shards)


@pytest.mark.slow
def test_the_portable_runner(shards, recordings, tmp_path):
    """The protocol of Flink and Spark, with Beam's own job service."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apache_beam.runners.portability.local_job_service_main",
            f"--port={port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            assert service.poll() is None
            time.sleep(0.05)
        output = tmp_path / "again"
        result = run_command(
            "pipeline.preprocess",
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{port}",
            "--environment_type=LOOPBACK",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
        )
    finally:
        service.kill()
        service.wait()
    assert result.returncode == 0, result.stderr
    assert digests(output) == digests(shards)


def _answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("localhost", port)) == 0
