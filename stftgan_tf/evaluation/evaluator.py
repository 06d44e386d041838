"""Evaluates an export against the data set that it was trained on.

Every metric compares two sets with the training split: real windows of the
evaluation split, whose values show what is possible, and generated windows. If
the data is labelled, a classifier also compares their audio, which is
reconstructed with the same phase step.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset, integrity
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, examples
from stftgan_tf.evaluation.audio_metrics import AudioMetrics, to_audio
from stftgan_tf.evaluation.window_metrics import WindowMetrics
from stftgan_tf.files import stable_digest
from stftgan_tf.metrics import distances, registry
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import loading

# Samples generated at a time.
_BATCH = 32

# Largest number of training windows that take part in the comparison.
_MAX_TRAINING = 20000


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Result of evaluating an export.

    Attributes:
      metrics: the metrics of `real` and `generated` windows by name;
        `clusters` and `dimensions`, which the limits depend on; `bins`, the
        share of windows in each cluster; and the export, data set and
        settings that were used.
      checks: all checks of the blessing.
      examples: the windows that the report shows.
    """

    metrics: dict[str, Any]
    checks: list[blessing.Check]
    examples: examples.Examples

    @property
    def blessed(self) -> bool:
        """Whether the export may be published."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Why the export is not blessed; empty if it is blessed."""
        return blessing.reasons(self.checks)

    def __str__(self) -> str:
        """The table of metrics, and why the export is not blessed."""
        reasons = [f"{blessing.NOT_BLESSED}: {r}" for r in self.reasons]
        return "\n".join(
            [table(self.metrics), *(reasons or [blessing.BLESSED])]
        )

    def save(self, directory: Path) -> None:
        """Writes the evaluation; replaces an earlier one.

        Raises:
          UserError: if the directory contains anything else.
        """
        arrays = self.examples.arrays()
        blessing.write(directory, self.metrics, self.checks, arrays)


def evaluate(
    model_dir: str | Path,
    data_dir: str | Path,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    last_blessed: str | Path | None = None,
) -> Evaluation:
    """Evaluates an export.

    Args:
      model_dir: the export.
      data_dir: the data set that it was trained on.
      config: settings of the evaluation and the blessing; by default those
        inside the export.
      overrides: `section.key=value` texts that change the config inside the
        export; only without `config`.
      last_blessed: evaluation of the last blessed export, or its pushed
        version; this export must not be much worse.

    Raises:
      UserError: if the export, the data set or the last evaluation cannot be
        read, they do not belong together, or there are too few windows.
    """
    last = blessing.read(Path(last_blessed)) if last_blessed else None
    # The evaluation is only valid for the files that were loaded.
    with stable_digest(Path(model_dir)) as digest:
        model = loading.load(Path(model_dir))
        config = config or _saved_config(model, overrides)
        shards = dataset.open_shards(data_dir, config)
        check_data(model, shards)
        return evaluate_loaded(model, digest, shards, config, last)


def config_of(model_dir: Path, overrides: Sequence[str] = ()) -> Config:
    """The config inside an export.

    Raises:
      UserError: if it is not an export.
    """
    return _saved_config(loading.load(model_dir), overrides)


def evaluate_loaded(
    model: loading.LoadedModel,
    digest: str,
    shards: dataset.Shards,
    config: Config,
    last: dict[str, Any] | None = None,
) -> Evaluation:
    """Evaluates a loaded export.

    Args:
      model: the export.
      digest: digest of its files, from `files.directory_digest`.
      shards: the data set.
      config: settings of the evaluation and the blessing.
      last: evaluation of the last blessed export, from `blessing.read`.

    Raises:
      UserError: if the training split has fewer windows than clusters, or
        the evaluation split is almost empty.
    """
    with integrity.corrupt_shard_as_error(shards):
        metrics, selection = _measure(model, shards, config)
    checks = blessing.checks(metrics, config.bless, last)
    metrics |= {
        "digest": digest,
        "data_digest": data_digest(shards),
        "evaluate": dataclasses.asdict(config.evaluate),
    }
    if last:
        metrics["last_blessed"] = last["generated"]
        metrics["last_digest"] = last["digest"]
    return Evaluation(metrics, checks, selection)


def table(metrics: dict[str, Any]) -> str:
    """The metrics as lines: name, real, generated, best value."""
    lines = [f"{'metric':28s}{'real':>10s}{'generated':>12s}  best"]

    def add(name: str, real: Any, generated: Any, best: str) -> None:
        cells = ["-" if v is None else f"{v:g}" for v in (real, generated)]
        lines.append(f"{name:28s}{cells[0]:>10s}{cells[1]:>12s}  {best}")

    generated = metrics["generated"]
    for name, value in metrics["real"].items():
        if isinstance(value, dict):
            lines.append(f"{name} (share of samples)")
            for key, share in value.items():
                add(f"  {key}", share, generated[name][key], "real")
        else:
            best = registry.evaluation_metric(name).best
            add(name, value, generated.get(name), best)
    return "\n".join(line.rstrip() for line in lines)


def data_digest(shards: dataset.Shards) -> str:
    """SHA-256 that identifies the windows of a data set."""
    digests = [shard["sha256"] for shard in shards.manifest["shards"]]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def check_data(model: loading.LoadedModel, shards: dataset.Shards) -> None:
    """Checks that a model was trained on a data set.

    Windows and labels are only comparable within that data set.

    Raises:
      UserError: if the data set has different moments or labels.
    """
    metadata, manifest = model.metadata, shards.manifest
    if "moments" not in metadata:
        raise UserError(
            f"the metadata of {model.path} contains no moments; export it again"
        )
    names = metadata["moments"]
    for what, in_data, in_model in (
        ("labels", manifest["labels"], metadata["labels"]),
        (
            "moments",
            {name: manifest["moments"][name] for name in names},
            metadata["moments"],
        ),
    ):
        if in_data != in_model:
            raise UserError(
                f"{shards.root} has different {what} than the data set that "
                f"{model.path} was trained on; use that data set, or one "
                "with the same recordings and config"
            )


def generate(
    model: loading.LoadedModel, labels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Generates samples with consecutive seeds.

    Args:
      model: the export.
      labels: int [N], -1 where unknown. From a model with labels, each label
        is requested with the frequency that it has here.
      count: number of samples.
      seed: the first seed.

    Returns:
      Windows [count, T, F], audio [count, N], and the requested labels
      [count]; None if the model has no labels.
    """
    requested = None
    if model.has_labels:
        known = labels[labels >= 0]
        requested = np.random.default_rng(seed).choice(known, count)
    progress = Progress("sample", count, "windows")
    windows, audio, done = [], [], 0
    for batch in model.batches(seed, count, _BATCH, requested):
        windows.append(batch["window"])
        audio.append(batch["audio"])
        done += len(batch["window"])
        progress.update(done)
    progress.close(done)
    return np.concatenate(windows), np.concatenate(audio), requested


def _measure(
    model: loading.LoadedModel, shards: dataset.Shards, config: Config
) -> tuple[dict[str, Any], examples.Examples]:
    """Metrics and examples of real and of generated windows."""
    settings, moments = config.evaluate, shards.moments
    train, real = _real_windows(shards, config)
    windows, audio, labels = generate(
        model, train[1], settings.samples, settings.seed
    )
    window_metrics = WindowMetrics(train[0], moments, config)
    real_vectors, vectors = (
        window_metrics.embed(real[0]),
        window_metrics.embed(windows),
    )
    metrics: dict[str, Any] = {
        "model": str(model.path),
        "clusters": settings.clusters,
        "dimensions": window_metrics.dimensions,
        "real": window_metrics.measure(real[0], real_vectors, real[0]),
        "generated": window_metrics.measure(windows, vectors, real[0]),
        "bins": window_metrics.shares(windows, real[0]),
    }
    if _enough_labels(train[1], settings.clusters):
        audio_metrics = AudioMetrics(train, shards, config)
        real_audio = to_audio(real[0], moments, config)
        size = len(real_audio)
        metrics["real"] |= audio_metrics.measure(real_audio, real[1], size)
        metrics["generated"] |= audio_metrics.measure(audio, labels, size)
    if labels is None:
        labels = np.full(len(windows), -1)
    selection = examples.select(
        examples.Windows(*train, window_metrics.training),
        examples.Windows(*real, real_vectors),
        examples.Windows(windows, labels, vectors),
        audio,
        lambda x: to_audio(x, moments, config),
    )
    return metrics, selection


def _real_windows(
    shards: dataset.Shards, config: Config
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Windows and labels of the training and of the evaluation split."""
    settings = config.evaluate
    train = dataset.load_windows(shards, config, "train", _MAX_TRAINING)
    real = dataset.load_windows(shards, config, "eval", settings.samples)
    rows = distances.distinct_rows(real[0])
    real = real[0][rows], real[1][rows]
    smallest = config_lib.MIN_EVALUATION_WINDOWS
    if len(train[0]) < settings.clusters or len(real[0]) < smallest:
        raise UserError(
            f"{shards.root} has {len(train[0])} training and {len(real[0])} "
            f"evaluation windows; expected at least {settings.clusters} "
            f"(evaluate.clusters) and {smallest}"
        )
    return train, real


def _enough_labels(labels: np.ndarray, clusters: int) -> bool:
    """Whether a classifier can be trained and its embedding be clustered."""
    known = labels[labels >= 0]
    return len(known) >= clusters and len(np.unique(known)) > 1


def _saved_config(
    model: loading.LoadedModel, overrides: Sequence[str]
) -> Config:
    return config_lib.from_dict(
        model.metadata["config"], overrides, source=str(model.path)
    )
