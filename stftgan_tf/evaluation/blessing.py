"""Whether an export may be published: the verdict on its evaluation.

A verdict is a folder, as in TFX: `evaluation.json` with the figures and the
reasons, and an empty file named BLESSED or NOT_BLESSED.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from stftgan_tf.config import BlessConfig
from stftgan_tf.errors import UserError
from stftgan_tf.files import published_dir

FILE, BLESSED, NOT_BLESSED = "evaluation.json", "BLESSED", "NOT_BLESSED"

# What `pipeline.push` writes into a version.
PUSHED = "pushed.json"


@dataclasses.dataclass(frozen=True)
class Check:
    """A figure of generated windows and its limit.

    Attributes:
      figure: its name.
      value: of generated windows.
      bound: `at least` or `at most`.
      limit: the least or largest value that passes.
      failing: what it means if it does not pass.
    """

    figure: str
    value: float
    bound: str
    limit: float
    failing: str

    @property
    def passed(self) -> bool:
        """False for a value that is not a number, too."""
        if self.bound == "at least":
            return self.value >= self.limit
        return self.value <= self.limit


def checks(
    report: dict[str, Any],
    limits: BlessConfig,
    last: dict[str, Any] | None = None,
) -> list[Check]:
    """What an export is held to.

    Args:
      report: what `evaluate.evaluate` gives.
      limits: how far generated figures may be from real ones.
      last: the verdict on the export that was blessed last, if any.
    """
    real, made = report["real"], report["generated"]

    def least(name: str, share: float, failing: str) -> Check:
        limit = round(share * real[name], 4)
        return Check(name, made[name], "at least", limit, failing)

    def most(name: str, limit: float, failing: str) -> Check:
        return Check(name, made[name], "at most", round(limit, 4), failing)

    asked = [
        least("diversity_ratio", limits.min_diversity, "all windows are alike"),
        least("nearest_self", limits.min_apart, "windows are repeated"),
        least("precision", limits.min_precision, "unlike any real window"),
        least("coverage", limits.min_coverage, "kinds of windows are missing"),
        least("recall", limits.min_recall, "much of the data is out of reach"),
        most(
            "ndb",
            real["ndb"] + limits.max_ndb * report["clusters"],
            "kinds of windows come too often or too rarely",
        ),
        most(
            "frechet",
            # Each direction of the space has variance 1.
            real["frechet"] + limits.max_frechet * report["dimensions"],
            "far from speech",
        ),
        most(
            "memorised",
            real["memorised"] + limits.max_memorised,
            "training windows are copied",
        ),
    ]
    heard = [x.get("label_recognised") for x in (real, made)]
    if None not in heard:
        name, share = "label_recognised", limits.min_recognised
        asked.append(least(name, share, "labels asked for are not heard"))
    if last is not None:
        # Next to real windows: the data may have grown since then.
        ours, theirs = last["generated"]["frechet"], last["real"]["frechet"]
        before = ours / max(theirs, 1e-4)
        limit = limits.max_worse * before * real["frechet"]
        failing = "worse than the export blessed before"
        asked.append(most("frechet", limit, failing))
    return asked


def reasons(asked: list[Check]) -> list[str]:
    """Why an export is not blessed; nothing if it is."""
    return [
        f"{check.failing}: {check.figure} is {check.value:g}; expected "
        f"{check.bound} {check.limit:g}"
        for check in asked
        if not check.passed
    ]


def write(folder: Path, report: dict[str, Any], asked: list[Check]) -> None:
    """Writes the verdict on an export; the folder appears whole.

    Args:
      folder: where to.
      report: figures, and the export's `digest`.
      asked: what it was held to.
    """
    found = reasons(asked)
    verdict = {
        "blessed": not found,
        "reasons": found,
        **report,
        "checks": [
            {**dataclasses.asdict(check), "passed": check.passed}
            for check in asked
        ],
    }
    with published_dir(folder, FILE, overwrite=True) as staging:
        text = json.dumps(verdict, indent=1) + "\n"
        (staging / FILE).write_text(text, encoding="utf-8")
        (staging / (NOT_BLESSED if found else BLESSED)).touch()


def read(folder: Path) -> dict[str, Any]:
    """What `write` wrote, also of a pushed version.

    Raises:
      UserError: if there is no verdict, or it is damaged.
    """
    path = folder / FILE
    try:
        if (folder / PUSHED).is_file():
            path = folder / PUSHED
            return dict(json.loads(path.read_text(encoding="utf-8"))["verdict"])
        verdict = json.loads(path.read_text(encoding="utf-8"))
        blessed = (folder / BLESSED).is_file()
        if blessed != verdict["blessed"] or not verdict["digest"]:
            raise ValueError(f"{BLESSED} and {FILE} contradict")
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no verdict ({FILE}); make one with python -m "
            "stftgan_tf.evaluate --blessing"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return verdict
