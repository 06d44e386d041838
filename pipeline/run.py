"""From recordings to a blessed, served model: all steps, in order, once.

    preprocess -> validate -> train -> export
               -> evaluate -> infra-validate -> report -> push

Each step is a command of this project; its output (but of push) lies in
ROOT/<step>/<id>, where the id is of everything the step depends on, so that a
step whose inputs and config have not changed is skipped. ROOT/records/ tells
what made what, and so what is done: doit, which orders and runs the steps,
remembers that at its end alone, and would forget it when killed. Killed
anywhere, the same command goes on from there.

What is not a flag of this command is one of preprocess or of Beam:
--max_bad_fraction, --runner and what runners take.

    python -m pipeline.run status --root pipelines/digits
    python -m pipeline.run lineage serving/digits/1
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain
from doit.reporter import ConsoleReporter

from pipeline import push
from pipeline.sources import recordings as sources
from pipeline.steps import Step, running
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import held
from stftgan_tf.progress import clock

EXAMPLE = (
    "python -m pipeline.run --config digits8k --source recordings "
    "--root pipelines/digits --base_path serving/digits --minutes 60"
)

STEPS = (
    "preprocess",
    "validate",
    "train",
    "export",
    "evaluate",
    "infra-validate",
    "report",
    "push",
)

# How long the last look at a training takes at most, and its record.
_RECORDED_SECS = 60


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["status"]:
        return cli.run_command(_status, _status_parser().parse_args(argv[1:]))
    if argv[:1] == ["lineage"]:
        return cli.run_command(_lineage, _lineage_parser().parse_args(argv[1:]))
    args, beam_args = _parser().parse_known_args(argv)
    return cli.run_command(_run, args, beam_args)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    sources.add_arguments(parser)
    parser.add_argument(
        "--root",
        type=cli.local_path,
        default=Path("pipelines/demo"),
        help="folder of all outputs and records (default: pipelines/demo)",
    )
    parser.add_argument(
        "--base_path",
        type=cli.local_path,
        help="folder of the versions that are served (default: "
        "serving/<name of the root>)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="bound of the training (default: none); with another bound it "
        "is another training",
    )
    parser.add_argument(
        "--reference", help="a good data set that new shards must be like"
    )
    parser.add_argument(
        "--until", choices=STEPS, help="the last step (default: push)"
    )
    parser.add_argument(
        "--from",
        dest="first",
        choices=STEPS,
        help="do this step and all after it again",
    )
    parser.add_argument(
        "--force", action="store_true", help="do all steps again"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done and where, and do nothing",
    )
    parser.add_argument(
        "--unblessed",
        action="store_true",
        help="push even what is not blessed; it is written down",
    )
    return parser


def _status_parser() -> argparse.ArgumentParser:
    example = "python -m pipeline.run status --root pipelines/digits"
    parser = cli.parser("Shows what ran below a root.", example)
    parser.add_argument(
        "--root", type=cli.local_path, default=Path("pipelines/demo")
    )
    return parser


def _lineage_parser() -> argparse.ArgumentParser:
    example = "python -m pipeline.run lineage serving/digits/1"
    parser = cli.parser("Tells what a pushed model came from.", example)
    parser.add_argument(
        "path", type=cli.local_path, help="such as serving/digits/1"
    )
    return parser


def _run(args: argparse.Namespace, beam_args: list[str]) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        print(config.to_yaml(), end="")
        return 0
    if args.minutes is not None and args.minutes <= 0:
        raise UsageError(f"--minutes is {args.minutes}; expected more than 0")
    if args.minutes and config.train.strategy == "multiworker":
        raise UsageError(
            "--minutes would end the workers at different steps; use "
            "--set train.steps=N"
        )
    if beam_args:
        # Beam takes seconds to load, and drops what it does not know.
        from pipeline import preprocess

        preprocess.check_flags(beam_args)
    if args.base_path is None:
        args.base_path = Path("serving", args.root.resolve().name)
    steps = _steps(args, beam_args, config)
    last = STEPS.index(args.until or STEPS[-1])
    first = 0 if args.force else STEPS.index(args.first or STEPS[0])
    if first > last:
        raise UsageError(
            f"--from={args.first} comes after --until={args.until}"
        )
    wanted = steps[: last + 1]
    if args.dry_run:
        todo = set()
        for index, step in enumerate(wanted):
            again = (args.force or args.first) and index >= first
            if again or not todo.isdisjoint(step.inputs) or not step.done():
                todo.add(step)
            told = "to do" if step in todo else "up to date"
            where = args.base_path if step.name == "push" else step.output
            print(f"{step.name:15s} {told:11s} {where}")
        return 0
    again = bool(args.force or args.first) and first <= STEPS.index("train")
    if _worker(config):
        return _help_train(wanted, again)
    args.root.mkdir(parents=True, exist_ok=True)
    with held(args.root / ".lock", f"another pipeline runs in {args.root}"):
        if args.force or args.first:
            for step in wanted[first:]:
                step.forget()
        return _run_steps(args.root, wanted)


def _run_steps(root: Path, wanted: list[Step]) -> int:
    """Runs what is to be done, and says where the report lies."""
    pages = [step for step in wanted if step.name == "report"]
    for step in pages:
        print(f"report, once it is made: {_page(step.output)}", flush=True)
    code = _done(root, wanted)
    for step in pages:
        # Also, and all the more, of what was not blessed.
        if step.record.is_file() and _page(step.output).is_file():
            print(f"report: {_page(step.output)}")
    return code


def _steps(
    args: argparse.Namespace, beam_args: list[str], config: Config
) -> list[Step]:
    """All steps in order; each names the steps whose outputs it reads."""
    shards, valid = _data_steps(args, beam_args, config)
    run, model = _model_steps(args, config, shards)
    verdict = _evaluation(args, config, model, [shards, valid])
    infra = Step(
        "infra-validate",
        args.root,
        [model],
        None,
        _command("stftgan_tf.infra_validate", f"--model={model.output}"),
    )
    page = Step(
        "report",
        args.root,
        [verdict, model, run, shards],
        None,
        lambda output: [
            "stftgan_tf.report",
            f"--evaluation={verdict.output}",
            f"--model={model.output}",
            f"--data={shards.output}",
            f"--run={run.output}",
            f"--record={verdict.record}",
            f"--output={_page(output)}",
        ],
    )
    pushed = Step(
        "push",
        args.root,
        [model, verdict, infra],
        [str(args.base_path), args.unblessed],
        lambda _: [
            "pipeline.push",
            f"--model={model.output}",
            f"--blessing={verdict.output}",
            f"--base_path={args.base_path}",
            "--compared",
            *(["--unblessed"] if args.unblessed else []),
        ],
    )
    return [shards, valid, run, model, verdict, infra, page, pushed]


def _data_steps(
    args: argparse.Namespace, beam_args: list[str], config: Config
) -> tuple[Step, Step]:
    """Recordings to shards, and whether these are fit to train on."""
    flags, place = _config_flags(args), args.tfds_data_dir
    shards = Step(
        "preprocess",
        args.root,
        [],
        [config.data_dict(), _recordings(args, config)],
        _command(
            "pipeline.preprocess",
            *flags,
            f"--source={args.source}",
            f"--pattern={args.pattern}",
            *([f"--tfds_data_dir={place}"] if place else []),
            "--overwrite",
            *beam_args,
        ),
    )
    valid = Step(
        "validate",
        args.root,
        [shards],
        # Too few windows for the clusters of evaluate are told of there.
        [
            _sections(config, "validate"),
            args.reference,
            config.evaluate.clusters,
        ],
        _command(
            "pipeline.validate",
            str(shards.output),
            *flags,
            *([f"--reference={args.reference}"] if args.reference else []),
        ),
    )
    return shards, valid


def _model_steps(
    args: argparse.Namespace, config: Config, shards: Step
) -> tuple[Step, Step]:
    """Shards to a run, and to what is exported of it."""
    run = Step(
        "train",
        args.root,
        # The thresholds of validate, which comes before, change no weight:
        # what is fit to publish depends on them, so evaluate takes them.
        [shards],
        [_sections(config, "model", "train", "augment", "watch"), args.minutes],
        lambda output: [
            "stftgan_tf.train",
            *_config_flags(args),
            f"--data={shards.output}",
            f"--run={output}",
            *([f"--minutes={args.minutes:g}"] if args.minutes else []),
            *(["--resume"] if (output / "config.yaml").is_file() else []),
        ],
    )
    model = Step(
        "export",
        args.root,
        [run],
        None,
        _command("stftgan_tf.export", f"--run={run.output}", "--overwrite"),
    )
    return run, model


def _evaluation(
    args: argparse.Namespace, config: Config, model: Step, data: list[Step]
) -> Step:
    """The verdict on an export; `data` are its shards and what was found."""
    return Step(
        "evaluate",
        args.root,
        [model, *data],
        # It is compared with what is served there.
        [_sections(config, "evaluate", "bless"), str(args.base_path)],
        lambda output: [
            "stftgan_tf.evaluate",
            *_config_flags(args),
            f"--model={model.output}",
            f"--data={data[0].output}",
            f"--blessing={output}",
            *_last_blessed(args.base_path),
        ],
    )


def _config_flags(args: argparse.Namespace) -> list[str]:
    return ["--config", args.config, *(f"--set={s}" for s in args.set)]


def _sections(config: Config, *names: str) -> dict[str, Any]:
    whole = config.to_dict()
    return {name: whole[name] for name in names}


def _command(name: str, *more: str) -> Callable[[Path], list[str]]:
    """A command that is told its output at the end."""
    return lambda output: [name, *more, "--output", str(output)]


def _worker(config: Config) -> int:
    """Which worker of a training on many machines this is; the first leads."""
    if config.train.strategy != "multiworker":
        return 0
    try:
        return int(json.loads(os.environ["TF_CONFIG"])["task"]["index"])
    except (KeyError, TypeError, ValueError):
        # The training will tell what is wrong with it.
        return 0


def _help_train(steps: list[Step], again: bool) -> int:
    """Takes part in the training once the worker that leads is there.

    Where it is to be done `again`, that is once the leader has forgotten it.
    """
    found = {step.name: step for step in steps}
    if "train" not in found:
        return 0
    valid, training = found["validate"], found["train"]
    before = _bytes(training.record) if again else None
    said = False
    while True:
        if before is None or _bytes(training.record) != before:
            if training.done():
                print("== train: up to date")
                return 0
            if valid.done():
                return _take_part(training)
        if not said:
            told = f"waits for {valid.record} of the first worker"
            print(f"== train: {told}", flush=True)
            said = True
        time.sleep(0.5)


def _take_part(training: Step) -> int:
    """Trains beside the leader until it has recorded that all is done.

    One that is killed at its very end starts again, and needs us again.
    """
    while not training.done():
        with running(training.command()) as job:
            while job.poll() is None:
                if training.done():
                    job.kill()
                time.sleep(0.5)
        if job.returncode and not training.done():
            return job.returncode
        print(f"== train: waits for {training.record}", flush=True)
        end = time.monotonic() + _RECORDED_SECS
        while time.monotonic() < end and not training.done():
            time.sleep(0.5)
    return 0


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _page(folder: Path) -> Path:
    return folder / "report.html"


def _done(root: Path, steps: list[Step]) -> int:
    """Has doit do what is not up to date; returns the exit code."""
    interrupted, start, names = [], time.monotonic(), [s.name for s in steps]
    usual = _usual_secs(root)

    class Reporter(ConsoleReporter):
        """A line a step; what commands print comes through as it is."""

        def execute_task(self, task):
            place = names.index(task.name)
            so_far = clock(time.monotonic() - start)
            told = f"{place + 1} of {len(names)}, {so_far} so far"
            if left := sum(usual.get(name, 0) for name in names[place:]):
                told += f", {clock(left)} to go by the times before"
            print(f"== {task.name} ({told})", flush=True)

        def skip_uptodate(self, task):
            print(f"== {task.name}: up to date", flush=True)

        def add_failure(self, task, failure):
            message = str(failure.get_msg()).strip().splitlines()[-1]
            print(f"error: {task.name} failed: {message}", file=sys.stderr)

        def complete_run(self):
            pass

        def runtime_error(self, message):
            interrupted.append(message)

    def creator(step: Step, before: list[Step]) -> Callable[[], Any]:
        """What doit calls for a task."""
        return lambda: {
            "basename": step.name,
            "actions": [step.do],
            # As people think of it, where inputs alone would not say.
            "task_dep": [other.name for other in before],
            "uptodate": [lambda task, values: step.done()],
        }

    tasks: dict[str, Any] = {
        f"task_{step.name}": creator(step, steps[:index][-1:])
        for index, step in enumerate(steps)
    }
    settings = {
        "backend": "json",
        "verbosity": 2,
        "reporter": Reporter,
        "default_tasks": [steps[-1].name],
    }
    tasks["DOIT_CONFIG"] = settings
    with tempfile.TemporaryDirectory() as folder:
        settings["dep_file"] = str(Path(folder, "unused"))
        code = DoitMain(ModuleTaskLoader(tasks)).run(["run"])
    if interrupted:
        raise UserError("; ".join(interrupted))
    return 1 if code else 0


def _usual_secs(root: Path) -> dict[str, float]:
    """What each step took when it last ran below this root."""
    records = [lineage.read(p) for p in (root / "records").glob("*.json")]
    records.sort(key=lambda record: record["started"])
    return {record["step"]: record["secs"] for record in records}


def _recordings(args: argparse.Namespace, config: Config) -> Any:
    """What tells whether recordings are others.

    Names, labels, speakers, sizes and times of files here; of what is remote,
    prepared by TensorFlow Datasets or our own demo, what it is called.
    """
    told = [args.source, args.pattern, args.tfds_data_dir]
    if args.source == "demo" or not Path(args.source).exists():
        return told
    source = sources.open_source(args.source, config.audio, args.pattern)
    listed = []
    for recording in source.recordings:
        row = dataclasses.asdict(recording)
        try:
            stat = os.stat(row.pop("path"))
        # Which preprocess tells of.
        except (OSError, ValueError):
            stat = None
        listed.append([row, stat and [stat.st_size, stat.st_mtime_ns]])
    text = json.dumps([listed, source.labels])
    return hashlib.sha256(text.encode()).hexdigest()


def _last_blessed(base_path: Path) -> list[str]:
    """The flag that names the newest version that was blessed, if any."""
    last = push.last_blessed(base_path)
    return [f"--last_blessed={last}"] if last else []


def _status(args: argparse.Namespace) -> int:
    paths = (args.root / "records").glob("*.json")
    records = [lineage.read(path) for path in paths]
    if not records:
        raise UserError(f"{args.root} holds no records; run something")
    records.sort(key=lambda record: record["started"])
    print(f"{'step':15s}{'id':14s}{'started':27s}{'seconds':>8s}  output")
    for record in records:
        print(
            f"{record['step']:15s}{record['id']:14s}{record['started']:27s}"
            f"{record['secs']:8.1f}  {record['output']}"
        )
    return 0


def _lineage(args: argparse.Namespace) -> int:
    path = args.path / blessing.PUSHED
    if not path.is_file():
        raise UserError(f"{args.path} is no pushed version (no {path.name})")
    pushed = lineage.read(path)
    told = (
        "unblessed: " + pushed["unblessed"]
        if pushed["unblessed"]
        else "blessed"
    )
    print(f"{args.path}  pushed {pushed['pushed']}  {told}")
    model = Path(pushed["model"])
    # Of `<root>/export/<id>`.
    records = model.resolve().parent.parent / "records"
    made = records / f"export-{model.name}.json"
    if not made.is_file():
        print(f"  {model}  (not of a pipeline, or its records are gone)")
        return 0
    # Where it was pushed by hand, what made the model is all that is known.
    first, top = "", made
    for path in records.glob("push-*.json"):
        record = lineage.read(path)
        here = Path(record["output"]).resolve() == args.path.resolve()
        # Pushed again, it is the same version: the first time made it.
        if here and made.name in record["inputs"]:
            if not first or record["started"] < first:
                first, top = record["started"], path
    for depth, record in lineage.walk(top, 1):
        _tell(record, "  " * depth)
    return 0


def _tell(record: dict[str, Any], indent: str) -> None:
    print(
        f"{indent}{record['step']} {record['output']}  "
        f"{record['started']}, {record['secs']} s, code {record['code']}"
    )
    print(f"{indent}  {shlex.join(record['command'])}")


if __name__ == "__main__":
    sys.exit(main())
