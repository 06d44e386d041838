"""Measures how varied and realistic an export's samples are.

Prints each metric for real windows of the evaluation split and for generated
windows, and decides whether the export may be published. The output directory
contains evaluation.json with all metrics; BLESSED or NOT_BLESSED, decided by
the bless section of the config; and examples.npz, which stftgan_tf.report
shows. Each failed check comes with advice on what to do about it.
"""

import argparse
import sys
from pathlib import Path

from stftgan_tf import api, cli
from stftgan_tf import config as config_lib

EXAMPLE = (
    "python -m stftgan_tf.evaluate --model exports/digits "
    "--data tfrecords/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_data(parser)
    cli.add_output(
        parser,
        "directory of the evaluation; an earlier one is replaced (default: "
        "evaluations/<name of the export>)",
    )
    parser.add_argument(
        "--last_blessed",
        type=cli.local_path,
        metavar="DIR",
        help="evaluation of the last blessed export, or its pushed version; "
        "bless.max_worse limits how much worse this export may be (default: "
        "no comparison)",
    )
    parser.add_argument(
        "--run",
        type=cli.local_path,
        metavar="DIR",
        help="directory of the run, from whose history the advice follows if "
        "the export is not blessed (default: only the export's metadata)",
    )
    config_lib.add_arguments(parser, default=None)
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set) if args.config else None
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.evaluation import blessing, evaluator
    from stftgan_tf.files import refuse_existing

    if args.print_config:
        return config_lib.print_config(
            config or evaluator.config_of(args.model, args.set)
        )
    output = args.output or Path("evaluations", args.model.resolve().name)
    # Fails before the evaluation, which takes long, not after it.
    refuse_existing(output, blessing.EVALUATION, overwrite=True)
    evaluation = evaluator.evaluate(
        args.model, args.data, config, args.set, args.last_blessed, args.run
    )
    evaluation.save(output)
    print(evaluation)
    print(output)
    return 0


api.as_function(sys.modules[__name__], api.evaluate)


if __name__ == "__main__":
    cli.exit_process(main())
