"""Metrics that compare audio, using a classifier of the data set's labels."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import phase
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.evaluation import classifier
from stftgan_tf.evaluation.window_metrics import every_nth, round_values
from stftgan_tf.metrics import clusters, distances, label_scores
from stftgan_tf.metrics.embedding import in_batches

# Windows converted to audio at a time.
_BATCH = 32

# Training windows that are converted to audio, which costs more than anything
# else here: as many as this number of samples, within limits.
_TRAINING_SAMPLES, _FEWEST, _MOST = 8_000_000, 500, 1000


class AudioMetrics:
    """Compares audio with the audio of the training windows."""

    def __init__(
        self,
        train: tuple[np.ndarray, np.ndarray],
        shards: dataset.Shards,
        config: Config,
    ):
        """Trains the classifier, or reads it from the data set's directory.

        Args:
          train: windows [N, T, F] and labels [N] of the training split.
          shards: the data set.
          config: STFT, phase reconstruction, and the evaluate section.
        """
        rows = _spread(np.flatnonzero(train[1] >= 0), config)
        self._labels = train[1][rows]
        self._names = shards.manifest["labels"]
        self._classifier, self._training = trained_classifier(
            train[0][rows], self._labels, shards, config
        )
        settings = config.evaluate
        self._samples = settings.samples
        self._bins = clusters.BinTest(
            self._training, settings.clusters, settings.seed
        )

    def measure(
        self, audio: np.ndarray, labels: np.ndarray | None, size: int
    ) -> dict[str, Any]:
        """All metrics of audio.

        Metrics that depend on the number of samples are means over parts of
        `size` samples.

        Args:
          audio: float32 [B, N].
          labels: int [B], -1 where unknown, or None if all are unknown.
          size: number of samples in a part.
        """
        probabilities, vectors = self._classifier(audio)
        predicted = probabilities.argmax(axis=1)
        parts = distances.parts(vectors, size)
        reference = every_nth(self._training, self._samples)
        density, coverage = np.mean(
            [distances.density_and_coverage(p, reference) for p in parts],
            axis=0,
        )
        frechet = [distances.frechet_distance(p, self._training) for p in parts]
        recognised = diversity = None
        if labels is not None and (labels >= 0).any():
            correct = (predicted == labels)[labels >= 0]
            recognised = float(correct.mean())
            diversity = distances.label_diversity(
                (vectors, labels), (self._training, self._labels)
            )
        shares = dict(zip(self._names, self._shares(predicted), strict=True))
        return round_values(
            {
                "label_recognised": recognised,
                "label_diversity": diversity,
                "inception_score": label_scores.inception_score(probabilities),
                "modified_inception_score": (
                    label_scores.modified_inception_score(probabilities)
                ),
                "fid": np.mean(frechet),
                "am_score": label_scores.am_score(
                    probabilities, self._shares(self._labels)
                ),
                "classifier_ndb": self._bins.compare(vectors).ndb,
                "classifier_density": density,
                "classifier_coverage": coverage,
                "labels": round_values(shares),
            }
        )

    def _shares(self, labels: np.ndarray) -> np.ndarray:
        """Share of each label, float [classes]."""
        counts = np.bincount(labels, minlength=len(self._names))
        return counts / len(labels)


def to_audio(
    windows: np.ndarray, moments: Moments, config: Config
) -> np.ndarray:
    """Audio float32 [B, N] of windows, with the phase step of the export."""
    # Without the size of the batch, so that the last batch is no new trace.
    shape = tf.TensorSpec((None, *windows.shape[1:]), tf.float32)

    @tf.function(input_signature=[shape])
    def convert(batch: tf.Tensor) -> tf.Tensor:
        return phase.windows_to_audio(batch, moments, config)

    return in_batches(convert, windows, _BATCH)


def _spread(rows: np.ndarray, config: Config) -> np.ndarray:
    """As many of the rows as are converted to audio, spread evenly."""
    affordable = _TRAINING_SAMPLES // config.window_samples
    count = max(min(max(affordable, _FEWEST), _MOST), config.evaluate.clusters)
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def trained_classifier(
    windows: np.ndarray,
    labels: np.ndarray,
    shards: dataset.Shards,
    config: Config,
) -> tuple[classifier.Classifier, np.ndarray]:
    """A classifier trained on the audio of windows, and their embeddings.

    Both are stored in the data set's directory and read from there the next
    time, unless that is remote or not writable.

    Args:
      windows: float32 [B, T, F], labelled training windows.
      labels: int [B].
      shards: the data set.
      config: phase reconstruction, and the seed of the evaluate section.

    Returns:
      The classifier, and embeddings float32 [B, 64].
    """
    model = classifier.Classifier(
        config.window_samples,
        len(shards.manifest["labels"]),
        config.audio.sample_rate_hz,
        config.evaluate.seed,
    )
    key = _cache_key(shards, config)
    path = Path(shards.home, f"classifier-{key}.npz")
    local = not dataset.is_remote(shards.home)
    vectors = model.load(path) if local else None
    if vectors is not None and len(vectors) == len(windows):
        return model, vectors
    audio = to_audio(windows, shards.moments, config)
    model.fit(audio, labels)
    _, vectors = model(audio)
    try:
        if local:
            model.save(path, vectors)
    except OSError as error:
        print(
            f"the classifier was not saved to {path}: {error.strerror}",
            file=sys.stderr,
        )
    return model, vectors


def _cache_key(shards: dataset.Shards, config: Config) -> str:
    """Identifies everything that the classifier's weights depend on."""
    text = json.dumps(
        [
            [shard["sha256"] for shard in shards.manifest["shards"]],
            config.model.phase,
            config.model.griffin_lim_iterations,
            config.model.subtract_floor,
            config.evaluate.seed,
            classifier.VERSION,
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]
