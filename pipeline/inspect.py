"""Prints what a data set contains and verifies it against its manifest.

It verifies the checksum of every shard and of every record, and the content of
every record. A picture shows windows, and the moments and histograms of the
frequency bins.
"""

import argparse
import logging
import sys
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf.errors import UserError
from stftgan_tf.files import refuse_foreign_file, write_output

EXAMPLE = "python -m pipeline.inspect --data tfrecords/digits"


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_data(parser)
    cli.add_output(
        parser,
        "PNG file of the picture (default: <name of the data set>.png)",
        metavar="FILE",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    # Loads NumPy and Matplotlib.
    from pipeline.quality import data_set, integrity
    from stftgan_tf import pictures

    # Beam, which reads remote files, sets up its own logging.
    logging.basicConfig(format="%(levelname)s: %(message)s", force=True)
    name = args.data.rstrip("/").rpartition("/")[2] or "data"
    output = args.output or Path(f"{name}.png")
    # Fails before the data set is read.
    refuse_foreign_file(output, pictures.MARK)
    manifest = data_set.read_manifest(args.data)
    print(data_set.summary(manifest))
    verification = integrity.Verification(args.data, manifest)
    problems = verification.problems()
    if verification.windows:
        write_output(output, verification.picture(), pictures.MARK)
        print(output)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    if problems:
        raise UserError(
            f"{args.data} is damaged ({len(problems)} problems); run "
            "pipeline.preprocess again"
        )
    print("all shards and records are intact")
    return 0


if __name__ == "__main__":
    sys.exit(main())
