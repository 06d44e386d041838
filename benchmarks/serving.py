"""Sampling in process, and a server under load while versions are swapped.

First the export in this process: seconds of audio a second, phase included.
Then `python -m stftgan_tf.serve` for some minutes: clients ask one request
after the other, with 1 to 16 rows, by REST and gRPC, while a new version is
published every few seconds; every answer is compared with what the export makes
in process. On few cores the clients take their share of them.

    python benchmarks/serving.py --model exports/fsdd --minutes 5
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

from stftgan_tf.saved_model import latency
from stftgan_tf.saved_model import loading as exported
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError

# Rows of a request, drawn evenly.
_ROWS = (1, 2, 4, 8, 16)

# Seeds that are asked for.
_SEEDS = 512


class Load:
    """What clients saw."""

    def __init__(self, wanted: np.ndarray):
        """`wanted` are the WAV files of seeds 0, 1 and so on."""
        self.wanted = wanted
        self.secs = collections.defaultdict(list)
        self.rows = collections.Counter()
        self.failed: list[str] = []
        self.wrong = 0
        self._lock = threading.Lock()

    def ask(self, address: str, until: float, number: int) -> None:
        """One client; it never asks twice, so that a failure shows."""
        rng = np.random.default_rng(number)
        kind = address.split(":")[0]
        with connect(address, "load", retry=False) as connected:
            while time.monotonic() < until:
                seeds = rng.integers(0, _SEEDS, rng.choice(_ROWS))
                start = time.perf_counter()
                try:
                    made = connected.sample(seeds, outputs=["wav_bytes"])[
                        "wav_bytes"
                    ]
                except ServerError as error:
                    self.failed.append(str(error))
                    continue
                with self._lock:
                    self.secs[kind].append(time.perf_counter() - start)
                    self.rows[kind] += len(seeds)
                    self.wrong += list(made) != list(self.wanted[seeds])


def in_process(model: exported.LoadedModel, rounds: int) -> None:
    """Prints seconds of audio a second, by batch."""
    secs = model.metadata["samples"] / model.metadata["sample_rate_hz"]
    for batch in (1, 8, 32):
        times = latency.call_secs(model, batch, rounds)
        spent = statistics.median(times)
        print(
            f"in process, batch {batch}: {1000 * spent:.1f} ms (median of "
            f"{rounds}; {1000 * min(times):.1f} to {1000 * max(times):.1f}), "
            f"{batch * secs / spent:.0f} x real time",
            flush=True,
        )


def resident_mb(pid: int) -> float:
    """Of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


def start(base: Path) -> tuple[subprocess.Popen, list[str]]:
    """A server and its addresses."""
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
    found = [re.search(r"\S+:\d+", line)[0] for line in lines]
    return job, [f"grpc://{found[0]}", found[1]]


def under_load(args: argparse.Namespace, model: exported.LoadedModel) -> int:
    """Prints what clients saw; returns how many answers were bad."""
    parts = model.batches(0, _SEEDS, 32)
    load = Load(np.concatenate([part["wav_bytes"] for part in parts]))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        shutil.copytree(args.model, base / "1")
        job, addresses = start(base)
        began = time.monotonic()
        until = began + 60 * args.minutes
        clients = [
            threading.Thread(target=load.ask, args=(addresses[i % 2], until, i))
            for i in range(args.clients)
        ]
        for one in clients:
            one.start()
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
        for one in clients:
            one.join()
        spent = time.monotonic() - began
        job.terminate()
        job.wait()
    secs = model.metadata["samples"] / model.metadata["sample_rate_hz"]
    print(
        f"{args.clients} clients, {spent:.0f} s, {version} versions: "
        f"{len(load.failed)} failed, {load.wrong} wrong; memory "
        f"{memory[0]:.0f} MB at first, {memory[-1]:.0f} at last, "
        f"{max(memory):.0f} at most; exit code {job.returncode}"
    )
    print(
        f"{'':6s}{'requests/s':>12s}{'audio s/s':>11s}{'p50 ms':>8s}{'p99':>7s}"
    )
    for kind, times in sorted(load.secs.items()):
        p50, p99 = 1000 * np.percentile(times, [50, 99])
        print(
            f"{kind:6s}{len(times) / spent:12.1f}"
            f"{load.rows[kind] * secs / spent:11.1f}{p50:8.0f}{p99:7.0f}"
        )
    for error in sorted(set(load.failed))[:5]:
        print(error)
    return len(load.failed) + load.wrong


def main() -> int:
    """Prints both; exit code 1 if an answer failed or was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="an export")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--swap_secs", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    model = exported.load(args.model)
    in_process(model, args.rounds)
    return 1 if under_load(args, model) else 0


if __name__ == "__main__":
    sys.exit(main())
