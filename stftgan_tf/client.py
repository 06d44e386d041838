"""Generates audio on a server: this project's, or TensorFlow Serving.

The address selects the protocol: REST (http://HOST:8501) or gRPC
(grpc://HOST:8500). While the server is unavailable, a call is repeated until
its deadline. Requires the extra `serving`.
"""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import sample_dir
from stftgan_tf.saved_model.request import check_num
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import MAX_DEADLINE_SECS, Client

EXAMPLE = (
    "python -m stftgan_tf.client --server grpc://127.0.0.1:8500 "
    "--model_name digits --num 16 --seed 0"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    _add_server(parser)
    cli.add_num_and_seed(parser)
    parser.add_argument(
        "--label",
        metavar="NUMBER",
        help="label to generate, by number, for a model trained with labels: "
        "its position, counted from 0, in `labels` of the export's "
        "metadata.json (default: drawn at random)",
    )
    cli.add_truncation(parser)
    parser.add_argument(
        "--secs",
        type=float,
        metavar="SECONDS",
        help="duration of a sample, up to that of `export --secs` (default: "
        "one window)",
    )
    cli.add_output(
        parser, "directory of the WAV files (default: samples/<model name>)"
    )
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="ADDRESS",
        default="http://127.0.0.1:8501",
        help="address of the server, http://HOST:PORT or grpc://HOST:PORT "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        default="default",
        help="name of the model in requests (default: %(default)s)",
    )
    parser.add_argument(
        "--model_version",
        type=int,
        metavar="N",
        help="version of the model (default: the newest)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        default=16,
        help="number of samples per call (default: %(default)s)",
    )
    parser.add_argument(
        "--deadline_secs",
        type=float,
        metavar="SECONDS",
        default=60.0,
        help="maximum time of a call, including all attempts (default: "
        "%(default)g)",
    )


def _run(args: argparse.Namespace) -> int:
    _check(args)
    label = _label_number(args.label)
    output = args.output or Path("samples", args.model_name)
    with connect(
        args.server, args.model_name, args.model_version, args.deadline_secs
    ) as client:
        with sample_dir.published(output) as staging:
            rows = _write(client, staging, label, args)
    print(f"{args.num} WAV files, {output / sample_dir.LIST}")
    print(output / rows[0]["file"])
    return 0


def _write(
    client: Client,
    directory: Path,
    label: int | None,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Writes the WAV files and the list of them; returns its rows."""
    prefix, rows = _prefix(args, label), []
    progress = Progress("client", args.num, "samples")
    for start in range(0, args.num, args.batch):
        count = min(args.batch, args.num - start)
        seeds = args.seed + np.arange(start, start + count)
        wav_files = _generate(client, seeds, label, args)
        for seed, wav in zip(seeds, wav_files, strict=True):
            row = {"file": f"{prefix}seed-{seed:06d}.wav", "seed": int(seed)}
            rows.append(row if label is None else {**row, "label": label})
            (directory / row["file"]).write_bytes(wav)
        progress.update(len(rows))
    progress.close(len(rows))
    server = {"server": args.server, "model": args.model_name}
    sample_dir.write_list(directory, {**server, "samples": rows})
    return rows


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for values out of range."""
    check_num(args.num)
    if args.batch < 1:
        raise UsageError(f"--batch is {args.batch}; expected at least 1")
    for name in ("truncation", "secs"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name} is {value:g}; expected above 0")
    if args.truncation != 1 and args.secs is not None:
        raise UsageError("--truncation and --secs cannot be combined")
    max_seed = 2**63 - args.num - 1
    if not 0 <= args.seed <= max_seed:
        raise UsageError(f"--seed is {args.seed}; expected 0 to {max_seed}")
    version = args.model_version
    if version is not None and not 0 <= version < 2**63:
        raise UsageError(
            f"--model_version is {version}; expected 0 to {2**63 - 1}"
        )
    if not 0 < args.deadline_secs <= MAX_DEADLINE_SECS:
        raise UsageError(
            f"--deadline_secs is {args.deadline_secs:g}; expected above 0 and "
            f"at most {MAX_DEADLINE_SECS}"
        )


def _label_number(text: str | None) -> int | None:
    """Parses the number of a label; servers do not know label names."""
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError as error:
        raise UsageError(
            f"--label is {text!r}; expected a number, because servers do not "
            "know label names: the position of the name, counted from 0, in "
            "`labels` of the export's metadata.json"
        ) from error
    if not 0 <= number < 2**63:
        raise UsageError(f"--label is {number}; expected 0 to {2**63 - 1}")
    return number


def _prefix(args: argparse.Namespace, label: int | None) -> str:
    """A file name prefix, different for samples with different settings."""
    prefix = ""
    if args.truncation != 1:
        prefix += f"truncation-{args.truncation:g}-"
    if args.secs is not None:
        prefix += f"secs-{args.secs:g}-"
    if label is not None:
        prefix += sample_dir.label_in_name(label)
    return prefix


def _generate(
    client: Client,
    seeds: np.ndarray,
    label: int | None,
    args: argparse.Namespace,
) -> list[bytes]:
    """WAV files, one per seed."""
    if args.secs is None:
        result = client.sample(
            seeds, label, args.truncation, outputs=["wav_bytes"]
        )
        return list(result["wav_bytes"])
    result = client.sample(
        seeds, label, long=True, outputs=["audio", "wav_bytes"]
    )
    return _shorten(result, args.secs)


def _shorten(result: dict[str, np.ndarray], secs: float) -> list[bytes]:
    """WAV files of the first seconds; UsageError if samples are shorter."""
    import soundfile

    from stftgan_tf.saved_model import audio

    rate_hz = soundfile.info(io.BytesIO(result["wav_bytes"][0])).samplerate
    max_secs = result["audio"].shape[1] / rate_hz
    if not 1 / rate_hz <= secs <= max_secs:
        raise UsageError(
            f"--secs is {secs:g}; the model generates up to {max_secs:.2f} "
            "seconds (export it with a larger --secs)"
        )
    rows = audio.shorten(result["audio"], secs, rate_hz)
    return [audio.encode(row, rate_hz, "wav") for row in rows]


if __name__ == "__main__":
    sys.exit(main())
