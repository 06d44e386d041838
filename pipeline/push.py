"""Publishes a blessed export as the next version that servers load.

A version is a directory in --base_path whose name is a number. One rename makes
it visible. Its `pushed.json` records what was pushed, its evaluation and when.
A version that clients could not use as they use the newest one is refused,
unless --new_contract is given.
"""

import argparse
import sys

from pipeline import arguments, versions
from stftgan_tf import cli
from stftgan_tf.errors import UsageError

EXAMPLE = (
    "python -m pipeline.push --model exports/digits "
    "--evaluation evaluations/digits --base_path serving/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--base_path",
        metavar="DIR",
        type=cli.local_path,
        required=True,
        help="directory of the served versions: the server's --model",
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        type=cli.local_path,
        help="directory of the export",
    )
    parser.add_argument(
        "--evaluation",
        metavar="DIR",
        type=cli.local_path,
        help="directory that stftgan_tf.evaluate wrote for this export",
    )
    _add_rules(parser)
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="remove the newest version, so that servers return to the one "
        "before it",
    )
    return parser


def _add_rules(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what is required of the export."""
    parser.add_argument(
        "--unblessed",
        action="store_true",
        help="push even if the export is not blessed or not evaluated; the "
        "version records this",
    )
    arguments.add_new_contract(parser)
    parser.add_argument(
        "--compared",
        action="store_true",
        help="require that the evaluation compared the export with the last "
        "blessed one (stftgan_tf.evaluate --last_blessed)",
    )
    parser.add_argument(
        "--keep",
        metavar="N",
        type=int,
        default=3,
        help="number of newest versions to keep (default: 3)",
    )


def _run(args: argparse.Namespace) -> int:
    if args.rollback:
        others = (args.unblessed, args.compared, args.new_contract)
        if args.model or args.evaluation or any(others):
            raise UsageError("--rollback can be used with --base_path only")
        print(versions.roll_back(args.base_path))
        return 0
    if not args.model or not (args.evaluation or args.unblessed):
        raise UsageError(
            "expected --model and --evaluation (or --unblessed), or "
            "--rollback; see --help"
        )
    if args.keep < 1:
        raise UsageError(f"--keep is {args.keep}; expected at least 1")
    rules = versions.Rules(
        args.keep, args.unblessed, args.compared, args.new_contract
    )
    version = versions.push(args.model, args.evaluation, args.base_path, rules)
    print(version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
