"""Writes a generator as a SavedModel."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.errors import UserError
from stftgan_tf.files import published_dir, refuse_existing
from stftgan_tf.metrics import embedding
from stftgan_tf.saved_model import (
    export_files,
    model_card,
    serving_files,
    sound_map,
)
from stftgan_tf.saved_model import source as source_lib
from stftgan_tf.saved_model.request import check_checkpoint, check_long_secs
from stftgan_tf.saved_model.signatures import SamplingModule
from stftgan_tf.saved_model.source import Source
from stftgan_tf.training import checkpoints


@dataclasses.dataclass(frozen=True)
class Export:
    """A new export.

    Attributes:
      path: its directory.
      source: what was exported.
      has_warmup: whether it contains warm-up requests.
    """

    path: Path
    source: Source
    has_warmup: bool

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
      run: directory of the run, or of an export, which is exported again.
      output: directory of the export; it appears by one rename.
      secs: shortest duration of the signature `long`.
      overwrite: whether to replace an existing export.
      checkpoint: `best` by the watch, `last`, or the number of a step.
      note: file of Markdown that the model card includes.

    Raises:
      UsageError: if `secs` or `checkpoint` is out of range.
      UserError: if the note cannot be read, there is no run, no such
        checkpoint can be read, an export lacks what is needed, or `output`
        exists and may not be replaced.
    """
    source_path, output = Path(run), Path(output)
    check_long_secs(secs)
    check_checkpoint(checkpoint)
    refuse_existing(output, export_files.EXPORT, overwrite)
    note_text = model_card.read_note(note)
    source = source_lib.load(source_path, checkpoint)
    if source.classes and source.prior is None:
        raise UserError(
            f"{source_path} does not contain the shares of its classes; export "
            "the run"
        )
    module = SamplingModule(
        source.generator, source.moments, source.config, source.prior, secs
    )
    source.metadata["long_samples"] = module.long_samples
    with published_dir(output, export_files.EXPORT, overwrite) as staging:
        tf.saved_model.save(module, str(staging), module.signatures())
        _write_texts(staging, source, note_text, _map_of(module, source))
        has_warmup = serving_files.write_warmup(staging)
    return Export(output, source, has_warmup)


def _map_of(module: SamplingModule, source: Source) -> dict[str, Any]:
    seeds = np.arange(sound_map.NUM_SEEDS)
    windows = embedding.in_batches(module.windows, seeds)
    classes = module.classes(tf.constant(seeds))
    return sound_map.of_windows(windows, classes, source.moments, source.config)


def _write_texts(
    directory: Path, source: Source, note: str, sounds: dict[str, Any]
) -> None:
    """Writes the metadata, model card, map and settings for a server."""
    texts = {
        export_files.MAP: json.dumps(sounds) + "\n",
        export_files.METADATA: json.dumps(source.metadata, indent=1) + "\n",
        export_files.CARD: source.card_with(note),
        serving_files.BATCHING: serving_files.batching_parameters(),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
