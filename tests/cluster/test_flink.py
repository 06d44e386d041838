"""A Flink cluster on three hosts writes what DirectRunner writes."""

import pytest

from tests.cluster import flink as flink_lib
from tests.cluster.hosts import namespaces
from tests.conftest import run_command
from tests.pipeline.data_sets import digests

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    with namespaces(["master", "one", "two"], base) as (master, *workers):
        logs = tmp_path_factory.mktemp("logs")
        with flink_lib.flink(master, workers, logs) as cluster:
            yield cluster


def test_same_bytes(flink, recordings, shards, tmp_path):
    output = tmp_path / "digits"
    result = run_command(
        "pipeline.preprocess",
        *flink.flags,
        "--config=tiny",
        f"--source={recordings}",
        f"--output={output}",
    )
    assert result.returncode == 0, result.stderr
    assert digests(output) == digests(shards)
