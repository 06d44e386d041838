"""Runs the pipeline under TFX, on shards that pipeline.preprocess wrote.

    ImportExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
                     -> AnomalyGate -> Trainer -> Evaluator, InfraValidator
                     -> Pusher

AnomalyGate, Evaluator and InfraValidator are components of this project, and
Trainer calls its `run_fn`. The pipeline runs on this machine, or is written
for Kubeflow (--kubeflow). It requires TFX: `make tfx` installs it.
"""

import argparse
import os
import sys
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UsageError, UserError

EXAMPLE = (
    "python -m pipeline.tfx_pipeline --config digits8k --data tfrecords/digits "
    "--root pipelines/tfx --base_path serving/tfx --steps 10000"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    cli.add_data(parser)
    parser.add_argument(
        "--root",
        metavar="DIR",
        default="pipelines/tfx",
        help="directory of TFX's artifacts; remote only with --kubeflow "
        "(default: pipelines/tfx)",
    )
    parser.add_argument(
        "--base_path",
        metavar="DIR",
        default="serving/tfx",
        help="directory of the served versions; remote only with --kubeflow "
        "(default: serving/tfx)",
    )
    cli.add_limits(parser)
    parser.add_argument(
        "--kubeflow",
        metavar="FILE",
        type=cli.local_path,
        help="write the pipeline to this JSON file instead of running it",
    )
    parser.add_argument(
        "--image",
        metavar="NAME",
        default="stftgan",
        help="container image with TFX and this project, for --kubeflow "
        "(default: stftgan)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    for name in ("steps", "minutes"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name} is {value}; expected above 0")
    try:
        import tfx  # noqa: F401
    except ImportError as error:
        raise UserError(
            "TFX is not installed; run `make tfx`, then "
            ".venv-tfx/bin/python -m pipeline.tfx_pipeline"
        ) from error
    if args.kubeflow:
        return _write_kubeflow(args, config)
    return _run_here(args, config)


def _write_kubeflow(args: argparse.Namespace, config: config_lib.Config) -> int:
    from stftgan_tf.tfx import pipeline

    steps = args.steps or config.train.steps
    places = args.data, args.root, args.base_path
    built = pipeline.build(config, *places, steps, args.minutes)
    pipeline.write_kubeflow(built, args.kubeflow, args.image)
    print(args.kubeflow)
    return 0


def _run_here(args: argparse.Namespace, config: config_lib.Config) -> int:
    from stftgan_tf.data import dataset
    from stftgan_tf.evaluation import blessing
    from stftgan_tf.tfx import pipeline

    # Errors of the data set are easier to read before TFX starts.
    dataset.open_shards(args.data, config)
    data, root, base_path = (
        path if dataset.is_remote(path) else os.path.abspath(path)
        for path in (args.data, args.root, args.base_path)
    )
    steps = args.steps or config.train.steps
    built = pipeline.build(config, data, root, base_path, steps, args.minutes)
    evaluation = pipeline.run(built, root)
    print(f"report: {evaluation / 'report.html'}")
    verdict = blessing.read(evaluation)
    if not verdict["blessed"]:
        raise UserError(f"not blessed: {'; '.join(verdict['reasons'])}")
    # pipeline.push keeps other files there too.
    versions = [p for p in Path(base_path).iterdir() if p.name.isdigit()]
    print(max(versions, key=lambda path: int(path.name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
