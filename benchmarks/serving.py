"""Measures sampling in process, and a server under load during version swaps.

First the export runs in this process: seconds of audio per second, with phase
reconstruction. Then `python -m stftgan_tf.serve` runs for some minutes.
Clients send one request after the other, with 1 to 16 rows, by REST and gRPC,
while a new version is published every few seconds. Every answer is compared
with what the export generates in process. In the last five sixths of the time,
`attackers.py` keeps half-open connections and sends large bodies. Clients,
attackers and server share the cores.
"""

import argparse
import collections
import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.saved_model import latency, loading
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError

EXAMPLE = "python benchmarks/serving.py --model exports/fsdd"

# Numbers of rows in a request, equally frequent.
_ROWS = (1, 2, 4, 8, 16)

# Number of different seeds in requests.
_SEEDS = 512

# The share of the time without attackers.
_QUIET = 1 / 6


class Load:
    """Sends requests from several threads and counts the answers.

    Attributes:
      secs: durations of successful requests, by protocol.
      rows: rows in successful requests, by protocol.
      errors: messages of failed requests, except those that were turned away.
      turned_away: number of requests answered with UNAVAILABLE.
      wrong: number of answers that differ from the export's.
      duration: seconds from the first request to the last answer.
    """

    def __init__(self, expected: np.ndarray):
        """`expected` are the WAV files of seeds 0, 1 and so on."""
        self._expected = expected
        self.secs = collections.defaultdict(list)
        self.rows = collections.Counter()
        self.errors: list[str] = []
        self.turned_away = self.wrong = 0
        self.duration = 0.0
        self._lock = threading.Lock()

    def run(self, addresses: list[str], clients: int, secs: float) -> None:
        """Runs the clients, which share the addresses, for some time."""
        began = time.monotonic()
        threads = [
            threading.Thread(
                target=self._run_client,
                args=(addresses[i % len(addresses)], began + secs, i),
            )
            for i in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.duration = time.monotonic() - began

    def _run_client(self, address: str, until: float, number: int) -> None:
        """One client. It does not retry, so that failures count."""
        rng = np.random.default_rng(number)
        kind = address.split(":")[0]
        with connect(address, "load", retry=False) as connected:
            while time.monotonic() < until:
                seeds = rng.integers(0, _SEEDS, rng.choice(_ROWS))
                start = time.perf_counter()
                try:
                    answer = connected.sample(seeds, outputs=["wav_bytes"])
                except ServerError as error:
                    self._count_failure(error)
                    continue
                files = list(answer["wav_bytes"])
                with self._lock:
                    self.secs[kind].append(time.perf_counter() - start)
                    self.rows[kind] += len(seeds)
                    self.wrong += files != list(self._expected[seeds])

    def _count_failure(self, error: ServerError) -> None:
        with self._lock:
            if error.code == "UNAVAILABLE":
                self.turned_away += 1
            else:
                self.errors.append(str(error))

    def print(self, name: str, secs_of_sample: float) -> None:
        """Prints one line for each protocol."""
        for kind, times in sorted(self.secs.items()):
            p50, p99 = 1000 * np.percentile(times, [50, 99])
            rate = self.rows[kind] * secs_of_sample / self.duration
            print(
                f"{name:18s}{kind:6s}{len(times) / self.duration:12.1f}"
                f"{rate:11.1f}{p50:8.0f}{p99:7.0f}"
            )


def in_process(model: loading.LoadedModel, rounds: int) -> None:
    """Prints the speed by batch size."""
    secs = model.metadata["samples"] / model.metadata["sample_rate_hz"]
    for batch in (1, 8, 32):
        times = latency.call_secs(model, batch, rounds)
        median = statistics.median(times)
        print(
            f"in process, batch {batch}: {1000 * median:.1f} ms (median of "
            f"{rounds}; {1000 * min(times):.1f} to {1000 * max(times):.1f}), "
            f"{batch * secs / median:.0f} x real time",
            flush=True,
        )


class Monitor:
    """Reads memory and open files of a process every second."""

    def __init__(self, pid: int):
        self._directory = Path(f"/proc/{pid}")
        self._rows: list[tuple[float, int]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(1):
            status = (self._directory / "status").read_text()
            kilobytes = int(re.search(r"VmRSS:\s+(\d+)", status)[1])
            files = len(list((self._directory / "fd").iterdir()))
            self._rows.append((kilobytes / 1000, files))

    def mark(self) -> int:
        """The number of readings so far."""
        return len(self._rows)

    def print(self, start: int) -> None:
        """Ends and prints the medians of the first and the last minute."""
        self._done.set()
        self._thread.join()
        rows = np.array(self._rows[start:])
        first, last = np.median(rows[:60], 0), np.median(rows[-60:], 0)
        print(
            f"memory {first[0]:.0f} MB in the first minute, {last[0]:.0f} MB "
            f"in the last, {rows[:, 0].max():.0f} MB at most; files "
            f"{first[1]:.0f}, {last[1]:.0f}, {rows[:, 1].max():.0f}"
        )


def start(base: Path) -> tuple[subprocess.Popen, list[str]]:
    """Starts a server; returns its process and addresses."""
    job = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stftgan_tf.serve",
            f"--model_base_path={base}",
            "--model_name=load",
            "--port=0",
            "--rest_api_port=0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [job.stdout.readline() for _ in range(2)]
    grpc, rest = (re.search(r"\S+:\d+", line)[0] for line in lines)
    return job, [f"grpc://{grpc}", rest]


@contextlib.contextmanager
def swaps(base: Path, every_secs: float) -> Iterator[None]:
    """Publishes a copy of version 1 every few seconds during the block."""
    done = threading.Event()

    def publish() -> None:
        version = 1
        while not done.wait(every_secs):
            version += 1
            shutil.copytree(base / "1", base / ".next")
            (base / ".next").rename(base / str(version))
        print(f"{version - 1} swaps")

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def attack(addresses: list[str]) -> Iterator[None]:
    """Runs attackers.py during the block, and prints what it sent."""
    grpc, rest = addresses
    job = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name("attackers.py"),
            f"--grpc={grpc.removeprefix('grpc://')}",
            f"--rest={rest}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        job.terminate()
        print(job.communicate()[0].strip())


def under_load(args: argparse.Namespace, model: loading.LoadedModel) -> int:
    """Prints the figures of the load; returns the number of bad answers."""
    parts = model.batches(0, _SEEDS, 32)
    expected = np.concatenate([part["wav_bytes"] for part in parts])
    quiet, attacked = Load(expected), Load(expected)
    secs = 60 * args.minutes
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        shutil.copytree(args.model, base / "1")
        job, addresses = start(base)
        monitor = Monitor(job.pid)
        with swaps(base, args.swap_secs):
            quiet.run(addresses, args.clients, _QUIET * secs)
            mark = monitor.mark()
            with attack(addresses):
                attacked.run(addresses, args.clients, (1 - _QUIET) * secs)
        monitor.print(mark)
        job.terminate()
        print(f"exit code of the server: {job.wait()}")
    print(
        f"{'':24s}{'requests/s':>12s}{'audio s/s':>11s}{'p50 ms':>8s}"
        f"{'p99':>7s}"
    )
    secs_of_sample = (
        model.metadata["samples"] / model.metadata["sample_rate_hz"]
    )
    loads = {"without attackers": quiet, "with attackers": attacked}
    for name, load in loads.items():
        load.print(name, secs_of_sample)
    for name, load in loads.items():
        print(
            f"{name}: {len(load.errors)} failed, {load.wrong} wrong, "
            f"{load.turned_away} turned away"
        )
        for error in sorted(set(load.errors))[:5]:
            print(error)
    return sum(len(load.errors) + load.wrong for load in loads.values())


def main(argv: list[str] | None = None) -> int:
    """The command line; exit code 1 if an answer failed or was wrong."""
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    parser.add_argument(
        "--minutes",
        type=float,
        default=6.0,
        help="duration of the load (default: 6)",
    )
    parser.add_argument(
        "--clients",
        type=int,
        default=4,
        help="requests at the same time (default: 4)",
    )
    parser.add_argument(
        "--swap_secs",
        type=float,
        default=15.0,
        help="seconds between new versions (default: 15)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=9,
        help="timed calls for each batch size in process (default: 9)",
    )
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    if min(args.rounds, args.clients) < 1:
        raise UsageError("--rounds and --clients: expected at least 1")
    model = loading.load(args.model)
    in_process(model, args.rounds)
    return 1 if under_load(args, model) else 0


if __name__ == "__main__":
    sys.exit(main())
