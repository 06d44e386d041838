"""The preprocessing job: recordings -> shards, manifest and statistics."""

import contextlib
import dataclasses
import json
import logging
import re
import tempfile
import traceback
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import remote, storage
from pipeline.beam import (
    checks,
    label_coverage,
    manifest,
    names,
    progress,
    shards,
    transforms,
)
from pipeline.beam import options as options_lib
from pipeline.beam import summary as summary_lib
from pipeline.sources import recordings as recordings_lib
from pipeline.sources.recordings import Source
from stftgan_tf.config import Config
from stftgan_tf.data import records
from stftgan_tf.errors import UserError

# As Python ends a traceback, followed by Beam's note on the transform.
_WORKER_ERROR = re.compile(r"WorkerError: (.*?)(?: \[while running .*)?$", re.M)
_CAUSE = re.compile(r"(?:Caused by: )?[\w.$]*(?:Error|Exception)\b: ")

# Dead letters shown on the terminal; all are in dead_letters.jsonl.
MAX_WARNINGS = 20


@dataclasses.dataclass(frozen=True)
class Settings:
    """How recordings are selected and the job is run.

    Attributes:
      pattern: glob that the recordings' relative paths must match.
      tfds_data_dir: where TensorFlow Datasets keeps prepared data sets.
      max_bad_fraction: share of recordings that may be unusable.
      overwrite: whether an existing data set is replaced.
      runner: name of a Beam runner.
      beam_flags: flags of Beam and of the runner.
      exclude: globs that the recordings' relative paths must not match.
    """

    pattern: str = "*"
    tfds_data_dir: str | None = None
    max_bad_fraction: float = 0.1
    overwrite: bool = False
    runner: str = "DirectRunner"
    beam_flags: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def preprocess(
    config: Config,
    source: str,
    output: str,
    settings: Settings = Settings(),  # noqa: B008
) -> dict[str, Any]:
    """Makes a data set, which appears whole or not at all.

    Args:
      config: of the data set.
      source: as `recordings.open_source` takes it.
      output: directory of the data set, local or remote.
      settings: how the job is run.

    Returns:
      The manifest.

    Raises:
      UsageError: for a source or an output that cannot be used.
      UserError: if the recordings lack labels or speakers that the config
        asks for, the job fails, too many recordings are unusable, or no
        training window is left.
    """
    options = options_lib.parse(settings.runner, list(settings.beam_flags))
    checks.check_output(output)
    checks.check_source(source, output, config.audio)
    # A missing credential is reported before the job starts.
    for path in (source, output):
        remote.check_credentials(path, options)
    FileSystems.set_options(options)
    _quiet_beam(options_lib.is_local(settings.runner))
    storage.refuse_existing(output, records.DATA_SET, settings.overwrite)
    recordings = _open_source(config, source, settings)
    paths = [recording.path for recording in recordings.recordings]
    checks.check_paths(paths, output, config.audio)
    with (
        checks.output_lock(output),
        storage.published_dir(
            output, records.DATA_SET, settings.overwrite
        ) as staging,
    ):
        return _write_data_set(config, recordings, staging, options, settings)


def _open_source(config: Config, source: str, settings: Settings) -> Source:
    """Lists the recordings; warns if names or flags look wrong."""
    result = recordings_lib.open_source(
        source,
        config.audio,
        settings.pattern,
        settings.tfds_data_dir and storage.absolute(settings.tfds_data_dir),
        settings.exclude,
    )
    _warn(result.warnings)
    # May raise an error, which the warnings above can explain.
    _warn(label_coverage.check(result, config))
    if not recordings_lib.is_path(source):
        return result
    # Workers may run in other directories. In place, because a second list of
    # millions of recordings takes much memory.
    for index, recording in enumerate(result.recordings):
        path = storage.absolute(recording.path)
        if path != recording.path:
            changed = dataclasses.replace(recording, path=path)
            result.recordings[index] = changed
    return result


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        logging.warning("%s", warning)


def _quiet_beam(local: bool) -> None:
    """Errors are reported once, by this module."""
    # It logs a traceback for each attempt.
    logging.getLogger("apache_beam.utils.retry").setLevel(logging.ERROR)
    if local:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def _write_data_set(
    config: Config,
    source: Source,
    root: str,
    options: PipelineOptions,
    settings: Settings,
) -> dict[str, Any]:
    count = len(source.recordings)
    parts = names.write(root, source.recordings)
    # Not in the data set's directory, which contains only what is published.
    with tempfile.TemporaryDirectory() as scratch:
        local = options_lib.is_local(settings.runner)
        ticks = progress.Ticks(scratch if local else None)
        context = shards.JobContext(
            config,
            storage.absolute(root),
            ticks,
            remote.file_system_options(options),
            checks.sample_of(source.recordings),
        )
        shown = contextlib.nullcontext()
        if local:
            shown = progress.shown(ticks, count)
        with shown:
            _run(context, parts, options)
    summary_path = storage.join(root, summary_lib.SUMMARY)
    summary = json.loads(storage.read_text(summary_path))
    for path in (summary_path, storage.join(root, names.RECORDINGS)):
        storage.delete(path)
    count -= len(summary["duplicates"])
    _check_dead_letters(
        summary["dead_letters"], count, settings.max_bad_fraction
    )
    written = manifest.write(root, config, source, summary)
    if not written["windows"]["train"]:
        raise UserError(
            f"no training window is left of {count} recordings; check "
            "split.eval_fraction, split.by and window.silence_db"
        )
    return written


def _run(
    context: shards.JobContext,
    parts: list[names.Part],
    options: PipelineOptions,
) -> None:
    """Runs the Beam job, which reads like its diagram."""
    try:
        with beam.Pipeline(options=options) as pipeline:
            segments, findings = (
                pipeline
                # Spreads them over the workers.
                | "Parts" >> beam.Create(parts)
                | "Recordings" >> beam.ParDo(names.ReadRecordings(context))
                | "Plan segments" >> transforms.PlanSegments(context)
            )
            results = (
                segments | "Write shards" >> transforms.WriteShards(context),
                findings,
            )
            results | "Write summary" >> summary_lib.WriteSummary(context)
    # Each runner wraps the errors of its workers in its own way.
    except Exception as error:
        raise UserError(_failure(error)) from error


def _failure(error: Exception) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="preprocess-", suffix=".log", delete=False
    ) as log:
        traceback.print_exception(error, file=log)
    reason = reason_of(str(error)) or type(error).__name__
    return f"the Beam job failed: {reason} (traceback in {log.name})"


def reason_of(text: str) -> str:
    """The line that says why a job failed.

    Args:
      text: of a runner's error, which can contain tracebacks of Python and
        Java. Only a `WorkerError` is for the user.
    """
    if match := _WORKER_ERROR.search(text):
        return match[1]
    text = re.sub(r"^Pipeline \S+ failed in state \w+: ", "", text)
    lines = [line.strip() for line in text.splitlines()]
    causes = [line for line in lines if _CAUSE.match(line)]
    return (causes or list(filter(None, lines)) or [""])[-1]


def _check_dead_letters(
    letters: list[dict[str, str]], recordings: int, max_bad_fraction: float
) -> None:
    """Warns about unusable recordings; raises UserError for too many."""
    count = len({letter["path"] for letter in letters})
    descriptions = [_describe(letter) for letter in letters[:MAX_WARNINGS]]
    hidden = len(letters) - len(descriptions)
    if count > max_bad_fraction * recordings:
        if hidden:
            descriptions.append(f"and {hidden} more")
        raise UserError(
            f"{count} of {recordings} recordings are unusable, more than "
            f"--max_bad_fraction {max_bad_fraction}: {'; '.join(descriptions)}"
        )
    for description in descriptions:
        logging.warning("unusable recording %s", description)
    if hidden:
        logging.warning("and %d more; see dead_letters.jsonl", hidden)


def _describe(letter: dict[str, str]) -> str:
    reason = ": ".join(filter(None, (letter["reason"], letter["exception"])))
    return f"{letter['path']}: {reason}"
