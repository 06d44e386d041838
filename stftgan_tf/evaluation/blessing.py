"""The blessing: whether an export may be published, and why not.

An evaluation is a directory, as in TFX: `evaluation.json` with the metrics
and the checks, an empty file named BLESSED or NOT_BLESSED, and
`examples.npz` with the windows that the report shows.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf.config import BlessConfig
from stftgan_tf.errors import UserError
from stftgan_tf.files import DirectoryKind, published_dir
from stftgan_tf.metrics import registry

FILE, EXAMPLES = "evaluation.json", "examples.npz"
BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"
EVALUATION = DirectoryKind(
    FILE, (FILE, EXAMPLES, BLESSED, NOT_BLESSED), '"blessed"'
)

# What every evaluation contains.
_TYPES = {"digest": str, "real": dict, "generated": dict, "reasons": list}

# The file that `pipeline.push` writes into a version.
PUSHED = "pushed.json"

# Metrics that must reach a share of the value of real windows: name, key of
# the bless section, and the meaning of a failure.
_AT_LEAST = (
    ("diversity_ratio", "min_diversity", "all windows look alike"),
    ("nearest_self", "min_apart", "windows are repeated"),
    (
        "precision",
        "min_precision",
        "most windows are unlike any real window",
    ),
    ("coverage", "min_coverage", "some kinds of real windows are missing"),
    ("recall", "min_recall", "the generator cannot produce much of the data"),
)

# Metrics that may exceed the value of real windows by an allowance: name, key
# of the bless section, the entry of the evaluation that the allowance is
# multiplied by, and the meaning of a failure. (Each dimension of the embedding
# has variance 1, so the Frechet distance grows with their number.)
_AT_MOST = (
    (
        "ndb",
        "max_ndb",
        "clusters",
        "some kinds of windows are too frequent or too rare",
    ),
    ("frechet", "max_frechet", "dimensions", "far from real speech"),
)

# Why a Frechet distance that is fine by itself may fail.
WORSE_THAN_LAST = "worse than the last blessed export"


@dataclasses.dataclass(frozen=True)
class Check:
    """A metric of generated windows and its limit.

    Attributes:
      figure: name of the metric.
      value: value of the generated windows.
      bound: `at least` or `at most`.
      limit: the smallest or largest value that passes.
      failing: the meaning of a failure.
    """

    figure: str
    value: float
    bound: str
    limit: float
    failing: str

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit; NaN never is."""
        if self.bound == "at least":
            return self.value >= self.limit
        return self.value <= self.limit

    def __str__(self) -> str:
        """For example `recall 0.03, at least 0.35 required (...)`."""
        verb = "required" if self.bound == "at least" else "allowed"
        return (
            f"{self.figure} {self.value:g}, {self.bound} {self.limit:g} {verb} "
            f"({self.failing})"
        )


def checks(
    metrics: dict[str, Any],
    limits: BlessConfig,
    last: dict[str, Any] | None = None,
) -> list[Check]:
    """Compares generated windows with the limits.

    Args:
      metrics: the metrics of an evaluation.
      limits: how far generated windows may be from real ones.
      last: the evaluation of the last blessed export, if any.
    """
    real, generated = metrics["real"], metrics["generated"]
    result = []

    def add(name: str, bound: str, limit: float, failing: str) -> None:
        limit = round(limit, 4)
        result.append(Check(name, generated[name], bound, limit, failing))

    for name, share, failing in _AT_LEAST:
        add(name, "at least", getattr(limits, share) * real[name], failing)
    for name, allowance, unit, failing in _AT_MOST:
        limit = real[name] + getattr(limits, allowance) * metrics[unit]
        add(name, "at most", limit, failing)
    # Copies among the real windows do not permit the generator to copy.
    copied = "training windows are copied"
    add("memorised", "at most", limits.max_memorised, copied)
    name = "label_recognised"
    if None not in (real.get(name), generated.get(name)):
        failing = "samples do not match the requested label"
        add(name, "at least", limits.min_recognised * real[name], failing)
    if last is not None:
        # Relative to real windows, because the data may have grown since then.
        last_generated, last_real = last["generated"], last["real"]
        ratio = last_generated["frechet"] / max(last_real["frechet"], 1e-4)
        limit = limits.max_worse * ratio * real["frechet"]
        add("frechet", "at most", limit, WORSE_THAN_LAST)
    return result


def reasons(results: list[Check]) -> list[str]:
    """Why an export is not blessed; empty if it is blessed."""
    return [str(check) for check in results if not check.passed]


def verdict_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """The verdict as lines: BLESSED, or each reason with what to do about it.

    Args:
      evaluation: its `reasons`, and its `remedies`.
    """
    lines = [f"{NOT_BLESSED}: {line}" for line in reason_lines(evaluation)]
    return lines or [BLESSED]


def reason_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """Each reason with its remedy; a remedy of several is stated once.

    Args:
      evaluation: its `reasons`, and its `remedies`, which evaluations of
        earlier versions do not have.
    """
    lines, stated = [], set()
    remedies = evaluation.get("remedies", ())
    for reason, remedy in itertools.zip_longest(
        evaluation["reasons"], remedies, fillvalue=""
    ):
        advice = "" if not remedy or remedy in stated else f". {remedy}"
        stated.add(remedy)
        lines.append(f"{reason}{advice}")
    return lines


def write(
    directory: Path,
    metrics: dict[str, Any],
    results: list[Check],
    examples: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes an evaluation; the directory appears complete or not at all.

    Args:
      directory: replaced if it contains an evaluation.
      metrics: the metrics, the export's `digest`, and `remedies`, one for
        each failed check.
      results: all checks.
      examples: the windows that the report shows.

    Raises:
      UserError: if the directory contains anything else.
    """
    failures = reasons(results)
    evaluation = {
        "blessed": not failures,
        "reasons": failures,
        **metrics,
        "checks": [
            {**dataclasses.asdict(check), "passed": check.passed}
            for check in results
        ],
    }
    with published_dir(directory, EVALUATION, overwrite=True) as staging:
        text = json.dumps(evaluation, indent=1) + "\n"
        (staging / FILE).write_text(text, encoding="utf-8")
        (staging / (NOT_BLESSED if failures else BLESSED)).touch()
        if examples is not None:
            np.savez_compressed(staging / EXAMPLES, **examples)


def read(directory: Path) -> dict[str, Any]:
    """Reads the evaluation.json of an evaluation or of a pushed version.

    Raises:
      UserError: if there is no evaluation, or it is damaged.
    """
    path = directory / FILE
    try:
        if (directory / PUSHED).is_file():
            path = directory / PUSHED
            return _current(json.loads(path.read_text("utf-8"))["verdict"])
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        blessed = (directory / BLESSED).is_file()
        if blessed != evaluation["blessed"] or not evaluation["digest"]:
            raise ValueError(f"{BLESSED} and {FILE} contradict each other")
        return _current(evaluation)
    except FileNotFoundError as error:
        raise UserError(
            f"{directory} is not an evaluation (no {FILE}); create one with "
            "python -m stftgan_tf.evaluate"
        ) from error
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _current(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation with the metric names of this version.

    Raises:
      KeyError, ValueError: if it is not an evaluation.
    """
    for key, kind in _TYPES.items():
        if not isinstance(evaluation[key], kind):
            raise ValueError(f"{key} is not a {kind.__name__}")
    if not all(isinstance(c, dict) for c in evaluation.get("checks", [])):
        raise ValueError("checks are malformed")
    sections = {
        section: registry.current_names(evaluation[section])
        for section in ("real", "generated", "last_blessed")
        if section in evaluation
    }
    return {**evaluation, **sections}
