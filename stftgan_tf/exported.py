"""An export as its users see it: one SavedModel and its metadata.

Needs nothing of the training code.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.cli import UserError

METADATA = "metadata.json"


@dataclasses.dataclass(frozen=True)
class Export:
    """A loaded export.

    Attributes:
      path: its folder.
      metadata: what `metadata.json` says.
      signatures: callables by name, with dicts of tensors as results.
    """

    path: Path
    metadata: dict[str, Any]
    signatures: Any

    @property
    def asks_for_labels(self) -> bool:
        """Whether a sample can be asked for by label."""
        return self.metadata.get("condition") == "label"

    def label(self, name: str) -> int:
        """The number of a label.

        Raises:
          UserError: if the model has learnt no labels, or none of that name.
        """
        if not self.asks_for_labels:
            raise UserError(
                f"{self.path} has learnt no labels; train with "
                "model.condition label"
            )
        names = self.metadata["labels"]
        if name not in names:
            raise UserError(
                f"{self.path} knows no label {name!r}; expected one of "
                f"{', '.join(names)}"
            )
        return names.index(name)

    def batches(
        self,
        first_seed: int,
        count: int,
        batch: int,
        labels: np.ndarray | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Samples of consecutive seeds as NumPy arrays, batch by batch.

        Args:
          first_seed: of the first sample.
          count: how many.
          batch: how many at a time.
          labels: int [count], asked for; None draws one for each seed.

        Yields:
          `seed` int64 [B], `audio` float32 [B, N], `window` float32
          [B, T, F], `wav_bytes` object [B].
        """
        sample = self.signatures["serving_default"]
        for start in range(first_seed, first_seed + count, batch):
            stop = min(start + batch, first_seed + count)
            inputs = {"seed": tf.range(start, stop, dtype=tf.int64)}
            if self.asks_for_labels:
                asked = np.full(stop - start, -1)
                if labels is not None:
                    asked = labels[start - first_seed : stop - first_seed]
                inputs["label"] = tf.constant(asked, tf.int64)
            made = {k: v.numpy() for k, v in sample(**inputs).items()}
            yield {"seed": inputs["seed"].numpy(), **made}


def load(path: Path) -> Export:
    """Loads an export.

    Raises:
      UserError: if there is none, or it cannot be loaded.
    """
    file = path / METADATA
    if not (path / "saved_model.pb").is_file() or not file.is_file():
        raise UserError(
            f"{path} is no export (saved_model.pb and {METADATA}); "
            "make one with python -m stftgan_tf.export"
        )
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        signatures = tf.saved_model.load(str(path)).signatures
        signatures["serving_default"]
    # What TensorFlow raises for a damaged SavedModel.
    except (
        tf.errors.OpError,
        IndexError,
        KeyError,
        OSError,
        ValueError,
    ) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"export {path} is damaged: {lines[0]}") from error
    return Export(path=path, metadata=metadata, signatures=signatures)
