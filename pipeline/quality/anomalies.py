"""What makes a data set unfit to train on, by the config's thresholds."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from pipeline.quality import labels
from pipeline.quality.data_set import read_stats
from pipeline.quality.integrity import Verification
from pipeline.quality.leaks import Leak
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config, ValidateConfig
from stftgan_tf.data import records


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the checks of a data set found.

    Attributes:
      anomalies: what is beyond a limit, and what to do about it.
      notes: what is worth knowing, but within its limit.
    """

    anomalies: list[str]
    notes: list[str]


def find(root: str, manifest: dict[str, Any], config: Config) -> Findings:
    """Describes each anomaly of a data set.

    A damaged data set has no other anomalies: its figures mean nothing.
    """
    verification = Verification(root, manifest)
    if problems := verification.problems():
        return Findings(problems, [])
    stats, limits = read_stats(root), config.validate
    leak = verification.leaks.result()
    anomalies = [
        *_check_leaks(leak, limits),
        *_check_values(manifest, limits),
        *_check_windows(manifest, config),
        *_check_speakers(stats, limits),
        *_check_labels(manifest, stats, limits),
        *_check_recognition(root, manifest, limits),
    ]
    return Findings(anomalies, list(_leak_notes(leak, limits)))


def _check_leaks(leak: Leak, limits: ValidateConfig) -> Iterator[str]:
    if leak.share > limits.max_leaked:
        yield _describe_equal(leak, limits)


def _leak_notes(leak: Leak, limits: ValidateConfig) -> Iterator[str]:
    """Leaks within the limit, and near copies, for which there is none."""
    if leak.equal and leak.share <= limits.max_leaked:
        yield _describe_equal(leak, limits)
    if leak.near:
        yield (
            f"leaks: {leak.text(leak.near)} are almost training windows: the "
            "recordings contain near copies, which the evaluation leaves out"
        )


def _describe_equal(leak: Leak, limits: ValidateConfig) -> str:
    return (
        f"leaks: {leak.text(leak.equal)} are also training windows; expected "
        f"at most {100 * limits.max_leaked:g} %: remove the copies, or keep "
        "them in one split (split.by=speaker)"
    )


def _check_values(
    manifest: dict[str, Any], limits: ValidateConfig
) -> Iterator[str]:
    windows, silent = manifest["windows"].values(), manifest["silent_windows"]
    share = silent / max(1, silent + sum(windows))
    if share > limits.max_silent:
        yield (
            f"silence: {100 * share:.1f} % of the windows are silent (and were "
            f"dropped); expected at most {100 * limits.max_silent:g} %: place "
            "windows on the speech (window.place=speech), or leave out "
            "recordings that are mostly silent"
        )
    share = manifest["clipped_share"]
    if share > limits.max_clipped:
        yield (
            f"level: {100 * share:.1f} % of the values are more than 3 "
            "standard deviations from the mean; expected at most "
            f"{100 * limits.max_clipped:g} %: equalise the recordings "
            "(audio.level=rms), or preprocess very different ones separately"
        )


def _check_windows(manifest: dict[str, Any], config: Config) -> Iterator[str]:
    for split, minimum in (
        ("train", config.evaluate.clusters),
        ("eval", config_lib.MIN_EVALUATION_WINDOWS),
    ):
        count = manifest["windows"][split]
        if count < minimum:
            yield (
                f"windows: {count} in Split-{split}; the evaluation of a model "
                f"requires at least {minimum}: add recordings, or check the "
                "config's split section"
            )


def _check_speakers(
    stats: dict[str, Any], limits: ValidateConfig
) -> Iterator[str]:
    speakers = known_speakers(stats)
    if 0 < len(speakers) < limits.min_speakers:
        yield (
            f"speakers: {len(speakers)} in the training split "
            f"({', '.join(speakers)}); expected at least "
            f"{limits.min_speakers}: add speakers, or accept one voice with "
            f"validate.min_speakers={len(speakers)}"
        )


def known_speakers(stats: dict[str, Any]) -> list[str]:
    """Speakers of the training split whose names are known."""
    return [name for name in stats["speakers"].get("train", {}) if name]


def _check_labels(
    manifest: dict[str, Any], stats: dict[str, Any], limits: ValidateConfig
) -> Iterator[str]:
    if not manifest["labels"]:
        return
    counts = stats["labels"].get("train", {})
    unlabelled = counts.get(str(records.UNKNOWN_LABEL), 0)
    share = unlabelled / max(1, sum(counts.values()))
    if share > limits.max_unlabelled:
        yield (
            f"labels: {100 * share:.1f} % of the training windows have no "
            f"label; expected at most {100 * limits.max_unlabelled:g} %: check "
            "audio.name_regex, or the labels of the manifest, against the "
            "names of the recordings"
        )
    absent = [name for name in manifest["labels"] if not counts.get(name)]
    if absent:
        yield (
            f"labels: no training window has the label {', '.join(absent)}: "
            "add recordings, exclude the label with audio.label_regex, or "
            "change the config's split section"
        )


def _check_recognition(
    root: str, manifest: dict[str, Any], limits: ValidateConfig
) -> Iterator[str]:
    result = labels.recognition(root, manifest) if manifest["labels"] else None
    if result is None:
        return
    share, chance = result
    minimum = min(limits.min_recognised * chance, (1 + chance) / 2)
    # Where most windows have one label, this test has no power.
    if chance <= 0.5 and share < minimum:
        yield (
            f"labels: the nearest training windows have the right label for "
            f"{100 * share:.0f} % of the evaluation windows (chance "
            f"{100 * chance:.0f} %); expected at least {100 * minimum:.0f} %: "
            "are the labels shuffled? Listen to a few recordings and compare "
            "them with their labels"
        )
