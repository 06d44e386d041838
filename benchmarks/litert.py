"""Compares the LiteRT model of an export with its SavedModel on one core.

Both turn the same latents into audio, one sample at a time and in turns. The
level of the difference between their audio is relative to the SavedModel's.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.saved_model import litert, loading

EXAMPLE = "python benchmarks/litert.py --model digits"


def use_one_core() -> None:
    """Runs this process, and all threads it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def requests(model: loading.LoadedModel, rows: int) -> list[dict]:
    """Inputs of the signature `generate`, one sample each."""
    rng = np.random.default_rng(0)
    kind = model.metadata["condition"]
    counts = {
        "label": len(model.metadata["labels"]),
        "cluster": model.metadata["config"]["model"]["clusters"],
    }
    shape = 1, model.metadata["latent_dim"]
    result = []
    for row in range(rows):
        inputs = {"latent": rng.standard_normal(shape, np.float32)}
        if kind != "none":
            inputs[kind] = np.int64([row % counts[kind]])
        result.append(inputs)
    return result


def timed(call: Callable, inputs: dict) -> tuple[np.ndarray, float, float]:
    """The audio, and seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    audio = call(inputs)["audio"][0]
    return (
        audio,
        time.perf_counter() - clock,
        time.process_time() - processor,
    )


def print_speeds(
    path: Path, litert_mb: float, window_secs: float, results: list[dict]
) -> None:
    """Prints sizes and medians."""
    files = [path for path in path.rglob("*") if path.is_file()]
    sizes = {
        "SavedModel": sum(path.stat().st_size for path in files) / 1e6,
        "LiteRT": litert_mb,
    }
    print(f"{'':12s}{'MB':>6s}{'ms':>8s}{'CPU ms':>9s}{'real time':>12s}")
    for name in sizes:
        secs, cpu_secs = (
            statistics.median(result[name][i] for result in results)
            for i in (1, 2)
        )
        print(
            f"{name:12s}{sizes[name]:6.1f}{1000 * secs:8.1f}"
            f"{1000 * cpu_secs:9.1f}{window_secs / secs:10.0f} x"
        )


def print_differences(results: list[dict]) -> None:
    """Prints how far the audio of the two is apart."""
    levels = []
    for result in results:
        expected, audio = result["SavedModel"][0], result["LiteRT"][0]
        error = np.linalg.norm(audio - expected) / np.linalg.norm(expected)
        levels.append(20 * np.log10(max(error, 1e-10)))
    print(
        f"difference: median {np.median(levels):.0f} dB; below -40 dB for "
        f"{np.mean(np.less(levels, -40)):.1%} of {len(levels)} samples"
    )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    parser.add_argument(
        "--rounds", type=int, default=200, help="samples (default: 200)"
    )
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    if args.rounds < 1:
        raise UsageError("--rounds: expected at least 1")
    use_one_core()
    model = loading.load(args.model)
    with tempfile.TemporaryDirectory() as directory:
        export = litert.export(args.model, Path(directory, "model.tflite"))
        size_mb = export.size_mb
        generate = litert.runner(export.path)
    if generate is None:
        raise UserError("no interpreter; pip install ai-edge-litert")
    calls = {
        "SavedModel": lambda inputs: model.call("generate", inputs),
        "LiteRT": lambda inputs: generate(**inputs),
    }
    rows = requests(model, args.rounds)
    for call in calls.values():
        call(rows[0])
    results = [{n: timed(c, row) for n, c in calls.items()} for row in rows]
    print_speeds(args.model, size_mb, export.window_secs, results)
    print_differences(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
