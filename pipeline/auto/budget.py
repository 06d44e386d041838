"""Chooses networks and training for the data and the time."""

import math
from typing import Any

from pipeline.auto.choice import Choice
from pipeline.auto.survey import Facts
from pipeline.auto.windows import LONG, SHORT, Windows

# Used without --minutes. A training half as long, on a busy machine, was
# blessed.
DEFAULT_MINUTES = 30.0

# Number of times that the networks halve the frames of a window, by the frames.
_DOWNSAMPLES = {SHORT: 4, LONG: 5}

# Windows per second on the machine of docs/results.md, for networks that cost
# this many millions of multiply-adds per window (generator and critic).
_REFERENCE_SPEED, _REFERENCE_MACS = 665.0, 30.7

# (sample rate, frames) -> millions of multiply-adds per window at width 256.
_MACS = {
    (8000, SHORT): 30.7,
    (16000, SHORT): 41.2,
    (8000, LONG): 64.3,
    (16000, LONG): 85.3,
}

# Wider networks need a long training and many windows.
_WIDTH, _WIDE = 256, 320
_WIDE_MINUTES, _WIDE_WINDOWS = 180, 20000

_BATCH, _STEPS = 64, 40000


def choose_networks(windows: Windows, training: int, minutes: float) -> Choice:
    """Widths that the data and the time allow."""
    is_wide = minutes >= _WIDE_MINUTES and training >= _WIDE_WINDOWS
    width = _WIDE if is_wide else _WIDTH
    why = "wider networks need hours of training and more windows"
    if is_wide:
        why = f"{minutes:g} minutes and {training:,} windows allow this width"
    values: dict[str, Any] = {
        "model.num_downsamples": _DOWNSAMPLES[windows.frames],
        "model.stem_stride": 2,
    }
    if is_wide:
        values["model.latent_dim"] = 100
    for network in ("generator", "critic"):
        values[f"model.{network}.width"] = width
    return Choice("networks", f"width {width}", why, values)


def choose_condition(facts: Facts, training: int) -> Choice:
    """Clusters, as many as the windows can fill."""
    clusters = min(20 if facts.kind == "speech" else 50, training // 20)
    if clusters < 4:
        return Choice(
            "condition",
            "none",
            "there are too few windows for clusters",
            {"model.condition": "none"},
        )
    why = "clusters of similar content protect variety without labels"
    if facts.names.labels:
        why += "; to request labels, --set model.condition=label"
    return Choice(
        "condition",
        f"{clusters} clusters",
        why,
        {"model.condition": "cluster", "model.clusters": clusters},
    )


def choose_recipe() -> Choice:
    """Loss, rates and augmentation."""
    return Choice(
        "recipe",
        "rpgan-r1r2 with augmentation",
        "the recipe of every measured config: docs/lab/digits8k.md",
        {
            "augment.target": 0.6,
            "model.critic_input": "window_and_mel",
            "train.loss": "rpgan-r1r2",
            "train.penalty_weight": 1.0,
            "train.penalty_interval": 4,
            "train.generator_lr": 3e-4,
            "train.critic_lr": 3e-4,
            "train.beta_2": 0.99,
            "train.ema_half_life_windows": 50000.0,
            "train.precision": "auto",
        },
    )


def choose_training(windows: Windows, training: int, minutes: float) -> Choice:
    """The limit of steps, and what the time is about enough for."""
    macs = _MACS[windows.rate_hz, windows.frames]
    speed = _REFERENCE_SPEED * _REFERENCE_MACS / macs
    steps = minutes * 60 * speed / _BATCH
    limit = max(_STEPS, 1000 * math.ceil(1.5 * steps / 1000))
    passes = steps * _BATCH / training
    return Choice(
        "training",
        f"{minutes:g} minutes, at most {limit:,} steps",
        f"about {steps:,.0f} steps or {passes:.0f} passes through the windows "
        f"on two cores, at {speed:.0f} windows/s",
        {"train.steps": limit},
    )


def choose_measures(training: int) -> list[Choice]:
    """Smaller measurements for small data."""
    clusters = min(50, training // 8)
    if clusters == 50:
        return []
    return [
        Choice(
            "measures",
            f"{clusters} clusters for NDB",
            f"at least 8 of about {training} training windows per cluster",
            {"watch.clusters": clusters, "evaluate.clusters": clusters},
        )
    ]
