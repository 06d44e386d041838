"""Makes audio with an exported model: WAV files, a picture and a JSON list.

File names carry the seed; the same seed always makes the same audio.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np

from stftgan_tf import cli, exported, pictures

EXAMPLE = (
    "python -m stftgan_tf.sample --model exports/digits --num 16 --seed 0 "
    "--output samples/digits"
)

# Windows in the picture, at most.
_SHOWN = 64

_BATCH = 32

_MAX_SEED = 2**63 - 1


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.guarded(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("exports/demo"),
        help="the export (default: exports/demo)",
    )
    parser.add_argument(
        "--num", type=int, default=16, help="how many samples (default: 16)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the first sample; the next ones follow (default: 0)",
    )
    parser.add_argument(
        "--label",
        help="the label asked for, where the model has learnt labels "
        "(default: drawn for each seed)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the samples (default: samples/<name of the export>)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.num < 1:
        raise cli.UsageError(f"--num is {args.num}; expected at least 1")
    if not 0 <= args.seed <= _MAX_SEED - args.num:
        raise cli.UsageError(
            f"--seed is {args.seed}; expected 0 to {_MAX_SEED - args.num}"
        )
    model = exported.load(args.model)
    labels, prefix = None, ""
    if args.label is not None:
        labels = np.full(args.num, model.label(args.label))
        # A label may hold what a file name must not.
        prefix = "label-" + re.sub(r"[^\w-]", "_", args.label) + "-"
    output = args.output or Path("samples", args.model.resolve().name)
    output.mkdir(parents=True, exist_ok=True)
    progress = cli.Progress("sample", args.num, "samples")
    made, shown = [], []
    for batch in model.batches(args.seed, args.num, _BATCH, labels):
        made += _write(batch, output, prefix)
        shown += list(batch["window"][: max(0, _SHOWN - len(shown))])
        progress.update(len(made))
    progress.close(len(made))
    seeds = [str(row["seed"]) for row in made[: len(shown)]]
    picture = pictures.grid(np.stack(shown), seeds)
    cli.write_atomically(output / "grid.png", picture)
    _write_list(output / "samples.json", model, made)
    print(f"{len(made)} WAV files, {output / 'samples.json'}")
    print(output / made[0]["file"])
    print(output / "grid.png")
    return 0


def _write(
    batch: dict[str, np.ndarray], output: Path, prefix: str
) -> list[dict]:
    """Writes the WAV files of a batch and describes them."""
    rows = []
    for seed, audio, wav in zip(
        batch["seed"], batch["audio"], batch["wav_bytes"], strict=True
    ):
        name = f"{prefix}seed-{seed:06d}.wav"
        cli.write_atomically(output / name, wav)
        peak, rms = np.abs(audio).max(), np.sqrt(np.square(audio).mean())
        rows.append(
            {
                "file": name,
                "seed": int(seed),
                "peak": round(float(peak), 6),
                "rms": round(float(rms), 6),
            }
        )
    return rows


def _write_list(path: Path, model: exported.Export, made: list[dict]) -> None:
    metadata = model.metadata
    listed = {
        "model": str(model.path),
        "step": metadata["step"],
        "sample_rate_hz": metadata["sample_rate_hz"],
        "secs": metadata["samples"] / metadata["sample_rate_hz"],
        "samples": made,
    }
    cli.write_atomically(path, (json.dumps(listed, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
