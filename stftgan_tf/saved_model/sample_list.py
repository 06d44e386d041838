"""Reads lists of samples to make again. Needs no TensorFlow.

A list is `samples.json` of the command `sample`, or `favourites.json` of the
listening page: its `samples` are rows with

    seed, or seeds (a pair) and weight (from 0 to 1)
    label       name or number; absent if the seed draws it
    truncation  absent if 1
    secs        absent for one window

Other keys, such as the file name and the level, are ignored.
"""

import json
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.saved_model.request import SampleRequest


def read(path: Path, phase: str) -> list[SampleRequest]:
    """Requests of one sample each, in the order of the list.

    Args:
      path: the list.
      phase: `export` or `pghi`, for all samples.

    Raises:
      UserError: if there is no such list, or a row cannot be used.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["samples"]
        if not isinstance(rows, list) or not rows:
            raise ValueError("`samples` is not a list with at least one row")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a list of samples ({error}); expected samples.json "
            "of `sample` or favourites.json of the listening page"
        ) from error
    requests = []
    for number, row in enumerate(rows, 1):
        try:
            request = _request(row, phase)
            request.check()
        except (UsageError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: row {number} of `samples`: {_reason(error)}"
            ) from error
        requests.append(request)
    # Two equal rows are one sample, in one file.
    return list(dict.fromkeys(requests))


def _request(row: dict[str, Any], phase: str) -> SampleRequest:
    if not isinstance(row, dict):
        raise TypeError(f"{row!r} is not an object")
    label, secs = row.get("label"), row.get("secs")
    shared = {
        "num": 1,
        "label": None if label is None else str(label),
        "phase": phase,
    }
    if "seeds" in row:
        first, last = map(_seed, row["seeds"])
        weight = float(row["weight"])
        return SampleRequest(interpolate=(first, last), weight=weight, **shared)
    return SampleRequest(
        seed=_seed(row["seed"]),
        truncation=float(row.get("truncation", 1)),
        secs=None if secs is None else float(secs),
        **shared,
    )


def _seed(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError(f"the seed is {value!r}; expected a whole number")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]}"
    return str(error)
