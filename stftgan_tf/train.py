"""Trains a WGAN on a data set that pipeline.preprocess wrote.

The run directory receives checkpoints, metrics, a log and previews. Ctrl-C
saves a checkpoint and ends; --resume continues from the newest checkpoint, bit
for bit as if the training had never stopped. Config and data set are those of
the run:

    python -m stftgan_tf.train --run runs/digits --resume --minutes 60

--init_from fine-tunes another model on new recordings, with its config:

    python -m stftgan_tf.train --data tfrecords/mine --run runs/mine \\
        --init_from runs/digits --minutes 5
"""

import argparse
import sys
from pathlib import Path

from stftgan_tf import api, cli, run_files
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.errors import UserError
from stftgan_tf.training.limits import limits_of

EXAMPLE = (
    "python -m stftgan_tf.train --config digits8k --data tfrecords/digits "
    "--run runs/digits --minutes 30"
)


# Defaults of --config and --data for a new run.
_CONFIG, _DATA = "digits8k", "tfrecords/demo"


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    meaning = (
        f"{_CONFIG}; with --resume the config of the run, with --init_from "
        "that of the other model"
    )
    config_lib.add_arguments(parser, default=None, meaning=meaning)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"data set, local or remote (default: {_DATA}; with --resume the "
        "data set of the run)",
    )
    parser.add_argument(
        "--run",
        metavar="DIR",
        type=cli.local_path,
        help="directory of the run (default: runs/<name of the data set>)",
    )
    parser.add_argument(
        "--init_from",
        metavar="DIR",
        type=cli.model_path,
        help="start with the weights of another run, an export or a model in "
        "the box (without a critic, which starts anew, from the last two)",
    )
    cli.add_limits(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the newest checkpoint of the run",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    name = Path(args.data or _DATA).resolve().name
    run = args.run or Path("runs", name)
    config = _config(args, run)
    if args.print_config:
        return config_lib.print_config(config)
    limits_of(config, args.steps, args.minutes)
    return _train(args, run, config)


def _config(args: argparse.Namespace, run: Path) -> Config:
    """Of `--config`, of the run to resume or of the model to start from."""
    origin = run if args.resume else args.init_from
    if not args.config and origin:
        saved, metadata = origin / "config.yaml", origin / "metadata.json"
        if saved.is_file():
            return config_lib.load_saved(saved, args.set)
        if metadata.is_file():
            return config_lib.load_exported(metadata, args.set)
    return config_lib.load(args.config or _CONFIG, args.set)


def _train(args: argparse.Namespace, run: Path, config: Config) -> int:
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.training import logs, loop

    data = args.data or (_data_of(run) if args.resume else _DATA)
    with logs.log_to_stderr():
        result = loop.train(
            config,
            data,
            run,
            args.steps,
            args.minutes,
            args.resume,
            args.init_from,
        )
    return 130 if result.interrupted else 0


def _data_of(run: Path) -> str:
    """Where the data set of a run is.

    Raises:
      UserError: if the run does not exist or does not record the place, or
        the data set is no longer there.
    """
    from stftgan_tf.training import run_dir

    if not (run / run_dir.CONFIG).is_file():
        raise UserError(
            f"{run} contains no run to resume; train without --resume"
        )
    data = run_files.data_of(run)
    if data is None:
        raise UserError(
            f"{run} is of an earlier version, which did not record where the "
            "data set is; name it by --data"
        )
    if "://" not in data and not Path(data).exists():
        raise UserError(
            f"the data set of {run} is no longer at {data}; name its new "
            "place by --data"
        )
    return data


api.as_function(sys.modules[__name__], api.train)


if __name__ == "__main__":
    cli.exit_process(main())
