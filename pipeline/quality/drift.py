"""How a data set differs from a reference that is known to be good."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.spatial.distance

from pipeline.quality.anomalies import known_speakers
from pipeline.quality.data_set import data_config, read_stats
from stftgan_tf.config import ValidateConfig
from stftgan_tf.dsp.moments import MIN_STD, Moments

# Decibels per neper: log-magnitudes are natural logarithms.
_DB = 20 / np.log(10)


def find(
    root: str,
    manifest: dict[str, Any],
    reference_root: str,
    reference: dict[str, Any],
    limits: ValidateConfig,
) -> list[str]:
    """Describes each difference that exceeds its limit.

    Args:
      root: of the data set.
      manifest: of the data set.
      reference_root: of the reference.
      reference: its manifest.
      limits: the thresholds.
    """
    configs = data_config(manifest), data_config(reference)
    for section in ("stft", "window"):
        if len({getattr(config, section) for config in configs}) > 1:
            return [
                f"config: the section {section} differs from that of "
                f"{reference_root}, so nothing else can be compared: make both "
                "with the same config"
            ]
    return [
        f"{kind}: {difference} (reference: {reference_root})"
        for kind, difference in (
            *_spectrum(manifest, reference, limits),
            *_duration(manifest, reference, limits),
            *_labels(root, manifest, reference_root, reference, limits),
            *_speakers(root, reference_root, limits),
        )
    ]


def _spectrum(
    manifest: dict[str, Any], reference: dict[str, Any], limits: ValidateConfig
) -> Iterator[tuple[str, str]]:
    """Level: mean change over the bins. Spectrum: what remains of it."""
    change = np.array(manifest["moments"]["mean"]) - np.array(
        reference["moments"]["mean"]
    )
    # Some bins may be constant, such as those of telephone speech at 16 kHz.
    varies = np.array(reference["moments"]["std"]) > MIN_STD
    if not varies.any():
        yield "spectrum", "the reference has the same value everywhere"
        return
    level = float(change[varies].mean())
    if abs(level) * _DB > limits.max_level_db:
        yield (
            "level",
            f"{level * _DB:+.1f} dB; expected at most "
            f"{limits.max_level_db:g} dB of difference",
        )
    std = Moments.from_dict(reference["moments"]).std
    residual = (change - np.where(varies, level, 0)) / std
    distance = float(np.sqrt(np.mean(residual**2)))
    if distance > limits.max_spectrum:
        yield (
            "spectrum",
            f"{distance:.2f} standard deviations (root mean square over the "
            f"bins); expected at most {limits.max_spectrum:g}: is the sample "
            "rate right?",
        )


def _duration(
    manifest: dict[str, Any], reference: dict[str, Any], limits: ValidateConfig
) -> Iterator[tuple[str, str]]:
    """Windows per recording."""
    length, expected = (
        sum(m["windows"].values()) / max(1, m["recordings"])
        for m in (manifest, reference)
    )
    ratio = max(length, expected) / max(1e-9, min(length, expected))
    if ratio > limits.max_duration:
        yield (
            "duration",
            f"{length:.2f} windows per recording, {expected:.2f} in the "
            f"reference; expected within a factor of {limits.max_duration:g}",
        )


def _labels(
    root: str,
    manifest: dict[str, Any],
    reference_root: str,
    reference: dict[str, Any],
    limits: ValidateConfig,
) -> Iterator[tuple[str, str]]:
    """Which labels there are, and how the training windows are shared."""
    names = reference["labels"]
    if sorted(manifest["labels"]) != sorted(names):
        differing = sorted({*manifest["labels"]} ^ {*names})
        yield (
            "labels",
            f"not the same labels ({', '.join(differing)} in one of both only)",
        )
        return
    counts = [
        read_stats(path)["labels"].get("train", {})
        for path in (root, reference_root)
    ]
    shares = [[c.get(name, 0) for name in names] for c in counts]
    if not names or not all(map(sum, shares)):
        return
    # SciPy's distance is the square root of the divergence.
    divergence = scipy.spatial.distance.jensenshannon(*shares) ** 2
    if divergence > limits.max_label_drift:
        yield (
            "labels",
            f"the balance differs by {divergence:.3f} nats (Jensen-Shannon "
            f"divergence); expected at most {limits.max_label_drift:g}",
        )


def _speakers(
    root: str, reference_root: str, limits: ValidateConfig
) -> Iterator[tuple[str, str]]:
    count, expected = (
        len(known_speakers(read_stats(path))) for path in (root, reference_root)
    )
    if count < limits.min_speaker_share * expected:
        yield (
            "speakers",
            f"{count}, the reference has {expected}; expected at least "
            f"{100 * limits.min_speaker_share:g} % of them",
        )
