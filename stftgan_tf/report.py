"""Writes one HTML file that shows an evaluation.

The file shows real and generated windows as images and audio, each metric with
its value for real windows and its limit, the nearest training windows, the
history of the training, the data set and the lineage. It needs no network.
"""

import argparse
from pathlib import Path

from stftgan_tf import cli

EXAMPLE = (
    "python -m stftgan_tf.report --model exports/digits "
    "--data tfrecords/digits --evaluation evaluations/digits "
    "--run runs/digits --output report.html"
)


# In every report, so that no other file of that name is replaced.
_MARK = b'<meta name="generator" content="stftgan_tf.report">'


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_data(parser)
    parser.add_argument(
        "--evaluation",
        type=cli.local_path,
        required=True,
        metavar="DIR",
        help="directory that stftgan_tf.evaluate wrote for this export",
    )
    parser.add_argument(
        "--run",
        type=cli.local_path,
        metavar="DIR",
        help="directory of the run, to show its history (default: not shown)",
    )
    parser.add_argument(
        "--record",
        type=cli.local_path,
        metavar="FILE",
        help="record of the evaluation that pipeline.run wrote, to show the "
        "lineage (default: not shown)",
    )
    cli.add_output(
        parser,
        "HTML file to write (default: report.html)",
        metavar="FILE",
        default=Path("report.html"),
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    from stftgan_tf.evaluation import report
    from stftgan_tf.files import refuse_foreign_file, write_output

    # Fails before the report is drawn.
    refuse_foreign_file(args.output, _MARK)
    sources = report.read_sources(args.model, args.data, args.evaluation)
    page = report.html(sources, args.run, args.record)
    write_output(args.output, page.encode(), _MARK)
    print(args.output)
    return 0


if __name__ == "__main__":
    cli.exit_process(main())
