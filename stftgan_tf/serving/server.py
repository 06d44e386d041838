"""A server of models: REST and gRPC in one process."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import tensorflow as tf
import uvicorn

from stftgan_tf.errors import UserError
from stftgan_tf.serving import grpc_service
from stftgan_tf.serving.http_protocol import TimedProtocol
from stftgan_tf.serving.limiter import RequestLimiter
from stftgan_tf.serving.models import Models
from stftgan_tf.serving.monitoring import RequestMetrics
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.rest_service import RestService

# Time that running requests have to finish when the server stops.
_GRACE_SECS = 10.0

# Time that answers have to reach their clients after that.
_ANSWER_SECS = 0.5


class Server:
    """Serves the selected versions of each model.

    It accepts requests as soon as the constructor returns.

    Attributes:
      port: the gRPC port; None if gRPC is disabled.
      rest_api_port: the REST port; None if REST is disabled.
    """

    def __init__(
        self,
        options: ServerOptions,
        is_cancelled: Callable[[], bool] = lambda: False,
    ):
        """Loads the models and listens.

        Args:
          options: what to serve, and how.
          is_cancelled: a function that returns True to stop waiting for loads.

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
        self._limiter = RequestLimiter(options.max_running, options.max_waiting)
        self._models = Models(options)
        self._loop = _EventLoop()
        try:
            self._models.wait(is_cancelled)
            self._start(options, listener)
        except BaseException:
            if listener:
                listener.close()
            self.stop()
            raise

    def _start(
        self, options: ServerOptions, listener: socket.socket | None
    ) -> None:
        metrics = RequestMetrics(self._models)
        shared = self._models, self._limiter, metrics, options
        if options.port >= 0 or options.grpc_socket_path:
            self._loop.call(self._start_grpc(*shared))
        if listener:
            rest = RestService(*shared)
            self._loop.call(self._start_rest(rest, listener))

    async def _start_grpc(self, *shared: Any) -> None:
        options = shared[-1]
        server = grpc_service.create_server(*shared)
        if options.port >= 0:
            address = f"{options.host}:{options.port}"
            self.port = _bind(server, address, "is the port in use?")
        if options.grpc_socket_path:
            address = f"unix:{options.grpc_socket_path}"
            _bind(server, address, "does its directory exist?")
        await server.start()
        self._grpc = server

    async def _start_rest(
        self, app: RestService, listener: socket.socket
    ) -> None:
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_GRACE_SECS),
        )
        self._rest = uvicorn.Server(config)
        self._rest_task = asyncio.create_task(
            self._rest.serve(sockets=[listener])
        )
        while not self._rest.started and not self._rest_task.done():
            await asyncio.sleep(0.01)

    async def _stop_grpc(self) -> None:
        """Lets requests finish, but does not wait for silent streams."""
        stop = asyncio.create_task(self._grpc.stop(_GRACE_SECS))
        while not stop.done() and not self._limiter.is_idle:
            await asyncio.sleep(0.05)
        await self._grpc.stop(_ANSWER_SECS)
        await stop

    async def _stop_serving(self) -> None:
        waiting = []
        if self._grpc:
            waiting.append(self._stop_grpc())
        if self._rest:
            self._rest.should_exit = True
            waiting.append(self._rest_task)
        await asyncio.gather(*waiting)

    def stop(self) -> None:
        """Stops after the running requests have finished."""
        self._loop.call(self._stop_serving())
        self._models.close()
        self._loop.close()


class _EventLoop:
    """An event loop in its own thread; signals stay with the main thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, daemon=True
        )
        self._thread.start()

    def call(self, coroutine: Coroutine) -> Any:
        """Runs a coroutine in the loop, and waits for its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def close(self) -> None:
        self.call(self._finish_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _finish_tasks() -> None:
        """Gives short tasks, such as health changes, the time to end."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=_ANSWER_SECS)


def _bind(server: grpc.aio.Server, address: str, hint: str) -> int:
    """Adds an address to a gRPC server, and returns its port."""
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"cannot listen on {address}; {hint}") from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    # asyncio does so only for sockets that name TCP as their protocol. Without
    # it, the body of an answer waits 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
