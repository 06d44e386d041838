"""Compares generated audio with recordings, using a classifier of audio.

The classifier learns the labels of the training recordings themselves
(`stftgan_tf.evaluate` only has windows), with varied level, position in time
and noise. It is stored, so that tables of different days compare.

Rows of the table: held-out recordings, the same recordings converted to windows
and back, and every draw of every export. One excerpt of each recording counts,
as long as a window. Columns:

  IS            inception score
  FID of N      mean over parts of N samples, so that all rows compare
  FID of all    of all samples of the row
  NDB           clusters whose share differs from that in the training data
  (perfect)     NDB that a perfect sampler of this size has on average
  coverage, density   means over the same parts
  labels from, to   smallest and largest share of a label, as classified
  of true       smallest share of a label, relative to its share in the data
  recognised    share of samples with the label that they have or that was
                requested
  spread        mean distance between two samples of a label, relative to
                training recordings
  consistency   STFT consistency of the windows
  copies        share of windows that are copies of training windows
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.audio import reading
from pipeline.audio.decoders.base import Excerpt
from pipeline.audio.errors import AudioError
from pipeline.audio.measurement import ChannelStats
from pipeline.beam import duplicates, placement
from pipeline.sources import recordings as sources
from pipeline.sources.recordings import Recording
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import stft
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import audio_metrics, classifier, generation
from stftgan_tf.evaluation.classifier import Classifier
from stftgan_tf.evaluation.window_metrics import nearly_equal, round_values
from stftgan_tf.files import write_atomically
from stftgan_tf.metrics import clusters, distances, embedding, label_scores
from stftgan_tf.progress import Progress, clock
from stftgan_tf.saved_model import loading

EXAMPLE = (
    "python benchmarks/heard.py --source recordings "
    "--data tfrecords/fsdd --model exports/fsdd --draws 5"
)

# Accuracy matters more here than the cost, which `evaluate` limits, so nothing
# is held out from these epochs of batches of 64. The results of other versions
# do not compare.
_EPOCHS, _BATCH, _VERSION = 40, 64, 1

# Samples of which FID, density and coverage are computed at a time.
_PART = 300

# Training windows that generated windows are compared with.
_MAX_WINDOWS = 20000

Row = dict[str, Any]

# Key, head, width and format of the columns.
_COLUMNS = (
    ("inception_score", "IS", 7, ".2f"),
    ("fid_of_part", "FID of {part}", 12, ".2f"),
    ("fid", "of all", 8, ".2f"),
    ("ndb", "NDB", 5, ".0f"),
    ("ndb_expected", "(perfect)", 10, ".1f"),
    ("coverage", "coverage", 10, ".3f"),
    ("density", "density", 9, ".2f"),
    ("smallest_share", "labels from", 13, ".3f"),
    ("largest_share", "to", 7, ".3f"),
    ("smallest_of_true", "of true", 9, ".2f"),
    ("recognised", "recognised", 12, ".3f"),
    ("spread", "spread", 8, ".2f"),
    ("consistency", "consistency", 13, ".2f"),
    ("copies", "copies", 8, ".4f"),
)
_NAME_WIDTH = 28


@dataclasses.dataclass(frozen=True)
class Member:
    """A recording of a data set.

    Attributes:
      recording: the recording.
      windows: indices of its windows in the data set.
    """

    recording: Recording
    windows: tuple[int, ...]


def find_members(
    source: str, shards: dataset.Shards, config: Config
) -> tuple[dict[str, list[Member]], int]:
    """The labelled recordings of a data set.

    Returns:
      By split, and the number of labelled recordings of the source that the
      data set lacks: unusable ones, copies, and those without speech.

    Raises:
      UsageError: if a recording can have several channels.
      UserError: if the labels differ, or a split is too small.
    """
    if config.audio.channels == "split":
        raise UsageError("audio.channels is split; expected mean or first")
    content = sources.open_source(source, config.audio)
    labels = shards.manifest["labels"]
    if content.labels != labels:
        raise UserError(
            f"{source} has the labels {', '.join(content.labels) or '(none)'}; "
            f"{shards.root} has {', '.join(labels) or '(none)'}"
        )
    labelled = [r for r in content.recordings if r.label >= 0]
    members = {}
    for split in ("train", "eval"):
        windows = window_indices(shards, split)
        members[split] = [
            Member(r, windows[r.id]) for r in labelled if r.id in windows
        ]
    smallest = {"train": config.evaluate.clusters}
    for split, rows in members.items():
        least = smallest.get(split, config_lib.MIN_EVALUATION_WINDOWS)
        if len(rows) < least:
            raise UserError(
                f"{len(rows)} labelled recordings of {source} are in the "
                f"{split} split of {shards.root}; expected at least {least} "
                "(--source must be what the data set was made from)"
            )
    return members, len(labelled) - sum(map(len, members.values()))


def window_indices(
    shards: dataset.Shards, split: str
) -> dict[str, tuple[int, ...]]:
    """Indices of the windows of each recording of a split, by its id."""
    files = shards.files(split)
    features = {
        "recording_id": tf.io.FixedLenFeature([], tf.string),
        "window_index": tf.io.FixedLenFeature([], tf.int64),
    }
    indices: dict[str, tuple[int, ...]] = {}
    data = tf.data.TFRecordDataset(files, dataset.compression_of(files))
    for batch in data.batch(256):
        parsed = tf.io.parse_example(batch, features)
        for name, index in zip(
            parsed["recording_id"].numpy().tolist(),
            parsed["window_index"].numpy().tolist(),
            strict=True,
        ):
            name = os.fsdecode(name)
            indices[name] = (*indices.get(name, ()), index)
    return indices


def read_audio(members: list[Member], config: Config) -> np.ndarray:
    """An excerpt of each recording, float32 [B, N].

    Raises:
      UserError: if a recording can no longer be read.
    """
    progress = Progress("read", len(members), "recordings")
    rows = []
    for member in members:
        try:
            rows.append(_read(member, config))
        except AudioError as error:
            raise UserError(f"{member.recording.path}: {error}") from error
        progress.update(len(rows))
    progress.close(len(rows))
    return np.stack(rows)


def _read(member: Member, config: Config) -> np.ndarray:
    """The excerpt [N] of a recording."""
    recording, audio = member.recording, config.audio
    excerpt = Excerpt(recording.path, recording.start_secs, recording.end_secs)
    on_speech = config.window.place == "speech"
    (stats,) = reading.measure(excerpt, audio, on_speech)
    start = excerpt_start(stats, member.windows, config)
    stop = start + config.window_samples
    samples = reading.read(excerpt, audio, start, stop, 0, stats)
    return samples * np.float32(reading.gain(stats, audio))


def excerpt_start(
    stats: ChannelStats, windows: tuple[int, ...], config: Config
) -> int:
    """First sample of the excerpt of a recording.

    Args:
      stats: of the recording.
      windows: indices of its windows.
      config: of the data set.

    Returns:
      With `window.place: speech` that of the window with most speech, otherwise
      that of the middle of the recording.
    """
    starts = placement.window_starts(stats, config)
    if config.window.place != "speech":
        return (starts[0] + starts[-1]) // 2

    def speech_samples(start: int) -> int:
        stop = start + config.window_samples
        return sum(
            max(0, min(stop, last) - max(start, first))
            for first, last in stats.speech
        )

    return max((starts[index] for index in windows), key=speech_samples)


def trained_classifier(
    members: list[Member], classes: int, directory: Path | None, config: Config
) -> tuple[Classifier, np.ndarray, Path | None]:
    """A classifier trained on recordings, and their embeddings.

    Args:
      members: the training recordings.
      classes: number of labels.
      directory: where it is stored and read from; None if nowhere.
      config: of the data set.

    Returns:
      The classifier, embeddings float32 [B, 64], and its file.
    """
    model = Classifier(
        config.window_samples, classes, config.audio.sample_rate_hz
    )
    path = None
    if directory:
        path = directory / f"heard-{classifier_key(members, config)}.npz"
        vectors = model.load(path)
        if vectors is not None and len(vectors) == len(members):
            return model, vectors, path
    audio = read_audio(members, config)
    steps = max(1, _EPOCHS * len(members) // _BATCH)
    model.fit(audio, labels_of(members), steps, hold_out=False)
    _, vectors = model(audio)
    if path:
        try:
            model.save(path, vectors)
        except OSError as error:
            raise UserError(
                f"the classifier cannot be written to {path} "
                f"({error.strerror}); choose another --cache"
            ) from error
    return model, vectors, path


def classifier_key(members: list[Member], config: Config) -> str:
    """Identifies everything that the weights of the classifier depend on.

    The STFT is left out: only the length and the place of excerpts matter.
    """
    window = dataclasses.asdict(config.window)
    del window["frames"], window["silence_db"]
    window["stride_frames"] = config.stride_samples
    content = [
        (
            duplicates.content_key(member.recording),
            member.recording.label,
            member.windows if config.window.place == "speech" else None,
        )
        for member in members
    ]
    settings = [dataclasses.asdict(config.audio), window, config.window_samples]
    training = [_EPOCHS, _VERSION, classifier.VERSION]
    text = json.dumps([content, settings, training])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def labels_of(members: list[Member]) -> np.ndarray:
    """Labels int [B]."""
    return np.array([member.recording.label for member in members])


@dataclasses.dataclass(frozen=True)
class Samples:
    """Audio that is compared with the training recordings.

    Attributes:
      audio: float32 [B, N].
      windows: float32 [B, T, F], or None where they are those of another row.
      labels: int [B], or None if they are unknown.
    """

    audio: np.ndarray
    windows: np.ndarray | None
    labels: np.ndarray | None


class Reference:
    """The training recordings that every row is compared with.

    Attributes:
      model: the classifier.
      part: number of samples of which FID, density and coverage are computed
        at a time.
    """

    def __init__(
        self,
        model: Classifier,
        vectors: np.ndarray,
        labels: np.ndarray,
        shards: dataset.Shards,
        config: Config,
    ):
        """Clusters embeddings [B, 64] of training audio, and its windows.

        Args:
          model: the classifier.
          vectors: embeddings [B, 64] of the training recordings.
          labels: int [B].
          shards: the data set.
          config: of the data set and of the evaluation.
        """
        self.model, self.part = model, _PART
        self._vectors, self._labels = vectors, labels
        self._shards, self._config = shards, config
        settings = config.evaluate
        self._bins = clusters.BinTest(vectors, settings.clusters, settings.seed)
        self._windows, _ = dataset.load_windows(
            shards, config, "train", _MAX_WINDOWS
        )
        self._embed = embedding.fit(self._windows, shards.moments, config)
        self._embedded = self._embed(self._windows)
        # Depends on the number of samples only, of which there are two.
        self._expected_ndb = functools.lru_cache(self._bins.expected)

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return self._bins.clusters

    def windows_of(self, audio: np.ndarray) -> np.ndarray:
        """Standardised windows [B, T, F] of audio [B, N]."""
        config = self._config
        stfts = np.stack([stft.forward(row, config.stft) for row in audio])
        logs = stft.log_magnitude(stfts, config)
        return self._shards.moments.standardise(logs).numpy()

    def audio_of(self, windows: np.ndarray) -> np.ndarray:
        """Audio [B, N] of windows [B, T, F], as an export converts them."""
        moments = self._shards.moments
        return audio_metrics.to_audio(windows, moments, self._config)

    def are_copies(self, windows: np.ndarray) -> np.ndarray:
        """Which windows [B, T, F] are almost training windows, bool [B]."""
        training = self._windows, self._embedded
        return nearly_equal((windows, self._embed(windows)), training)

    def figures(self, samples: Samples) -> Row:
        """All figures of samples, by the keys of the columns."""
        probabilities, vectors = self.model(samples.audio)
        predicted = probabilities.argmax(axis=1)
        labels = predicted if samples.labels is None else samples.labels
        recognised = float((predicted == labels).mean())
        spread = distances.label_diversity(
            (vectors, labels), (self._vectors, self._labels)
        )
        return round_values(
            {
                "samples": len(vectors),
                "inception_score": label_scores.inception_score(probabilities),
                **self._distances(vectors),
                **self._shares(predicted, probabilities.shape[1]),
                "recognised": None if samples.labels is None else recognised,
                "spread": spread,
                **self._window_figures(samples.windows),
            }
        )

    def _distances(self, vectors: np.ndarray) -> Row:
        """Figures of embeddings [B, 64] of audio."""
        parts = distances.parts(vectors, self.part)
        # Half of the training recordings, which is enough and costs less.
        real = self._vectors[::2]
        density, coverage = np.mean(
            [distances.density_and_coverage(p, real) for p in parts], axis=0
        )
        fids = [distances.frechet_distance(p, self._vectors) for p in parts]
        return {
            "fid_of_part": np.mean(fids),
            "fid": distances.frechet_distance(vectors, self._vectors),
            "ndb": self._bins.compare(vectors).ndb,
            "ndb_expected": self._expected_ndb(len(vectors)),
            "coverage": coverage,
            "density": density,
        }

    def _shares(self, predicted: np.ndarray, classes: int) -> Row:
        """Figures of the shares of predicted labels [B]."""
        shares, training = (
            np.bincount(labels, minlength=classes) / len(labels)
            for labels in (predicted, self._labels)
        )
        known = training > 0
        return {
            "smallest_share": shares.min(),
            "largest_share": shares.max(),
            "smallest_of_true": (shares[known] / training[known]).min(),
        }

    def _window_figures(self, windows: np.ndarray | None) -> Row:
        """Figures of windows [B, T, F]."""
        if windows is None:
            return {"consistency": None, "copies": None}
        logs = np.asarray(self._shards.moments.inverse_standardise(windows))
        near = distances.neighbours(self._embed(windows), self._embedded)
        return {
            "consistency": distances.consistency(logs, self._config.stft),
            "copies": near.memorised,
        }


def real_rows(
    members: list[Member], reference: Reference, config: Config
) -> tuple[list[tuple[str, Samples]], int]:
    """The rows of held-out recordings, and how many copies were left out.

    Recordings that are almost training recordings would make a generator that
    copies look like one that generalises.
    """
    audio, labels = read_audio(members, config), labels_of(members)
    windows = reference.windows_of(audio)
    copies = reference.are_copies(windows)
    audio, windows, labels = (x[~copies] for x in (audio, windows, labels))
    if len(audio) < config_lib.MIN_EVALUATION_WINDOWS:
        raise UserError(
            f"{copies.sum()} of {len(members)} held-out recordings are almost "
            f"training recordings; expected at least "
            f"{config_lib.MIN_EVALUATION_WINDOWS} others"
        )
    # With the phase of the export; the windows are the same.
    converted = Samples(reference.audio_of(windows), None, labels)
    rows = [
        ("held out", Samples(audio, windows, labels)),
        ("held out, windows and phase", converted),
    ]
    return rows, int(copies.sum())


def model_rows(
    path: Path,
    draws: int,
    labels: np.ndarray,
    reference: Reference,
    config: Config,
) -> Iterable[Row]:
    """The rows of an export: each draw, and the medians of several.

    Args:
      path: the export.
      draws: number of draws.
      labels: int [B], of the training recordings.
      reference: computes the figures.
      config: number and seed of the samples.
    """
    model, settings = loading.load(path), config.evaluate
    origin = {
        "model": str(path),
        "step": model.metadata["step"],
        "train_secs": model.metadata.get("train_secs"),
    }
    rows = []
    for draw in range(draws):
        seed = settings.seed + draw * settings.samples
        samples = generation.generate(
            model, labels, settings.samples, seed, with_audio=True
        )
        figures = reference.figures(
            Samples(samples.audio, samples.windows, samples.labels)
        )
        name = f"{path.name}, draw {draw + 1}"
        rows.append({"name": name, **origin, "draw": draw + 1, **figures})
        yield rows[-1]
    if draws > 1:
        yield {
            "name": f"{path.name}, median",
            **origin,
            "draw": None,
            **_medians(rows),
        }


def _medians(rows: list[Row]) -> Row:
    """Medians of the figures of draws."""
    keys = ("samples", *(key for key, *_ in _COLUMNS))
    return {
        key: None
        if rows[0][key] is None
        else float(np.median([row[key] for row in rows]))
        for key in keys
    }


def head(part: int) -> str:
    """The head of the table."""
    cells = [
        f"{text.format(part=part):>{width}s}" for _, text, width, _ in _COLUMNS
    ]
    return " " * _NAME_WIDTH + "".join(cells)


def line(row: Row) -> str:
    """A row of the table."""
    cells = [
        f"{'-' if row[key] is None else format(row[key], form):>{width}s}"
        for key, _, width, form in _COLUMNS
    ]
    return f"{row['name']:{_NAME_WIDTH}s}" + "".join(cells)


def time_to_fid(rows: list[Row], fid: float) -> str:
    """Which export is the first, by its step, to reach a FID of all samples.

    Args:
      rows: of the table. Of several draws the median counts.
      fid: the FID to reach.
    """
    last = {row["model"]: row for row in rows if row.get("model")}
    for row in sorted(last.values(), key=lambda row: row["step"]):
        if row["fid"] <= fid:
            secs = row["train_secs"]
            time = "an unknown time" if secs is None else clock(secs)
            return (
                f"FID of all <= {fid:g}: step {row['step']}, after {time} of "
                f"training ({row['model']})"
            )
    if not last:
        return f"FID of all <= {fid:g}: no exports"
    lowest = min(row["fid"] for row in last.values())
    return f"FID of all <= {fid:g}: not reached; the lowest is {lowest:.2f}"


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
        help="rows for each export, each of evaluate.samples new seeds "
        "(default: 1)",
    )
    parser.add_argument(
        "--fid",
        type=float,
        metavar="X",
        help="print which export is the first to reach this FID of all "
        "samples, and after how much training",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the rows to FILE"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where the classifier is kept (default: the data set)",
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
    members, absent = find_members(args.source, shards, config)
    directory = args.cache
    if not directory and not dataset.is_remote(shards.home):
        directory = Path(shards.home)
    labels = labels_of(members["train"])
    model, vectors, file = trained_classifier(
        members["train"], len(shards.manifest["labels"]), directory, config
    )
    reference = Reference(model, vectors, labels, shards, config)
    real, copies = real_rows(members["eval"], reference, config)
    reference.part = min(_PART, len(real[0][1].audio))
    print(
        f"classifier {file.name if file else 'not stored'} of {len(labels)} "
        f"recordings; left out: {absent} recordings that are not in the data "
        f"set, {copies} held-out copies of training recordings"
    )
    print(f"NDB of {reference.clusters} clusters\n\n{head(reference.part)}")
    rows: list[Row] = []
    for name, samples in real:
        rows.append({"name": name, **reference.figures(samples)})
        print(line(rows[-1]), flush=True)
    for path in args.model:
        for row in model_rows(path, args.draws, labels, reference, config):
            rows.append(row)
            print(line(row), flush=True)
    if args.fid is not None:
        print(f"\n{time_to_fid(rows, args.fid)}")
    if args.json:
        result = {
            "classifier": file and file.name,
            "part": reference.part,
            "clusters": reference.clusters,
            "left_out": {"not_in_data_set": absent, "held_out_copies": copies},
            "rows": rows,
        }
        text = json.dumps(result, indent=1) + "\n"
        write_atomically(args.json, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
