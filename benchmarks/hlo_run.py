"""Checks and times training steps from hlo_step.py on JAX's default device.

Needs numpy, jax and only this file:

    pip install numpy "jax[cuda13]"
    python hlo_run.py hlo/batch_64 hlo/batch_256

First the results of each step are compared with those of the CPU where it was
written. Then steps run as in training, each with the variables of the previous
one (the batch stays the same). Prints one table. Exit codes: 0 success, 1 the
results of a step differ, 2 bad usage.

The column `off` shows the worst kind of result (all kernels, for example): the
distance from the expected values as a share of how far the step moves them. A
GPU multiplies float32 in TF32, which gives about .01; a wrong program gives
about 1.
"""

import argparse
import collections
import dataclasses
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax import numpy as jnp
from jax._src.lib import xla_client
from jax.extend import backend

# Rows of the square matrices whose product measures the peak: large for the
# device, but on a CPU still multiplied within a second.
_PEAK_ROWS = {"cpu": 2048}
_PEAK_ROWS_ELSEWHERE = 8192
_PEAK_TRIES = 10

# Limits of `off`. Devices round bfloat16 at different places.
_LIMITS = {"float32": 0.1, "mixed_bfloat16": 0.5}

# XLA's names of the passes that put several operations into one kernel, on
# CPUs and GPUs. It ignores names that it does not know.
_FUSION_PASSES = (
    "fusion",
    "priority-fusion",
    "fusion_merger",
    "multi_output_fusion",
    "horizontal_loop_fusion",
    "horizontal_input_fusion",
)

_FILES = ("meta.json", "step.hlo.pb", "inputs.npz", "expected.npz")


class Step:
    """A compiled step.

    Attributes:
      meta: content of meta.json.
    """

    def __init__(self, directory: Path, fused: bool = True):
        text = (directory / "meta.json").read_text(encoding="utf-8")
        self.meta = json.loads(text)
        updates = self.meta["updates"].items()
        self._updates = [(int(result), i) for result, i in updates]
        hlo = (directory / "step.hlo.pb").read_bytes()
        self._executable = compiled(hlo, fused)
        self._inputs = load_arrays(directory / "inputs.npz")
        self._expected = load_arrays(directory / "expected.npz")

    def off(self) -> tuple[float, str]:
        """The worst kind of result: its distance as a share, and its name."""
        actual = self._thinned(self._results(self._start()))
        names, expected = self.meta["results"], self._expected
        kinds = collections.defaultdict(list)
        for name, *row in zip(
            names, actual, expected, self._before(), strict=True
        ):
            kinds[kind_of(name)].append(row)
        return max((share_off(rows), kind) for kind, rows in kinds.items())

    def seconds(self, steps: int, runs: int) -> float:
        """Median seconds of a step, over runs of at least `steps` steps."""
        cycle = self.meta["steps_in_cycle"]
        steps = -(-steps // cycle) * cycle
        state = self._start()
        times = []
        # The first run is a warm-up.
        for _ in range(1 + runs):
            start = time.perf_counter()
            for _ in range(steps):
                state = self._next(state)
            jax.block_until_ready(state)
            times.append((time.perf_counter() - start) / steps)
        return statistics.median(times[1:])

    def _before(self) -> list[np.ndarray]:
        """Values before the step: those of variables, 0 for returned values."""
        before = [np.zeros_like(x) for x in self._expected]
        for result, parameter in self._updates:
            (before[result],) = self._thinned([self._inputs[parameter]])
        return before

    def _thinned(self, values: Sequence[jax.typing.ArrayLike]) -> list:
        """The values of each array that expected.npz contains, as [N]."""
        kept = self.meta["values_kept"]
        flat = [np.ravel(x) for x in values]
        return [x[:: -(-x.size // kept)] for x in flat]

    def _start(self) -> list[jax.Array]:
        """Parameters on the device; a step reuses the memory of variables."""
        return jax.block_until_ready(jax.device_put(self._inputs, device()))

    def _results(self, state: list[jax.Array]) -> list[jax.Array]:
        results = self._executable.execute_sharded(state)
        return [x[0] for x in results.disassemble_into_single_device_arrays()]

    def _next(self, state: list[jax.Array]) -> list[jax.Array]:
        """Runs a step; returns the parameters of the next one."""
        results = self._results(state)
        for result, parameter in self._updates:
            state[parameter] = results[result]
        return state


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table; `peak` is in operations per second."""

    directory: Path
    meta: dict
    fused: bool
    seconds: float
    peak: float
    off: float
    kind: str

    def __str__(self) -> str:
        rate = self.meta["windows_per_step"] / self.seconds
        share = self.meta["flops_per_step"] / self.seconds / self.peak
        return (
            f"{self.meta['batch_size']:10d}  {_KERNELS[self.fused]:9s}"
            f" {1e3 * self.seconds:10.3f} "
            f"{rate:11.0f} {100 * share:7.1f} % "
            f"{self.off:9.1e} ({self.kind})"
        )


_KERNELS = {True: "fused", False: "op by op"}

HEAD = "batch size  kernels      ms/step   windows/s   of peak  off"


def device() -> jax.Device:
    """The device on which everything runs."""
    return jax.devices()[0]


def compiled(hlo: bytes, fused: bool = True) -> xla_client.LoadedExecutable:
    """Compiles a serialized HloModuleProto for the device.

    Args:
      hlo: the program.
      fused: whether operations may share a kernel.
    """
    options = xla_client.CompileOptions()
    if not fused:
        debug_options = options.executable_build_options.debug_options
        debug_options.xla_disable_hlo_passes = ",".join(_FUSION_PASSES)
    # JAX has no public function for programs that it did not trace itself.
    # This works with JAX 0.10 and 0.11.
    module = xla_client._xla.mlir.hlo_to_stablehlo(hlo)
    return backend.get_backend().compile_and_load(
        module,
        xla_client.DeviceList((device(),)),
        options,
    )


def load_arrays(path: Path) -> list[np.ndarray]:
    """The arrays of a file that np.savez wrote without names, in order."""
    with np.load(path) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def kind_of(name: str) -> str:
    """The last word of a result's name, such as `kernel` or `velocity`."""
    return name.replace("/", "_").rsplit("_", 1)[-1]


def share_off(rows: list[list[np.ndarray]]) -> float:
    """|actual - expected| / |expected - before| over rows of these three."""
    actual, expected, before = (
        np.concatenate(arrays).astype(np.float64)
        for arrays in zip(*rows, strict=True)
    )
    distance = np.linalg.norm(actual - expected)
    moved = np.linalg.norm(expected - before)
    if not distance:
        return 0.0
    # If the step moves nothing, any distance is too large; so is NaN.
    share = distance / moved if moved else np.inf
    return float(np.nan_to_num(share, nan=np.inf))


@functools.cache
def peak_flops(dtype: str) -> float:
    """Best rate of a large matrix product, in operations per second.

    At JAX's default precision, like the products of the step.
    """
    rows = _PEAK_ROWS.get(device().platform, _PEAK_ROWS_ELSEWHERE)
    a = jax.random.normal(jax.random.key(0), (rows, rows), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    times = [timed(lambda: product(a, a)) for _ in range(_PEAK_TRIES)]
    return 2 * rows**3 / min(times)


def timed(work: Callable[[], jax.Array]) -> float:
    """Seconds until the result of `work` is ready."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def measure(directory: Path, fused: bool, steps: int, runs: int) -> Row:
    """Checks and times the step in a directory."""
    step = Step(directory, fused)
    off, kind = step.off()
    peak = peak_flops(step.meta["precision"].removeprefix("mixed_"))
    secs = step.seconds(steps, runs)
    return Row(directory, step.meta, fused, secs, peak, off, kind)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    args = _arguments(argv)
    # Steps are counted in 64 bits.
    jax.config.update("jax_enable_x64", True)
    rows = [
        measure(directory, fused, args.steps, args.runs)
        for directory in args.directories
        for fused in ((True, False) if args.op_by_op else (True,))
    ]
    print(f"{device().device_kind}, JAX {jax.__version__}{_peaks(rows)}")
    print(HEAD, *rows, sep="\n")
    errors = [_error(row, args.limit) for row in rows]
    print(*errors, sep="", end="", file=sys.stderr)
    return 1 if any(errors) else 0


def _error(row: Row, limit: float | None) -> str:
    """A message if the results of a step are wrong, else an empty text."""
    if limit is None:
        limit = _LIMITS[row.meta["precision"]]
    if row.off <= limit:
        return ""
    return (
        f"error: {row.directory}: {row.kind} is off by {row.off:.1e}; expected "
        f"at most {limit}\n"
    )


def _peaks(rows: list[Row]) -> str:
    peaks = {row.meta["precision"]: row.peak / 1e9 for row in rows}
    each = [f", {x:.0f} GFLOP/s peak in {name}" for name, x in peaks.items()]
    return "".join(each)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "directories",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="a directory that hlo_step.py wrote",
    )
    parser.add_argument(
        "--op_by_op",
        action="store_true",
        help="also time each step without fusion: one kernel for each "
        "operation",
    )
    parser.add_argument(
        "--steps", type=int, default=20, help="steps in a run (default: 20)"
    )
    parser.add_argument(
        "--runs", type=int, default=7, help="timed runs (default: 7)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        help="limit of off (default: 0.1, or 0.5 with mixed_bfloat16)",
    )
    args = parser.parse_args(argv)
    for directory in args.directories:
        for name in _FILES:
            if not (directory / name).is_file():
                parser.error(f"{directory} contains no {name}")
    if args.steps < 1 or args.runs < 1:
        parser.error("--steps and --runs: expected at least 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
