"""Generates audio with an exported model.

Writes audio files, a picture of the windows and a list (samples.json). The file
names and the list contain seed and label; the same seed always gives the same
audio. Earlier samples in the directory are replaced.

--interpolate goes from one seed to another in --num steps. --secs joins several
windows by crossfades. --phase pghi computes the phase by phase gradient heap
integration, which is better but slower than the phase in the export's graph
(and fast if numba is installed). --list makes the samples of a samples.json, or
of a favourites.json of the listening page, again. --stdout writes nothing but
one WAV of all samples to standard output:

    python -m stftgan_tf.sample --model digits --num 20 --stdout | aplay
"""

import argparse
import itertools
import sys
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf.errors import UsageError
from stftgan_tf.saved_model import sample_list
from stftgan_tf.saved_model.request import SampleRequest

EXAMPLE = (
    "python -m stftgan_tf.sample --model digits --num 16 --seed 0 "
    "--output samples/digits"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_num_and_seed(parser)
    cli.add_label(parser)
    parser.add_argument(
        "--interpolate",
        metavar=("A", "B"),
        type=int,
        nargs=2,
        help="go from seed A to seed B, both included, instead of --seed",
    )
    cli.add_truncation(parser)
    parser.add_argument(
        "--secs",
        metavar="SECONDS",
        type=float,
        help="duration of a sample, up to that of `export --secs` (default: "
        "one window)",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        type=cli.local_path,
        help="make the samples of a list again, instead of --num and --seed",
    )
    parser.add_argument(
        "--phase",
        choices=("export", "pghi"),
        default="export",
        help="export uses the phase from the export's graph, pghi computes a "
        "better one, slower (default: export)",
    )
    parser.add_argument(
        "--format",
        choices=("wav", "flac"),
        default="wav",
        help="format of the files, with 16 bits per value (default: wav)",
    )
    parser.add_argument(
        "--stdout",
        action="store_true",
        help="write one WAV to standard output instead of files",
    )
    cli.add_output(
        parser,
        "directory of the samples (default: samples/<name of the export>)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    request = SampleRequest(
        num=args.num,
        seed=args.seed,
        label=args.label,
        interpolate=tuple(args.interpolate) if args.interpolate else None,
        truncation=args.truncation,
        secs=args.secs,
        phase=args.phase,
    )
    request.check()
    requests = [request]
    if args.list:
        if request != SampleRequest(phase=args.phase):
            raise UsageError(
                "--list says what to make; remove --num, --seed, --label, "
                "--interpolate, --truncation and --secs"
            )
        requests = sample_list.read(args.list, args.phase)
    if args.stdout and (args.output or args.format != "wav"):
        raise UsageError(
            "--stdout writes a WAV and no files; remove --output and --format"
        )
    if args.stdout:
        return _stream(args.model, requests)
    output = args.output or Path("samples", args.model.resolve().name)
    return _write_files(args.model, requests, output, args.format)


def _write_files(
    path: Path, requests: list[SampleRequest], output: Path, kind: str
) -> int:
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.saved_model import loading, sample_dir, sample_files

    # Fails before the model is loaded, not after it.
    sample_dir.check(output)
    model = loading.load(path)
    samples, *others = sample_files.write(model, requests, output, kind)
    num = sum(request.num for request in requests)
    print(f"{num} {kind.upper()} files, {samples}")
    for other in others:
        print(other)
    return 0


def _stream(path: Path, requests: list[SampleRequest]) -> int:
    from stftgan_tf.saved_model import loading, sampling, wav_stream

    model = loading.load(path)
    # Fails before anything is written.
    batches = [sampling.generate(model, request) for request in requests]
    samples = sum(
        request.num * sampling.num_audio_samples(model, request)
        for request in requests
    )
    wav_stream.check_size(samples)
    wav_stream.write(
        sys.stdout.buffer,
        itertools.chain.from_iterable(batches),
        samples,
        model.sample_rate_hz,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
