"""Serves exports over REST and gRPC, compatible with TensorFlow Serving.

Use it where tensorflow_model_server is not available. It has the same main
flags, paths, responses and errors, so the same clients work with both. --model
is an export, the name of a model in the box, or a directory with one directory
per version, whose name is the version number. The newest version that loads is
served; when a newer one appears, it takes over without dropping a request.
Requires the extra `serving`.

The REST port also shows a page to listen to the models (/), unless --no_page
switches it off.

    python -m stftgan_tf.serve --model digits
    curl -d '{"instances": [{"seed": 7}]}' \\
        http://127.0.0.1:8501/v1/models/digits:predict
"""

import argparse
import dataclasses
import signal
import sys

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.serving import process
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
    _add_models(parser)
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
        "--file_system_poll_wait_seconds",
        type=float,
        metavar="SECONDS",
        default=ServerOptions.file_system_poll_wait_seconds,
        help="seconds between polls for new versions; 0 disables polling "
        "(default: %(default)g)",
    )
    _add_limits(parser)
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument(
        "--model",
        type=cli.model_path,
        metavar="DIR",
        action="append",
        help="export, directory of versions, or name of a model in the box "
        f"({', '.join(cli.boxed_models())}); may be repeated; requests use the "
        "name of the directory",
    )
    models.add_argument(
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
        "--max_waiting",
        type=int,
        metavar="N",
        default=ServerOptions.max_waiting,
        help="maximum number of requests that wait; further requests are "
        "rejected as UNAVAILABLE (default: %(default)s)",
    )


def _run(args: argparse.Namespace) -> int:
    names = {field.name for field in dataclasses.fields(ServerOptions)}
    values = {k: v for k, v in vars(args).items() if k in names}
    options = ServerOptions(models=_models(args), **values)
    options.check()
    process.limit_malloc_arenas()
    process.raise_file_limit()
    with process.log_to_stderr(), process.wait_for_signal() as wait:
        # Not at the top: TensorFlow takes seconds to load.
        from stftgan_tf.serving.server import Server

        server = Server(options)
        process.collect_garbage_rarely()
        if server.port:
            print(f"gRPC on {options.host}:{server.port}", flush=True)
        if server.rest_api_port:
            print(
                f"REST on http://{options.host}:{server.rest_api_port}"
                f"/v1/models/{next(iter(options.models))}",
                flush=True,
            )
            if options.page:
                print(
                    f"listen at http://{options.host}:{server.rest_api_port}/",
                    flush=True,
                )
        number = wait()
        server.stop()
    return 130 if number == signal.SIGINT else 0


def _models(args: argparse.Namespace) -> dict[str, ModelConfig]:
    """The models by name."""
    if args.model_base_path:
        name = _DEFAULT_NAME if args.model_name is None else args.model_name
        return {name: ModelConfig(args.model_base_path)}
    if args.model_name is not None:
        raise UsageError("--model_name requires --model_base_path")
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
