"""metrics.jsonl of a run: a row of JSON for every report and measurement."""

import contextlib
import json
from pathlib import Path
from typing import Any

from stftgan_tf.files import write_atomically
from stftgan_tf.metrics import registry

FILE = "metrics.jsonl"


def append(run: Path, row: dict[str, float]) -> None:
    """Adds a row."""
    with open(run / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows(run: Path) -> list[dict[str, float]]:
    """All complete rows; a row that a kill cut short is skipped."""
    complete = []
    with contextlib.suppress(FileNotFoundError):
        text = (run / FILE).read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                complete.append(_as_row(json.loads(line)))
    return complete


def _as_row(value: Any) -> dict[str, float]:
    """The value, checked.

    Raises:
      ValueError: if it is not a mapping of names to numbers with a step.
    """
    numbers = value.values() if isinstance(value, dict) else [None]
    is_row = all(isinstance(n, int | float) for n in numbers)
    if not is_row or "step" not in value:
        raise ValueError(f"{value!r} is not a row")
    return value


def drop_rows_after(run: Path, step: int) -> None:
    """Removes rows of later steps, which a resumed training repeats."""
    if not (run / FILE).exists():
        return
    kept = [row for row in rows(run) if row["step"] <= step]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    write_atomically(run / FILE, text.encode())


def has_measurement(run: Path, step: int) -> bool:
    """Whether the watch has measured a step."""
    return any(
        row["step"] == step and registry.from_watch_row(row)
        for row in rows(run)
    )
