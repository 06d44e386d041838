"""The generated windows of an evaluation, with or without their audio."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from stftgan_tf.data.batching import slices
from stftgan_tf.models import condition
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model.loading import LoadedModel

# Samples generated at a time.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of consecutive seeds.

    Attributes:
      seeds: int [B].
      windows: float32 [B, T, F].
      labels: int [B], the requested labels; None if the model has none.
      audio: float32 [B, N]; None if it was not requested.
    """

    seeds: np.ndarray
    windows: np.ndarray
    labels: np.ndarray | None
    audio: np.ndarray | None

    @property
    def known_labels(self) -> np.ndarray:
        """The labels int [B]; -1 if the model has none."""
        if self.labels is None:
            return np.full(len(self.windows), -1)
        return self.labels


def generate(
    model: LoadedModel,
    labels: np.ndarray,
    count: int,
    seed: int,
    with_audio: bool,
) -> Samples:
    """Generates samples with consecutive seeds.

    Args:
      model: the export.
      labels: int [N], -1 where unknown. From a model with labels, each label
        is requested as often as its share of these.
      count: number of samples.
      seed: the first seed.
      with_audio: whether to compute the phase, which costs most of the time.
    """
    requested = None
    if model.has_labels:
        shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
        requested = condition.Condition(shares).draw(count, seed)
    progress = Progress("sample", count, "windows")
    seeds = seed + np.arange(count)
    windows, audio, done = [], [], 0
    for batch in _batches(model, seeds, requested, with_audio):
        windows.append(batch["window"])
        if with_audio:
            audio.append(batch["audio"])
        done += len(batch["window"])
        progress.update(done)
    progress.close(done)
    return Samples(
        seeds,
        np.concatenate(windows),
        requested,
        np.concatenate(audio) if with_audio else None,
    )


def audio_of(
    model: LoadedModel, samples: Samples, rows: np.ndarray
) -> np.ndarray:
    """Audio float32 [R, N] of the samples with the indices `rows` [R]."""
    if samples.audio is not None:
        return samples.audio[rows]
    labels = None if samples.labels is None else samples.labels[rows]
    batches = _batches(model, samples.seeds[rows], labels, with_audio=True)
    return np.concatenate([batch["audio"] for batch in batches])


def _batches(
    model: LoadedModel,
    seeds: np.ndarray,
    labels: np.ndarray | None,
    with_audio: bool,
) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of the export, `window` and perhaps `audio`."""
    names = ("window", "audio") if with_audio else ("window",)
    signature = model.signatures["serving_default"]

    @tf.function(reduce_retracing=True)
    def sample(inputs):
        outputs = signature(**inputs)
        # A graph leaves out what none of its outputs depends on.
        return {name: outputs[name] for name in names}

    for part in slices(len(seeds), _BATCH):
        inputs = {"seed": seeds[part]}
        if labels is not None:
            inputs["label"] = labels[part]
        outputs = sample({k: tf.constant(v) for k, v in inputs.items()})
        yield {name: value.numpy() for name, value in outputs.items()}
