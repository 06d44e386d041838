"""Draws generated windows above held-out ones, as in the README."""

import argparse
import io
import sys

import numpy as np
from PIL import Image

from stftgan_tf import cli, pictures
from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UsageError
from stftgan_tf.files import write_atomically
from stftgan_tf.saved_model import loading

EXAMPLE = (
    "python benchmarks/picture.py --model digits --data tfrecords/fsdd "
    "--output docs/images/digits8k.png"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_data(parser)
    parser.add_argument(
        "--num",
        type=int,
        default=16,
        metavar="N",
        help="generated windows, and as many real ones (default: 16)",
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        required=True,
        metavar="FILE",
        help="the picture, a PNG, or a tenth of its size as .webp",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.num < 1:
        raise UsageError(f"--num is {args.num}; expected at least 1")
    model = loading.load(args.model)
    config = config_lib.from_dict(
        model.metadata["config"], source=str(model.path)
    )
    shards = dataset.open_shards(args.data, config)
    # Evenly spread over the split, so all labels and speakers may occur.
    real, _ = dataset.load_windows(
        shards, config, "eval", shards.windows("eval")
    )
    places = np.linspace(0, len(real) - 1, args.num).astype(int)
    batches = model.batches(0, args.num, args.num)
    generated = np.concatenate([batch["window"] for batch in batches])
    rate_hz = model.sample_rate_hz
    secs = model.metadata["samples"] / rate_hz
    windows = np.concatenate([generated, real[places]])
    image = pictures.grid(windows, secs, rate_hz)
    if args.output.suffix == ".webp":
        image = _webp(image)
    write_atomically(args.output, image)
    print(args.output)
    return 0


def _webp(png: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
