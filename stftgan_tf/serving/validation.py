"""Checks that a server can load an export and answer with valid samples."""

import ctypes
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf.errors import UserError, first_line
from stftgan_tf.saved_model import export_files, latency, loading
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError

# tensorflow::DisableXlaCompilation(), which the released server calls.
_DISABLE_XLA = "_ZN10tensorflow21DisableXlaCompilationEv"

_START_SECS = 120.0


def check(
    path: Path, max_latency_ms: float, server: str | None = None
) -> list[str]:
    """Returns the problems of an export.

    Disables XLA in this process permanently, as TensorFlow Serving does.

    Args:
      path: the export.
      max_latency_ms: the maximum median time to generate one sample.
      server: the tensorflow_model_server program; None skips that check.
    """
    try:
        model = loading.load(path)
    except UserError as error:
        return [str(error).removeprefix(f"{path} is ")]
    disable_xla()
    problems = check_model(model, max_latency_ms)
    if server and not problems:
        problems = check_server(model, server)
    return problems


def check_model(model: loading.LoadedModel, max_latency_ms: float) -> list[str]:
    """Returns the problems of a loaded export in this process."""
    problems = []
    for name, signature in loading.signature_defs(model.path).items():
        for rows in (1, 3):
            inputs = loading.example_inputs(signature, rows)
            problems += _signature_problems(model, name, inputs, rows)
    problems += _warmup_problems(model)
    # An export that fails cannot be timed.
    return problems or _latency_problems(model, max_latency_ms)


def check_server(model: loading.LoadedModel, server: str) -> list[str]:
    """Returns the problems of an export in tensorflow_model_server."""
    expected = next(model.batches(0, 3, 3))["audio"]
    labels = "label" in loading.signature_defs(model.path)["sample"].inputs
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(model.path, Path(directory, "1"))
        port = _free_port()
        process = subprocess.Popen(
            [
                server,
                f"--port={port}",
                "--model_name=model",
                f"--model_base_path={directory}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"grpc://127.0.0.1:{port}"
        try:
            with connect(
                address, "model", deadline_secs=_START_SECS
            ) as connection:
                audio = connection.sample(
                    range(3), -1 if labels else None, outputs=["audio"]
                )["audio"]
        except ServerError as error:
            return [f"{server} cannot serve it: {error}"]
        finally:
            process.kill()
            process.wait()
    if not np.allclose(audio, expected, atol=1e-3):
        return [f"{server} generates different audio"]
    return []


def disable_xla() -> None:
    """Disables XLA in this process, permanently."""
    directory = Path(tf.sysconfig.get_lib())
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        try:
            getattr(ctypes.CDLL(str(directory / name)), _DISABLE_XLA)()
            return
        except (OSError, AttributeError):
            continue
    print("this TensorFlow cannot disable XLA", file=sys.stderr)


def _signature_problems(
    model: loading.LoadedModel,
    name: str,
    inputs: Mapping[str, np.ndarray],
    rows: int,
) -> list[str]:
    try:
        first, second = (model.call(name, inputs) for _ in range(2))
    except tf.errors.OpError as error:
        return [f"{name} with {rows} rows fails: {first_line(error)}"]
    shapes = _output_shapes(model, name, rows)
    if first.keys() != shapes.keys():
        return [f"{name} returns {sorted(first)}; expected {sorted(shapes)}"]
    return [
        f"{name} with {rows} rows: {problem}"
        for output, shape in shapes.items()
        for problem in _output_problems(
            output, shape, first[output], second[output]
        )
    ]


def _output_shapes(
    model: loading.LoadedModel, name: str, rows: int
) -> dict[str, tuple[int, ...]]:
    if name == "long":
        audio_shape = (rows, model.metadata["long_samples"])
        return {"audio": audio_shape, "wav_bytes": (rows,)}
    return {
        "audio": (rows, model.metadata["samples"]),
        "wav_bytes": (rows,),
        "window": (rows, *model.metadata["window_shape"]),
    }


def _output_problems(
    name: str, shape: tuple[int, ...], value: np.ndarray, repeat: np.ndarray
) -> Iterator[str]:
    """Checks an output, and compares it with that of an identical call."""
    if value.shape != shape:
        yield f"{name} has shape {value.shape}; expected {shape}"
    elif value.dtype != object and not np.isfinite(value).all():
        yield f"{name} has values that are not finite"
    elif not np.array_equal(value, repeat):
        yield f"{name} differs between two identical calls"


def _warmup_problems(model: loading.LoadedModel) -> list[str]:
    """Replays the warm-up requests, as a server does when it loads."""
    if not (model.path / export_files.WARMUP).is_file():
        return []
    try:
        from stftgan_tf.serving.model import warmup_requests
    except ImportError:
        print(
            f"{export_files.WARMUP} is not checked; install the extra "
            "`serving`",
            file=sys.stderr,
        )
        return []
    try:
        for request in warmup_requests(model.path):
            inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            model.call(request.model_spec.signature_name, inputs)
    # A damaged file can raise any type of exception.
    except Exception as error:
        return [
            f"{export_files.WARMUP} cannot be replayed: {first_line(error)}"
        ]
    return []


def _latency_problems(
    model: loading.LoadedModel, max_latency_ms: float
) -> list[str]:
    median_ms = 1000 * statistics.median(latency.call_secs(model, batch=1))
    if median_ms <= max_latency_ms:
        return []
    return [
        f"one sample takes {median_ms:.0f} ms; expected at most "
        f"{max_latency_ms:g} ms"
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
