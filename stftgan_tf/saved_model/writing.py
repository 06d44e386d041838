"""Writes a checkpoint of a run, the best by default, as a SavedModel."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import published_dir, refuse_existing
from stftgan_tf.metrics import embedding
from stftgan_tf.models import condition, networks
from stftgan_tf.models.devices import with_precision
from stftgan_tf.saved_model import (
    export_files,
    model_card,
    serving_files,
    sound_map,
)
from stftgan_tf.saved_model.request import check_checkpoint, check_long_secs
from stftgan_tf.saved_model.signatures import SamplingModule
from stftgan_tf.training import checkpoints, run_dir


@dataclasses.dataclass(frozen=True)
class Export:
    """A new export.

    Attributes:
      path: its directory.
      step: training step of the checkpoint.
      parameters: of the generator.
      has_warmup: whether it contains warm-up requests.
      checkpoint: the checkpoint, and why it was chosen.
    """

    path: Path
    step: int
    parameters: int
    has_warmup: bool
    checkpoint: str

    @property
    def size_mb(self) -> float:
        """Size of all files in megabytes."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 1e6


def export(
    run: str | Path,
    output: str | Path,
    secs: float = 5.0,
    overwrite: bool = False,
    checkpoint: str = checkpoints.BEST,
    note: str | Path | None = None,
) -> Export:
    """Exports the averaged generator of a checkpoint of a run.

    Args:
      run: directory of the run.
      output: directory of the export; it appears by one rename.
      secs: shortest duration of the signature `long`.
      overwrite: whether to replace an existing export.
      checkpoint: `best` by the watch, `last`, or the number of a step.
      note: file of Markdown that the model card includes.

    Raises:
      UsageError: if `secs` or `checkpoint` is out of range.
      UserError: if the note cannot be read, there is no run, no such
        checkpoint can be read, or `output` exists and may not be replaced.
    """
    run, output = Path(run), Path(output)
    check_long_secs(secs)
    check_checkpoint(checkpoint)
    refuse_existing(output, export_files.EXPORT, overwrite)
    note_text = _read_note(note)
    config, manifest = run_dir.open_run(run)
    moments = Moments.from_dict(manifest["moments"])
    prior = _prior(run, config)
    classes = 0 if prior is None else len(prior)
    # Servers may lack the bfloat16 instructions of the training's processor.
    generator = networks.build_generator(
        with_precision(config, "float32"), classes, moments
    )
    choice = checkpoints.restore_average(
        run / checkpoints.DIRECTORY, generator, checkpoint
    )
    module = SamplingModule(generator, moments, config, prior, secs)
    parameters = generator.count_params()
    metadata = model_card.metadata_of(run, config, manifest, parameters, choice)
    metadata["long_samples"] = module.long_samples
    if config.model.condition == "label":
        metadata["seed_label_shares"] = [float(share) for share in prior]
    with published_dir(output, export_files.EXPORT, overwrite) as staging:
        tf.saved_model.save(module, str(staging), module.signatures())
        _write_texts(
            staging, metadata, note_text, _map_of(module, moments, config)
        )
        has_warmup = serving_files.write_warmup(staging)
    return Export(
        output,
        choice.state.step,
        parameters,
        has_warmup,
        f"{choice.name} ({choice.reason})",
    )


def _prior(run: Path, config: Config) -> np.ndarray | None:
    """Share of each class [K]; None if the model has no classes."""
    if config.model.condition == "none":
        return None
    return condition.load(run / condition.FILE).prior


def _map_of(
    module: SamplingModule, moments: Moments, config: Config
) -> dict[str, Any]:
    seeds = np.arange(sound_map.NUM_SEEDS)
    windows = embedding.in_batches(module.windows, seeds)
    classes = module.classes(tf.constant(seeds))
    return sound_map.of_windows(windows, classes, moments, config)


def _read_note(path: str | Path | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the note {path} cannot be read: {first_line(error)}"
        ) from error


def _write_texts(
    directory: Path,
    metadata: dict[str, Any],
    note: str,
    sounds: dict[str, Any],
) -> None:
    """Writes the metadata, model card, map and settings for a server."""
    texts = {
        export_files.MAP: json.dumps(sounds) + "\n",
        export_files.METADATA: json.dumps(metadata, indent=1) + "\n",
        export_files.CARD: model_card.card_of(metadata, note),
        serving_files.BATCHING: serving_files.batching_parameters(),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
