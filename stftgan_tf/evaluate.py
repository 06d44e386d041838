"""Measures an export's variety and truth against the evaluation split.

Every figure stands next to that of real windows, so that one sees what is
possible: a row of real evaluation windows held against the training split,
and a row of generated ones. Where the data is labelled, a classifier judges
the audio of both, made by the same phase step; what it learnt is kept in the
data set's folder.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import features, phase
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.evaluation import classifier as judge
from stftgan_tf.files import refuse_existing, unchanged, write_atomically
from stftgan_tf.metrics import distances as metrics
from stftgan_tf.metrics import embedding
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import loading as exported

EXAMPLE = (
    "python -m stftgan_tf.evaluate --model exports/digits "
    "--data tfrecords/digits"
)

_BATCH = 32

# Training windows that others are held against, at most.
TRAINING = 20000


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_data(parser)
    parser.add_argument(
        "--output",
        type=cli.local_path,
        help="also write the figures to this JSON file",
    )
    parser.add_argument(
        "--blessing",
        type=cli.local_path,
        help="also write a verdict to this folder: evaluation.json, and "
        "BLESSED or NOT_BLESSED by the config's bless section",
    )
    parser.add_argument(
        "--last_blessed",
        type=cli.local_path,
        help="verdict on the export blessed before, or its pushed version: the "
        "new one must not be further from its data by more than "
        "bless.max_worse times",
    )
    config_lib.add_arguments(parser, default=None)
    return parser


def _run(args: argparse.Namespace) -> int:
    # What cannot be written or compared is told before, not after it all.
    last = blessing.read(args.last_blessed) if args.last_blessed else None
    # The verdict is on what was loaded, whatever lies there by then.
    with unchanged(args.model) as digest:
        model = exported.load(args.model)
        config = _config(args, model)
        if args.print_config:
            print(config.to_yaml(), end="")
            return 0
        if args.blessing:
            refuse_existing(args.blessing, blessing.FILE, overwrite=True)
        if args.output:
            if args.output.is_dir():
                raise UsageError(
                    f"--output {args.output} is a folder; expected a file"
                )
            args.output.parent.mkdir(parents=True, exist_ok=True)
        shards = dataset.open_shards(args.data, config)
        check_data(model, shards)
        with dataset.corrupt_shard_as_error(shards):
            report = evaluate(model, shards, config)
    print(table(report))
    if args.output:
        text = json.dumps(report, indent=1) + "\n"
        write_atomically(args.output, text.encode())
    if args.blessing:
        _bless(args, {**report, "digest": digest}, config, last)
    return 0


def _bless(
    args: argparse.Namespace,
    report: dict[str, Any],
    config: Config,
    last: dict[str, Any] | None,
) -> None:
    """Writes and prints the verdict; `last` is of the export before."""
    checks = blessing.checks(report, config.bless, last)
    # The report shows the same samples.
    verdict = {**report, "evaluate": dataclasses.asdict(config.evaluate)}
    if last:
        verdict["last_blessed"] = last["generated"]
        verdict["last_digest"] = last["digest"]
    blessing.write(args.blessing, verdict, checks)
    found = blessing.reasons(checks)
    name = blessing.NOT_BLESSED if found else blessing.BLESSED
    print("\n".join([name, *found, str(args.blessing)]))


def _config(args: argparse.Namespace, model: exported.Export) -> Config:
    """The export's own config, or the one asked for."""
    if args.config:
        return config_lib.load(args.config, args.set)
    return config_lib.from_dict(model.metadata["config"], args.set)


def evaluate(
    model: exported.Export, shards: dataset.Shards, config: Config
) -> dict[str, Any]:
    """Figures of real evaluation windows and of generated ones.

    Returns:
      `real` and `generated`, each a dict of figures, which `table` prints;
      `clusters` and `dimensions`, of what they are; and `bins`, the share of
      windows in each cluster of the training windows: `training`, `real` and
      `generated`, and whether that one `differ`s.

    Raises:
      UserError: if the training split has fewer windows than clusters, or
        the evaluation split is empty.
    """
    settings = config.evaluate
    train = dataset.load_windows(shards, config, "train", TRAINING)
    real = dataset.load_windows(shards, config, "eval", settings.samples)
    kept = metrics.distinct(real[0])
    real = real[0][kept], real[1][kept]
    least = config_lib.MIN_EVALUATION_WINDOWS
    if len(train[0]) < settings.clusters or len(real[0]) < least:
        raise UserError(
            f"{shards.root} has {len(train[0])} training and {len(real[0])} "
            f"evaluation windows; expected at least {settings.clusters} "
            f"(evaluate.clusters) and {least}"
        )
    made = generate(model, train[1], settings.samples, settings.seed)
    yardstick = Windows(train[0], shards.moments, config)
    report = {
        "model": str(model.path),
        "clusters": settings.clusters,
        "dimensions": yardstick.dimensions,
        "real": yardstick.figures(real[0], real[0]),
        "generated": yardstick.figures(made["window"], real[0]),
        "bins": yardstick.filled(made["window"], real[0]),
    }
    known = train[1][train[1] >= 0]
    if len(known) >= settings.clusters and len(np.unique(known)) > 1:
        heard = AudioMetrics(train, shards, config)
        real_audio = to_audio(real[0], shards.moments, config)
        count = len(real_audio)
        report["real"] |= heard.figures(real_audio, real[1], count)
        report["generated"] |= heard.figures(
            made["audio"], made["label"], count
        )
    return report


def check_data(model: exported.Export, shards: dataset.Shards) -> None:
    """Windows and labels mean the same only in the data that was learnt from.

    Raises:
      UserError: if these shards have other moments or labels than those that
        the model was trained on.
    """
    known, moments = model.metadata, shards.manifest["moments"]
    if "moments" not in known:
        raise UserError(
            f"{model.path} does not tell its moments; export it again"
        )
    for name, ours, theirs in (
        ("labels", shards.manifest["labels"], known["labels"]),
        (
            "moments",
            {k: moments[k] for k in known["moments"]},
            known["moments"],
        ),
    ):
        if ours != theirs:
            raise UserError(
                f"{shards.root} has other {name} than the data that "
                f"{model.path} was trained on; expected that data set, or "
                "one made of the same recordings"
            )


def table(report: dict[str, Any]) -> str:
    """The figures as lines: name, real, generated."""
    lines = [f"{'':28s}{'real':>10s}{'generated':>12s}"]
    for name, real in report["real"].items():
        ours = report["generated"].get(name)
        rows = [(name, real, ours)]
        if isinstance(real, dict):
            rows = [(f"  {k}", real[k], ours[k]) for k in real]
            lines.append(name)
        for key, a, b in rows:
            shown = ["-" if v is None else f"{v:g}" for v in (a, b)]
            lines.append(f"{key:28s}{shown[0]:>10s}{shown[1]:>12s}")
    return "\n".join(lines)


class Windows:
    """Figures that need no labels, against the training windows.

    Attributes:
      dimensions: of the space in which windows are compared.
    """

    def __init__(
        self, training: np.ndarray, moments: features.Moments, config: Config
    ):
        """Learns clusters and the space of comparison; windows [B, T, F].

        Of windows that hold frequencies, too, only magnitudes count.
        """
        self._moments, self._config = moments, config
        settings, training = config.evaluate, self._seen(training)
        self._bins = metrics.BinTest(
            _flat(training), settings.clusters, settings.seed
        )
        self._space = embedding.fit(training, moments, config)
        self._training = self._space(training)
        self.dimensions = self._training.shape[1]

    def figures(
        self, windows: np.ndarray, real: np.ndarray
    ) -> dict[str, float]:
        """Of windows [B, T, F], next to real evaluation windows."""
        windows, real = self._seen(windows), self._seen(real)
        vectors = self._space(windows)
        # As many as are compared, spread evenly.
        every = -(-len(self._training) // self._config.evaluate.samples)
        reference = self._training[::every]
        bins = self._bins.compare(_flat(windows))
        near = metrics.neighbours(vectors, self._training)

        def mean(measure, *others) -> Any:
            """Of parts that are as large as the set of real windows."""
            parts = metrics.parts(vectors, len(real))
            return np.mean([measure(p, *others) for p in parts], axis=0)

        density, coverage = mean(metrics.density_and_coverage, reference)
        precision, recall = mean(metrics.precision_and_recall, reference)
        logs = np.asarray(features.inverse_standardise(windows, self._moments))
        found = {
            "windows": len(windows),
            "ndb": bins.different,
            "jensen_shannon": bins.jensen_shannon,
            "diversity_ratio": metrics.diversity_ratio(
                _flat(windows), _flat(real)
            ),
            "density": density,
            "coverage": coverage,
            "precision": precision,
            "recall": recall,
            "nearest_self": mean(metrics.nearest_other),
            "nearest_train": near.to_train,
            "memorised": near.memorised,
            "frechet": mean(metrics.frechet_distance, self._training),
            "consistency": metrics.consistency(logs, self._config.stft),
        }
        return _rounded(found)

    def filled(
        self, windows: np.ndarray, real: np.ndarray
    ) -> dict[str, list[Any]]:
        """Shares of windows in each cluster, generated next to real ones."""
        ours, theirs = (
            self._bins.compare(_flat(self._seen(x))) for x in (windows, real)
        )
        return {
            "training": ours.training.round(4).tolist(),
            "real": theirs.shares.round(4).tolist(),
            "generated": ours.shares.round(4).tolist(),
            "differ": ours.differ.tolist(),
        }

    def _seen(self, windows: np.ndarray) -> np.ndarray:
        return windows[..., : self._config.stft.bins]


class AudioMetrics:
    """Figures of audio, by a classifier of the data set's labels."""

    def __init__(
        self,
        train: tuple[np.ndarray, np.ndarray],
        shards: dataset.Shards,
        config: Config,
    ):
        """Trains the judge, or reads it from the data set's folder.

        Args:
          train: windows [B, T, F] and labels [B] of the training split.
          shards: the data set.
          config: STFT and phase.
        """
        known = train[1] >= 0
        windows, self._labels = train[0][known], train[1][known]
        self._names = shards.manifest["labels"]
        audio = to_audio(windows, shards.moments, config)
        self._judge = judge.Judge(
            config.window_samples,
            len(self._names),
            config.audio.sample_rate_hz,
            config.evaluate.seed,
        )
        path = Path(shards.home, f"judge-{_judge_key(shards, config)}.npz")
        kept = not dataset.is_remote(shards.home)
        if not (kept and self._judge.load(path)):
            self._judge.fit(audio, self._labels)
            try:
                if kept:
                    self._judge.save(path)
            except OSError as error:
                print(f"{path} not kept: {error.strerror}", file=sys.stderr)
        _, self._training = self._judge(audio)
        settings = config.evaluate
        self._samples = settings.samples
        self._bins = metrics.BinTest(
            self._training, settings.clusters, settings.seed
        )

    def figures(
        self, audio: np.ndarray, labels: np.ndarray | None, part: int
    ) -> dict[str, Any]:
        """Of audio [B, N], whose labels [B] may be known or asked for.

        What depends on how many there are is a mean over parts of `part`.
        """
        probabilities, vectors = self._judge(audio)
        heard = probabilities.argmax(axis=1)
        count = len(self._names)
        shares = np.bincount(heard, minlength=count) / len(heard)
        prior = np.bincount(self._labels, minlength=count) / len(self._labels)
        every = -(-len(self._training) // self._samples)
        reference, parts = self._training[::every], metrics.parts(vectors, part)
        density, coverage = np.mean(
            [metrics.density_and_coverage(p, reference) for p in parts], axis=0
        )
        distances = [metrics.frechet_distance(p, self._training) for p in parts]
        right = within = None
        if labels is not None and (labels >= 0).any():
            right = float((heard == labels)[labels >= 0].mean())
            within = self._within(vectors, labels)
        found = {
            "label_recognised": right,
            "label_diversity": within,
            "inception_score": metrics.inception_score(probabilities),
            "modified_inception_score": metrics.modified_inception_score(
                probabilities
            ),
            "fid": np.mean(distances),
            "am_score": metrics.am_score(probabilities, prior),
            "judge_ndb": self._bins.compare(vectors).different,
            "judge_density": density,
            "judge_coverage": coverage,
            "labels": _rounded(dict(zip(self._names, shares, strict=True))),
        }
        return _rounded(found)

    def _within(self, vectors: np.ndarray, labels: np.ndarray) -> float:
        """Mean over labels of the diversity ratio to training windows."""
        ratios = [
            metrics.diversity_ratio(
                vectors[labels == label], self._training[self._labels == label]
            )
            for label in np.unique(labels[labels >= 0])
            if (labels == label).sum() > 1 and (self._labels == label).sum() > 1
        ]
        return float(np.mean(ratios)) if ratios else 0.0


def to_audio(
    windows: np.ndarray, moments: features.Moments, config: Config
) -> np.ndarray:
    """Audio float32 [B, N] of real windows, as the export would make it."""
    make = tf.function(lambda x: phase.audio_of(x, moments, config))
    parts = [
        make(tf.constant(windows[i : i + _BATCH])).numpy()
        for i in range(0, len(windows), _BATCH)
    ]
    return np.concatenate(parts)


def generate(
    model: exported.Export, labels: np.ndarray, count: int, seed: int
) -> dict[str, Any]:
    """`window` [count, T, F], `audio` [count, N] and `label` of the export.

    A model that has learnt labels is asked for them as often as the data has
    them; else `label` is None.
    """
    asked = None
    if model.asks_for_labels:
        known = labels[labels >= 0]
        asked = np.random.default_rng(seed).choice(known, count)
    progress = Progress("sample", count, "windows")
    windows, audio, done = [], [], 0
    for batch in model.batches(seed, count, _BATCH, asked):
        windows.append(batch["window"])
        audio.append(batch["audio"])
        done += len(batch["window"])
        progress.update(done)
    progress.close(done)
    return {
        "window": np.concatenate(windows),
        "audio": np.concatenate(audio),
        "label": asked,
    }


def _judge_key(shards: dataset.Shards, config: Config) -> str:
    """What the judge's training audio depends on."""
    text = json.dumps(
        [
            [shard["sha256"] for shard in shards.manifest["shards"]],
            config.model.phase,
            config.model.griffin_lim_iterations,
            config.evaluate.seed,
            judge.VERSION,
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(float(value), 4)
        if isinstance(value, float | np.floating)
        else value
        for name, value in figures.items()
    }


def _flat(windows: np.ndarray) -> np.ndarray:
    return windows.reshape(len(windows), -1)


if __name__ == "__main__":
    cli.leave(main())
