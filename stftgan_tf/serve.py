"""Serves exports by TensorFlow Serving's own protocol, REST and gRPC.

For one machine, and for those without tensorflow_model_server: the same main
flags, paths, answers and errors, and the client of this project speaks to both
(but a port of 0 is a free one here). Below
--model_base_path lie versions, folders whose names are whole numbers; the
newest one that loads is served, and a newer one takes over without a request
being lost. Needs the extra `serving`.

    python -m stftgan_tf.export --run runs/digits --output serving/digits/1
    curl -d '{"instances": [{"seed": 7}]}' \\
        http://127.0.0.1:8501/v1/models/digits:predict
"""

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from stftgan_tf import cli
from stftgan_tf.errors import UsageError, UserError

EXAMPLE = (
    "python -m stftgan_tf.serve --model_base_path serving/digits "
    "--model_name digits --rest_api_port 8501 --port 8500"
)

# Of glibc's malloc.h.
_M_ARENA_MAX = -8

# How long requests that run may take when the server ends.
_GRACE_SECS = 10.0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, parser().parse_args(argv))


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    flags = cli.parser(__doc__, EXAMPLE)
    flags.add_argument(
        "--model_base_path",
        type=cli.local_path,
        required=True,
        help="folder with a folder for each version, such as serving/digits/1",
    )
    flags.add_argument(
        "--model_name",
        default="default",
        help="its name in requests (default: default, as in TensorFlow "
        "Serving)",
    )
    flags.add_argument(
        "--rest_api_port",
        type=int,
        default=8501,
        help="of REST; 0 takes a free one, -1 none (default: 8501)",
    )
    flags.add_argument(
        "--port",
        type=int,
        default=8500,
        help="of gRPC; 0 takes a free one, -1 none (default: 8500)",
    )
    flags.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; nobody is asked who he is, so leave it at "
        "this machine's own unless a trusted network is meant "
        "(default: 127.0.0.1)",
    )
    flags.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="between two looks for versions; 0 looks once (default: 1)",
    )
    _add_limits(flags)
    return flags


def _add_limits(flags: argparse.ArgumentParser) -> None:
    """Adds what bounds the requests that are taken on."""
    flags.add_argument(
        "--max_batch_size",
        type=int,
        default=64,
        help="rows of a request (default: 64)",
    )
    flags.add_argument(
        "--max_request_bytes",
        type=int,
        default=4_000_000,
        help="of a request's body (default: 4000000)",
    )
    flags.add_argument(
        "--max_running",
        type=int,
        default=os.cpu_count(),
        help="requests that run at once (default: one a core)",
    )
    flags.add_argument(
        "--max_waiting",
        type=int,
        default=64,
        help="requests that wait; more are UNAVAILABLE (default: 64)",
    )


def _run(args: argparse.Namespace) -> int:
    _check(args)
    _log_to_stderr()
    _share_heaps()
    with _stopping() as stopped:
        server = Server(args)
        if server.port:
            print(f"gRPC on {args.host}:{server.port}", flush=True)
        if server.rest_api_port:
            print(
                f"REST on http://{args.host}:{server.rest_api_port}"
                f"/v1/models/{args.model_name}",
                flush=True,
            )
        number = stopped()
        server.stop()
    return 130 if number == signal.SIGINT else 0


class Server:
    """Both interfaces of a model; it listens once it is made.

    Attributes:
      port: of gRPC, or None.
      rest_api_port: of REST, or None.
    """

    def __init__(self, args: argparse.Namespace):
        """Takes what the command line's parser gives.

        Raises:
          UserError: if a package is missing or a port is taken.
        """
        try:
            import tensorflow as tf

            from stftgan_tf.serving import (
                monitoring,
                rest,
                rpc,
                servable,
                versions,
            )
        except ImportError as error:
            raise UserError(
                f"{error.name} is missing: pip install '.[serving]'"
            ) from error
        # It warns of its first interface, which sessions belong to.
        tf.get_logger().setLevel(logging.ERROR)
        self.port = self.rest_api_port = self._grpc = self._rest = None
        listener = None
        if args.rest_api_port >= 0:
            listener = _listener(args.host, args.rest_api_port)
            self.rest_api_port = listener.getsockname()[1]
        self._versions = versions.Versions(
            args.model_name,
            args.model_base_path,
            args.file_system_poll_wait_seconds,
            args.max_batch_size,
        )
        gate = servable.Gate(args.max_running, args.max_waiting)
        monitor = monitoring.Monitor(args.model_name)
        # Some more than may wait, so that who is too much hears so.
        threads = args.max_running + args.max_waiting + 4
        parts = self._versions, gate, monitor, args.max_request_bytes, threads
        if args.port >= 0:
            self._grpc = rpc.server(*parts)
            address = f"{args.host}:{args.port}"
            try:
                self.port = self._grpc.add_insecure_port(address)
            except RuntimeError as error:
                raise UserError(f"{address} cannot be listened on") from error
            self._grpc.start()
        if listener:
            self._rest = _Rest(rest.Api(*parts).app, listener)

    def stop(self) -> None:
        """Answers what runs, and ends."""
        stopping = self._grpc.stop(_GRACE_SECS) if self._grpc else None
        if self._rest:
            self._rest.stop()
        if stopping:
            stopping.wait()
        self._versions.close()


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError or UserError for what cannot be served."""
    for name in ("max_batch_size", "max_request_bytes", "max_running"):
        if getattr(args, name) < 1:
            raise UsageError(
                f"--{name} is {getattr(args, name)}; expected at least 1"
            )
    if args.max_waiting < 0 or args.file_system_poll_wait_seconds < 0:
        raise UsageError(
            "--max_waiting and --file_system_poll_wait_seconds cannot be "
            "negative"
        )
    for name in ("port", "rest_api_port"):
        if not -1 <= getattr(args, name) <= 65535:
            raise UsageError(
                f"--{name} is {getattr(args, name)}; expected -1 to 65535"
            )
    if args.port < 0 and args.rest_api_port < 0:
        raise UsageError("neither --port nor --rest_api_port is given")
    base = args.model_base_path
    if not base.is_dir():
        raise UserError(f"{base} is no folder")
    if (base / "saved_model.pb").is_file():
        raise UserError(
            f"{base} is an export; expected a folder of numbered ones: export "
            f"with --output {base}/1, and give --model_base_path {base}"
        )


class _Rest:
    """An ASGI server in a thread of its own; signals are the main one's."""

    def __init__(self, app, listener: socket.socket):
        import uvicorn

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


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise UserError(
            f"{host}:{port} cannot be listened on: {error.strerror}"
        ) from error


@contextlib.contextmanager
def _stopping() -> Iterator:
    """Yields what waits for SIGINT or SIGTERM and gives its number."""
    came: list[int] = []
    event = threading.Event()

    def stop(number, frame):
        if came:
            # The second time at once.
            os._exit(130)
        came.append(number)
        event.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]

    def wait() -> int:
        event.wait()
        return came[0]

    try:
        yield wait
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _share_heaps() -> None:
    """Keeps memory flat while versions come and go.

    With glibc's heap for every few threads, what one version frees is not what
    the next one takes.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    logger = logging.getLogger("stftgan_tf.serving")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
