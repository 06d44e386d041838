"""A client for models on a server: this project's, or TensorFlow Serving.

    with connect("http://127.0.0.1:8501", "digits") as client:
        wav_files = client.sample(range(16))["wav_bytes"]

The same code uses REST (http://HOST:8501) or gRPC (grpc://HOST:8500). While
the server is unavailable, a call is repeated with growing pauses until its
deadline.
"""

import urllib.parse

from stftgan_tf.errors import UsageError, UserError, install_hint
from stftgan_tf.serving.client_base import Client


def connect(
    server: str,
    model_name: str = "default",
    model_version: int | None = None,
    deadline_secs: float = 60.0,
    retry: bool = True,
) -> Client:
    """Returns a client for a model; the first call connects.

    Args:
      server: http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT.
      model_name: the name of the model on the server.
      model_version: its version; None for the newest.
      deadline_secs: the maximum time of a call, including all attempts.
      retry: whether to repeat a call while the server is unavailable.

    Raises:
      UsageError: if the address does not have this form.
      UserError: if a required package is not installed.
    """
    try:
        parts = urllib.parse.urlsplit(server)
    except ValueError as error:
        raise UsageError(f"server is {server!r}: {error}") from error
    if parts.scheme not in ("http", "https", "grpc") or not parts.netloc:
        raise UsageError(
            f"server is {server!r}; expected http://HOST:PORT or "
            "grpc://HOST:PORT"
        )
    client_type = _client_type(parts.scheme)
    return client_type(server, model_name, model_version, deadline_secs, retry)


def _client_type(scheme: str) -> type[Client]:
    """Imports only what the protocol needs: gRPC also needs TensorFlow."""
    try:
        if scheme == "grpc":
            from stftgan_tf.serving.client_grpc import GrpcClient

            return GrpcClient
        from stftgan_tf.serving.client_rest import RestClient

        return RestClient
    except ModuleNotFoundError as error:
        raise UserError(install_hint(error) or str(error)) from error
