"""sessions.jsonl of a run: one row for each time that it was trained.

`pipeline.run` reads the rows to notice a training that it did not start.

    {"started": "2026-01-01T00:00:00+00:00", "step": 0,
     "data": "../../tfrecords/digits", "record": null}
"""

import contextlib
import datetime
import json
import os
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically

FILE = "sessions.jsonl"

# The environment variable in which `pipeline.run` names the record that it
# will write of this training.
RECORD = "STFTGAN_RECORD"


def append(run: Path, step: int, data: str) -> None:
    """Adds a row.

    Args:
      run: directory of the run.
      step: generator updates before this session.
      data: directory or address of the data set.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    row = {
        "started": now.isoformat(timespec="seconds"),
        "step": step,
        "data": _relative(data, run),
        "record": os.environ.get(RECORD),
    }
    text = "".join(json.dumps(row) + "\n" for row in [*rows(run), row])
    write_atomically(run / FILE, text.encode())


def rows(run: Path) -> list[dict[str, Any]]:
    """All rows; none for a run of an earlier version.

    Raises:
      UserError: if the file is damaged.
    """
    with contextlib.suppress(FileNotFoundError):
        text = (run / FILE).read_text(encoding="utf-8")
        try:
            return [dict(json.loads(line)) for line in text.splitlines()]
        except (TypeError, ValueError) as error:
            raise UserError(f"{run / FILE} is damaged: {error}") from error
    return []


def data_of(run: Path) -> str | None:
    """Where the data set of a run was when it was last trained, if known.

    Raises:
      UserError: as `rows`.
    """
    for row in reversed(rows(run)):
        data = row.get("data")
        if data:
            return data if "://" in data else _absolute(data, run)
    return None


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
