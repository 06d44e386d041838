"""Makes audio with an exported model: files, a picture and a JSON list.

File names carry the seed; the same seed always makes the same audio.
--interpolate goes from one seed to another in --num steps. --secs joins several
windows, one faded into the next. --phase heap takes the time to find a better
phase than an export's graph can (phase gradient heap integration; quick where
numba is installed). --stdout writes one WAV of all samples, one after the
other, to the standard output and nothing else:

    python -m stftgan_tf.sample --model exports/digits --num 20 --stdout | aplay
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

from stftgan_tf import cli, pictures
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import write_atomically
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import loading as exported

EXAMPLE = (
    "python -m stftgan_tf.sample --model exports/digits --num 16 --seed 0 "
    "--output samples/digits"
)

# Windows in the picture, at most.
_SHOWN = 64

_BATCH, _LONG_BATCH = 32, 4

_MAX_SEED = 2**63 - 1

# A WAV counts its bytes in 32 bits; what comes before its samples.
_MAX_WAV_BYTES = 2**32 - 37
_WAV_HEADER_BYTES = 44


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
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
        help="asked for, of a model that learnt labels (default: drawn)",
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
        "--truncation",
        type=float,
        default=1.0,
        help="truncation, above 0: below 1 samples are more usual and less "
        "varied (default: 1)",
    )
    parser.add_argument(
        "--secs",
        type=float,
        help="length of a sample, up to what the export makes (export "
        "--long_secs); without it a sample is one window",
    )
    parser.add_argument(
        "--phase",
        choices=("export", "heap"),
        default="export",
        help="the export's own, or found offline (default: export)",
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
        type=cli.local_path,
        help="folder of the samples (default: samples/<name of the export>)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    _check(args)
    model = exported.load(args.model)
    rate_hz = model.metadata["sample_rate_hz"]
    longest = model.metadata["long_samples"] / rate_hz
    if args.secs is not None and not 1 / rate_hz <= args.secs <= longest:
        raise UsageError(
            f"--secs is {args.secs}; {args.model} makes up to {longest:.2f} "
            "(export --long_secs)"
        )
    if args.stdout:
        return _stream(args, model)
    batches = _batches(args, model)
    output = args.output or Path("samples", args.model.resolve().name)
    output.mkdir(parents=True, exist_ok=True)
    progress = Progress("sample", args.num, "samples")
    made, shown = [], []
    for batch in batches:
        made += _write(batch, output, args, rate_hz)
        windows = batch.get("window", [])
        shown += list(windows[: max(0, _SHOWN - len(shown))])
        progress.update(len(made))
    progress.close(len(made))
    _write_list(output / "samples.json", args, model, made)
    print(f"{len(made)} {args.format.upper()} files, {output / 'samples.json'}")
    print(output / made[0]["file"])
    if shown:
        told = "weight" if args.interpolate else "seed"
        names = [str(row[told]) for row in made[: len(shown)]]
        picture = pictures.grid(np.stack(shown), names)
        write_atomically(output / "grid.png", picture)
        print(output / "grid.png")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for what cannot be asked for."""
    least = 2 if args.interpolate else 1
    if args.num < least:
        raise UsageError(f"--num is {args.num}; expected at least {least}")
    last = _MAX_SEED - (0 if args.interpolate else args.num)
    flag = "--interpolate" if args.interpolate else "--seed"
    for seed in args.interpolate or [args.seed]:
        if not 0 <= seed <= last:
            raise UsageError(f"{flag} is {seed}; expected 0 to {last}")
    if not 0 < args.truncation < float("inf"):
        raise UsageError(f"--truncation is {args.truncation}; expected above 0")
    chosen = {
        "--interpolate": args.interpolate,
        "--truncation": args.truncation != 1,
        "--secs": args.secs is not None,
    }
    chosen = [name for name, given in chosen.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other")
    if args.phase == "heap" and args.secs is not None:
        raise UsageError("--phase heap and --secs exclude each other")
    if args.stdout and (args.output or args.format != "wav"):
        raise UsageError(
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
    if args.secs is None:
        made = (
            model.between(args.interpolate, args.num, _BATCH, labels)
            if args.interpolate
            else model.batches(
                args.seed, args.num, _BATCH, labels, args.truncation
            )
        )
        if args.phase == "export":
            return made
        return (_by_heap(batch, model) for batch in made)
    batches = model.batches(args.seed, args.num, _LONG_BATCH, labels, long=True)
    return (_cut(batch, args.secs, model) for batch in batches)


def _by_heap(batch: dict[str, Any], model: exported.Export) -> dict[str, Any]:
    """The same windows with a phase by heap integration.

    Raises:
      UserError: if the export is too old to tell its moments.
    """
    # They load TensorFlow's signal processing and, where it is there, numba.
    from stftgan_tf import config
    from stftgan_tf.dsp import features, phase
    from stftgan_tf.dsp import pghi as heap

    if "moments" not in model.metadata:
        raise UserError(
            f"{model.path} does not tell its moments; export it again"
        )
    settings = config.from_dict(model.metadata["config"])
    moments = features.Moments.from_dict(model.metadata["moments"])
    logs = features.inverse_standardise(batch["window"], moments)
    magnitudes = features.inverse_log_magnitude(logs).numpy()
    start = heap.integrated(magnitudes, settings.stft)
    audio = phase.audible(magnitudes, settings, start).numpy()
    rate_hz = model.metadata["sample_rate_hz"]
    wavs = [_encoded(row, rate_hz, "wav") for row in audio]
    return {**batch, "audio": audio, "wav_bytes": wavs}


def _cut(
    batch: dict[str, Any], secs: float, model: exported.Export
) -> dict[str, Any]:
    """Long audio, of so many seconds; its last hundredth is faded out."""
    rate_hz = model.metadata["sample_rate_hz"]
    audio = batch["audio"][:, : round(secs * rate_hz)].copy()
    fade = min(rate_hz // 100, audio.shape[1])
    audio[:, audio.shape[1] - fade :] *= np.linspace(1, 0, fade)
    wavs = [_encoded(row, rate_hz, "wav") for row in audio]
    return {"seed": batch["seed"], "audio": audio, "wav_bytes": wavs}


def _stream(args: argparse.Namespace, model: exported.Export) -> int:
    """One WAV to the standard output; its length is known before."""
    rate_hz = model.metadata["sample_rate_hz"]
    samples = model.metadata["samples"]
    if args.secs is not None:
        samples = round(args.secs * rate_hz)
    size = 2 * args.num * samples
    if size > _MAX_WAV_BYTES:
        raise UsageError(
            f"--num {args.num} makes {size} bytes; a WAV holds at most "
            f"{_MAX_WAV_BYTES}"
        )
    # What cannot be made is told before anything is written.
    batches = _batches(args, model)
    out = sys.stdout.buffer
    # RIFF: format 1 (PCM), one channel, 16 bits.
    out.write(
        struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    )
    out.write(struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16))
    out.write(struct.pack("<4sI", b"data", size))
    for batch in batches:
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
    prefix = "heap-" if args.phase == "heap" else ""
    prefix += f"truncation-{args.truncation:g}-" if args.truncation != 1 else ""
    prefix += f"secs-{args.secs:g}-" if args.secs is not None else ""
    if args.label is not None:
        # A label may hold what a file name must not.
        prefix += "label-" + re.sub(r"[^\w-]", "_", args.label) + "-"
    rows = []
    for index, audio in enumerate(batch["audio"]):
        if args.interpolate:
            first, last = args.interpolate
            weight = float(batch["weight"][index])
            told = {"seeds": [first, last], "weight": round(weight, 6)}
            name = f"seed-{first:06d}-to-{last:06d}-at-{weight:.6f}"
        else:
            told = {"seed": int(batch["seed"][index])}
            name = f"seed-{told['seed']:06d}"
        name = f"{prefix}{name}.{args.format}"
        data = batch["wav_bytes"][index]
        if args.format == "flac":
            data = _encoded(audio, rate_hz, "flac")
        write_atomically(output / name, data)
        peak, rms = np.abs(audio).max(), np.sqrt(np.square(audio).mean())
        told |= {"peak": round(float(peak), 6), "rms": round(float(rms), 6)}
        rows.append({"file": name, **told})
    return rows


def _encoded(audio: np.ndarray, rate_hz: int, kind: str) -> bytes:
    """A file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate_hz, format=kind, subtype="PCM_16")
    return file.getvalue()


def _write_list(
    path: Path,
    args: argparse.Namespace,
    model: exported.Export,
    made: list[dict[str, Any]],
) -> None:
    metadata = model.metadata
    listed = {
        "model": str(model.path),
        "step": metadata["step"],
        "sample_rate_hz": metadata["sample_rate_hz"],
        "phase": args.phase,
        "secs": args.secs or metadata["samples"] / metadata["sample_rate_hz"],
        "samples": made,
    }
    write_atomically(path, (json.dumps(listed, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
