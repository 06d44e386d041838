"""Reads the lineage records that `pipeline.run` writes, one per step.

A record is a JSON file with `step`, `id`, `output`, `command`, `code` (version
of this project), `started`, `secs` and `inputs`. The inputs are the records of
the steps whose output was used. They map each record's file name, relative to
this record's directory, to the SHA-256 of that file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError


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
      (depth, record), each record once; an input is one deeper.

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
    for name in record["inputs"]:
        yield from walk(path.parent / name, depth + 1, visited)
