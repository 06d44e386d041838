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
from tensorflow.core.protobuf import saved_model_pb2

from stftgan_tf.errors import UserError, first_line

METADATA = "metadata.json"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
SIGNATURES = (
    "serving_default",
    "sample",
    "interpolate",
    "generate",
    "long",
)


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
        truncation: float = 1.0,
        long: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Samples of consecutive seeds as NumPy arrays, batch by batch.

        Args:
          first_seed: of the first sample.
          count: how many.
          batch: how many at a time.
          labels: int [count], asked for; None draws one for each seed.
          truncation: truncation.
          long: several windows joined, instead of one; without truncation.

        Yields:
          `seed` int64 [B], `audio` float32 [B, N], `wav_bytes` object [B],
          and unless it is long `window` float32 [B, T, F].
        """
        for part in _parts(count, batch):
            seeds = first_seed + np.arange(part.start, part.stop)
            inputs = {"seed": seeds, **self._labels(labels, part)}
            signature = "long" if long else "serving_default"
            if truncation != 1.0:
                signature, inputs["truncation"] = (
                    "sample",
                    np.float32([truncation]),
                )
            yield {"seed": seeds, **self.call(signature, inputs)}

    def between(
        self,
        seeds: tuple[int, int],
        count: int,
        batch: int,
        labels: np.ndarray | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Samples on the way from one seed to another, both included.

        Args:
          seeds: the two.
          count: how many samples, at least 2.
          batch: how many at a time.
          labels: as for `batches`.

        Yields:
          `weight` float32 [B], 0 at the first seed and 1 at the second, and
          the outputs of `batches`.
        """
        weights = np.linspace(0, 1, count, dtype=np.float32)
        for part in _parts(count, batch):
            weight = weights[part]
            inputs = {
                "seed_a": np.full(len(weight), seeds[0]),
                "seed_b": np.full(len(weight), seeds[1]),
                "weight": weight,
                **self._labels(labels, part),
            }
            yield {"weight": weight, **self.call("interpolate", inputs)}

    def _labels(
        self, labels: np.ndarray | None, part: slice
    ) -> dict[str, np.ndarray]:
        if not self.asks_for_labels:
            return {}
        if labels is None:
            return {"label": np.full(part.stop - part.start, -1)}
        return {"label": labels[part]}

    def call(
        self, signature: str, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """A signature's outputs."""
        made = self.signatures[signature](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        return {name: value.numpy() for name, value in made.items()}


def _parts(count: int, batch: int) -> Iterator[slice]:
    for start in range(0, count, batch):
        yield slice(start, min(start + batch, count))


def signature_defs(path: Path) -> dict[str, Any]:
    """SignatureDefs of an export by name, without loading it."""
    saved = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    found = saved.meta_graphs[0].signature_def
    return {name: found[name] for name in SIGNATURES}


def example(signature: Any, rows: int) -> dict[str, np.ndarray]:
    """Inputs that a signature takes: rows that are all alike."""
    made = {}
    for name, info in signature.inputs.items():
        shape = [rows, *(dim.size for dim in info.tensor_shape.dim[1:])]
        dtype = tf.dtypes.as_dtype(info.dtype).as_numpy_dtype
        # A seed; the first class or label; latents, weights and truncation.
        made[name] = np.full(shape, 0.5).astype(dtype)
    return made


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
        missing = set(SIGNATURES) - set(signatures)
        if missing:
            raise KeyError(f"no signature {min(missing)}; export it again")
    # What TensorFlow raises for a damaged SavedModel.
    except (
        tf.errors.OpError,
        IndexError,
        KeyError,
        OSError,
        ValueError,
    ) as error:
        reason = first_line(error)
        raise UserError(f"export {path} is damaged: {reason}") from error
    return Export(path=path, metadata=metadata, signatures=signatures)
