"""The steps of one pipeline, each with its command and what it depends on."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import versions
from pipeline.workflow.publishing import Export, Push
from pipeline.workflow.step import Step
from pipeline.workflow.training import Training
from stftgan_tf.config import Config
from stftgan_tf.saved_model import contract


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
      steps: generator updates of the training in total.
      minutes: time limit of the training in total.
      unblessed: whether an export that is not blessed is pushed as well.
      new_contract: whether an export is pushed that clients of the version
        served now cannot use as they use that one.
      exclude: globs that the recordings' relative paths must not match.
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
    new_contract: bool = False
    exclude: tuple[str, ...] = ()
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
    evaluation = _evaluate(request, export, run, shards, validation)
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
            *(f"--exclude={glob}" for glob in request.exclude),
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


def _train(request: Request, shards: Step) -> Training:
    limits = request.steps or request.config.train.steps, request.minutes
    sections = request.sections("model", "train", "augment", "watch")
    # Only the default of --steps: a longer training continues a shorter one.
    del sections["train"]["steps"]
    return Training(
        request.root,
        # Validation is not an input: its thresholds change no weight. They do
        # decide what may be published, so evaluate depends on them.
        shards,
        sections,
        limits,
        lambda output: [
            "stftgan_tf.train",
            *request.config_flags,
            f"--data={shards.output}",
            f"--run={output}",
            *_limits(request),
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


def _export(request: Request, run: Training) -> Export:
    command = _command(
        "stftgan_tf.export", f"--run={run.output}", "--overwrite"
    )
    return Export(request.root, run, command)


def _evaluate(
    request: Request,
    export: Step,
    run: Training,
    shards: Step,
    validation: Step,
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
            *_run_flag(run),
            *last_blessed_flag(request.base_path, export.output),
        ],
    )


def last_blessed_flag(base_path: Path, export: Path) -> list[str]:
    """The flag that names the newest blessed version, if there is one.

    Figures of other audio (sample rate, STFT, window) do not compare.
    """
    version = versions.last_blessed(base_path)
    if version is None or contract.audio_changes(version, export):
        return []
    return [f"--last_blessed={version}"]


def _infra_validate(request: Request, export: Step) -> Step:
    command = _command("stftgan_tf.infra_validate", f"--model={export.output}")
    return Step("infra-validate", request.root, [export], None, command)


def _report(
    request: Request,
    evaluation: Step,
    export: Step,
    run: Training,
    shards: Step,
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
            *_run_flag(run),
            f"--record={evaluation.record}",
            f"--output={report_page(output)}",
        ],
    )


def _run_flag(run: Training) -> list[str]:
    """The flag that names the run, unless it was trained further since.

    The history of a longer training is not that of the export.
    """
    return [f"--run={run.output}"] if run.is_current() else []


def report_page(output: Path) -> Path:
    """The HTML file in the output directory of the report step."""
    return output / "report.html"


def _push(
    request: Request, export: Step, evaluation: Step, infra: Step
) -> Push:
    flags = ["--unblessed"] if request.unblessed else []
    if request.new_contract:
        flags.append("--new_contract")
    return Push(
        request.root,
        [export, evaluation, infra],
        [str(request.base_path), *flags],
        lambda _: [
            "pipeline.push",
            f"--model={export.output}",
            f"--evaluation={evaluation.output}",
            f"--base_path={request.base_path}",
            "--compared",
            *flags,
        ],
        request.unblessed,
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
    name += request.exclude
    if not Path(request.source).exists() or request.source == "demo":
        return name
    # Loads the audio libraries.
    from pipeline.sources import recordings as recordings_lib

    source = recordings_lib.open_source(
        request.source,
        request.config.audio,
        request.pattern,
        exclude=request.exclude,
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
