"""A client for models on a server: this project's, or TensorFlow Serving.

    with connect("http://127.0.0.1:8501", "digits") as client:
        wav_files = client.sample(range(16))["wav_bytes"]

The same code uses REST (http://HOST:8501) or gRPC (grpc://HOST:8500). While
the server is unavailable, a call is repeated with growing pauses until its
deadline.
"""

import abc
import base64
import contextlib
import random
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from stftgan_tf.errors import UsageError, UserError

# Seconds between two attempts; doubled each time.
_FIRST_PAUSE_SECS, _MAX_PAUSE_SECS = 0.1, 5.0

# A day: sockets do not accept an infinite timeout.
MAX_DEADLINE_SECS = 86400

_HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    # From a gateway whose server has not started yet.
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_T = TypeVar("_T")


class ServerError(UserError):
    """A server's answer instead of a result.

    Attributes:
      code: the name of a gRPC status code, such as INVALID_ARGUMENT.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


def connect(
    server: str,
    model_name: str = "default",
    model_version: int | None = None,
    deadline_secs: float = 60.0,
    retry: bool = True,
) -> "Client":
    """Returns a client for a model; the first call connects.

    Args:
      server: http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT.
      model_name: the name of the model on the server.
      model_version: its version; None for the newest.
      deadline_secs: the maximum time of a call, with all its attempts.
      retry: whether to repeat a call while the server is unavailable.

    Raises:
      UsageError: if the address has a different form.
      UserError: if a required package is not installed.
    """
    try:
        parts = urllib.parse.urlsplit(server)
    except ValueError as error:
        raise UsageError(f"--server is {server!r}: {error}") from error
    clients = {"http": RestClient, "https": RestClient, "grpc": GrpcClient}
    if parts.scheme not in clients or not parts.netloc:
        raise UsageError(
            f"--server is {server!r}; expected http://HOST:PORT or "
            "grpc://HOST:PORT"
        )
    try:
        return clients[parts.scheme](
            server, model_name, model_version, deadline_secs, retry
        )
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed: pip install '.[serving]'"
        ) from error


class Client(abc.ABC):
    """A model on a server; use `connect` to create one."""

    def __init__(
        self,
        server: str,
        model_name: str,
        model_version: int | None,
        deadline_secs: float,
        retry: bool,
    ):
        """Takes the arguments of `connect`."""
        self._server, self._model_name = server, model_name
        self._model_version = model_version
        self._deadline_secs, self._retry = deadline_secs, retry

    def sample(
        self,
        seeds: Sequence[int] | np.ndarray,
        label: int | None = None,
        truncation: float = 1.0,
        long: bool = False,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Generates one sample per seed.

        Args:
          seeds: non-negative seeds [B].
          label: the number of a label, for models trained with labels; -1
            or None draws labels at random.
          truncation: the scale of the latents, above 0.
          long: joins several windows; excludes `truncation`.
          outputs: the outputs to return; all of them if empty.

        Returns:
          `audio` float32 [B, N], `wav_bytes` object [B], and unless `long`
          `window` float32 [B, T, F].

        Raises:
          UserError: if the model was not trained with labels.
          ServerError: as for `predict`.
        """
        signature = "serving_default"
        if long:
            signature = "long"
        elif truncation != 1:
            signature = "sample"
        inputs = {"seed": np.asarray(seeds, np.int64)}
        count = len(inputs["seed"])
        if label is not None:
            self._check_takes_labels()
            inputs["label"] = np.full(count, label)
        if signature == "sample":
            name = self._truncation_input()
            inputs[name] = np.full(count, truncation, np.float32)
        return self.predict(signature, inputs, outputs)

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature: the name of the signature.
          inputs: arrays by name, with one row per sample.
          outputs: the outputs to return; all of them if empty.

        Returns:
          Arrays by name; arrays of bytes have the dtype object.

        Raises:
          ServerError: if the server rejects the request, or is unavailable
            until the deadline.
        """

        def call(timeout: float) -> dict[str, np.ndarray]:
            return self._predict(signature, inputs, outputs, timeout)

        return self._call(call)

    def input_names(self, signature: str) -> set[str]:
        """The inputs of a signature, including optional ones.

        Raises:
          ServerError: as for `predict`, or if there is no such signature.
        """
        signatures = self._call(self._input_names)
        if signature not in signatures:
            raise ServerError(
                "FAILED_PRECONDITION",
                f"{self._model_name} has no signature {signature!r}; expected "
                f"one of {', '.join(sorted(signatures))}",
            )
        return signatures[signature]

    @abc.abstractmethod
    def close(self) -> None:
        """Disconnects."""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, call: Callable[[float], _T]) -> _T:
        if self._retry:
            return call_until_available(call, self._deadline_secs)
        return call(self._deadline_secs)

    def _check_takes_labels(self) -> None:
        if "label" not in self.input_names("serving_default"):
            raise UserError(
                f"model {self._model_name} was not trained with labels; leave "
                "out --label, or train with model.condition label"
            )

    def _truncation_input(self) -> str:
        # Older exports name the input after its symbol.
        names = self.input_names("sample")
        return "psi" if "psi" in names else "truncation"

    @abc.abstractmethod
    def _predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Makes one attempt to run a signature."""

    @abc.abstractmethod
    def _input_names(self, timeout: float) -> dict[str, set[str]]:
        """Makes one attempt to get the names of all inputs by signature."""


class RestClient(Client):
    """Uses REST in column format."""

    def __init__(self, *args: Any):
        """Takes the arguments of `connect`."""
        super().__init__(*args)
        import requests

        self._session = requests.Session()
        self._url = f"{self._server.rstrip('/')}/v1/models/{self._model_name}"
        if self._model_version is not None:
            self._url += f"/versions/{self._model_version}"

    def close(self) -> None:
        """Disconnects."""
        self._session.close()

    def _predict(self, signature, inputs, outputs, timeout):
        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(value) for name, value in inputs.items()},
        }
        url = f"{self._url}:predict"
        response = self._request("POST", url, timeout, body)
        with _unexpected_response(url):
            arrays = {
                name: _from_json(value)
                for name, value in response["outputs"].items()
            }
            return {name: arrays[name] for name in outputs or arrays}

    def _input_names(self, timeout):
        url = f"{self._url}/metadata"
        response = self._request("GET", url, timeout)
        with _unexpected_response(url):
            signatures = response["metadata"]["signature_def"]["signature_def"]
            return {
                name: set(signature["inputs"])
                for name, signature in signatures.items()
            }

    def _request(
        self, method: str, url: str, timeout: float, body: Any = None
    ) -> Any:
        """Returns the JSON of a response; ServerError if there is none."""
        import requests

        try:
            response = self._session.request(
                method, url, json=body, timeout=timeout
            )
        except requests.Timeout as error:
            raise ServerError("DEADLINE_EXCEEDED", url) from error
        except requests.ConnectionError as error:
            raise ServerError("UNAVAILABLE", f"{url}: {error}") from error
        except requests.RequestException as error:
            raise ServerError("UNKNOWN", f"{url}: {error}") from error
        code = _HTTP_CODES.get(response.status_code, "UNKNOWN")
        try:
            content = response.json()
        except requests.JSONDecodeError as error:
            # A different server listens there, or a proxy answered.
            status = f"{response.status_code} {response.reason}"
            raise ServerError(code, f"{url}: {status}: {error}") from error
        if response.status_code == 200:
            return content
        message = content.get("error") if isinstance(content, dict) else None
        raise ServerError(code, str(message or content))


class GrpcClient(Client):
    """Uses gRPC, which transfers only the requested outputs."""

    def __init__(self, *args: Any):
        """Takes the arguments of `connect`."""
        super().__init__(*args)
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        # The audio of a batch exceeds the default limit of 4 MB.
        options = [("grpc.max_receive_message_length", -1)]
        address = urllib.parse.urlsplit(self._server).netloc
        self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )

    def close(self) -> None:
        """Disconnects."""
        self._channel.close()

    def _predict(self, signature, inputs, outputs, timeout):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._fill_model_spec(request.model_spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(outputs)
        response = self._send(self._stub.Predict, request, timeout)
        return {n: tf.make_ndarray(v) for n, v in response.outputs.items()}

    def _input_names(self, timeout):
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._fill_model_spec(request.model_spec)
        request.metadata_field.append("signature_def")
        response = self._send(self._stub.GetModelMetadata, request, timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            name: set(signature.inputs)
            for name, signature in signatures.signature_def.items()
        }

    def _fill_model_spec(self, spec) -> None:
        spec.name = self._model_name
        if self._model_version is not None:
            spec.version.value = self._model_version

    def _send(self, method: Callable, request: Any, timeout: float) -> Any:
        import grpc

        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details()) from error


def call_until_available(
    call: Callable[[float], _T], deadline_secs: float
) -> _T:
    """Calls a function until it does not raise UNAVAILABLE.

    Args:
      call: takes the seconds that are left.
      deadline_secs: when to give up.

    Raises:
      ServerError: the last one.
    """
    end = time.monotonic() + deadline_secs
    pause = _FIRST_PAUSE_SECS
    while True:
        try:
            return call(max(0.001, end - time.monotonic()))
        except ServerError as error:
            # A random pause keeps many clients from returning at once.
            wait = random.uniform(pause / 2, pause)
            late = time.monotonic() + wait >= end
            if error.code != "UNAVAILABLE" or late:
                raise
        time.sleep(wait)
        pause = min(2 * pause, _MAX_PAUSE_SECS)


@contextlib.contextmanager
def _unexpected_response(url: str) -> Iterator[None]:
    """Turns the errors of reading an unexpected response into ServerError."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ServerError(
            "UNKNOWN", f"{url}: the response is not from a model server"
        ) from error


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
