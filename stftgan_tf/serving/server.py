"""A server of models: REST and gRPC in one process."""

import logging
import socket
import threading
import time

import tensorflow as tf
import uvicorn
from starlette.applications import Starlette

from stftgan_tf.errors import UserError
from stftgan_tf.serving import grpc_service
from stftgan_tf.serving.limiter import RequestLimiter
from stftgan_tf.serving.models import Models
from stftgan_tf.serving.monitoring import RequestMetrics
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.rest_service import RestService

# Time that running requests have to finish when the server stops.
_GRACE_SECS = 10.0


class Server:
    """Serves the newest version of each model.

    It accepts requests as soon as the constructor returns.

    Attributes:
      port: the gRPC port; None if gRPC is disabled.
      rest_api_port: the REST port; None if REST is disabled.
    """

    def __init__(self, options: ServerOptions):
        """Loads the models and listens.

        Raises:
          UsageError: if an option is out of range.
          UserError: if the directory does not exist or a port is in use.
        """
        options.check()
        # TensorFlow warns that sessions are deprecated.
        tf.get_logger().setLevel(logging.ERROR)
        self.port = self.rest_api_port = None
        self._grpc = self._rest = None
        listener = None
        if options.rest_api_port >= 0:
            listener = _listen(options.host, options.rest_api_port)
            self.rest_api_port = listener.getsockname()[1]
        self._models = Models(options)
        try:
            self._start(options, listener)
        except BaseException:
            if listener:
                listener.close()
            self.stop()
            raise

    def _start(
        self, options: ServerOptions, listener: socket.socket | None
    ) -> None:
        limiter = RequestLimiter(options.max_running, options.max_waiting)
        metrics = RequestMetrics(options.models)
        shared = self._models, limiter, metrics, options
        if options.port >= 0:
            server = grpc_service.create_server(*shared)
            address = f"{options.host}:{options.port}"
            try:
                self.port = server.add_insecure_port(address)
            except RuntimeError as error:
                raise UserError(
                    f"cannot listen on {address}; is the port in use?"
                ) from error
            server.start()
            self._grpc = server
        if listener:
            self._rest = _RestServer(RestService(*shared).app, listener)

    def stop(self) -> None:
        """Stops after the running requests have finished."""
        stopped = self._grpc.stop(_GRACE_SECS) if self._grpc else None
        if self._rest:
            self._rest.stop()
        if stopped:
            stopped.wait()
        self._models.close()


class _RestServer:
    """An ASGI server in its own thread; signals stay with the main thread."""

    def __init__(self, app: Starlette, listener: socket.socket):
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_GRACE_SECS),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), daemon=True
        )
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}"
        ) from error
