"""Exports the averaged generator of a run as a SavedModel.

The best checkpoint has the lowest Frechet distance of those that the watch of
the training found healthy. --checkpoint takes another one that the run still
contains.

The SavedModel turns seeds into audio: moments, phase and inverse STFT are in
its graph. metadata.json beside it contains the sample rate and the config.
"""

import argparse
import logging
import statistics
import sys
from pathlib import Path

from stftgan_tf import api, cli
from stftgan_tf.saved_model.request import check_checkpoint, check_long_secs

EXAMPLE = (
    "python -m stftgan_tf.export --run runs/digits --output exports/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--run",
        metavar="DIR",
        type=cli.local_path,
        default=Path("runs/demo"),
        help="directory of the run (default: runs/demo)",
    )
    cli.add_output(
        parser, "directory of the export (default: exports/<name of the run>)"
    )
    parser.add_argument(
        "--secs",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help="duration that the signature `long` can generate (default: 5)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        default="best",
        help="best (by the watch of the training), last, or the number of a "
        "step (default: best)",
    )
    parser.add_argument(
        "--note",
        metavar="FILE",
        type=cli.local_path,
        help="Markdown for the model card, such as origin and licence of the "
        "recordings",
    )
    cli.add_overwrite(parser)
    return parser


def _run(args: argparse.Namespace) -> int:
    output = args.output or Path("exports", args.run.resolve().name)
    check_long_secs(args.secs)
    check_checkpoint(args.checkpoint)
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.saved_model import latency, loading, writing

    export = writing.export(
        args.run,
        output,
        args.secs,
        args.overwrite,
        args.checkpoint,
        args.note,
    )
    if not export.has_warmup:
        print(
            "the export has no warm-up requests for TensorFlow Serving; to "
            "write them, install the extra `serving`",
            file=sys.stderr,
        )
    print(
        f"step {export.step}, {export.parameters:,} parameters, "
        f"{export.size_mb:.1f} MB"
    )
    print(f"checkpoint {export.checkpoint}")
    model = loading.load(output)
    window_secs = model.metadata["samples"] / model.sample_rate_hz
    for batch in (1, 32):
        secs = statistics.median(latency.call_secs(model, batch))
        print(
            f"batch {batch}: {1000 * secs:.0f} ms, "
            f"{batch * window_secs / secs:.0f} x real time on this machine"
        )
    print(output)
    return 0


api.as_function(sys.modules[__name__], api.export)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.exit(main())
