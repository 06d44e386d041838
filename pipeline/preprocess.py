"""Turns speech recordings into TFRecord shards of STFT windows.

The source is a folder of recordings, a manifest (CSV or JSON lines with file,
label, speaker), tfds:NAME[:CONFIG][:SPLIT] for a prepared data set of
TensorFlow Datasets, or the built-in demo corpus (spoken digits by espeak-ng).
Source and output may be remote (s3://, gs://, hdfs://). Flags that are not
listed here go to Apache Beam, such as --direct_num_workers.
"""

import argparse
import collections
import contextlib
import importlib
import importlib.metadata
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
import numpy as np
import scipy
import soundfile
import soxr
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import storage
from pipeline.audio import reading as audio
from pipeline.beam import progress, statistics, transforms
from pipeline.sources import recordings as sources
from pipeline.sources import tfds as tfds_source
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.errors import UsageError, UserError, first_line
from stftgan_tf.files import claim, give_up, remove_leftovers

EXAMPLE = (
    "python -m pipeline.preprocess --runner=DirectRunner "
    "--config configs/digits8k.yaml --source recordings/ "
    "--output tfrecords/digits"
)

# Dead letters shown on the terminal; the rest is in dead_letters.jsonl.
MAX_WARNINGS = 20

# Names of Beam's for its runner in this process, in small letters.
_DIRECT_RUNNERS = ("direct", "directrunner", "switchingdirectrunner")

# Runners whose workers share this machine's files, so that progress shows.
_LOCAL_RUNNERS = (*_DIRECT_RUNNERS, "fnapirunner", "prismrunner")


def run(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    args, beam_args = _parser().parse_known_args(argv)
    return cli.run_command(_run, args, beam_args)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    sources.add_arguments(parser)
    parser.add_argument(
        "--output",
        help="folder of the data set (default: tfrecords/<source's name>)",
    )
    parser.add_argument(
        "--runner",
        default="DirectRunner",
        help="any Beam runner (default: DirectRunner)",
    )
    parser.add_argument(
        "--max_bad_fraction",
        type=float,
        default=0.1,
        help="share of recordings that may be unusable (default: 0.1)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing data set once the new one is whole",
    )
    return parser


def check_flags(argv: list[str]) -> None:
    """Refuses what neither this command nor Beam knows, and --output.

    Raises:
      UsageError: naming it.
    """
    args, beam_args = _parser().parse_known_args(argv)
    if args.output:
        raise UsageError("--output: the pipeline's outputs are below --root")
    _pipeline_options(args.runner, beam_args)


def _run(args: argparse.Namespace, beam_args: list[str]) -> int:
    config = config_lib.load(args.config, args.set)
    options = _pipeline_options(args.runner, beam_args)
    if args.print_config:
        print(config.to_yaml(), end="")
        return 0
    if not 0 <= args.max_bad_fraction <= 1:
        raise UsageError(
            f"--max_bad_fraction is {args.max_bad_fraction}; expected 0 to 1"
        )
    output = args.output or _default_output(args.source)
    _check_output(output)
    if args.source != "demo" and not args.source.startswith(tfds_source.PREFIX):
        _check_paths([args.source], output, config)
    try:
        audio.check_decoder(config.audio)
    except audio.AudioError as error:
        raise UserError(str(error)) from error
    # Remote file systems are asked before there is a job.
    for path in (args.source, output):
        storage.check_access(path, options)
    FileSystems.set_options(options)
    # It tells of each try with a traceback.
    logging.getLogger("apache_beam.utils.retry").setLevel(logging.ERROR)
    storage.refuse_existing(output, example_io.MANIFEST, args.overwrite)
    source = sources.open_source(
        args.source, config.audio, args.pattern, args.tfds_data_dir
    )
    paths = [recording.path for recording in source.recordings]
    _check_paths(
        [p for p in paths if not tfds_source.is_record(p)], output, config
    )
    start = time.monotonic()
    with (
        _locked(output),
        storage.published(
            output, example_io.MANIFEST, args.overwrite
        ) as staging,
    ):
        local = args.runner.lower() in _LOCAL_RUNNERS
        if local:
            # A failure is told once, by us; the traceback goes to a file.
            logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        manifest = build(
            config, source, staging, options, args.max_bad_fraction, local
        )
    _report(manifest, output, time.monotonic() - start)
    return 0


def build(
    config: Config,
    source: sources.Source,
    root: str,
    options: PipelineOptions,
    max_bad_fraction: float = 0.1,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Runs the job and writes a whole data set into `root`.

    Returns:
      The manifest, as written.

    Raises:
      UserError: if the job fails, too many recordings are unusable, or
        nothing is left to train on.
    """
    recordings = len(source.recordings)
    # Beside the data set: what is in it is its manifest's business.
    with tempfile.TemporaryDirectory() as scratch:
        ticks = progress.Ticks(scratch if show_progress else None)
        job = transforms.Job(
            config, root, ticks, storage.options_for_workers(options)
        )
        shown = contextlib.nullcontext()
        if show_progress:
            shown = progress.shown(ticks, recordings)
        with shown:
            _run_job(job, source, options)
    summary_path = storage.join(root, transforms.SUMMARY)
    summary = json.loads(storage.read_text(summary_path))
    storage.delete(summary_path)
    _check_dead_letters(summary["dead_letters"], recordings, max_bad_fraction)
    manifest = _manifest(config, source, summary)
    _write_files(root, config, source, summary, manifest)
    if not manifest["windows"]["train"]:
        raise UserError(
            f"no window is left to train on (of {recordings} recordings); "
            "see split.eval_fraction, split.by and window.silence_db"
        )
    return manifest


def _run_job(
    job: transforms.Job, source: sources.Source, options: PipelineOptions
) -> None:
    """The Beam job: reads like its diagram."""
    try:
        with beam.Pipeline(options=options) as pipeline:
            segments, dead = (
                pipeline
                | "Recordings" >> beam.Create(source.recordings)
                | "Plan segments" >> transforms.PlanSegments(job)
            )
            shards = segments | "Write shards" >> transforms.WriteShards(job)
            (shards, dead) | "Write summary" >> transforms.WriteSummary(job)
    # Each runner wraps what its workers raise in its own way.
    except Exception as error:
        raise UserError(_job_failure(error)) from error


def _job_failure(error: Exception) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="preprocess-", suffix=".log", delete=False
    ) as log:
        traceback.print_exception(error, file=log)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the Beam job failed: {lines[-1]} (traceback in {log.name})"


def _pipeline_options(runner: str, beam_args: list[str]) -> PipelineOptions:
    """Beam's options.

    Raises:
      UsageError: for a flag that neither we nor Beam know; Beam itself would
        drop it with a warning. Also for a runner that does not exist.
    """
    try:
        # A runner's module declares the runner's flags.
        if "." in runner:
            importlib.import_module(runner.rpartition(".")[0])
        beam.runners.create_runner(runner)
    except (ImportError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise UsageError(f"--runner {runner}: {reason}") from error
    parser = _BeamFlags(add_help=False, allow_abbrev=False)
    pending = [PipelineOptions]
    while pending:
        for options in pending.pop().__subclasses__():
            pending.append(options)
            if "_add_argparse_args" in vars(options):
                options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(beam_args)
    if unknown:
        raise UsageError(f"unknown arguments {' '.join(unknown)}; see --help")
    # Beam's DirectRunner first tries to download and run another one, Prism,
    # and takes this one where it cannot.
    if runner.lower() in _DIRECT_RUNNERS:
        runner = "FnApiRunner"
    return PipelineOptions(beam_args, runner=runner)


class _BeamFlags(argparse.ArgumentParser):
    """Beam's flags; what is wrong with one is told without all the others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def _check_output(output: str) -> None:
    """Raises UsageError where no folder can be put in place by a rename."""
    what = None
    if storage.is_remote(output):
        bucket = output.startswith(("s3://", "gs://"))
        if bucket and "/" not in output.rstrip("/").partition("://")[2]:
            what = "a whole bucket"
    elif os.path.ismount(os.path.realpath(output)):
        what = "a whole disk"
    elif os.path.islink(os.path.realpath(output)):
        what = "a link to itself"
    if what:
        raise UsageError(f"--output is {output}, {what}; expected a folder")


def _check_paths(paths: list[str], output: str, config: Config) -> None:
    """Before recordings are read and an output is replaced.

    Args:
      paths: of what is read; a list or a link can lead anywhere.
      output: what is written.
      config: names the decoder.

    Raises:
      UsageError: where writing the output could cost what is read, or the
        decoder reads no such path.
    """
    remote = next(filter(storage.is_remote, paths), None)
    if config.audio.decoder == "tfio" and remote:
        raise UsageError(
            f"audio.decoder is tfio, which reads no remote files; {remote} is "
            "one: choose sndfile"
        )
    if storage.is_remote(output):
        start = f"{output.rstrip('/')}/"
        inside = [p for p in paths if f"{p.rstrip('/')}/".startswith(start)]
    elif os.path.exists(output):
        target = os.path.realpath(output)
        local = (p for p in paths if not storage.is_remote(p))
        inside = [p for p in local if _is_inside(p, target)]
    else:
        inside = []
    if inside:
        raise UsageError(
            f"{inside[0]}, which is read, is, or lies in, --output {output}"
        )


def _is_inside(path: str, folder: str) -> bool:
    """Whether a path leads to a folder, or into it."""
    there = os.path.realpath(path)
    return os.path.commonpath([there, folder]) == folder


def _default_output(source: str) -> str:
    if source.startswith(tfds_source.PREFIX):
        name = source.removeprefix(tfds_source.PREFIX).replace(":", "-")
    else:
        name = os.path.basename(os.path.abspath(source.rstrip("/")))
        if source.lower().endswith(sources.MANIFESTS):
            name = os.path.splitext(name)[0]
    return os.path.join("tfrecords", name)


@contextlib.contextmanager
def _locked(output: str) -> Iterator[None]:
    """Nobody else writes this data set; object stores know no such lock."""
    if storage.is_remote(output):
        yield
        return
    path = Path(os.path.realpath(output))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = claim(path.parent / f".{path.name}.lock")
    if lock is None:
        raise UserError(f"another job is writing {path}; wait for it")
    try:
        # What a killed job had moved away is there again before we look.
        remove_leftovers(path)
        yield
    finally:
        give_up(lock)


def _check_dead_letters(
    dead: list[dict[str, str]], recordings: int, max_bad_fraction: float
) -> None:
    for letter in dead[:MAX_WARNINGS]:
        logging.warning(
            "unusable recording %s: %s", letter["path"], _reason(letter)
        )
    bad = len({letter["path"] for letter in dead})
    failed = bad > max_bad_fraction * recordings
    if len(dead) > MAX_WARNINGS and not failed:
        logging.warning("and more, see dead_letters.jsonl")
    if failed:
        told = [f"{d['path']}: {_reason(d)}" for d in dead[:MAX_WARNINGS]]
        if len(dead) > MAX_WARNINGS:
            told.append(f"and {len(dead) - MAX_WARNINGS} more")
        names = "; ".join(told)
        raise UserError(
            f"{bad} of {recordings} recordings are unusable, more than "
            f"--max_bad_fraction {max_bad_fraction}: {names}"
        )


def _reason(letter: dict[str, str]) -> str:
    return ": ".join(filter(None, (letter["reason"], letter["exception"])))


def _manifest(
    config: Config, source: sources.Source, summary: dict[str, Any]
) -> dict[str, Any]:
    """What a data set tells about itself."""
    windows = dict.fromkeys(example_io.SPLITS, 0)
    for shard in summary["shards"]:
        windows[shard["split"]] += shard["records"]
    secs = config.stride_samples / config.audio.sample_rate_hz
    dead = {letter["path"] for letter in summary["dead_letters"]}
    return {
        "format_version": example_io.FORMAT_VERSION,
        "config_hash": config.data_hash(),
        "config": config.data_dict(),
        "labels": source.labels,
        "recordings": len(source.recordings),
        "dead_letters": len(dead),
        "duplicates": source.duplicates,
        "windows": windows,
        "hours": {k: v * secs / 3600 for k, v in windows.items()},
        "silent_windows": sum(s["silent"] for s in summary["shards"]),
        "clipped_share": summary["clipped_share"],
        "moments": summary["moments"],
        "shards": [
            {k: shard[k] for k in ("path", "records", "bytes", "sha256")}
            for shard in summary["shards"]
        ],
        "versions": {
            "decoder": _decoder_version(config),
            "resampler": f"soxr {soxr.__version__}",
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "apache_beam": beam.__version__,
        },
    }


def _decoder_version(config: Config) -> str:
    if config.audio.decoder == "tfio":
        return f"tensorflow-io {importlib.metadata.version('tensorflow-io')}"
    return f"libsndfile {soundfile.__libsndfile_version__}"


def _write_files(
    root: str,
    config: Config,
    source: sources.Source,
    summary: dict[str, Any],
    manifest: dict[str, Any],
) -> None:
    """Everything of a data set but its shards."""
    stats = {
        "histogram": {
            "low": config.log_floor,
            "cells": statistics.HISTOGRAM_CELLS,
            "counts": summary["histogram"],
        }
    }
    for kind in ("labels", "speakers"):
        stats[kind] = _counts(summary["shards"], kind, source.labels)
    texts = {
        example_io.MANIFEST: json.dumps(manifest, indent=1) + "\n",
        "stats.json": json.dumps(stats) + "\n",
        "schema.pbtxt": statistics.schema(config, source.labels),
        "dead_letters.jsonl": "".join(
            json.dumps(letter) + "\n" for letter in summary["dead_letters"]
        ),
    }
    for name, text in texts.items():
        storage.write_text(storage.join(root, name), text)


def _counts(
    shards: list[dict[str, Any]], kind: str, labels: list[str]
) -> dict[str, dict[str, int]]:
    """Windows per label or speaker, by split."""
    counts: dict[str, collections.Counter] = {}
    for shard in shards:
        counter = counts.setdefault(shard["split"], collections.Counter())
        for key, count in shard[kind].items():
            known = kind == "labels" and int(key) >= 0
            counter[labels[int(key)] if known else key] += count
    return {split: dict(sorted(c.items())) for split, c in counts.items()}


def _report(manifest: dict[str, Any], output: str, secs: float) -> None:
    windows = manifest["windows"]
    rate = sum(manifest["hours"].values()) * 3600 / secs
    print(
        f"{manifest['recordings']} recordings "
        f"({manifest['dead_letters']} unusable), "
        f"{windows['train']} training and {windows['eval']} evaluation windows "
        f"({manifest['silent_windows']} silent ones dropped) in {secs:.1f} s, "
        f"{rate:.0f} x real time"
    )
    print(f"{100 * manifest['clipped_share']:.2f} % of values beyond 3 sigma")
    if manifest["duplicates"]:
        print(f"{manifest['duplicates']} names of the same files left out")
    if not windows["eval"]:
        print("no recording fell into the evaluation split (see split.by)")
    print(output)


if __name__ == "__main__":
    # Beam has set up logging of its own when it was imported.
    logging.basicConfig(format="%(levelname)s: %(message)s", force=True)
    sys.exit(run())
