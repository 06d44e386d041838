"""Errors of a job's workers name the worker."""

import errno
import socket

import pytest

from pipeline.beam import job, workers
from tests.conftest import preprocess_tiny

JAVA = """\
Pipeline BeamApp-1 failed in state FAILED: java.lang.RuntimeException: Error:
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in process
{}
	at java.base/java.lang.Thread.run(Thread.java:840)
Caused by: java.io.IOException: stream closed
	... 6 more
"""


def test_a_path_that_the_worker_does_not_see(tmp_path):
    workers.check_visible([str(tmp_path), "s3://bucket/speech"])
    path = str(tmp_path / "speech")
    message = f"worker {socket.gethostname()} cannot see {path}; mount"
    with pytest.raises(workers.WorkerError, match=message):
        workers.check_visible([path])


def test_a_failed_write_names_worker_and_reason():
    message = f"^worker {socket.gethostname()} cannot write a: No space left"
    with pytest.raises(workers.WorkerError, match=message):
        with workers.errors_name_worker("a"):
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "pipeline.beam.workers.WorkerError: worker a cannot write b: No "
            "space [while running 'Write shards/Write']",
            "worker a cannot write b: No space",
        ),
        ("", "Caused by: java.io.IOException: stream closed"),
    ],
)
def test_the_reason_is_found_between_tracebacks(line, reason):
    assert job.reason_of(JAVA.format(line)) == reason


def test_the_reason_of_a_plain_error():
    text = "Pipeline A failed in state FAILED: java.lang.Error: no slots\n"
    assert job.reason_of(text) == "java.lang.Error: no slots"
    assert job.reason_of("something went wrong") == "something went wrong"


def test_a_full_disk_ends_the_job(recordings, tmp_path, monkeypatch, capsys):
    def fail(writer, record):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.beam.shards.records.ShardWriter.write", fail)
    assert preprocess_tiny(recordings, tmp_path / "digits") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    message = f"the Beam job failed: worker {socket.gethostname()} cannot"
    assert f"error: {message} write" in error
    assert "No space left on device" in error
    assert not list(tmp_path.iterdir())
