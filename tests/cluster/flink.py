"""A Flink cluster with Python workers, for tests and for trying it out.

    python -m tests.cluster.flink

starts one on this machine, prints the flags that submit jobs to it, and ends
it at Ctrl-C.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster import jars
from tests.cluster.hosts import Host, free_port, loopback
from tests.conftest import ROOT

_MAIN = "org.apache.flink.runtime"

# Seconds that a cluster may take to start on a busy machine.
_START_SECS = 180

# Small enough for several task managers on one machine.
_TASK_MANAGER_MEMORY = {
    "task.heap.size": "256m",
    "task.off-heap.size": "0",
    "framework.heap.size": "128m",
    "framework.off-heap.size": "128m",
    "network.min": "128m",
    "network.max": "128m",
    "managed.size": "128m",
    "jvm-metaspace.size": "256m",
    "jvm-overhead.min": "192m",
    "jvm-overhead.max": "192m",
}

_LOGGING = """
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
"""


class Flink:
    """A running cluster: one job manager, and task managers with workers.

    Attributes:
      flags: what `pipeline.preprocess` needs to run on it.
      logs: directory of the logs, one for each process.
    """

    def __init__(self, master: Host, logs: Path, slots: int):
        """Starts the job manager.

        Args:
          master: where it runs.
          logs: directory for the logs; all hosts must see it.
          slots: of each task manager.
        """
        self.logs, self._slots = logs, slots
        self._started, self._task_managers = [], 0
        self._master, self._rest_port = master, free_port()
        self._pool_port, rpc_port = free_port(), free_port()
        (logs / "log4j.properties").write_text(_LOGGING)
        (logs / "config.yaml").write_text("{}\n")
        self._config = {
            "jobmanager.rpc.address": master.address,
            "jobmanager.rpc.port": rpc_port,
            "cluster.evenly-spread-out-slots": "true",
            # A lost task manager is noticed within seconds. A job that restarts
            # before would be sent to it again.
            "heartbeat.interval": "2000",
            "heartbeat.timeout": "20000",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": "3",
            "restart-strategy.fixed-delay.delay": "5s",
        }
        self._start(
            master,
            f"{_MAIN}.entrypoint.StandaloneSessionClusterEntrypoint",
            {
                "jobmanager.bind-host": "0.0.0.0",
                "rest.address": master.address,
                "rest.bind-address": master.address,
                "rest.port": self._rest_port,
            },
        )

    @property
    def address(self) -> str:
        """Where the job manager accepts jobs."""
        return f"{self._master.address}:{self._rest_port}"

    @property
    def worker_pool(self) -> str:
        """Where each task manager finds its pool of Python workers."""
        return f"localhost:{self._pool_port}"

    @property
    def flags(self) -> list[str]:
        return [
            "--runner=FlinkRunner",
            f"--flink_master={self.address}",
            f"--flink_job_server_jar={jars.job_server('flink')}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.worker_pool}",
            # Otherwise each stage starts new workers.
            "--environment_cache_millis=60000",
            f"--parallelism={self._task_managers}",
        ]

    def add(self, host: Host) -> None:
        """Starts a task manager and a pool of Python workers on a host.

        Each task manager numbers its workers from 1, so two of them must not
        share a pool.
        """
        self._task_managers += 1
        start_worker_pool(host, self._pool_port, self.logs)
        memory = _TASK_MANAGER_MEMORY.items()
        self._start(
            host,
            f"{_MAIN}.taskexecutor.TaskManagerRunner",
            {
                "taskmanager.host": host.address,
                "taskmanager.bind-host": host.address,
                "taskmanager.numberOfTaskSlots": self._slots,
                "taskmanager.cpu.cores": 1,
                **{f"taskmanager.memory.{k}": v for k, v in memory},
            },
        )

    def wait(self) -> None:
        """Returns when all task managers that were added are registered."""
        deadline = time.monotonic() + _START_SECS
        while self.overview().get("taskmanagers") != self._task_managers:
            ended = any(process.poll() is not None for process in self._started)
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"Flink does not start; see {self.logs}")
            time.sleep(0.5)

    def overview(self) -> dict:
        """Numbers of task managers, slots and jobs; empty before the start."""
        return self.get("overview")

    def get(self, path: str) -> dict:
        """The answer of Flink's REST interface; empty if there is none."""
        url = f"http://{self.address}/{path}"
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)
        return {}

    def _start(self, host: Host, main: str, config: dict) -> None:
        options = (self._config | config).items()
        with open(self.logs / f"{host.name}-flink.log", "ab") as log:
            process = host.popen(
                [
                    *jars.java(),
                    "-Xmx512m",
                    f"-Dlog4j.configurationFile={self.logs}/log4j.properties",
                    *("-cp", jars.flink(), main, "--configDir", self.logs),
                    *(f"-D{key}={value}" for key, value in options),
                ],
                stdout=log,
                stderr=log,
            )
        self._started.append(process)


def start_worker_pool(host: Host, port: int, logs: Path) -> None:
    """Starts Beam's pool, which starts a Python worker for each request."""
    # The pool calls `python`.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with open(logs / f"{host.name}-workers.log", "ab") as log:
        host.popen(
            [
                *("env", f"PATH={path}", f"PYTHONPATH={ROOT}"),
                *(sys.executable, "-m"),
                "apache_beam.runners.worker.worker_pool_main",
                f"--service_port={port}",
            ],
            stdout=log,
            stderr=log,
        )


@contextlib.contextmanager
def flink(
    master: Host, workers: Sequence[Host], logs: Path, slots: int = 2
) -> Iterator[Flink]:
    """A cluster that is ready for jobs; its hosts end the processes."""
    logs.mkdir(parents=True, exist_ok=True)
    cluster = Flink(master, logs, slots)
    for host in workers:
        cluster.add(host)
    cluster.wait()
    yield cluster


def main() -> None:
    """Runs a cluster of one task manager until a signal arrives."""
    # So that the blocks below end the processes, also during the start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory() as logs,
        loopback(["flink"]) as hosts,
        flink(hosts[0], hosts, Path(logs)) as cluster,
    ):
        print(" ".join(cluster.flags), flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
