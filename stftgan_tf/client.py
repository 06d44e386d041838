"""Asks a server of exports for audio: this project's, or TensorFlow Serving.

The same code speaks REST (http://HOST:8501) and gRPC (grpc://HOST:8500). What
is unavailable is asked for again, ever more slowly, until the deadline. Needs
the extra `serving`.
"""

import abc
import argparse
import base64
import random
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stftgan_tf import cli
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import write_atomically
from stftgan_tf.progress import Progress

EXAMPLE = (
    "python -m stftgan_tf.client --server grpc://127.0.0.1:8500 "
    "--model_name digits --num 16 --seed 0 --output samples/served"
)

# Seconds between two attempts; doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

# Seconds, of a day: sockets know no endless ones.
_LONGEST_DEADLINE = 86400

_HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    # Of a gateway whose server is not there yet.
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_T = TypeVar("_T")


class ServerError(UserError):
    """What a server answers in place of audio.

    Attributes:
      code: canonical name, such as INVALID_ARGUMENT or UNAVAILABLE.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class Client(abc.ABC):
    """A model on a server."""

    def __init__(
        self,
        address: str,
        model_name: str,
        version: int | None = None,
        deadline_secs: float = 60.0,
    ):
        """Connects when it is first asked.

        Args:
          address: HOST:PORT.
          model_name: as the server has it.
          version: the newest one if None.
          deadline_secs: of a call, all its attempts included.
        """
        self._address, self._model_name = address, model_name
        self._version, self._deadline_secs = version, deadline_secs

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature: its name.
          inputs: arrays by name, a row for each sample.
          outputs: those that are wanted; all of them if empty.

        Returns:
          Arrays by name; bytes in arrays of objects.

        Raises:
          ServerError: if the server refuses, or is unavailable until the
            deadline.
        """

        def call(timeout: float) -> dict[str, np.ndarray]:
            return self._predict(signature, inputs, outputs, timeout)

        return _retried(call, self._deadline_secs)

    @abc.abstractmethod
    def _predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """One attempt."""

    @abc.abstractmethod
    def close(self) -> None:
        """Disconnects."""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class RestClient(Client):
    """By REST, in columns."""

    def __init__(self, address: str, *args: Any, **kwargs: Any):
        """As `Client`; the address may begin with a scheme."""
        super().__init__(address, *args, **kwargs)
        import requests

        self._session = requests.Session()
        base = address if "://" in address else f"http://{address}"
        version = (
            f"/versions/{self._version}" if self._version is not None else ""
        )
        self._url = f"{base}/v1/models/{self._model_name}{version}:predict"

    def close(self) -> None:
        """Disconnects."""
        self._session.close()

    def _predict(self, signature, inputs, outputs, timeout):
        import requests

        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(value) for name, value in inputs.items()},
        }
        try:
            answer = self._session.post(self._url, json=body, timeout=timeout)
        except requests.Timeout as error:
            raise ServerError("DEADLINE_EXCEEDED", self._url) from error
        except requests.ConnectionError as error:
            raise ServerError("UNAVAILABLE", f"{self._url}: {error}") from error
        except requests.RequestException as error:
            raise ServerError("UNKNOWN", f"{self._url}: {error}") from error
        code = _HTTP_CODES.get(answer.status_code, "UNKNOWN")
        try:
            found = answer.json()
        except requests.JSONDecodeError as error:
            # Something else listens there, or stands between.
            what = f"{answer.status_code} {answer.reason}: {error}"
            raise ServerError(code, f"{self._url}: {what}") from error
        if answer.status_code != 200:
            told = found.get("error") if isinstance(found, dict) else None
            raise ServerError(code, str(told or found))
        try:
            made = {n: _from_json(v) for n, v in found["outputs"].items()}
            return {name: made[name] for name in outputs or made}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ServerError(
                "UNKNOWN", f"{self._url}: no answer of a model server"
            ) from error


class GrpcClient(Client):
    """By gRPC; only the outputs that are wanted come over the network."""

    def __init__(self, *args: Any, **kwargs: Any):
        """As `Client`."""
        super().__init__(*args, **kwargs)
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        # Audio of a batch has more than the 4 MB that are usual.
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(self._address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )

    def close(self) -> None:
        """Disconnects."""
        self._channel.close()

    def _predict(self, signature, inputs, outputs, timeout):
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(outputs)
        try:
            answer = self._stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details()) from error
        return {n: tf.make_ndarray(v) for n, v in answer.outputs.items()}


def connect(server: str, *args: Any, **kwargs: Any) -> Client:
    """The client for an address: http://, https:// or grpc://HOST:PORT.

    Other arguments are those of `Client`.

    Raises:
      UsageError: if the address is none of these.
      UserError: if what it needs is not installed.
    """
    try:
        parts = urllib.parse.urlsplit(server)
    except ValueError as error:
        raise UsageError(f"server {server!r}: {error}") from error
    if parts.scheme in ("http", "https") and parts.netloc:
        return RestClient(server.rstrip("/"), *args, **kwargs)
    if parts.scheme == "grpc" and parts.netloc:
        try:
            return GrpcClient(parts.netloc, *args, **kwargs)
        except ImportError as error:
            raise UserError(
                f"{error.name} is missing: pip install '.[serving]'"
            ) from error
    raise UsageError(
        f"server {server!r}; expected http://HOST:PORT or grpc://HOST:PORT"
    )


def _retried(call: Callable[[float], _T], deadline_secs: float) -> _T:
    """Calls with the seconds that are left, until it is available."""
    end = time.monotonic() + deadline_secs
    pause = _FIRST_PAUSE
    while True:
        try:
            return call(max(0.001, end - time.monotonic()))
        except ServerError as error:
            # At random, so that many clients do not come back as one.
            wait = random.uniform(pause / 2, pause)
            late = time.monotonic() + wait >= end
            if error.code != "UNAVAILABLE" or late:
                raise
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _to_json(value: np.ndarray) -> Any:
    value = np.asarray(value)
    if value.dtype.kind not in "SO":
        return value.tolist()
    encoded = [{"b64": base64.b64encode(v).decode()} for v in value.ravel()]
    return encoded if value.ndim else encoded[0]


def _from_json(value: Any) -> np.ndarray:
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, dict):
        return np.array([base64.b64decode(v["b64"]) for v in value], object)
    return np.asarray(value, np.float32 if type(first) is float else None)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--server",
        default="http://127.0.0.1:8501",
        help="http://HOST:PORT or grpc://HOST:PORT (default: "
        "http://127.0.0.1:8501)",
    )
    parser.add_argument(
        "--model_name", default="default", help="its name (default: default)"
    )
    parser.add_argument(
        "--model_version", type=int, help="its version (default: the newest)"
    )
    parser.add_argument(
        "--num", type=int, default=16, help="how many samples (default: 16)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the first sample; the next ones follow (default: 0)",
    )
    parser.add_argument(
        "--label",
        type=int,
        help="number of the label asked for (its place among the labels of "
        "the export's metadata.json, from 0), where the model has learnt "
        "labels; -1 (the default there) draws them",
    )
    parser.add_argument(
        "--truncation", type=float, help="truncation, above 0 (default: 1)"
    )
    parser.add_argument(
        "--long", action="store_true", help="long samples, of several windows"
    )
    parser.add_argument(
        "--batch", type=int, default=16, help="rows of a call (default: 16)"
    )
    parser.add_argument(
        "--deadline_secs",
        type=float,
        default=60.0,
        help="of a call, with all its attempts (default: 60)",
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        default=Path("samples/served"),
        help="folder of the WAV files (default: samples/served)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    for name in ("num", "batch"):
        if getattr(args, name) < 1:
            raise UsageError(
                f"--{name} is {getattr(args, name)}; expected at least 1"
            )
    if args.truncation is not None and (
        args.long or not 0 < args.truncation < float("inf")
    ):
        raise UsageError(
            f"--truncation is {args.truncation}; expected above 0, and not with --long"
        )
    if not 0 <= args.seed < 2**63 - args.num:
        raise UsageError(
            f"--seed is {args.seed}; expected 0 to {2**63 - args.num - 1}"
        )
    for name, least in (("label", -1), ("model_version", 0)):
        value = getattr(args, name)
        if value is not None and not least <= value < 2**63:
            raise UsageError(
                f"--{name} is {value}; expected {least} to {2**63 - 1}"
            )
    if not 0 < args.deadline_secs <= _LONGEST_DEADLINE:
        raise UsageError(
            f"--deadline_secs is {args.deadline_secs:g}; expected above 0 and "
            f"at most {_LONGEST_DEADLINE}"
        )
    signature = "long" if args.long else "serving_default"
    client = connect(
        args.server, args.model_name, args.model_version, args.deadline_secs
    )
    args.output.mkdir(parents=True, exist_ok=True)
    progress = Progress("client", args.num, "samples")
    # No other sample of the same seed is written over.
    prefix = "long-" if args.long else ""
    prefix += (
        f"truncation-{args.truncation:g}-"
        if args.truncation is not None
        else ""
    )
    prefix += f"label-{args.label}-" if args.label is not None else ""
    with client:
        for start in range(0, args.num, args.batch):
            count = min(args.batch, args.num - start)
            seeds = args.seed + np.arange(start, start + count)
            inputs = {"seed": seeds}
            if args.label is not None:
                inputs["label"] = np.full(count, args.label)
            if args.truncation is not None:
                signature = "sample"
                inputs["truncation"] = np.full(
                    count, args.truncation, np.float32
                )
            made = client.predict(signature, inputs, ["wav_bytes"])
            for seed, wav in zip(seeds, made["wav_bytes"], strict=True):
                path = args.output / f"{prefix}seed-{seed:06d}.wav"
                write_atomically(path, wav)
            progress.update(start + count)
    progress.close(args.num)
    print(f"{args.num} WAV files")
    print(args.output / f"{prefix}seed-{args.seed:06d}.wav")
    return 0


if __name__ == "__main__":
    sys.exit(main())
