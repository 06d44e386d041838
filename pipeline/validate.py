"""Says whether a data set is fit to train on; exit code 1 if it is not.

Looked at are: checksums and schema of every record; silence, labels and
speakers; whether labels have to do with what is heard; and, against a data set
that is known to be good (--reference), drift of level, spectrum, duration and
label balance. The thresholds are the config's `validate` section.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np
import scipy.spatial.distance
from sklearn.neighbors import KNeighborsClassifier

from pipeline import inspect, storage
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config, ValidateConfig
from stftgan_tf.data import records as example_io
from stftgan_tf.dsp.moments import MIN_STD, Moments
from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically

EXAMPLE = (
    "python -m pipeline.validate tfrecords/digits --reference tfrecords/fsdd"
)

# Windows whose labels are looked at: training and evaluation.
_KNOWN, _ASKED = 4000, 1000

# A window's picture for that: so many times and bands, averaged.
_TIMES, _BANDS = 8, 16

_NEIGHBOURS = 5

# What natural logs of magnitudes are in dB.
_DB = 20 / np.log(10)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument("data", help="the data set, here or remote")
    parser.add_argument(
        "--reference", help="a data set that is known to be good"
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        help="also write the anomalies to a JSON file",
    )
    config_lib.add_arguments(parser, default="digits8k")
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    reference = (
        inspect.read_manifest(args.reference) if args.reference else None
    )
    manifest = inspect.read_manifest(args.data)
    found = anomalies(args.data, manifest, config)
    if reference:
        found += drift(
            args.data, manifest, args.reference, reference, config.validate
        )
    if args.output:
        report = {"data": args.data, "anomalies": found}
        text = json.dumps(report, indent=1) + "\n"
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.output, text.encode())
    for line in found:
        print(f"anomaly: {line}")
    if found:
        raise UserError(
            f"{args.data} has {len(found)} anomalies; mend the recordings, or "
            "the thresholds of the config's validate section"
        )
    print(f"{args.data} is fit to train on")
    return 0


def anomalies(root: str, manifest: dict[str, Any], config: Config) -> list[str]:
    """What is wrong with a data set by itself, in words."""
    limits = config.validate
    found = inspect.Check(root, manifest).problems()
    if found:
        return found
    windows = sum(manifest["windows"].values())
    silent = manifest["silent_windows"]
    share = silent / max(1, silent + windows)
    if share > limits.max_silent:
        found.append(
            f"silence: {100 * share:.1f} % of the windows are silent (and were "
            f"dropped); expected at most {100 * limits.max_silent:g} %"
        )
    share = manifest["clipped_share"]
    if share > limits.max_clipped:
        found.append(
            f"level: {100 * share:.1f} % of the values are beyond 3 sigma; "
            f"expected at most {100 * limits.max_clipped:g} %"
        )
    for split, least in (
        ("train", config.evaluate.clusters),
        ("eval", config_lib.MIN_EVALUATION_WINDOWS),
    ):
        if manifest["windows"][split] < least:
            found.append(
                f"windows: {manifest['windows'][split]} in Split-{split}; "
                f"expected at least {least}, or no model can be evaluated: "
                "see the config's split section"
            )
    stats = _stats(root)
    speakers = _speakers(stats)
    if 0 < len(speakers) < limits.min_speakers:
        found.append(
            f"speakers: {len(speakers)} in the training split "
            f"({', '.join(speakers)}); expected at least {limits.min_speakers}"
        )
    if manifest["labels"]:
        found += _check_labels(root, manifest, stats, limits)
    return found


def _check_labels(
    root: str,
    manifest: dict[str, Any],
    stats: dict[str, Any],
    limits: ValidateConfig,
) -> list[str]:
    found = []
    counts = stats["labels"].get("train", {})
    missing = counts.get(str(example_io.UNKNOWN_LABEL), 0)
    share = missing / max(1, sum(counts.values()))
    if share > limits.max_unlabelled:
        found.append(
            f"labels: {100 * share:.1f} % of the training windows have none; "
            f"expected at most {100 * limits.max_unlabelled:g} %"
        )
    absent = [name for name in manifest["labels"] if not counts.get(name)]
    if absent:
        found.append(f"labels: no training window of {', '.join(absent)}")
    recognised = _recognised(root, manifest)
    if recognised is None:
        return found
    right, chance = recognised
    least = min(limits.min_recognised * chance, (1 + chance) / 2)
    # Where one label has most windows, neighbours tell little.
    if chance <= 0.5 and right < least:
        found.append(
            f"labels: neighbours tell {100 * right:.0f} % of the evaluation "
            f"windows' labels, chance {100 * chance:.0f} %; expected at least "
            f"{100 * least:.0f} %: are they shuffled?"
        )
    return found


def _recognised(
    root: str, manifest: dict[str, Any]
) -> tuple[float, float] | None:
    """Shares of evaluation windows whose label is right: found, by chance.

    A handful of neighbours by coarse spectrograms tells words far better than
    chance, and shuffled labels not at all. None where there are too few
    labelled windows to tell.
    """
    (known, labels), (asked, wanted) = (
        _pictures(root, manifest, split, count)
        for split, count in (("train", _KNOWN), ("eval", _ASKED))
    )
    if len(known) < _NEIGHBOURS or not len(asked):
        return None
    search = KNeighborsClassifier(_NEIGHBOURS).fit(known, labels)
    right = float((search.predict(asked) == wanted).mean())
    shares = np.bincount(labels) / len(labels)
    return right, float(shares.max())


def _pictures(
    root: str, manifest: dict[str, Any], split: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coarse labelled windows [N, D], spread evenly, and their labels [N]."""
    config = manifest["config"]
    frames = config["window"]["frames"]
    bins = config["stft"]["frame_length"] // 2
    every = max(1, manifest["windows"][split] // count)
    times = np.linspace(0, frames, min(_TIMES, frames) + 1).astype(int)[:-1]
    bands = np.linspace(0, bins, min(_BANDS, bins) + 1).astype(int)[:-1]
    pictures, labels, index = [], [], 0
    for shard in manifest["shards"]:
        if not shard["bytes"] or not shard["path"].startswith(f"Split-{split}"):
            continue
        with storage.open_input(storage.join(root, shard["path"])) as file:
            for data in example_io.read_records(file):
                index += 1
                record = example_io.decode(data) if index % every == 0 else None
                if record is None or record["label"] < 0:
                    continue
                window = record["window"].reshape(frames, bins)
                coarse = np.add.reduceat(window, times, axis=0)
                coarse = np.add.reduceat(coarse, bands, axis=1)
                pictures.append(coarse.ravel())
                labels.append(record["label"])
    return np.array(pictures), np.array(labels, np.int64)


def drift(
    root: str,
    manifest: dict[str, Any],
    other_root: str,
    other: dict[str, Any],
    limits: ValidateConfig,
) -> list[str]:
    """In what a data set is unlike another one, in words."""
    ours, theirs = manifest["config"], other["config"]
    for section in ("stft", "window"):
        if ours[section] != theirs[section]:
            return [f"config: {section} is not that of {other_root}"]
    found = []
    mean, reference = (
        np.array(m["moments"]["mean"]) for m in (manifest, other)
    )
    # Some bins may never vary: telephone speech at 16 kHz.
    varies = np.array(other["moments"]["std"]) > MIN_STD
    if not varies.any():
        return [f"spectrum: {other_root} has the same value everywhere"]
    level = float((mean - reference)[varies].mean())
    if abs(level) * _DB > limits.max_level_db:
        found.append(
            f"level: {level * _DB:+.1f} dB from {other_root}'s; expected at "
            f"most {limits.max_level_db:g} dB"
        )
    spread = Moments.from_dict(other["moments"]).std
    change = (mean - reference - np.where(varies, level, 0)) / spread
    shape = float(np.sqrt(np.mean(change**2)))
    if shape > limits.max_spectrum:
        found.append(
            f"spectrum: {shape:.2f} standard deviations from {other_root}'s, "
            f"root mean square over the bins; expected at most "
            f"{limits.max_spectrum:g}: is the sample rate right?"
        )
    lengths = [
        sum(m["windows"].values()) / max(1, m["recordings"])
        for m in (manifest, other)
    ]
    ratio = max(lengths) / max(1e-9, min(lengths))
    if ratio > limits.max_duration:
        found.append(
            f"duration: {lengths[0]:.2f} windows a recording, {other_root} has "
            f"{lengths[1]:.2f}; expected within a factor of "
            f"{limits.max_duration:g}"
        )
    return found + _balance(root, manifest, other_root, other, limits)


def _balance(
    root: str,
    manifest: dict[str, Any],
    other_root: str,
    other: dict[str, Any],
    limits: ValidateConfig,
) -> list[str]:
    """Drift of what labels and speakers there are."""
    if sorted(manifest["labels"]) != sorted(other["labels"]):
        return [f"labels: not those of {other_root}"]
    stats = [_stats(root), _stats(other_root)]
    found = []
    if other["labels"]:
        counts = [s["labels"].get("train", {}) for s in stats]
        shares = [[c.get(name, 0) for name in other["labels"]] for c in counts]
        if all(map(sum, shares)):
            # The distance is the divergence's root.
            gap = scipy.spatial.distance.jensenshannon(*shares) ** 2
            if gap > limits.max_label_drift:
                found.append(
                    f"labels: balance is {gap:.3f} nats from {other_root}'s "
                    "(Jensen-Shannon); expected at most "
                    f"{limits.max_label_drift:g}"
                )
    ours, theirs = (len(_speakers(s)) for s in stats)
    if ours < limits.min_speaker_share * theirs:
        found.append(
            f"speakers: {ours}, {other_root} has {theirs}; expected at least "
            f"{limits.min_speaker_share:g} of them"
        )
    return found


def _speakers(stats: dict[str, Any]) -> list[str]:
    """The known ones of the training split."""
    return [name for name in stats["speakers"].get("train", {}) if name]


def _stats(root: str) -> dict[str, Any]:
    return json.loads(storage.read_text(storage.join(root, "stats.json")))


if __name__ == "__main__":
    sys.exit(main())
