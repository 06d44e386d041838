"""Turns speech recordings into TFRecord shards of STFT windows.

The source is a directory of recordings, a manifest (CSV or JSON lines with
file and, optionally, label, speaker, start and end), a prepared data set of
TensorFlow Datasets (tfds:NAME[:CONFIG][:SPLIT]), or the built-in demo corpus
(spoken digits by espeak-ng).
Source and output may be remote (s3://, gs://, hdfs://).

Flags that are not listed here go to Apache Beam, such as --direct_num_workers.
"""

import argparse
import logging
import sys
import time
from typing import Any

from pipeline import arguments
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UsageError, counted

EXAMPLE = (
    "python -m pipeline.preprocess --config digits8k --source recordings/ "
    "--output tfrecords/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args, beam_flags = _parser().parse_known_args(argv)
    return cli.run_command(_run, args, beam_flags)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    arguments.add_source(parser)
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="directory of the data set, local or remote (default: "
        "tfrecords/<name of the source>)",
    )
    parser.add_argument(
        "--runner",
        metavar="RUNNER",
        default="DirectRunner",
        help="Beam runner (default: DirectRunner)",
    )
    parser.add_argument(
        "--max_bad_fraction",
        metavar="FRACTION",
        type=float,
        default=0.1,
        help="maximum fraction of unusable recordings (default: 0.1)",
    )
    cli.add_overwrite(parser)
    return parser


def check_flags(flags: list[str]) -> None:
    """Checks the flags that `pipeline.run` passes on.

    Raises:
      UsageError: for --output and for flags that neither this command nor
        Beam knows.
    """
    parser = _parser()
    args, beam_flags = parser.parse_known_args(flags)
    if args.output:
        raise UsageError("--output cannot be set; the outputs are in --root")
    _check_beam_flags(parser, args.runner, beam_flags)


def _check_beam_flags(
    parser: argparse.ArgumentParser, runner: str, beam_flags: list[str]
) -> None:
    arguments.refuse_misspelled(beam_flags, parser)
    arguments.refuse_unknown(beam_flags, runner)
    # Not at the top: Beam takes seconds to load.
    from pipeline.beam import options

    options.parse(runner, beam_flags)


def _run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if not 0 <= args.max_bad_fraction <= 1:
        raise UsageError(
            f"--max_bad_fraction is {args.max_bad_fraction}; expected 0 to 1"
        )
    _check_beam_flags(_parser(), args.runner, beam_flags)
    from pipeline.beam import checks, job

    # Beam has set up its own logging.
    logging.basicConfig(format="%(levelname)s: %(message)s", force=True)
    output = args.output or checks.default_output(args.source)
    settings = job.Settings(
        pattern=args.pattern,
        tfds_data_dir=args.tfds_data_dir,
        max_bad_fraction=args.max_bad_fraction,
        overwrite=args.overwrite,
        runner=args.runner,
        beam_flags=tuple(beam_flags),
        exclude=tuple(args.exclude),
    )
    start = time.monotonic()
    manifest = job.preprocess(config, args.source, output, settings)
    print(summary(manifest, time.monotonic() - start))
    print(output)
    return 0


def summary(manifest: dict[str, Any], secs: float) -> str:
    """What a job wrote, in a few lines."""
    windows = manifest["windows"]
    hours = sum(manifest["hours"].values())
    clipped = 100 * manifest["clipped_share"]
    lines = [
        f"{manifest['recordings']} recordings "
        f"({manifest['dead_letters']} unusable), {hours:.2f} hours of windows, "
        f"in {secs:.1f} s",
        f"{windows['train']} training windows, {windows['eval']} evaluation "
        f"windows, {manifest['silent_windows']} silent windows dropped",
        f"{clipped:.2f} % of the values are more than 3 standard deviations "
        "from the mean",
    ]
    limited = manifest["gain_db"]["limited"]
    if limited:
        lines.append(
            f"limited the gain of very quiet recordings to 60 dB: {limited:,}"
        )
    lines += _about_recordings(manifest)
    if not windows["eval"]:
        lines.append("the evaluation split is empty; check split.by")
    return "\n".join(lines)


def _about_recordings(manifest: dict[str, Any]) -> list[str]:
    """Labels, and what was skipped, left out or repaired."""
    # Not at the top: Beam takes seconds to load.
    from pipeline.beam import label_coverage
    from pipeline.sources import directory

    lines = label_coverage.describe(manifest)
    if manifest["duplicates"]:
        lines.append(_about_duplicates(manifest))
    if manifest["left_out"]:
        lines.append(directory.describe_left_out(manifest["left_out"]))
    notes = [f"{count:,} {text}" for text, count in manifest["notes"].items()]
    if notes:
        lines.append(f"notes: {'; '.join(notes)}")
    return lines


def _about_duplicates(manifest: dict[str, Any]) -> str:
    name, first = manifest["duplicate_example"]
    same = "is listed twice"
    if name != first:
        same = f"has the same content as {first!r}"
    count, other = manifest["duplicates"], ""
    if number := manifest["duplicates_with_other_label"]:
        other = f"; {number:,} of them with another label than the one kept"
    return (
        f"skipped {counted(count, 'duplicate')}, "
        f"such as {name!r}, which {same}{other}"
    )


if __name__ == "__main__":
    sys.exit(main())
