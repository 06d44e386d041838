"""Measures an export on a data set.

Evaluation windows that are also training windows are left out, because they
would make a generator that copies look like one that generalises.
"""

from typing import Any

import numpy as np

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import examples
from stftgan_tf.evaluation.audio_metrics import AudioMetrics, to_audio
from stftgan_tf.evaluation.generation import Samples, audio_of, generate
from stftgan_tf.evaluation.window_metrics import WindowMetrics
from stftgan_tf.metrics import distances
from stftgan_tf.saved_model.loading import LoadedModel

# Largest number of training windows that take part in the comparison.
_MAX_TRAINING = 20000


def measure(
    model: LoadedModel, shards: dataset.Shards, config: Config
) -> tuple[dict[str, Any], examples.Examples]:
    """Measures real and generated windows.

    Args:
      model: the export.
      shards: the data set that it was trained on.
      config: of the evaluation.

    Returns:
      The metrics, as in `evaluator.Evaluation`, and the windows to show.

    Raises:
      UserError: if there are too few windows to compare.
    """
    settings, moments = config.evaluate, shards.moments
    train, real = _real_windows(shards, config)
    window_metrics = WindowMetrics(train[0], moments, config)
    leaked = window_metrics.are_in_training(real[0])
    real = real[0][~leaked], real[1][~leaked]
    _check_counts(shards, len(train[0]), len(real[0]), settings.clusters)
    with_audio = _uses_classifier(train[1], config)
    samples = generate(
        model, train[1], settings.samples, settings.seed, with_audio
    )
    windows = samples.windows
    real_vectors = window_metrics.embed(real[0])
    vectors = window_metrics.embed(windows)
    metrics: dict[str, Any] = {
        "model": str(model.path),
        "leaked": int(leaked.sum()),
        "clusters": settings.clusters,
        "dimensions": window_metrics.dimensions,
        "real": window_metrics.measure(real[0], real_vectors, real[0]),
        "generated": window_metrics.measure(windows, vectors, real[0]),
        "bins": window_metrics.shares(windows, real[0]),
    }
    if with_audio:
        audio = _audio_metrics(train, real, samples, shards, config)
        for group, values in audio.items():
            metrics[group] |= values
    selection = examples.select(
        examples.Windows(*train, window_metrics.training),
        examples.Windows(*real, real_vectors),
        examples.Windows(windows, samples.known_labels, vectors),
        lambda rows: audio_of(model, samples, rows),
        lambda x: to_audio(x, moments, config),
    )
    return metrics, selection


def _audio_metrics(
    train: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    samples: Samples,
    shards: dataset.Shards,
    config: Config,
) -> dict[str, dict[str, Any]]:
    """Metrics of the audio of `real` and of `generated` windows.

    Args:
      train: windows [N, T, F] and labels [N] of the training split.
      real: windows [B, T, F] and labels [B] of the evaluation split.
      samples: generated windows, with their audio.
      shards: the data set.
      config: of the evaluation.
    """
    audio_metrics = AudioMetrics(train, shards, config)
    audio = to_audio(real[0], shards.moments, config)
    size = len(audio)
    return {
        "real": audio_metrics.measure(audio, real[1], size),
        "generated": audio_metrics.measure(samples.audio, samples.labels, size),
    }


def _real_windows(
    shards: dataset.Shards, config: Config
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Windows and labels of the training and of the evaluation split."""
    settings = config.evaluate
    train = dataset.load_windows(shards, config, "train", _MAX_TRAINING)
    real = dataset.load_windows(shards, config, "eval", settings.samples)
    rows = distances.distinct_rows(real[0])
    real = real[0][rows], real[1][rows]
    _check_counts(shards, len(train[0]), len(real[0]), settings.clusters)
    return train, real


def _check_counts(
    shards: dataset.Shards, training: int, real: int, clusters: int
) -> None:
    """Raises UserError if there are too few windows to compare."""
    smallest = config_lib.MIN_EVALUATION_WINDOWS
    if training < clusters or real < smallest:
        raise UserError(
            f"{shards.root} has {training} training windows and {real} "
            "distinct evaluation windows that are not training windows; "
            f"expected at least {clusters} (evaluate.clusters) and {smallest}: "
            "add recordings, or change the config's split section"
        )


def _uses_classifier(labels: np.ndarray, config: Config) -> bool:
    """Whether a classifier can be trained and its embedding be clustered."""
    if config.evaluate.classifier == "off":
        return False
    known = labels[labels >= 0]
    return len(known) >= config.evaluate.clusters and len(np.unique(known)) > 1
