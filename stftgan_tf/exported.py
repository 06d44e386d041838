"""An export as its users see it: one SavedModel and its metadata.

Needs nothing of the training code.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

    def batches(
        self, first_seed: int, count: int, batch: int
    ) -> Iterator[dict[str, Any]]:
        """Samples of consecutive seeds as NumPy arrays, batch by batch.

        Yields:
          `seed` int64 [B], `audio` float32 [B, N], `window` float32
          [B, T, F], `wav_bytes` object [B].
        """
        sample = self.signatures["serving_default"]
        for start in range(first_seed, first_seed + count, batch):
            stop = min(start + batch, first_seed + count)
            seeds = tf.range(start, stop, dtype=tf.int64)
            made = {k: v.numpy() for k, v in sample(seed=seeds).items()}
            yield {"seed": seeds.numpy(), **made}


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
