"""Trains a WGAN on a data set that pipeline.preprocess wrote.

The run directory receives checkpoints, metrics, a log and previews. Ctrl-C
saves a checkpoint and ends; --resume continues from the newest checkpoint, bit
for bit as if the training had never stopped.
"""

import argparse
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.training.limits import limits_of

EXAMPLE = (
    "python -m stftgan_tf.train --config digits8k --data tfrecords/digits "
    "--run runs/digits --minutes 30"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    cli.add_data(parser)
    parser.add_argument(
        "--run",
        metavar="DIR",
        type=cli.local_path,
        help="directory of the run (default: runs/<name of the data set>)",
    )
    cli.add_limits(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the newest checkpoint of the run",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    limits_of(config, args.steps, args.minutes)
    return _train(args, config)


def _train(args: argparse.Namespace, config: Config) -> int:
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.training import logs, loop

    run = args.run or Path("runs", Path(args.data).resolve().name)
    with logs.log_to_stderr():
        result = loop.train(
            config, args.data, run, args.steps, args.minutes, args.resume
        )
    return 130 if result.interrupted else 0


if __name__ == "__main__":
    cli.exit_process(main())
