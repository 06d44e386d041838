"""Makes audio with an exported model: files, a picture and a JSON list.

File names carry the seed; the same seed always makes the same audio.
--interpolate goes from one seed to another in --num steps. --stdout writes one
WAV of all samples, one after the other, to the standard output and nothing
else: python -m stftgan_tf.sample --num 20 --stdout | aplay
"""

import argparse
import io
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stftgan_tf import cli, exported, pictures

EXAMPLE = (
    "python -m stftgan_tf.sample --model exports/digits --num 16 --seed 0 "
    "--output samples/digits"
)

# Windows in the picture, at most.
_SHOWN = 64

_BATCH = 32

_MAX_SEED = 2**63 - 1

# A WAV counts its bytes in 32 bits; what comes before its samples.
_MAX_WAV_BYTES = 2**32 - 37
_WAV_HEADER_BYTES = 44


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
        "--interpolate",
        type=int,
        nargs=2,
        metavar=("A", "B"),
        help="samples on the way from seed A to seed B, both included, in "
        "place of --seed",
    )
    parser.add_argument(
        "--psi",
        type=float,
        default=1.0,
        help="truncation, above 0: below 1 samples are more usual and less "
        "varied (default: 1)",
    )
    parser.add_argument(
        "--format",
        choices=("wav", "flac"),
        default="wav",
        help="of the files, 16 bits (default: wav)",
    )
    parser.add_argument(
        "--stdout",
        action="store_true",
        help="write one WAV to the standard output, and no files",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the samples (default: samples/<name of the export>)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    _check(args)
    model = exported.load(args.model)
    if args.stdout:
        return _stream(args, model)
    output = args.output or Path("samples", args.model.resolve().name)
    output.mkdir(parents=True, exist_ok=True)
    progress = cli.Progress("sample", args.num, "samples")
    made, shown = [], []
    for batch in _batches(args, model):
        made += _write(batch, output, args, model.metadata["sample_rate_hz"])
        shown += list(batch["window"][: max(0, _SHOWN - len(shown))])
        progress.update(len(made))
    progress.close(len(made))
    names = [
        f"{row['weight']:.2f}" if "weight" in row else str(row["seed"])
        for row in made[: len(shown)]
    ]
    picture = pictures.grid(np.stack(shown), names)
    cli.write_atomically(output / "grid.png", picture)
    _write_list(output / "samples.json", model, made)
    print(f"{len(made)} {args.format.upper()} files, {output / 'samples.json'}")
    print(output / made[0]["file"])
    print(output / "grid.png")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for what cannot be asked for."""
    least = 2 if args.interpolate else 1
    if args.num < least:
        raise cli.UsageError(f"--num is {args.num}; expected at least {least}")
    last = _MAX_SEED - (0 if args.interpolate else args.num)
    flag = "--interpolate" if args.interpolate else "--seed"
    for seed in args.interpolate or [args.seed]:
        if not 0 <= seed <= last:
            raise cli.UsageError(f"{flag} is {seed}; expected 0 to {last}")
    if not 0 < args.psi < float("inf"):
        raise cli.UsageError(f"--psi is {args.psi}; expected above 0")
    if args.interpolate and args.psi != 1:
        raise cli.UsageError("--psi and --interpolate exclude each other")
    if args.stdout and (args.output or args.format != "wav"):
        raise cli.UsageError(
            "--stdout writes a WAV and no files; leave --output and --format "
            "away"
        )


def _batches(
    args: argparse.Namespace, model: exported.Export
) -> Iterator[dict[str, Any]]:
    """What is asked for, batch by batch."""
    labels = None
    if args.label is not None:
        labels = np.full(args.num, model.label(args.label))
    if args.interpolate:
        return model.between(args.interpolate, args.num, _BATCH, labels)
    return model.batches(args.seed, args.num, _BATCH, labels, args.psi)


def _stream(args: argparse.Namespace, model: exported.Export) -> int:
    """One WAV to the standard output; its length is known before."""
    rate_hz = model.metadata["sample_rate_hz"]
    size = 2 * args.num * model.metadata["samples"]
    if size > _MAX_WAV_BYTES:
        raise cli.UsageError(
            f"--num {args.num} makes {size} bytes; a WAV holds at most "
            f"{_MAX_WAV_BYTES}"
        )
    out = sys.stdout.buffer
    # RIFF: format 1 (PCM), one channel, 16 bits.
    out.write(
        struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    )
    out.write(struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16))
    out.write(struct.pack("<4sI", b"data", size))
    for batch in _batches(args, model):
        for wav in batch["wav_bytes"]:
            out.write(wav[_WAV_HEADER_BYTES:])
    out.flush()
    return 0


def _write(
    batch: dict[str, np.ndarray],
    output: Path,
    args: argparse.Namespace,
    rate_hz: int,
) -> list[dict[str, Any]]:
    """Writes the files of a batch and describes them."""
    prefix = f"psi-{args.psi:g}-" if args.psi != 1 else ""
    if args.label is not None:
        # A label may hold what a file name must not.
        prefix += "label-" + re.sub(r"[^\w-]", "_", args.label) + "-"
    rows = []
    for index, audio in enumerate(batch["audio"]):
        if args.interpolate:
            first, last = args.interpolate
            weight = float(batch["weight"][index])
            told = {"seeds": [first, last], "weight": round(weight, 6)}
            name = f"seed-{first:06d}-to-{last:06d}-at-{weight:.4f}"
        else:
            told = {"seed": int(batch["seed"][index])}
            name = f"seed-{told['seed']:06d}"
        name = f"{prefix}{name}.{args.format}"
        data = batch["wav_bytes"][index]
        if args.format == "flac":
            data = _flac(audio, rate_hz)
        cli.write_atomically(output / name, data)
        peak, rms = np.abs(audio).max(), np.sqrt(np.square(audio).mean())
        told |= {"peak": round(float(peak), 6), "rms": round(float(rms), 6)}
        rows.append({"file": name, **told})
    return rows


def _flac(audio: np.ndarray, rate_hz: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


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
