"""Exports the averaged generator of a run as a SavedModel that makes audio.

Signatures, every row independent of the others:
  serving_default, sample  seed int64 [B]       -> audio, window, wav_bytes
  generate                 latent float [B, Z]  -> audio, window, wav_bytes
Where the model learnt labels, both also take label int64 [B]; for a seed, -1
draws one as often as the data has it. Where it learnt clusters, a seed draws
one and generate takes cluster int64 [B].
Moments, phase and inverse STFT are inside the graph. metadata.json beside it
tells the sample rate and what it was made from.
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
import numpy as np
import tensorflow as tf

from stftgan_tf import (
    checkpoints,
    cli,
    condition,
    exported,
    features,
    networks,
    phase,
)
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config

EXAMPLE = (
    "python -m stftgan_tf.export --run runs/digits --output exports/digits"
)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.guarded(_run, _parser().parse_args(argv))


class Served(tf.Module):
    """The exported graph: latents or seeds to windows and audio."""

    def __init__(
        self,
        generator: keras.Model,
        moments: features.Moments,
        config: Config,
        prior: np.ndarray | None = None,
    ):
        """Keeps the generator's variables for the SavedModel.

        Args:
          generator: built, with its weights.
          moments: of the training split.
          config: of the run.
          prior: float32 [classes] of a conditional generator.
        """
        super().__init__()
        self._generator, self._moments = generator, moments
        self._config, self._prior = config, prior
        self._variables = [v.value for v in generator.variables]

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by the name they are served under."""
        condition = self._config.model.condition
        seed = tf.TensorSpec([None], tf.int64, name="seed")
        latent = tf.TensorSpec(
            [None, self._config.model.latent_dim], tf.float32, name="latent"
        )
        asked = [tf.TensorSpec([None], tf.int64, name=condition)]
        if condition == "none":
            asked = []
        sample = self.sample.get_concrete_function(
            seed, *(asked if condition == "label" else [])
        )
        return {
            "serving_default": sample,
            "sample": sample,
            "generate": self.generate.get_concrete_function(latent, *asked),
        }

    @tf.function
    def sample(
        self, seed: tf.Tensor, label: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """What `generate` makes of what seeds [B] and labels [B] stand for."""
        latent = latents_of(seed, self._config.model.latent_dim)
        if self._prior is None:
            return self._outputs(latent)
        drawn = classes_of(seed, self._prior)
        if label is not None:
            drawn = tf.where(label < 0, drawn, label)
        return self._outputs([latent, drawn])

    @tf.function
    def generate(
        self, latent: tf.Tensor, asked: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Audio [B, N], window [B, T, F] and WAV files of latents [B, Z]."""
        return self._outputs(latent if asked is None else [latent, asked])

    def _outputs(self, inputs: Any) -> dict[str, tf.Tensor]:
        window = self._generator(inputs, training=False)
        audio = phase.audio_of(window, self._moments, self._config)
        rate_hz = self._config.audio.sample_rate_hz

        def to_wav(samples):
            return tf.audio.encode_wav(samples[:, None], rate_hz)

        wav = tf.map_fn(to_wav, audio, fn_output_signature=tf.string)
        return {"audio": audio, "window": window, "wav_bytes": wav}


def latents_of(seed: tf.Tensor, latent_dim: int) -> tf.Tensor:
    """Latents float32 [B, Z] of seeds int64 [B], each row by its own seed.

    Philox (Salmon et al. 2011) by name: the default generator gives other
    numbers on other devices.
    """

    def row(one):
        key = tf.stack([one, tf.zeros_like(one)])
        return tf.random.stateless_normal([latent_dim], key, alg="philox")

    return tf.map_fn(row, seed, fn_output_signature=tf.float32)


def classes_of(seed: tf.Tensor, prior: np.ndarray) -> tf.Tensor:
    """Classes int64 [B] of seeds int64 [B], as often as `prior` [K] says."""
    ends = tf.constant(np.cumsum(prior)[:-1], tf.float32)

    def row(one):
        key = tf.stack([one, tf.ones_like(one)])
        drawn = tf.random.stateless_uniform([], key, alg="philox")
        return tf.reduce_sum(tf.cast(drawn >= ends, tf.int64))

    return tf.map_fn(row, seed, fn_output_signature=tf.int64)


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
        "--overwrite",
        action="store_true",
        help="replace an existing export once the new one is whole",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    output = args.output or Path("exports", args.run.resolve().name)
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
    served = Served(generator, moments, config, prior)
    with cli.published_dir(
        output, exported.METADATA, args.overwrite
    ) as staging:
        tf.saved_model.save(served, str(staging), served.signatures())
        text = json.dumps(
            _metadata(config, manifest, generator, state), indent=1
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
