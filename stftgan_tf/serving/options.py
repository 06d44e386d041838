"""Server options, which are checked before TensorFlow is loaded."""

import dataclasses
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.serving.model_config import ModelConfig


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What to serve, where, and with which limits.

    Attributes:
      models: the models by their names in requests.
      model_config_file: the file that the models come from, if any.
      model_config_file_poll_wait_seconds: seconds between reads of this file;
        0 disables them.
      rest_api_port: the REST port; 0 chooses a free port, -1 disables REST.
      rest_api_timeout_in_ms: how long a REST request may run; 0 for no limit.
      port: the gRPC port; 0 chooses a free port, -1 disables gRPC.
      host: the address to listen on.
      grpc_socket_path: a Unix socket for gRPC, beside the port; none if empty.
      grpc_channel_arguments: arguments of the gRPC server, which replace ours.
      enable_model_warmup: whether a version runs its warm-up requests before
        it is served.
      file_system_poll_wait_seconds: seconds between polls for new versions; 0
        disables polling.
      max_batch_size: the maximum number of rows in a request.
      max_request_bytes: the maximum size of a request body, in bytes.
      max_running: the maximum number of requests that run at the same time.
      max_waiting: the maximum number of requests that wait; further requests
        are rejected as UNAVAILABLE.
      page: whether the REST port also has a page to listen to the models.
    """

    models: Mapping[str, ModelConfig]
    model_config_file: Path | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    rest_api_port: int = 8501
    rest_api_timeout_in_ms: int = 30_000
    port: int = 8500
    host: str = "127.0.0.1"
    grpc_socket_path: str = ""
    grpc_channel_arguments: tuple[tuple[str, str | int], ...] = ()
    enable_model_warmup: bool = True
    file_system_poll_wait_seconds: float = 1.0
    max_batch_size: int = 64
    max_request_bytes: int = 4_000_000
    max_running: int = os.cpu_count() or 1
    max_waiting: int = 64
    page: bool = True

    @property
    def threads(self) -> int:
        """The number of threads of each interface.

        It exceeds the number of requests that may run or wait, so that further
        requests are rejected at once.
        """
        return self.max_running + self.max_waiting + 4

    def check(self) -> None:
        """Raises UsageError or UserError for options that cannot be used."""
        self._check_limits()
        self._check_ports()
        check_models(self.models)

    def _check_limits(self) -> None:
        for name in ("max_batch_size", "max_request_bytes", "max_running"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"--{name} is {getattr(self, name)}; expected at least 1"
                )
        for name in ("max_waiting", "rest_api_timeout_in_ms"):
            if not 0 <= getattr(self, name) < 2**31:
                raise UsageError(
                    f"--{name} is {getattr(self, name)}; expected at least 0"
                )
        for name in (
            "file_system_poll_wait_seconds",
            "model_config_file_poll_wait_seconds",
        ):
            secs = getattr(self, name)
            # False for NaN, too.
            if not 0 <= secs <= threading.TIMEOUT_MAX:
                raise UsageError(
                    f"--{name} is {secs:g}; expected at least 0, and a finite "
                    "number"
                )

    def _check_ports(self) -> None:
        for name in ("port", "rest_api_port"):
            if not -1 <= getattr(self, name) <= 65535:
                raise UsageError(
                    f"--{name} is {getattr(self, name)}; expected -1 to 65535"
                )
        if max(self.port, self.rest_api_port) < 0 and not self.grpc_socket_path:
            raise UsageError(
                "--port and --rest_api_port are both -1; expected at least one "
                "port"
            )


def check_models(models: Mapping[str, ModelConfig]) -> None:
    """Raises UsageError or UserError for models that cannot be served."""
    for name, config in models.items():
        # Requests could not name the model.
        if not name.strip():
            raise UsageError(f"the model name is {name!r}; expected a name")
        if not config.base_path.is_dir():
            raise UserError(
                f"{config.base_path} is not a directory; expected an export, "
                "or a directory that contains one directory per version"
            )


def is_export(path: Path) -> bool:
    """Whether a directory is an export, and not one of several versions."""
    return (path / "saved_model.pb").is_file()


def name_of(path: Path) -> str:
    """The name of a model in requests: that of its directory.

    If the directory is one of several versions, it is that of their directory.
    """
    path = path.resolve()
    return path.parent.name if path.name.isdecimal() else path.name
