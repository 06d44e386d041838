"""Loads an export and generates audio with it.

Needs a SavedModel and its metadata only, none of the training code.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from stftgan_tf.data.batching import slices
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.saved_model import latents
from stftgan_tf.saved_model.audio import shorten
from stftgan_tf.saved_model.export_files import METADATA

SIGNATURES = (
    "serving_default",
    "sample",
    "interpolate",
    "generate",
    "long",
)

# Rows that are generated at a time.
BATCH, LONG_BATCH = 32, 4

# What TensorFlow and JSON raise for a damaged SavedModel.
_DAMAGE = (
    tf.errors.OpError,
    IndexError,
    KeyError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)

# Values of metadata.json without which nothing can be generated.
_TYPES = {
    "config": dict,
    "labels": list,
    "long_samples": int,
    "sample_rate_hz": int,
    "samples": int,
    "step": int,
}


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A loaded export.

    Attributes:
      path: its directory.
      metadata: contents of `metadata.json`.
      signatures: callables by name that return dicts of tensors.
      module: the SavedModel, which keeps the variables of the signatures
        alive.
    """

    path: Path
    metadata: dict[str, Any]
    signatures: Any
    module: Any = None

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the audio."""
        return self.metadata["sample_rate_hz"]

    @property
    def max_secs(self) -> float:
        """Duration of the longest audio that `long` returns."""
        return self.metadata["long_samples"] / self.sample_rate_hz

    @property
    def has_labels(self) -> bool:
        """Whether the model learnt labels, which samples may then request."""
        return self.metadata.get("condition") == "label"

    def label_index(self, label: str | int) -> int:
        """The index of a label.

        Args:
          label: a name, or an index as a number or as text. A name takes
            precedence.

        Raises:
          UserError: if the model learnt no labels, or not this one.
        """
        if not self.has_labels:
            raise UserError(
                f"{self.path} has no labels; train with model.condition label"
            )
        names = self.metadata["labels"]
        if label in names:
            return names.index(label)
        text = str(label)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        raise UserError(
            f"{self.path} has no label {label!r}; expected one of "
            f"{', '.join(names)}, or 0 to {len(names) - 1}"
        )

    def label_names(
        self, seeds: np.ndarray, label: str | int | None
    ) -> list[str] | None:
        """Names [B] of the labels of samples.

        Args:
          seeds: int64 [B].
          label: the label requested for all of them; None if each seed draws
            its own.

        Returns:
          None if the model learned no labels, or if seeds draw them and the
          export is of an earlier version, whose seeds draw different labels.
        """
        if not self.has_labels:
            return None
        names = self.metadata["labels"]
        if label is not None:
            return [names[self.label_index(label)]] * len(seeds)
        if "seed_label_shares" not in self.metadata:
            return None
        shares = np.float32(self.metadata["seed_label_shares"])
        classes = latents.classes_of_seeds(tf.constant(seeds), shares)
        return [names[index] for index in classes.numpy()]

    def sample(
        self,
        num: int = 1,
        seed: int = 0,
        label: str | int | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Audio float32 [num, N] of `num` consecutive seeds.

        Args:
          num: number of samples.
          seed: of the first sample.
          label: name or index for all samples; None draws one for each.
          truncation: scale of the latents; below 1 samples are more typical
            and less varied.

        Raises:
          UserError: if the model does not have the label.
        """
        labels = self._label_indices(label, num)
        batches = self.batches(seed, num, BATCH, labels, truncation)
        return np.concatenate([batch["audio"] for batch in batches])

    def interpolate(
        self,
        seed_a: int,
        seed_b: int,
        num: int,
        label: str | int | None = None,
    ) -> np.ndarray:
        """Audio float32 [num, N] on the way from one seed to another.

        Args:
          seed_a: of the first sample.
          seed_b: of the last sample.
          num: number of samples, at least 2.
          label: as for `sample`.

        Raises:
          UserError: if the model does not have the label.
        """
        labels = self._label_indices(label, num)
        weights = np.linspace(0, 1, num, dtype=np.float32)
        batches = self.interpolation_batches(
            (seed_a, seed_b), weights, BATCH, labels
        )
        return np.concatenate([batch["audio"] for batch in batches])

    def long(
        self,
        num: int = 1,
        seed: int = 0,
        label: str | int | None = None,
        secs: float | None = None,
    ) -> np.ndarray:
        """Audio float32 [num, M] of several windows each, crossfaded.

        Args:
          num: number of samples.
          seed: of the first sample.
          label: as for `sample`.
          secs: duration, at most `max_secs`, which is the default.

        Raises:
          UserError: if the model does not have the label.
          ValueError: if `secs` is out of range.
        """
        if secs is not None and not 0 < secs <= self.max_secs:
            raise ValueError(
                f"secs is {secs}; expected above 0, at most {self.max_secs:.2f}"
            )
        labels = self._label_indices(label, num)
        batches = self.batches(seed, num, LONG_BATCH, labels, long=True)
        audio = np.concatenate([batch["audio"] for batch in batches])
        if secs is None:
            return audio
        return shorten(audio, secs, self.sample_rate_hz)

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
          count: number of samples.
          batch: number of samples at a time.
          labels: int [count], label indices; None draws one for each seed.
          truncation: scale of the latents.
          long: several windows crossfaded, instead of one; without truncation.

        Yields:
          `seed` int64 [B], `audio` float32 [B, N], `wav_bytes` object [B],
          and unless it is long `window` float32 [B, T, F].
        """
        signature = "long" if long else "serving_default"
        more = {}
        if truncation != 1.0:
            signature = "sample"
            more = {self._truncation_input: np.float32([truncation])}
        for part in slices(count, batch):
            seeds = first_seed + np.arange(part.start, part.stop)
            inputs = {"seed": seeds, **self._label_input(labels, part), **more}
            yield {"seed": seeds, **self.call(signature, inputs)}

    def interpolation_batches(
        self,
        seeds: tuple[int, int],
        weights: np.ndarray,
        batch: int,
        labels: np.ndarray | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Samples on the way from one seed to another.

        Args:
          seeds: the two.
          weights: float32 [count], 0 at the first seed and 1 at the second.
          batch: number of samples at a time.
          labels: as for `batches`.

        Yields:
          `weight` float32 [B], and the outputs of `batches`.
        """
        for part in slices(len(weights), batch):
            weight = weights[part]
            inputs = {
                "seed_a": np.full(len(weight), seeds[0]),
                "seed_b": np.full(len(weight), seeds[1]),
                "weight": weight,
                **self._label_input(labels, part),
            }
            yield {"weight": weight, **self.call("interpolate", inputs)}

    def call(
        self, signature: str, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Outputs of a signature."""
        outputs = self.signatures[signature](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    @property
    def _truncation_input(self) -> str:
        """Exports of earlier versions call it `psi`."""
        inputs = self.signatures["sample"].structured_input_signature[1]
        return "psi" if "psi" in inputs else "truncation"

    def _label_indices(
        self, label: str | int | None, count: int
    ) -> np.ndarray | None:
        if label is None:
            return None
        return np.full(count, self.label_index(label))

    def _label_input(
        self, labels: np.ndarray | None, part: slice
    ) -> dict[str, np.ndarray]:
        if not self.has_labels:
            return {}
        if labels is None:
            return {"label": np.full(part.stop - part.start, -1)}
        return {"label": labels[part]}


def load(path: str | Path) -> LoadedModel:
    """Loads an export.

    Raises:
      UserError: if there is no export, or it cannot be loaded.
    """
    path = Path(path)
    file = path / METADATA
    if not (path / "saved_model.pb").is_file() or not file.is_file():
        raise UserError(
            f"{path} is not an export (no saved_model.pb or {METADATA}); "
            "create one with python -m stftgan_tf.export"
        )
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        for key, kind in _TYPES.items():
            if not isinstance(metadata[key], kind):
                raise ValueError(f"{METADATA}: {key} is not a {kind.__name__}")
        module = tf.saved_model.load(str(path))
        signatures = module.signatures
        missing = set(SIGNATURES) - set(signatures)
        if missing:
            raise KeyError(f"no signature {min(missing)}; export it again")
    except _DAMAGE as error:
        reason = first_line(error)
        raise UserError(f"export {path} is damaged: {reason}") from error
    return LoadedModel(path, metadata, signatures, module)


def signature_defs(path: Path) -> dict[str, Any]:
    """SignatureDefs of an export by name, without loading it."""
    model = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    definitions = model.meta_graphs[0].signature_def
    return {name: definitions[name] for name in SIGNATURES}


def example_inputs(signature: Any, rows: int) -> dict[str, np.ndarray]:
    """Valid inputs of a SignatureDef; all rows are equal."""
    inputs = {}
    for name, info in signature.inputs.items():
        shape = [rows, *(dim.size for dim in info.tensor_shape.dim[1:])]
        dtype = tf.dtypes.as_dtype(info.dtype).as_numpy_dtype
        # 0.5 suits latents, weights and truncation; as an integer it becomes
        # 0: a seed, and the first label or cluster.
        inputs[name] = np.full(shape, 0.5).astype(dtype)
    return inputs
