"""Reads the lineage records that `pipeline.run` writes, one per step.

A record is a JSON file with `step`, `id`, `output`, `command`, `code` (version
of this project), `started`, `secs` and `inputs`. The inputs are the records of
the steps whose output was used. They map each record's file name, relative to
this record's directory, to the SHA-256 of that file.

The record of a training also contains `run`: step and hash of the run at its
end. If it continued another training, `previous` is the record of that one. If
the run was also trained outside of the pipeline, `by_hand` lists from which
step to which. The record of an export contains its `digest`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError
from stftgan_tf.progress import clock


def read(path: Path) -> dict[str, Any]:
    """Reads a record.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def walk(
    path: Path, depth: int = 0, visited: set[Path] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields a record, followed by all records that it depends on.

    Args:
      path: the record.
      depth: depth of this record.
      visited: records to skip; the walk adds those that it yields.

    Yields:
      (depth, record), each record once; an input is one deeper, and so is
      the training that a training continued.

    Raises:
      UserError: if a record cannot be read.
    """
    visited = set() if visited is None else visited
    if path in visited:
        return
    visited.add(path)
    record = read(path)
    if not {"step", "inputs", "command"} <= set(record):
        raise UserError(f"{path} is not a record of a pipeline step")
    yield depth, record
    earlier = record.get("previous")
    while earlier:
        yield depth + 1, earlier
        earlier = earlier.get("previous")
    for name in record["inputs"]:
        yield from walk(path.parent / name, depth + 1, visited)


def of_export(
    model: Path, digest: str, evaluation: Path | None = None
) -> list[dict[str, Any]]:
    """The records of everything that an export was made from.

    Args:
      model: the export; that of a pipeline is `<root>/export/<id>`.
      digest: of its files.
      evaluation: its evaluation, whose records come first.

    Returns:
      Records with their `depth`; none if no pipeline made the export, or if
      it was replaced since.
    """
    first = _record_of(model)
    if not first.is_file() or read(first).get("digest", digest) != digest:
        return []
    paths, visited = [first], set()
    if evaluation and _record_of(evaluation).is_file():
        paths.insert(0, _record_of(evaluation))
    return [
        {"depth": depth, **record}
        for path in paths
        for depth, record in walk(path, 0, visited)
    ]


def training_text(record: dict[str, Any]) -> str:
    """How far a training was, and what it continued; "" for another step."""
    if "run" not in record:
        return ""
    run = record["run"]
    text = f"  to step {run['step']} ({clock(run['secs'])})"
    if previous := record.get("previous"):
        text += f", continues train-{previous['id']}"
        text += f" of step {previous['run']['step']}"
    for change in record.get("by_hand", []):
        text += (
            f", BY HAND from step {change['from_step']} to {change['to_step']}"
        )
    return text


def _record_of(output: Path) -> Path:
    """The record of a step whose output is `<root>/<step>/<id>`."""
    step, root = output.resolve().parent, output.resolve().parents[1]
    return root / "records" / f"{step.name}-{output.resolve().name}.json"
