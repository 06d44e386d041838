"""A Spark cluster on three hosts writes what DirectRunner writes."""

import pytest

from tests.cluster import spark as spark_lib
from tests.cluster.hosts import namespaces
from tests.conftest import run_command
from tests.pipeline.data_sets import digests

pytestmark = pytest.mark.cluster


def test_same_bytes(recordings, shards, tmp_path, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    logs = tmp_path_factory.mktemp("logs")
    with namespaces(["master", "one", "two"], base) as (master, *workers):
        # The first address of the subnet is this machine's.
        client = master.address.rpartition(".")[0] + ".1"
        with spark_lib.spark(client, master, workers, logs) as flags:
            output = tmp_path / "digits"
            result = run_command(
                "pipeline.preprocess",
                *flags,
                "--config=tiny",
                f"--source={recordings}",
                f"--output={output}",
            )
    assert result.returncode == 0, result.stderr
    assert digests(output) == digests(shards)
