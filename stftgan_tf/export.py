"""Exports the averaged generator of a run as a SavedModel that makes audio.

Seeds go in, audio comes out; moments, phase and inverse STFT are inside the
graph. metadata.json beside it tells the sample rate and what it was made from.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from stftgan_tf import (
    checkpoints,
    cli,
    condition,
    exported,
    features,
    networks,
    served,
)
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config

EXAMPLE = (
    "python -m stftgan_tf.export --run runs/digits --output exports/digits"
)


# All windows of a row are in memory at once.
_MAX_LONG_SECS = 600.0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.guarded(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/demo"),
        help="the training's folder (default: runs/demo)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the export (default: exports/<name of the run>)",
    )
    parser.add_argument(
        "--long_secs",
        type=float,
        default=5.0,
        help="seconds that the signature `long` makes at least (default: 5)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing export once the new one is whole",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    output = args.output or Path("exports", args.run.resolve().name)
    if not 0 < args.long_secs <= _MAX_LONG_SECS:
        raise cli.UsageError(
            f"--long_secs is {args.long_secs}; expected above 0, at most "
            f"{_MAX_LONG_SECS:g}"
        )
    cli.refuse_existing(output, exported.METADATA, args.overwrite)
    config, manifest = _open_run(args.run)
    moments = features.Moments.from_dict(manifest["moments"])
    prior = None
    if config.model.condition != "none":
        prior = condition.load(args.run / condition.FILE).prior
    generator = networks.build_generator(
        config, 0 if prior is None else len(prior)
    )
    state = checkpoints.restore_average(args.run / "checkpoints", generator)
    graph = served.Served(generator, moments, config, prior, args.long_secs)
    with cli.published_dir(
        output, exported.METADATA, args.overwrite
    ) as staging:
        tf.saved_model.save(graph, str(staging), graph.signatures())
        text = json.dumps(
            {
                **_metadata(config, manifest, generator, state),
                "long_samples": graph.long_samples,
            },
            indent=1,
        )
        (staging / exported.METADATA).write_text(text + "\n", encoding="utf-8")
    print(
        f"step {state.step}, {generator.count_params():,} parameters, "
        f"{_size_mb(output):.1f} MB, {_latency_ms(output):.0f} ms a sample "
        "at batch 16 on this machine"
    )
    print(output)
    return 0


def _open_run(run: Path) -> tuple[Config, dict[str, Any]]:
    """Config and data manifest of a training."""
    path = run / "config.yaml"
    if not path.is_file():
        raise cli.UserError(f"{run} holds no run (no config.yaml)")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return config_lib.load(str(path)), manifest


def _metadata(
    config: Config,
    manifest: dict[str, Any],
    generator: keras.Model,
    state: checkpoints.State,
) -> dict[str, Any]:
    """What the export tells about itself."""
    moments = json.dumps(manifest["moments"], sort_keys=True)
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "samples": config.window_samples,
        "window_shape": list(config.window_shape),
        "latent_dim": config.model.latent_dim,
        "condition": config.model.condition,
        "labels": manifest["labels"],
        "parameters": generator.count_params(),
        "step": state.step,
        "train_secs": round(state.secs, 1),
        "watch": state.watch,
        "moments_sha256": hashlib.sha256(moments.encode()).hexdigest(),
        "data_config_hash": manifest["config_hash"],
        "tensorflow": tf.__version__,
        "config": config.to_dict(),
    }


def _size_mb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / 1e6


def _latency_ms(export: Path, batch: int = 16) -> float:
    """Milliseconds a sample, of the export as it was written."""
    model = exported.load(export)
    next(model.batches(0, batch, batch))
    start = time.perf_counter()
    next(model.batches(0, batch, batch))
    return 1000 * (time.perf_counter() - start) / batch


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.exit(main())
