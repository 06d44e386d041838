"""A Spark cluster on three hosts, with and without faults."""

import pytest

from tests.cluster import spark as spark_lib
from tests.cluster.hosts import namespaces
from tests.cluster.jobs import check_success, running, wait_for_shards
from tests.pipeline.data_sets import digests

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    with namespaces(["master", "one", "two"], base) as result:
        yield result


@pytest.fixture(scope="module")
def flags(hosts, tmp_path_factory):
    master, *workers = hosts
    # The first address of the subnet is this machine's.
    client = master.address.rpartition(".")[0] + ".1"
    logs = tmp_path_factory.mktemp("logs")
    with spark_lib.spark(client, master, workers, logs) as flags:
        yield flags


def test_same_bytes(flags, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    with running(flags, recordings, output) as job:
        check_success(job)
    assert digests(output) == digests(shards)


def test_a_killed_client(flags, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    with running(flags, recordings, output):
        wait_for_shards(tmp_path)
    assert not output.exists()
    with running(flags, recordings, output) as job:
        check_success(job)
    assert digests(output) == digests(shards)


def test_a_killed_worker(flags, hosts, recordings, shards, tmp_path):
    """The other one computes again what was lost."""
    output = tmp_path / "digits"
    with running(flags, recordings, output) as job:
        wait_for_shards(tmp_path)
        hosts[1].kill()
        check_success(job)
    assert digests(output) == digests(shards)
