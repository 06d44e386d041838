"""The REST client; it sends requests in column format."""

import base64
import contextlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

import numpy as np
import requests

from stftgan_tf.serving.client_base import Client, ServerError

# gRPC status codes by HTTP status.
_CODES = {
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


class RestClient(Client):
    """A model on a server, called over REST."""

    def __init__(self, *args: Any):
        """Takes the arguments of `connect`."""
        super().__init__(*args)
        self._session = requests.Session()
        # A name may contain "/" and ":".
        name = urllib.parse.quote(self._model_name, safe="")
        self._url = f"{self._server.rstrip('/')}/v1/models/{name}"
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
        with _expect_model_server(url):
            arrays = {
                name: _from_json(value)
                for name, value in response["outputs"].items()
            }
            return {name: arrays[name] for name in outputs or arrays}

    def _input_names(self, timeout):
        url = f"{self._url}/metadata"
        response = self._request("GET", url, timeout)
        with _expect_model_server(url):
            signatures = response["metadata"]["signature_def"]["signature_def"]
            return {
                name: set(signature["inputs"])
                for name, signature in signatures.items()
            }

    def _request(
        self, method: str, url: str, timeout: float, body: Any = None
    ) -> Any:
        """Returns the JSON of a response; raises ServerError for errors."""
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
        code = _CODES.get(response.status_code, "UNKNOWN")
        try:
            content = response.json()
        except requests.JSONDecodeError as error:
            # This is not a model server, or a proxy answered.
            status = f"{response.status_code} {response.reason}"
            raise ServerError(code, f"{url}: {status}: {error}") from error
        if response.status_code == 200:
            return content
        message = content.get("error") if isinstance(content, dict) else None
        raise ServerError(code, str(message or content))


@contextlib.contextmanager
def _expect_model_server(url: str) -> Iterator[None]:
    """Turns errors from an unexpected response into ServerError."""
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
