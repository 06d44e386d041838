"""How generated audio compares with recordings, as a classifier hears it.

The strictest judge of labelled speech: it learns from the training recordings
themselves (`stftgan_tf.evaluate` knows only windows), with level, place in
time and noise varied. Rows: held-out recordings, the same sent through windows
and phase step, and every export.

    python benchmarks/heard.py --source recordings --data tfrecords/fsdd \\
        --models exports/fsdd --draws 5
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
from stftgan_tf.metrics import clusters, label_scores
from stftgan_tf.metrics import distances as metrics
from stftgan_tf.saved_model import loading as exported

_SAMPLES, _CLUSTERS = 1000, 50


def recordings(
    source: str, config: Config
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(audio [B, N], labels [B]) by split: the middle of each recording."""
    if config.audio.channels == "split":
        raise UsageError("audio.channels is split; expected mean or first")
    found = {"train": ([], []), "eval": ([], [])}
    for recording in sources.open_source(source, config.audio).recordings:
        if recording.label < 0:
            continue
        try:
            (seen,) = reading.measure(recording.path, config.audio)
            start = seen.start + (seen.samples - config.window_samples) // 2
            stop = start + config.window_samples
            samples = reading.read(recording.path, config.audio, start, stop)
        except AudioError as error:
            raise UserError(f"{recording.path}: {error}") from error
        rows, labels = found[segments.split_of(recording, config)]
        rows.append(samples * np.float32(reading.gain(seen, config.audio)))
        labels.append(recording.label)
    for split, (rows, _) in found.items():
        if len(rows) < _CLUSTERS:
            raise UserError(
                f"{source} has {len(rows)} labelled recordings in the {split} "
                f"split; expected at least {_CLUSTERS}"
            )
    return {k: (np.stack(a), np.array(b)) for k, (a, b) in found.items()}


def through_windows(
    samples: np.ndarray, shards: dataset.Shards, config: Config
) -> np.ndarray:
    """Audio [B, N] as windows and back, as the export would make it."""
    stfts = np.stack([stft.forward(row, config.stft) for row in samples])
    logs = stft.log_magnitude(stfts, config)
    windows = shards.moments.standardise(logs).numpy()
    return audio_metrics.to_audio(windows, shards.moments, config)


class Table:
    """Rows of figures against the training recordings."""

    def __init__(self, training: np.ndarray, hears: Classifier, part: int):
        """Clusters training audio [B, N].

        FID, density and coverage are means over parts of `part` samples: more
        samples of the same kind cover more and are nearer; the FID of all
        samples stands beside it.
        """
        self._hears, self._part = hears, part
        _, self._vectors = hears(training)
        self._bins = clusters.BinTest(self._vectors, _CLUSTERS, 0)
        print(
            f"{'':24s}{'IS':>6s}{'FID':>8s}{'of all':>8s}{'NDB':>5s}"
            f"{'coverage':>10s}{'density':>9s}{'labels':>16s}{'right':>8s}"
        )

    def row(
        self, name: str, samples: np.ndarray, labels: np.ndarray | None
    ) -> None:
        """Prints the figures of audio [B, N]."""
        probabilities, vectors = self._hears(samples)
        parts = metrics.parts(vectors, self._part)
        density, coverage = np.mean(
            [
                metrics.density_and_coverage(p, self._vectors[::2])
                for p in parts
            ],
            axis=0,
        )
        fids = [metrics.frechet_distance(p, self._vectors) for p in parts]
        heard = probabilities.argmax(axis=1)
        shares = np.bincount(heard, minlength=probabilities.shape[1])
        shares = 100 * shares / len(heard)
        right = "-" if labels is None else f"{(heard == labels).mean():.3f}"
        print(
            f"{name:24s}{label_scores.inception_score(probabilities):6.2f}"
            f"{np.mean(fids):8.2f}"
            f"{metrics.frechet_distance(vectors, self._vectors):8.2f}"
            f"{self._bins.compare(vectors).different:5d}{coverage:10.3f}"
            f"{density:9.2f}{shares.min():7.1f} to {shares.max():4.1f}%"
            f"{right:>8s}",
            flush=True,
        )


def main() -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help="labelled recordings")
    parser.add_argument("--data", required=True, help="their data set")
    parser.add_argument(
        "--models", type=Path, nargs="*", default=[], help="exports"
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=1,
        help=f"rows of an export, each of other {_SAMPLES} seeds (default: 1)",
    )
    config_lib.add_arguments(parser, default="digits8k")
    return cli.run_command(_run, parser.parse_args())


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.draws < 1:
        raise UsageError(f"--draws is {args.draws}; expected at least 1")
    shards = dataset.open_shards(args.data, config)
    found = recordings(args.source, config)
    (train, train_labels), (held_out, labels) = found["train"], found["eval"]
    hears = Classifier(
        config.window_samples,
        int(train_labels.max()) + 1,
        config.audio.sample_rate_hz,
    )
    hears.fit(train, train_labels)
    table = Table(train, hears, min(len(held_out), _SAMPLES))
    table.row("held out", held_out, labels)
    back = through_windows(held_out, shards, config)
    table.row("held out, windows", back, labels)
    for path in args.models:
        model = exported.load(path)
        for draw in range(args.draws):
            asked = None
            if model.has_labels:
                rng = np.random.default_rng(draw)
                asked = rng.choice(train_labels, _SAMPLES)
            batches = model.batches(draw * _SAMPLES, _SAMPLES, 50, asked)
            samples = np.concatenate([batch["audio"] for batch in batches])
            table.row(f"{path.name}, draw {draw + 1}", samples, asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
