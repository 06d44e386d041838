"""What is exported: the generator of a run, or of an earlier export."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.models import condition, networks
from stftgan_tf.models.devices import with_precision
from stftgan_tf.saved_model import export_files, model_card
from stftgan_tf.training import checkpoints, run_dir, warm_start


@dataclasses.dataclass(frozen=True)
class Source:
    """A generator with all that its exports contain.

    Attributes:
      generator: computes in float32, because servers may lack the bfloat16
        instructions of the training's processor.
      moments: of the training split.
      config: of the run.
      classes: number of labels or clusters, 0 if unconditional.
      prior: share of each class [K]; None if unconditional or unknown.
      metadata: content of `metadata.json`, without what depends on the format.
      choice: the checkpoint, and why it was chosen.
      card: an existing model card; None if there is none yet.
    """

    generator: keras.Model
    moments: Moments
    config: Config
    classes: int
    prior: np.ndarray | None
    metadata: dict[str, Any]
    choice: str
    card: str | None = None

    def card_with(self, note: str) -> str:
        """The model card, with a note of the person who exports."""
        if self.card is None or note:
            return model_card.card_of(self.metadata, note)
        return self.card


def load(path: Path, checkpoint: str = checkpoints.BEST) -> Source:
    """The generator of a run or an export.

    Args:
      path: directory of the run or the export.
      checkpoint: of a run: `best`, `last`, or the number of a step.

    Raises:
      UserError: if there is neither, or it cannot be read.
    """
    if (path / export_files.METADATA).is_file():
        return _of_export(path)
    return _of_run(path, checkpoint)


def _of_run(run: Path, checkpoint: str) -> Source:
    config, manifest = run_dir.open_run(run)
    moments = Moments.from_dict(manifest["moments"])
    prior = None
    if config.model.condition != "none":
        prior = condition.load(run / condition.FILE).prior
    classes = 0 if prior is None else len(prior)
    generator = _float32_generator(config, classes, moments)
    choice = checkpoints.restore_average(
        run / checkpoints.DIRECTORY, generator, checkpoint
    )
    scale = choice.state.metrics.get("latent_scale", 1.0)
    networks.scale_latents(generator, scale)
    metadata = model_card.metadata_of(
        run, config, manifest, generator.count_params(), choice
    )
    if config.model.condition == "label":
        metadata["seed_label_shares"] = [float(share) for share in prior]
    return Source(
        generator,
        moments,
        config,
        classes,
        prior,
        metadata,
        f"{choice.name} ({choice.reason})",
    )


def _of_export(path: Path) -> Source:
    export = warm_start.load(path)
    classes = warm_start.num_classes(export.config, export.labels)
    generator = _float32_generator(export.config, classes, export.moments)
    generator.set_weights(export.generator.get_weights())
    try:
        text = (path / export_files.METADATA).read_text(encoding="utf-8")
        card = (path / export_files.CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"export {path} cannot be read: {first_line(error)}"
        ) from error
    metadata = {**json.loads(text), "tensorflow": tf.__version__}
    shares = metadata.get("seed_label_shares")
    return Source(
        generator,
        export.moments,
        export.config,
        classes,
        None if shares is None else np.float32(shares),
        metadata,
        f"{metadata.get('checkpoint', 'unknown')} (as exported before)",
        card,
    )


def _float32_generator(
    config: Config, classes: int, moments: Moments
) -> keras.Model:
    return networks.build_generator(
        with_precision(config, "float32"), classes, moments
    )
