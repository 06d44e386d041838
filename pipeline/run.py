"""Runs all steps, from recordings to a served version.

    preprocess -> validate -> train -> export
               -> evaluate -> infra-validate -> report -> push

Each step is a command of this project. It writes to ROOT/<step>/<id> (push
writes to --base_path), where the id is a hash of everything the step depends
on. A step whose inputs and config have not changed is skipped. ROOT/records/
contains a record of each completed step, so the same command continues after
an interruption or a kill. With more --steps or --minutes (both are totals)
the training that is there continues, as a new record that names the one before.

Flags that are not listed here go to preprocess (--max_bad_fraction, --runner)
and to Apache Beam.

    python -m pipeline.run status --root pipelines/digits
    python -m pipeline.run lineage serving/digits/1
"""

import argparse
import sys
from pathlib import Path

from pipeline import arguments, auto, preprocess, versions
from pipeline.workflow import history, loop, plan, summary, worker
from pipeline.workflow.step import STEPS, Step
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.errors import UsageError
from stftgan_tf.files import locked
from stftgan_tf.saved_model import contract

EXAMPLE = "python -m pipeline.run --source my_recordings --minutes 60"

_NAMES = list(STEPS)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["status"]:
        return cli.run_command(_status, _status_parser().parse_args(argv[1:]))
    if argv[:1] == ["lineage"]:
        return cli.run_command(_lineage, _lineage_parser().parse_args(argv[1:]))
    args, more_flags = _parser().parse_known_args(argv)
    return cli.run_command(_run, args, more_flags)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(
        parser,
        default=auto.NAME,
        meaning=f"{auto.NAME}, which chooses one for the recordings and writes "
        "it to ROOT/auto.yaml",
    )
    arguments.add_source(parser)
    _add_root(parser, None, "pipelines/<name of the source>")
    parser.add_argument(
        "--base_path",
        metavar="DIR",
        type=cli.local_path,
        help="directory of the served versions (default: serving/<name of the "
        "root>)",
    )
    parser.add_argument(
        "--reference",
        metavar="DIR",
        help="known good data set, local or remote, that the new one must "
        "resemble (default: no comparison)",
    )
    cli.add_limits(parser)
    _add_step_choice(parser)
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print which steps would run and where they would write, and exit",
    )
    parser.add_argument(
        "--unblessed",
        action="store_true",
        help="push the export even if it is not blessed; the version records "
        "this",
    )
    arguments.add_new_contract(parser)
    return parser


def _add_root(
    parser: argparse.ArgumentParser, default: Path | None, meaning: str
) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=cli.local_path,
        default=default,
        help=f"directory of all outputs and records (default: {meaning})",
    )


def _add_step_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        metavar="STEP",
        dest="first",
        choices=_NAMES,
        help="run this step and all later ones again; one of "
        f"{', '.join(_NAMES)}",
    )
    parser.add_argument(
        "--until",
        metavar="STEP",
        choices=_NAMES,
        default=_NAMES[-1],
        help="last step to run (default: push)",
    )
    parser.add_argument(
        "--force", action="store_true", help="run all steps again"
    )


def _status_parser() -> argparse.ArgumentParser:
    example = "python -m pipeline.run status --root pipelines/digits"
    parser = cli.parser(
        "Lists the completed steps of a pipeline.", example, "status"
    )
    _add_root(parser, Path("pipelines/demo"), "pipelines/demo")
    return parser


def _lineage_parser() -> argparse.ArgumentParser:
    example = "python -m pipeline.run lineage serving/digits/1"
    parser = cli.parser(
        "Shows what a pushed version was made from.", example, "lineage"
    )
    parser.add_argument(
        "version",
        metavar="VERSION",
        type=cli.local_path,
        help="directory of the version, such as serving/digits/1",
    )
    return parser


def _run(args: argparse.Namespace, more_flags: list[str]) -> int:
    _check_limits(args)
    args.root = args.root or _default_root(args.source)
    if args.config == auto.NAME:
        # Loads the audio libraries.
        from pipeline.auto import command

        if args.print_config:
            return command.print_config(args)
        config = command.apply(args)
    else:
        config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    request = _request(args, config, more_flags)
    _check(args, request)
    last = _NAMES.index(args.until)
    first = 0 if args.force else _NAMES.index(args.first or _NAMES[0])
    steps = plan.steps(request)[: last + 1]
    rerun = steps[first:] if args.force or args.first else []
    if args.dry_run:
        return _print_preview(steps, rerun, request.base_path)
    if worker.index(request.config):
        return worker.assist(steps, any(s.name == "train" for s in rerun))
    return _run_steps(request, steps, rerun)


def _default_root(source: str) -> Path:
    """pipelines/<name of the source>."""
    from pipeline.sources import recordings as recordings_lib

    return Path("pipelines", recordings_lib.source_name(source))


def _request(
    args: argparse.Namespace, config: Config, more_flags: list[str]
) -> plan.Request:
    return plan.Request(
        config=config,
        config_flags=[
            f"--config={args.config}",
            *(f"--set={text}" for text in args.set),
        ],
        source=args.source,
        pattern=args.pattern,
        exclude=tuple(args.exclude),
        tfds_data_dir=args.tfds_data_dir,
        root=args.root,
        base_path=args.base_path or Path("serving", args.root.resolve().name),
        reference=args.reference,
        steps=args.steps,
        minutes=args.minutes,
        unblessed=args.unblessed,
        new_contract=args.new_contract,
        preprocess_flags=more_flags,
    )


def _check_limits(args: argparse.Namespace) -> None:
    """Raises UsageError for a training of no length."""
    if args.steps is not None and args.steps < 1:
        raise UsageError(f"--steps is {args.steps}; expected at least 1")
    if args.minutes is not None and args.minutes <= 0:
        raise UsageError(f"--minutes is {args.minutes}; expected above 0")


def _check(args: argparse.Namespace, request: plan.Request) -> None:
    """Raises UsageError for flags that cannot be followed."""
    if args.minutes and request.config.train.strategy == "multiworker":
        raise UsageError(
            "--minutes would stop the workers at different steps; use --steps"
        )
    first = args.first or _NAMES[0]
    if _NAMES.index(first) > _NAMES.index(args.until):
        raise UsageError(f"--from={first} comes after --until={args.until}")
    if request.preprocess_flags:
        arguments.refuse_misspelled(request.preprocess_flags, _parser())
        preprocess.check_flags(request.preprocess_flags)


def _print_preview(
    steps: list[Step], rerun: list[Step], base_path: Path
) -> int:
    for step, pending in loop.preview(steps, rerun).items():
        state = "to do" if pending else "up to date"
        path = base_path if step.name == "push" else step.output
        print(f"{step.name:15s} {state:11s} {path}")
        for note in step.notes() if step not in rerun else []:
            print(f"{'':27s} {note}")
    return 0


def _run_steps(
    request: plan.Request, steps: list[Step], rerun: list[Step]
) -> int:
    """Runs what has to run; ends with a summary, also after a failure."""
    root = request.root
    root.mkdir(parents=True, exist_ok=True)
    if steps[-1].name == "push" and not steps[-1].done():
        _warn_of_contract(request)
    message = f"another pipeline is running in {root}; wait for it to end"
    with locked(root / ".lock", message):
        for step in rerun:
            step.forget()
        try:
            loop.run(steps, root)
        finally:
            for line in summary.lines(steps, request.base_path):
                print(line, flush=True)
    return 0


def _warn_of_contract(request: plan.Request) -> None:
    """Says before the training that the push will be refused."""
    served = versions.newest_version(request.base_path)
    if served is None or request.new_contract:
        return
    changes = contract.planned_changes(served, request.config)
    if changes:
        print(
            f"note: the push will be refused, because clients of {served} rely "
            f"on what this config changes: {'; '.join(changes)}; use "
            "--new_contract, or another --base_path",
            file=sys.stderr,
            flush=True,
        )


def _status(args: argparse.Namespace) -> int:
    print(history.status(args.root))
    return 0


def _lineage(args: argparse.Namespace) -> int:
    print(history.version_lineage(args.version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
