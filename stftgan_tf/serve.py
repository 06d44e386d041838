"""Serves exports over REST and gRPC, compatible with TensorFlow Serving.

Use it where tensorflow_model_server is not available. It has the same main
flags, paths, responses and errors, so the same clients work with both. --model
is an export, the name of a model in the box, or a directory with one directory
per version, whose name is the version number. The newest version that loads is
served; when a newer one appears, it takes over without dropping a request.
--model_config_file serves several versions at once, by number and label.
Requires the extra `serving`. Flags of tensorflow_model_server that have no
effect here are accepted with a warning.

The REST port also shows a page to listen to the models (/), unless --no_page
switches it off.

    python -m stftgan_tf.serve --model digits
    curl -d '{"instances": [{"seed": 7}]}' \\
        http://127.0.0.1:8501/v1/models/digits:predict
"""

import argparse
import dataclasses
import importlib.metadata
import signal
import sys
import urllib.parse

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.serving import model_config, process, server_flags
from stftgan_tf.serving.model_config import ModelConfig
from stftgan_tf.serving.options import ServerOptions, name_of

EXAMPLE = (
    "python -m stftgan_tf.serve --model serving/digits --rest_api_port 8501 "
    "--port 8500"
)

# As in tensorflow_model_server.
_DEFAULT_NAME = "default"


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument("--version", action="version", version=_versions())
    _add_models(parser)
    _add_addresses(parser)
    _add_loads(parser)
    _add_limits(parser)
    server_flags.add(parser)
    return parser


def _versions() -> str:
    names = {"stftgan-tf": "stftgan-tf", "tensorflow": "TensorFlow Library"}
    lines = []
    for distribution, name in names.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed under this name"
        lines.append(f"{name}: {version}")
    return "\n".join(lines)


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no_page",
        dest="page",
        action="store_false",
        help="do not show the listening page at /",
    )
    parser.add_argument(
        "--rest_api_port",
        type=int,
        metavar="PORT",
        default=ServerOptions.rest_api_port,
        help="REST port; 0 chooses a free port, -1 disables REST "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="PORT",
        default=ServerOptions.port,
        help="gRPC port; 0 chooses a free port, -1 disables gRPC "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default=ServerOptions.host,
        help="address to listen on; there is no authentication, so use a "
        "different address only in a trusted network (default: %(default)s)",
    )
    parser.add_argument(
        "--grpc_socket_path",
        metavar="FILE",
        default=ServerOptions.grpc_socket_path,
        help="Unix socket for gRPC, beside the port",
    )
    parser.add_argument(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        metavar="KEY=VALUE,...",
        default=ServerOptions.grpc_channel_arguments,
        help="arguments of the gRPC server, such as "
        "grpc.max_connection_age_ms=2000",
    )


def _add_loads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        metavar="SECONDS",
        default=ServerOptions.file_system_poll_wait_seconds,
        help="seconds between polls for new versions; 0 disables polling "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--enable_model_warmup",
        type=_boolean,
        nargs="?",
        const=True,
        metavar="BOOL",
        default=ServerOptions.enable_model_warmup,
        help="run the warm-up requests of a version before it is served "
        "(default: true)",
    )


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _channel_arguments(text: str) -> tuple[tuple[str, str | int], ...]:
    """Pairs of a name and a value, which is an integer if it looks like one."""
    pairs = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise argparse.ArgumentTypeError(
                f"{part!r} is not of the form KEY=VALUE"
            )
        try:
            pairs.append((name, int(value)))
        except ValueError:
            pairs.append((name, value))
    return tuple(pairs)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        type=cli.model_path,
        metavar="DIR",
        action="append",
        help="export, directory of versions, or name of a model in the box "
        f"({', '.join(cli.boxed_models())}); may be repeated; requests use the "
        "name of the directory",
    )
    parser.add_argument(
        "--model_base_path",
        type=cli.local_path,
        metavar="DIR",
        help="as --model, but one, named by --model_name, as in "
        "tensorflow_model_server",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        help="name of the model of --model_base_path in requests (default: "
        f"{_DEFAULT_NAME})",
    )
    parser.add_argument(
        "--model_config_file",
        type=cli.local_path,
        metavar="FILE",
        help="models with version policies and labels, as a ModelServerConfig "
        "of tensorflow_model_server in text form",
    )
    parser.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=float,
        metavar="SECONDS",
        default=ServerOptions.model_config_file_poll_wait_seconds,
        help="seconds after which --model_config_file is read again; 0 "
        "disables this (default: %(default)g)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_batch_size",
        type=int,
        metavar="N",
        default=ServerOptions.max_batch_size,
        help="maximum number of rows in a request (default: %(default)s)",
    )
    parser.add_argument(
        "--max_request_bytes",
        type=int,
        metavar="BYTES",
        default=ServerOptions.max_request_bytes,
        help="maximum size of a request body (default: %(default)s)",
    )
    parser.add_argument(
        "--max_running",
        type=int,
        metavar="N",
        default=ServerOptions.max_running,
        help="maximum number of requests that run at the same time (default: "
        "the number of cores)",
    )
    parser.add_argument(
        "--rest_api_timeout_in_ms",
        type=int,
        metavar="MS",
        default=ServerOptions.rest_api_timeout_in_ms,
        help="maximum time that a REST request runs; 0 disables the limit "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max_waiting",
        type=int,
        metavar="N",
        default=ServerOptions.max_waiting,
        help="maximum number of requests that wait; further requests are "
        "rejected as UNAVAILABLE (default: %(default)s)",
    )


def _run(args: argparse.Namespace) -> int:
    with process.log_to_stderr():
        options = _options(args)
        process.limit_malloc_arenas()
        process.raise_file_limit()
        with process.wait_for_signal() as stop:
            # Not at the top: TensorFlow takes seconds to load.
            from stftgan_tf.serving.server import Server

            server = Server(options, stop.is_set)
            process.collect_garbage_rarely()
            if not stop.is_set():
                _print_addresses(options, server.port, server.rest_api_port)
            number = stop.wait()
            server.stop()
        # A load or a request that hangs must not keep the process.
        process.exit_at_once(130 if number == signal.SIGINT else 0)


def _options(args: argparse.Namespace) -> ServerOptions:
    server_flags.check(args)
    names = {field.name for field in dataclasses.fields(ServerOptions)}
    values = {k: v for k, v in vars(args).items() if k in names}
    options = ServerOptions(models=_models(args), **values)
    options.check()
    return options


def _print_addresses(
    options: ServerOptions, port: int | None, rest_api_port: int | None
) -> None:
    if port:
        print(f"gRPC on {options.host}:{port}", flush=True)
    if options.grpc_socket_path:
        print(f"gRPC on unix:{options.grpc_socket_path}", flush=True)
    if not rest_api_port:
        return
    address = f"http://{options.host}:{rest_api_port}"
    name = urllib.parse.quote(next(iter(options.models)), safe="")
    print(f"REST on {address}/v1/models/{name}", flush=True)
    if options.page:
        print(f"listen at {address}/", flush=True)


def _models(args: argparse.Namespace) -> dict[str, ModelConfig]:
    """The models by name.

    Raises:
      UsageError: if the flags do not say which.
    """
    if args.model and (args.model_base_path or args.model_config_file):
        raise UsageError(
            "--model is given with --model_base_path or --model_config_file; "
            "use one of them"
        )
    if args.model_config_file:
        # As in tensorflow_model_server, whose container sets all of them.
        for name in ("model_name", "model_base_path"):
            if getattr(args, name) is not None:
                server_flags.warn(name, "--model_config_file names the models")
        return model_config.read(args.model_config_file)
    if args.model_base_path:
        name = _DEFAULT_NAME if args.model_name is None else args.model_name
        return {name: ModelConfig(args.model_base_path)}
    if args.model_name is not None:
        raise UsageError("--model_name requires --model_base_path")
    if not args.model:
        raise UsageError(
            "there is nothing to serve; expected --model, --model_base_path or "
            "--model_config_file"
        )
    models: dict[str, ModelConfig] = {}
    for path in args.model:
        name = name_of(path)
        if name in models:
            raise UsageError(
                f"{models[name].base_path} and {path} have the same name; "
                "rename one"
            )
        models[name] = ModelConfig(path)
    return models


if __name__ == "__main__":
    sys.exit(main())
