"""Files of a run that trainings write and `pipeline.run` reads.

sessions.jsonl has one row for each time that the run was trained, so that
`pipeline.run` notices a training that it did not start:

    {"started": "2026-01-01T00:00:00+00:00", "step": 0,
     "data": "../../tfrecords/digits", "record": null}

checkpoints/ contains directories such as step-00001000
(`stftgan_tf.training.checkpoints`).
"""

import contextlib
import datetime
import json
import os
import re
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically

SESSIONS, CHECKPOINTS = "sessions.jsonl", "checkpoints"

# Earlier versions appended -r1, -r2, ... to the names after a rollback.
CHECKPOINT_NAME = re.compile(
    r"(?P<kind>step|best|last)-(?P<step>\d{8,})(?:-r(?P<rollbacks>\d+))?"
)

# The environment variable in which `pipeline.run` names the record that it
# will write of this training.
RECORD = "STFTGAN_RECORD"


def sessions(run: Path) -> list[dict[str, Any]]:
    """The rows of sessions.jsonl; none for a run of an earlier version.

    Raises:
      UserError: if the file is damaged.
    """
    path = run / SESSIONS
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8")
        try:
            return [dict(json.loads(line)) for line in text.splitlines()]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}") from error
    return []


def add_session(run: Path, step: int, data: str) -> None:
    """Adds a row for a training.

    Args:
      run: directory of the run.
      step: generator updates before this session.
      data: directory or address of the data set.
    """
    record = os.environ.get(RECORD)
    _append(run, step, {"data": _relative(data, run), "record": record})


def add_change(run: Path, step: int) -> None:
    """Adds a row for checkpoints that no training has written.

    Args:
      run: directory of the run.
      step: of the last record, which no longer describes the run.
    """
    _append(run, step, {"record": None, "changed": True})


def data_of(run: Path) -> str | None:
    """Where the data set of a run was when it was last trained, if known.

    Raises:
      UserError: as `sessions`.
    """
    for row in reversed(sessions(run)):
        data = row.get("data")
        if data:
            return data if "://" in data else _absolute(data, run)
    return None


def _append(run: Path, step: int, values: dict[str, Any]) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    row = {"started": now.isoformat(timespec="seconds"), "step": step, **values}
    text = "".join(json.dumps(r) + "\n" for r in [*sessions(run), row])
    write_atomically(run / SESSIONS, text.encode())


def _relative(data: str, run: Path) -> str:
    """The path from the run, so that both may be moved together."""
    if "://" in data:
        return data
    return os.path.relpath(os.path.realpath(data), run.resolve())


def _absolute(data: str, run: Path) -> str:
    """The inverse; relative to the working directory if it is below it."""
    path = os.path.normpath(run.resolve() / data)
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
