"""Measures sampling in process, and a server under load during version swaps.

First the export runs in this process: seconds of audio per second, with phase
reconstruction. Then `python -m stftgan_tf.serve` runs for some minutes.
Clients send one request after the other, with 1 to 16 rows, by REST and gRPC,
while a new version is published every few seconds. Every answer is compared
with what the export generates in process. Clients and server share the cores.
"""

import argparse
import collections
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.saved_model import latency, loading
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError

EXAMPLE = "python benchmarks/serving.py --model exports/fsdd --minutes 5"

# Numbers of rows in a request, equally frequent.
_ROWS = (1, 2, 4, 8, 16)

# Number of different seeds in requests.
_SEEDS = 512


class Load:
    """Sends requests from several threads and counts the answers.

    Attributes:
      secs: durations of successful requests, by protocol.
      rows: rows in successful requests, by protocol.
      errors: messages of failed requests.
      wrong: number of answers that differ from the export's.
    """

    def __init__(self, expected: np.ndarray):
        """`expected` are the WAV files of seeds 0, 1 and so on."""
        self._expected = expected
        self.secs = collections.defaultdict(list)
        self.rows = collections.Counter()
        self.errors: list[str] = []
        self.wrong = 0
        self._lock = threading.Lock()

    def run_client(self, address: str, until: float, number: int) -> None:
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
                    self.errors.append(str(error))
                    continue
                with self._lock:
                    self.secs[kind].append(time.perf_counter() - start)
                    self.rows[kind] += len(seeds)
                    files = list(answer["wav_bytes"])
                    self.wrong += files != list(self._expected[seeds])


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


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


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


def under_load(args: argparse.Namespace, model: loading.LoadedModel) -> int:
    """Prints the figures of the load; returns the number of bad answers."""
    parts = model.batches(0, _SEEDS, 32)
    load = Load(np.concatenate([part["wav_bytes"] for part in parts]))
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        shutil.copytree(args.model, base / "1")
        job, addresses = start(base)
        began = time.monotonic()
        until = began + 60 * args.minutes
        clients = [
            threading.Thread(
                target=load.run_client, args=(addresses[i % 2], until, i)
            )
            for i in range(args.clients)
        ]
        for thread in clients:
            thread.start()
        version, memory = 1, [resident_mb(job.pid)]
        while time.monotonic() + args.swap_secs < until:
            time.sleep(args.swap_secs)
            version += 1
            shutil.copytree(args.model, base / ".next")
            (base / ".next").rename(base / str(version))
            memory.append(resident_mb(job.pid))
            print(
                f"{time.monotonic() - began:.0f} s: version {version}, "
                f"{memory[-1]:.0f} MB, {sum(load.rows.values())} rows",
                file=sys.stderr,
            )
        for thread in clients:
            thread.join()
        duration = time.monotonic() - began
        job.terminate()
        job.wait()
    secs = model.metadata["samples"] / model.metadata["sample_rate_hz"]
    print(
        f"{args.clients} clients, {duration:.0f} s, {version} versions: "
        f"{len(load.errors)} failed, {load.wrong} wrong; memory "
        f"{memory[0]:.0f} MB at the start, {memory[-1]:.0f} MB at the end, "
        f"{max(memory):.0f} MB at most; exit code {job.returncode}"
    )
    print(
        f"{'':6s}{'requests/s':>12s}{'audio s/s':>11s}{'p50 ms':>8s}{'p99':>7s}"
    )
    for kind, times in sorted(load.secs.items()):
        p50, p99 = 1000 * np.percentile(times, [50, 99])
        print(
            f"{kind:6s}{len(times) / duration:12.1f}"
            f"{load.rows[kind] * secs / duration:11.1f}{p50:8.0f}{p99:7.0f}"
        )
    for error in sorted(set(load.errors))[:5]:
        print(error)
    return len(load.errors) + load.wrong


def main(argv: list[str] | None = None) -> int:
    """The command line; exit code 1 if an answer failed or was wrong."""
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    parser.add_argument(
        "--minutes",
        type=float,
        default=5.0,
        help="duration of the load (default: 5)",
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
