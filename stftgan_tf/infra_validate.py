"""Checks that a server can serve an export; exit code 1 if it cannot.

In a process of its own, with XLA switched off as in TensorFlow Serving, the
export is loaded, its warm-up requests are replayed, and shapes, finiteness,
determinism and latency are looked at. Where tensorflow_model_server is on PATH
or in TF_MODEL_SERVER, it must load and answer, too.
"""

import argparse
import ctypes
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf import cli, client
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import published_dir, unchanged
from stftgan_tf.saved_model import loading as exported

EXAMPLE = (
    "python -m stftgan_tf.infra_validate --model exports/digits "
    "--output verdicts/digits-infra"
)

FILE, BLESSED, NOT_BLESSED = "infra.json", "INFRA_BLESSED", "INFRA_NOT_BLESSED"

# tensorflow::DisableXlaCompilation(), which the stock server calls.
_DISABLE_XLA = "_ZN10tensorflow21DisableXlaCompilationEv"

_CALLS = 5
_START_SECS = 120.0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--model", type=cli.local_path, required=True, help="the export"
    )
    parser.add_argument(
        "--max_latency_ms",
        type=float,
        default=1000.0,
        help="of one sample, the median (default: 1000)",
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        help="folder of the verdict: infra.json, and INFRA_BLESSED or "
        "INFRA_NOT_BLESSED",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    server = os.environ.get("TF_MODEL_SERVER") or shutil.which(
        "tensorflow_model_server"
    )
    with unchanged(args.model) as digest:
        problems = _problems_of(args.model, args.max_latency_ms, server)
    name = NOT_BLESSED if problems else BLESSED
    if args.output:
        verdict = {
            "blessed": not problems,
            "problems": problems,
            "digest": digest,
            "tensorflow": tf.__version__,
            "server": server,
        }
        with published_dir(args.output, FILE, overwrite=True) as staging:
            text = json.dumps(verdict, indent=1) + "\n"
            (staging / FILE).write_text(text, encoding="utf-8")
            (staging / name).touch()
    if problems:
        raise UserError(f"{args.model}: {'; '.join(problems)}")
    print(name)
    return 0


def _problems_of(
    model: Path, max_latency_ms: float, server: str | None
) -> list[str]:
    """What is wrong with an export, here or in a real server."""
    try:
        problems = check(model, max_latency_ms)
    except UserError as error:
        # A verdict, too: an earlier and better one must not stand.
        return [str(error).removeprefix(f"{model} ")]
    if server and not problems:
        problems = check_server(server, model)
    return problems


def check(path: Path, max_latency_ms: float) -> list[str]:
    """What is wrong with an export in this process, in words.

    Raises:
      UserError: if it cannot be loaded.
    """
    model, found = exported.load(path), []
    _disable_xla()
    for name, signature in exported.signature_defs(path).items():
        for rows in (1, 3):
            inputs = exported.example(signature, rows)
            try:
                first, second = (model.call(name, inputs) for _ in range(2))
            except tf.errors.OpError as error:
                lines = (error.message or str(error)).splitlines()
                found.append(f"{name} with {rows} rows fails: {lines[0]}")
                continue
            found += _problems(model, name, rows, first, second)
    found += _warm_up_problems(model)
    if found:
        # What fails cannot be timed.
        return found
    times = []
    for seed in range(_CALLS + 1):
        start = time.perf_counter()
        next(model.batches(seed, 1, 1))
        times.append(1000 * (time.perf_counter() - start))
    # The first one traces.
    latency = statistics.median(times[1:])
    if latency > max_latency_ms:
        found.append(
            f"a sample takes {latency:.0f} ms; expected at most "
            f"{max_latency_ms:g}"
        )
    return found


def _warm_up_problems(model: exported.Export) -> list[str]:
    """What a server would stumble over before it serves."""
    if not (model.path / exported.WARMUP).is_file():
        return []
    try:
        from stftgan_tf.serving import servable
    except ImportError:
        print(
            f"{exported.WARMUP} is not replayed: it needs the extra serving",
            file=sys.stderr,
        )
        return []
    try:
        for request in servable.warmup_requests(model.path):
            inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            model.call(request.model_spec.signature_name, inputs)
    # Whatever a file of anything may raise.
    except Exception as error:
        reason = first_line(error)
        return [f"{exported.WARMUP} cannot be replayed: {reason}"]
    return []


def _problems(
    model: exported.Export,
    name: str,
    rows: int,
    first: dict[str, np.ndarray],
    second: dict[str, np.ndarray],
) -> list[str]:
    """What is wrong with the outputs of two equal calls."""
    key = "long_samples" if name == "long" else "samples"
    shapes = {
        "audio": (rows, model.metadata[key]),
        "wav_bytes": (rows,),
        "window": (rows, *model.metadata["window_shape"]),
    }
    if name == "long":
        del shapes["window"]
    if first.keys() != shapes.keys():
        return [f"{name} gives {sorted(first)}; expected {sorted(shapes)}"]
    found = []
    for output, shape in shapes.items():
        value, where = first[output], f"{name} with {rows} rows: {output}"
        if value.shape != shape:
            found.append(f"{where} is {value.shape}; expected {shape}")
        elif value.dtype != object and not np.isfinite(value).all():
            found.append(f"{where} has values that are not finite")
        elif not np.array_equal(value, second[output]):
            found.append(f"{where} differs from call to call")
    return found


def check_server(server: str, path: Path) -> list[str]:
    """What is wrong with an export in tensorflow_model_server, in words."""
    wanted = next(exported.load(path).batches(0, 3, 3))["audio"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path, Path(folder, "1"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        job = subprocess.Popen(
            [
                server,
                f"--port={port}",
                "--model_name=model",
                f"--model_base_path={folder}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"grpc://127.0.0.1:{port}"
        try:
            with client.connect(
                address, "model", deadline_secs=_START_SECS
            ) as connected:
                inputs = {"seed": np.arange(3)}
                if "label" in exported.signature_defs(path)["sample"].inputs:
                    inputs["label"] = np.full(3, -1)
                made = connected.predict("serving_default", inputs, ["audio"])
        except client.ServerError as error:
            return [f"{server} does not serve it: {error}"]
        finally:
            job.kill()
            job.wait()
    if not np.allclose(made["audio"], wanted, atol=1e-3):
        return [f"{server} makes other audio"]
    return []


def _disable_xla() -> None:
    """As the stock server does; for this process and for good."""
    folder = Path(tf.sysconfig.get_lib())
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        try:
            getattr(ctypes.CDLL(str(folder / name)), _DISABLE_XLA)()
            return
        except (OSError, AttributeError):
            continue
    print("XLA cannot be switched off in this TensorFlow", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
