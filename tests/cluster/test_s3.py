"""Flink on three hosts, with source and output on S3 on a fourth.

Moto's server speaks the real S3 protocol.
"""

import functools
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.cluster import flink as flink_lib
from tests.cluster.hosts import namespaces
from tests.cluster.jobs import TIMEOUT_SECS, check_success, running
from tests.conftest import preprocess_tiny
from tests.pipeline.data_sets import digests

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.cluster

PORT = 5000


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    with namespaces(["master", "one", "two", "storage"], base) as result:
        yield result


@pytest.fixture(scope="module")
def flink(hosts, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    with flink_lib.flink(hosts[0], hosts[1:3], logs) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def endpoint(hosts):
    command = [sys.executable, "-m", "moto.server", "-H0.0.0.0", f"-p{PORT}"]
    server = hosts[3].popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_SECS
    with socket.socket() as client:
        while client.connect_ex((hosts[3].address, PORT)):
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.1)
    return f"http://{hosts[3].address}:{PORT}"


@pytest.fixture(scope="module")
def s3(endpoint):
    """A client whose bucket, `speech`, is empty."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="anyone",
        aws_secret_access_key="anything",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="speech")
    return client


@pytest.fixture(scope="module")
def source(recordings, tmp_path_factory):
    """20 recordings: each request to S3 takes a tenth of a second."""
    # The name of the source is in every record.
    directory = tmp_path_factory.mktemp("few") / "recordings"
    directory.mkdir()
    for path in recordings.glob("*_0.wav"):
        shutil.copy(path, directory)
    return directory


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    """Digests of a local data set; Beam writes no empty files to S3."""
    output = tmp_path_factory.mktemp("local") / "digits"
    assert preprocess_tiny(source, output) == 0
    return {
        name: digest
        for name, digest in digests(output).items()
        if (output / name).stat().st_size
    }


@pytest.fixture(scope="module")
def job(flink, endpoint, source, s3):
    """Runs a job from S3 to an address, as `running` does."""
    for path in sorted(source.iterdir()):
        s3.upload_file(str(path), "speech", f"recordings/{path.name}")
    flags = [
        f"--s3_endpoint_url={endpoint}",
        "--s3_access_key_id=anyone",
        "--s3_secret_access_key=anything",
        "--s3_region_name=us-east-1",
    ]
    return functools.partial(
        running, [*flink.flags, *flags], "s3://speech/recordings"
    )


def keys(s3, prefix):
    objects = s3.list_objects_v2(Bucket="speech", Prefix=prefix)
    return [entry["Key"] for entry in objects.get("Contents", [])]


def download(s3, prefix, directory):
    """The directory below which the objects of a prefix are copied."""
    for key in keys(s3, prefix):
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("speech", key, str(path))
    return directory / prefix


def test_same_bytes_from_s3_to_s3(s3, job, expected, tmp_path):
    with job("s3://speech/tfrecords/digits") as process:
        check_success(process)
    copy = download(s3, "tfrecords/digits", tmp_path)
    assert digests(copy) == expected
    # Nothing is left but the data set.
    assert len(keys(s3, "tfrecords/")) == len(expected)


def test_links_of_the_storage_and_of_a_task_manager_are_cut(
    hosts, s3, job, expected, tmp_path
):
    with job("s3://speech/again/digits") as process:
        deadline = time.monotonic() + TIMEOUT_SECS
        while not any("Split-" in key for key in keys(s3, "again/")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        # Workers try again until the storage is back.
        hosts[3].down()
        time.sleep(5)
        hosts[3].up()
        # The job restarts on the other task manager.
        hosts[1].down()
        check_success(process)
    copy = download(s3, "again/digits", tmp_path)
    assert digests(copy) == expected
