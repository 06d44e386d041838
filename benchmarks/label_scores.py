"""Compares generated audio with recordings, using a classifier of audio.

The classifier learns the labels of the training recordings themselves
(`stftgan_tf.evaluate` only has windows), with varied level, position in time
and noise. Rows of the table: held-out recordings, the same recordings converted
to windows and back, and every export.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.beam import segments
from pipeline.sources import recordings as sources
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import stft
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import audio_metrics
from stftgan_tf.evaluation.classifier import Classifier
from stftgan_tf.metrics import clusters, distances, label_scores
from stftgan_tf.saved_model import loading

EXAMPLE = (
    "python benchmarks/label_scores.py --source recordings "
    "--data tfrecords/fsdd --model exports/fsdd --draws 5"
)

_SAMPLES, _CLUSTERS = 1000, 50


def load_recordings(
    source: str, config: Config
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(audio [B, N], labels [B]) by split: the middle of each recording."""
    if config.audio.channels == "split":
        raise UsageError("audio.channels is split; expected mean or first")
    splits = {"train": ([], []), "eval": ([], [])}
    for recording in sources.open_source(source, config.audio).recordings:
        if recording.label < 0:
            continue
        try:
            (level,) = reading.measure(recording.path, config.audio)
            start = level.start + (level.samples - config.window_samples) // 2
            stop = start + config.window_samples
            samples = reading.read(
                recording.path, config.audio, start, stop, 0, level
            )
        except AudioError as error:
            raise UserError(f"{recording.path}: {error}") from error
        rows, labels = splits[segments.split_of(recording, config)]
        rows.append(samples * np.float32(reading.gain(level, config.audio)))
        labels.append(recording.label)
    for split, (rows, _) in splits.items():
        if len(rows) < _CLUSTERS:
            raise UserError(
                f"{source} has {len(rows)} labelled recordings in the {split} "
                f"split; expected at least {_CLUSTERS}"
            )
    return {k: (np.stack(a), np.array(b)) for k, (a, b) in splits.items()}


def through_windows(
    samples: np.ndarray, shards: dataset.Shards, config: Config
) -> np.ndarray:
    """Converts audio [B, N] to windows and back, as an export does."""
    stfts = np.stack([stft.forward(row, config.stft) for row in samples])
    logs = stft.log_magnitude(stfts, config)
    windows = shards.moments.standardise(logs).numpy()
    return audio_metrics.to_audio(windows, shards.moments, config)


class Table:
    """Prints rows of figures that compare audio with training recordings."""

    def __init__(self, training: np.ndarray, classifier: Classifier, part: int):
        """Clusters the training audio [B, N] and prints the head.

        FID, density and coverage depend on the number of samples, so they are
        means over parts of `part` samples. The FID of all samples is shown
        beside them.
        """
        self._classifier, self._part = classifier, part
        _, self._vectors = classifier(training)
        self._bins = clusters.BinTest(self._vectors, _CLUSTERS, 0)
        print(
            f"{'':24s}{'IS':>6s}{'FID':>8s}{'of all':>8s}{'NDB':>5s}"
            f"{'coverage':>10s}{'density':>9s}{'label shares':>16s}"
            f"{'accuracy':>10s}"
        )

    def row(
        self, name: str, samples: np.ndarray, labels: np.ndarray | None
    ) -> None:
        """Prints the figures of audio [B, N]."""
        probabilities, vectors = self._classifier(samples)
        parts = distances.parts(vectors, self._part)
        density, coverage = np.mean(
            [
                distances.density_and_coverage(p, self._vectors[::2])
                for p in parts
            ],
            axis=0,
        )
        fids = [distances.frechet_distance(p, self._vectors) for p in parts]
        predicted = probabilities.argmax(axis=1)
        shares = np.bincount(predicted, minlength=probabilities.shape[1])
        shares = 100 * shares / len(predicted)
        accuracy = "-"
        if labels is not None:
            accuracy = f"{(predicted == labels).mean():.3f}"
        print(
            f"{name:24s}{label_scores.inception_score(probabilities):6.2f}"
            f"{np.mean(fids):8.2f}"
            f"{distances.frechet_distance(vectors, self._vectors):8.2f}"
            f"{self._bins.compare(vectors).ndb:5d}{coverage:10.3f}"
            f"{density:9.2f}{shares.min():7.1f} to {shares.max():4.1f}%"
            f"{accuracy:>10s}",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--source", required=True, help="directory of labelled recordings"
    )
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="their data set"
    )
    parser.add_argument(
        "--model",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="exports to compare",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=1,
        help=f"rows for each export, each of {_SAMPLES} new seeds (default: 1)",
    )
    config_lib.add_arguments(parser, default="digits8k")
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.draws < 1:
        raise UsageError(f"--draws is {args.draws}; expected at least 1")
    shards = dataset.open_shards(args.data, config)
    splits = load_recordings(args.source, config)
    (train, train_labels), (held_out, labels) = splits["train"], splits["eval"]
    classifier = Classifier(
        config.window_samples,
        int(train_labels.max()) + 1,
        config.audio.sample_rate_hz,
    )
    # 40 epochs in batches of 64, because accuracy matters more here than the
    # cost, which `evaluate` limits.
    classifier.fit(train, train_labels, 40 * len(train) // 64)
    table = Table(train, classifier, min(len(held_out), _SAMPLES))
    table.row("held out", held_out, labels)
    converted = through_windows(held_out, shards, config)
    table.row("held out, windows", converted, labels)
    for path in args.model:
        model = loading.load(path)
        for draw in range(args.draws):
            requested = None
            if model.has_labels:
                rng = np.random.default_rng(draw)
                requested = rng.choice(train_labels, _SAMPLES)
            batches = model.batches(draw * _SAMPLES, _SAMPLES, 50, requested)
            samples = np.concatenate([batch["audio"] for batch in batches])
            table.row(f"{path.name}, draw {draw + 1}", samples, requested)
    return 0


if __name__ == "__main__":
    sys.exit(main())
