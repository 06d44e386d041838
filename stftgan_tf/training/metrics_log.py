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
                complete.append(_checked(json.loads(line)))
    return complete


def _checked(row: Any) -> dict[str, float]:
    """Raises ValueError for what is not a row."""
    values = row.values() if isinstance(row, dict) else [None]
    is_row = all(isinstance(v, int | float) for v in values) and "step" in row
    if not is_row:
        raise ValueError(f"{row!r} is not a row")
    return row


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
