"""The metadata and the model card of an export."""

import hashlib
import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.metrics import registry
from stftgan_tf.training import run_dir, warm_start
from stftgan_tf.training.checkpoints import Choice


def metadata_of(
    run: Path,
    config: Config,
    manifest: dict[str, Any],
    parameters: int,
    choice: Choice,
) -> dict[str, Any]:
    """What metadata.json says about an export.

    Args:
      run: directory of the run.
      config: of the run.
      manifest: of its data.
      parameters: of the generator.
      choice: the checkpoint.
    """
    state = choice.state
    moments = json.dumps(manifest["moments"], sort_keys=True)
    manifest_bytes = (run / run_dir.MANIFEST).read_bytes()
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "samples": config.window_samples,
        "window_shape": list(config.window_shape),
        "latent_dim": config.model.latent_dim,
        "condition": config.model.condition,
        "labels": manifest["labels"],
        "parameters": parameters,
        "step": state.step,
        "train_secs": round(state.secs, 1),
        "checkpoint": choice.name,
        "checkpoint_reason": choice.reason,
        "moments": {k: manifest["moments"][k] for k in ("mean", "std")},
        "moments_sha256": hashlib.sha256(moments.encode()).hexdigest(),
        "data_config_hash": manifest["config_hash"],
        "tensorflow": tf.__version__,
        "config": config.to_dict(),
        "watch": state.metrics,
        "init_from": warm_start.read_record(run),
        "data_manifest_sha256": hashlib.sha256(manifest_bytes).hexdigest(),
    }


def card_of(metadata: dict[str, Any], note: str = "") -> str:
    """The model card as Markdown (Mitchell et al. 2019, "Model Cards").

    Args:
      metadata: as `metadata_of` returns it.
      note: Markdown of the person who exports, such as licence and origin.
    """
    rate_hz, config = metadata["sample_rate_hz"], metadata["config"]
    stft = config["stft"]
    condition = {
        "label": f"A request may name a label: {', '.join(metadata['labels'])}",
        "cluster": "The seed also draws the kind of window",
        "none": "It takes no other input",
    }[metadata["condition"]]
    metrics = registry.watch_list(metadata["watch"])
    return f"""# Generator of speech STFT windows

Generates {metadata["samples"] / rate_hz:.2f} s of audio at {rate_hz} Hz from a
seed. {condition}.
{f"{chr(10)}{note}{chr(10)}" if note else ""}
- {metadata["parameters"]:,} parameters, {config["model"]["networks"]} networks
- STFT {stft["frame_length"]}/{stft["frame_step"]}, windows of
  {" x ".join(map(str, metadata["window_shape"]))}
- loss {config["train"]["loss"]}, step {metadata["step"]},
  {metadata["train_secs"] / 60:.1f} minutes of training
- checkpoint {metadata["checkpoint"]}: {metadata["checkpoint_reason"]}
- initial weights: {_origin_of(metadata["init_from"])}
- TensorFlow {metadata["tensorflow"]}
- data: manifest {metadata["data_manifest_sha256"]}
- silence: {config["model"]["subtract_floor"]:g} times the floor of
  {stft["floor_db"]:g} dB is subtracted from each magnitude

## Variety and quality at this step, compared with training windows

{metrics or "Not measured at this step."}

## Use

The model reproduces the voices, words and rooms of its training recordings.
What it generates is not a statement of any speaker, and the licence of the
recordings applies to it. `python -m stftgan_tf.evaluate` measures variety and
quality, and whether windows are copies of training windows.
"""


def read_note(path: str | Path | None) -> str:
    """Markdown for the model card; empty without a file.

    Raises:
      UserError: if it cannot be read.
    """
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the note {path} cannot be read: {first_line(error)}"
        ) from error


def _origin_of(record: dict[str, Any] | None) -> str:
    """What the training started from."""
    if record is None:
        return "random"
    return (
        f"{Path(record['path']).name}, step {record['step']}; the moments are "
        "those of the data below"
    )
