"""A standalone Spark cluster with Python workers."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster import jars
from tests.cluster.flink import start_worker_pool
from tests.cluster.hosts import Host, free_port

# Seconds that a cluster may take to start on a busy machine.
_START_SECS = 180


def _start(host: Host, logs: Path, main: str, *flags: str) -> None:
    spark_home = Path(jars.spark()).parent.parent
    with open(logs / f"{host.name}-spark.log", "ab") as log:
        host.popen(
            [
                *(
                    "env",
                    f"SPARK_HOME={spark_home}",
                    "SPARK_SCALA_VERSION=2.12",
                ),
                *(*jars.java(), "-Xmx512m", "-cp", jars.spark()),
                *(f"org.apache.spark.deploy.{main}", "--host", host.address),
                *flags,
            ],
            cwd=logs,
            stdout=log,
            stderr=log,
        )


def _alive_workers(url: str) -> int:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"{url}/json/", timeout=5) as response:
            return json.load(response)["aliveworkers"]
    return 0


@contextlib.contextmanager
def spark(
    client: str, master: Host, workers: Sequence[Host], logs: Path
) -> Iterator[list[str]]:
    """A cluster that is ready for jobs; its hosts end the processes.

    Args:
      client: address of the machine that submits the jobs; the executors
        connect to it.
      master: where Spark's master runs.
      workers: where an executor of one core and its Python worker run.
      logs: directory for the logs; all hosts must see it.

    Yields:
      What `pipeline.preprocess` needs to run on it.
    """
    port, web_port, pool_port = free_port(), free_port(), free_port()
    url = f"spark://{master.address}:{port}"
    web = ["--webui-port", str(web_port)]
    _start(master, logs, "master.Master", "--port", str(port), *web)
    limits = ["--cores", "1", "--memory", "1g", "--work-dir", str(logs)]
    for host in workers:
        start_worker_pool(host, pool_port, logs)
        _start(host, logs, "worker.Worker", *limits, url)
    deadline = time.monotonic() + _START_SECS
    page = f"http://{master.address}:{web_port}"
    while _alive_workers(page) != len(workers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Spark does not start; see {logs}")
        time.sleep(0.5)
    yield [
        "--runner=SparkRunner",
        f"--spark_master_url={url}",
        f"--spark_job_server_jar={jars.job_server('spark')}",
        f"--job_server_jvm_properties=-Dspark.driver.host={client}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{pool_port}",
        # Otherwise each stage starts new workers.
        "--environment_cache_millis=60000",
    ]
