"""Exports the averaged generator of a run as a SavedModel or for LiteRT.

The best checkpoint has the lowest Frechet distance of those that the watch of
the training found healthy. --checkpoint takes another one that the run still
contains. Latents are scaled as the watch found best at that checkpoint.

The SavedModel turns seeds into audio: moments, phase and inverse STFT are in
its graph. metadata.json beside it contains the sample rate and the config.

--format litert writes one file that turns latents into audio without
TensorFlow, with metadata.json inside. --model takes an export in place of a
run.
"""

import argparse
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

from stftgan_tf import api, cli
from stftgan_tf.errors import UsageError
from stftgan_tf.saved_model.request import check_checkpoint, check_long_secs

EXAMPLE = (
    "python -m stftgan_tf.export --run runs/digits --output exports/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--run",
        metavar="DIR",
        type=cli.local_path,
        default=Path("runs/demo"),
        help="directory of the run (default: runs/demo)",
    )
    source.add_argument(
        "--model",
        metavar="DIR",
        type=cli.model_path,
        help="an export to convert or to export again, in place of a run: its "
        "directory, or the name of a model in the box "
        f"({', '.join(cli.boxed_models())})",
    )
    parser.add_argument(
        "--format",
        choices=["savedmodel", "litert"],
        default="savedmodel",
        help="savedmodel, or litert for one .tflite file that runs without "
        "TensorFlow (default: savedmodel)",
    )
    cli.add_output(
        parser,
        "directory of the SavedModel, or the .tflite file (default: "
        "exports/<name of the run>, with .tflite for litert)",
    )
    parser.add_argument(
        "--secs",
        metavar="SECONDS",
        type=float,
        help="duration that the signature `long` of a SavedModel can generate "
        "(default: 5)",
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
    source = args.model or args.run
    check_checkpoint(args.checkpoint)
    if args.format == "litert":
        return _export_litert(args, source)
    output = args.output or Path("exports", source.resolve().name)
    secs = 5.0 if args.secs is None else args.secs
    check_long_secs(secs)
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.saved_model import latency, loading, writing

    export = writing.export(
        source, output, secs, args.overwrite, args.checkpoint, args.note
    )
    if not export.has_warmup:
        print(
            "the export has no warm-up requests for TensorFlow Serving; to "
            "write them, install the extra `serving`",
            file=sys.stderr,
        )
    _print_facts(export)
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


def _export_litert(args: argparse.Namespace, source: Path) -> int:
    if args.secs is not None:
        raise UsageError(
            "--secs is for the signature `long`, which --format litert does "
            "not have"
        )
    name = f"{source.resolve().name}.tflite"
    output = args.output or Path("exports", name)
    from stftgan_tf.saved_model import litert

    export = litert.export(
        source, output, args.overwrite, args.checkpoint, args.note
    )
    _print_facts(export)
    if (sample_ms := export.sample_ms()) is not None:
        speed = 1000 * export.window_secs / sample_ms
        print(
            f"one sample: {sample_ms:.0f} ms, {speed:.0f} x real time on one "
            "core of this machine"
        )
    print(output)
    return 0


def _print_facts(export: Any) -> None:
    metadata = export.source.metadata
    print(
        f"step {metadata['step']}, {metadata['parameters']:,} parameters, "
        f"{export.size_mb:.1f} MB"
    )
    print(f"checkpoint {export.source.choice}")


api.as_function(sys.modules[__name__], api.export)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.exit(main())
