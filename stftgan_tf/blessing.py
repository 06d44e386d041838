"""Whether an export may be published: the verdict on its evaluation.

A verdict is a folder, as in TFX: `evaluation.json` with the figures and the
reasons, and an empty file named BLESSED or NOT_BLESSED.
"""

import json
from pathlib import Path
from typing import Any

from stftgan_tf import cli
from stftgan_tf.config import BlessConfig

FILE, BLESSED, NOT_BLESSED = "evaluation.json", "BLESSED", "NOT_BLESSED"

# What `pipeline.push` writes into a version.
PUSHED = "pushed.json"


def reasons(
    report: dict[str, Any],
    limits: BlessConfig,
    last: dict[str, Any] | None = None,
) -> list[str]:
    """Why an export is not blessed; nothing if it is.

    Args:
      report: what `evaluate.evaluate` gives.
      limits: how far generated figures may be from real ones.
      last: the report of the export that was blessed last, if any.
    """
    real, made = report["real"], report["generated"]
    clusters = report["clusters"]
    found = []

    def least(name: str, share: float, what: str) -> None:
        limit = share * real[name]
        if not made[name] >= limit:
            found.append(
                f"{what}: {name} is {made[name]:g}; expected at least "
                f"{limit:g}, {share:g} of real windows'"
            )

    def most(name: str, limit: float, what: str) -> None:
        if not made[name] <= limit:
            found.append(
                f"{what}: {name} is {made[name]:g}; expected at most {limit:g}"
            )

    least("diversity_ratio", limits.min_diversity, "all windows are alike")
    least("nearest_self", limits.min_apart, "windows are repeated")
    least("precision", limits.min_precision, "unlike any real window")
    least("coverage", limits.min_coverage, "kinds of windows are missing")
    most(
        "ndb",
        real["ndb"] + limits.max_ndb * clusters,
        "kinds of windows come too often or too rarely",
    )
    most("frechet", limits.max_frechet * real["frechet"], "far from speech")
    most(
        "memorised",
        real["memorised"] + limits.max_memorised,
        "training windows are copied",
    )
    if made.get("label_recognised") is not None:
        least(
            "label_recognised",
            limits.min_recognised,
            "labels asked for are not heard",
        )
    if last is not None:
        most(
            "frechet",
            limits.max_worse * last["generated"]["frechet"],
            "worse than the export blessed before",
        )
    return found


def write(
    folder: Path, report: dict[str, Any], found: list[str], digest: str
) -> None:
    """Writes the verdict on an export; the folder appears whole."""
    verdict = {"blessed": not found, "reasons": found, "digest": digest}
    with cli.published_dir(folder, FILE, overwrite=True) as staging:
        text = json.dumps({**verdict, **report}, indent=1) + "\n"
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
        raise cli.UserError(
            f"{folder} holds no verdict ({FILE}); make one with python -m "
            "stftgan_tf.evaluate --blessing"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise cli.UserError(f"{path} is damaged: {error}") from error
    return verdict
