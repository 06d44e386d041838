"""Checks whether a data set is fit to train on; exit code 1 if it is not.

It verifies the checksum and the schema of every record, and checks silence,
speakers, labels, whether the labels are related to the audio, and whether
windows of the evaluation split are also training windows. With a good
data set as --reference it also checks that level, spectrum, duration and label
balance have not drifted. The thresholds are in the config's `validate` section.
"""

import argparse
import json
import sys

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.files import refuse_foreign_file, write_output

EXAMPLE = (
    "python -m pipeline.validate --data tfrecords/digits "
    "--reference tfrecords/fsdd"
)

# Every file that `--output` writes contains it; other files are not replaced.
_MARK = b'"anomalies"'


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_data(parser)
    parser.add_argument(
        "--reference",
        metavar="DIR",
        help="known good data set, local or remote (default: no comparison)",
    )
    cli.add_output(
        parser,
        "JSON file with the anomalies (default: not written)",
        metavar="FILE",
    )
    config_lib.add_arguments(parser, default="digits8k")
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.output:
        # Fails before the data set is read.
        refuse_foreign_file(args.output, _MARK)
    # Loads NumPy, SciPy and scikit-learn.
    from pipeline.quality import anomalies, data_set, drift

    # A missing reference is reported before the data set is read.
    reference = (
        data_set.read_manifest(args.reference) if args.reference else None
    )
    manifest = data_set.read_manifest(args.data)
    findings = anomalies.find(args.data, manifest, config)
    lines = list(findings.anomalies)
    if reference:
        lines += drift.find(
            args.data, manifest, args.reference, reference, config.validate
        )
    if args.output:
        text = json.dumps({"data": args.data, "anomalies": lines}, indent=1)
        write_output(args.output, f"{text}\n".encode(), _MARK)
    for line in lines:
        print(f"anomaly: {line}")
    for note in findings.notes:
        print(f"note: {note}")
    if lines:
        raise UserError(
            f"{args.data} is not fit to train on ({len(lines)} anomalies); fix "
            "the recordings, or change the thresholds in the config's validate "
            "section"
        )
    print(f"{args.data} is fit to train on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
