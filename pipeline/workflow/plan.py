"""The steps of one pipeline, each with its command and what it depends on."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import versions
from pipeline.workflow.step import Step
from stftgan_tf.config import Config


@dataclasses.dataclass(frozen=True)
class Request:
    """What `pipeline.run` was asked to do.

    Attributes:
      config: the resolved config.
      config_flags: the flags that lead to it, `--config` and `--set`.
      source: recordings, as `pipeline.preprocess` takes them.
      pattern: glob that the recordings' relative paths must match.
      tfds_data_dir: where TensorFlow Datasets has prepared data sets.
      root: directory of all outputs and records.
      base_path: directory of the served versions.
      reference: a good data set that new shards are compared with.
      steps: generator updates of the training.
      minutes: time limit of the training.
      unblessed: whether an export that is not blessed is pushed as well.
      preprocess_flags: more flags of preprocess and of Beam.
    """

    config: Config
    config_flags: list[str]
    source: str
    pattern: str
    tfds_data_dir: str | None
    root: Path
    base_path: Path
    reference: str | None = None
    steps: int | None = None
    minutes: float | None = None
    unblessed: bool = False
    preprocess_flags: list[str] = dataclasses.field(default_factory=list)

    def sections(self, *names: str) -> dict[str, Any]:
        """Sections of the config as plain values."""
        values = self.config.to_dict()
        return {name: values[name] for name in names}


def steps(request: Request) -> list[Step]:
    """All steps in order.

    recordings -> preprocess -> validate -> train -> export -> evaluate
               -> infra-validate -> report -> push
    """
    shards = _preprocess(request)
    validation = _validate(request, shards)
    run = _train(request, shards)
    export = _export(request, run)
    evaluation = _evaluate(request, export, shards, validation)
    infra = _infra_validate(request, export)
    report = _report(request, evaluation, export, run, shards)
    push_ = _push(request, export, evaluation, infra)
    return [shards, validation, run, export, evaluation, infra, report, push_]


def _preprocess(request: Request) -> Step:
    tfds = request.tfds_data_dir
    return Step(
        "preprocess",
        request.root,
        [],
        [request.config.data_dict(), recordings_fingerprint(request)],
        _command(
            "pipeline.preprocess",
            *request.config_flags,
            f"--source={request.source}",
            f"--pattern={request.pattern}",
            *([f"--tfds_data_dir={tfds}"] if tfds else []),
            "--overwrite",
            *request.preprocess_flags,
        ),
    )


def _validate(request: Request, shards: Step) -> Step:
    reference = request.reference
    return Step(
        "validate",
        request.root,
        [shards],
        # It also checks that there are enough windows for the evaluation.
        [
            request.sections("validate"),
            reference,
            request.config.evaluate.clusters,
        ],
        _command(
            "pipeline.validate",
            f"--data={shards.output}",
            *request.config_flags,
            *([f"--reference={reference}"] if reference else []),
        ),
    )


def _train(request: Request, shards: Step) -> Step:
    limits = _limits(request)
    return Step(
        "train",
        request.root,
        # Validation is not an input: its thresholds change no weight. They do
        # decide what may be published, so evaluate depends on them.
        [shards],
        [request.sections("model", "train", "augment", "watch"), limits],
        lambda output: [
            "stftgan_tf.train",
            *request.config_flags,
            f"--data={shards.output}",
            f"--run={output}",
            *limits,
            *(["--resume"] if (output / "config.yaml").is_file() else []),
        ],
    )


def _limits(request: Request) -> list[str]:
    flags = []
    if request.steps:
        flags.append(f"--steps={request.steps}")
    if request.minutes:
        flags.append(f"--minutes={request.minutes:g}")
    return flags


def _export(request: Request, run: Step) -> Step:
    command = _command(
        "stftgan_tf.export", f"--run={run.output}", "--overwrite"
    )
    return Step("export", request.root, [run], None, command)


def _evaluate(
    request: Request, export: Step, shards: Step, validation: Step
) -> Step:
    return Step(
        "evaluate",
        request.root,
        [export, shards, validation],
        # The export is compared with the version served from there.
        [request.sections("evaluate", "bless"), str(request.base_path)],
        lambda output: [
            "stftgan_tf.evaluate",
            *request.config_flags,
            f"--model={export.output}",
            f"--data={shards.output}",
            f"--output={output}",
            *last_blessed_flag(request.base_path),
        ],
    )


def last_blessed_flag(base_path: Path) -> list[str]:
    """The flag that names the newest blessed version, if there is one."""
    version = versions.last_blessed(base_path)
    return [f"--last_blessed={version}"] if version else []


def _infra_validate(request: Request, export: Step) -> Step:
    command = _command("stftgan_tf.infra_validate", f"--model={export.output}")
    return Step("infra-validate", request.root, [export], None, command)


def _report(
    request: Request, evaluation: Step, export: Step, run: Step, shards: Step
) -> Step:
    return Step(
        "report",
        request.root,
        [evaluation, export, run, shards],
        None,
        lambda output: [
            "stftgan_tf.report",
            f"--evaluation={evaluation.output}",
            f"--model={export.output}",
            f"--data={shards.output}",
            f"--run={run.output}",
            f"--record={evaluation.record}",
            f"--output={report_page(output)}",
        ],
    )


def report_page(output: Path) -> Path:
    """The HTML file in the output directory of the report step."""
    return output / "report.html"


def _push(
    request: Request, export: Step, evaluation: Step, infra: Step
) -> Step:
    return Step(
        "push",
        request.root,
        [export, evaluation, infra],
        [str(request.base_path), request.unblessed],
        lambda _: [
            "pipeline.push",
            f"--model={export.output}",
            f"--evaluation={evaluation.output}",
            f"--base_path={request.base_path}",
            "--compared",
            *(["--unblessed"] if request.unblessed else []),
        ],
    )


def _command(*words: str) -> Callable[[Path], list[str]]:
    """A command that takes its output as the last flag."""
    return lambda output: [*words, f"--output={output}"]


def recordings_fingerprint(request: Request) -> Any:
    """Changes when the recordings change.

    Local files: hash of their names, labels, speakers, sizes and times. Remote
    files, TensorFlow Datasets and the demo corpus: only what they are called.
    """
    name = [request.source, request.pattern, request.tfds_data_dir]
    if not Path(request.source).exists() or request.source == "demo":
        return name
    # Loads the audio libraries.
    from pipeline.sources import recordings as recordings_lib

    source = recordings_lib.open_source(
        request.source, request.config.audio, request.pattern
    )
    rows = [_file_state(recording) for recording in source.recordings]
    text = json.dumps([rows, source.labels])
    return hashlib.sha256(text.encode()).hexdigest()


def _file_state(recording: Any) -> list[Any]:
    row = dataclasses.asdict(recording)
    try:
        stat = os.stat(row.pop("path"))
    except (OSError, ValueError):
        # preprocess reports it as a dead letter.
        return [row, None]
    return [row, [stat.st_size, stat.st_mtime_ns]]
