"""Records of what made what, as `pipeline.run` writes them.

A record is a JSON file: `step`, `id`, `output`, `command`, `code` (version of
this project), `started`, `secs`, and in `inputs` the records of the steps whose
output it took, by their names beside it, with the SHA-256 of each.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError


def read(path: Path) -> dict[str, Any]:
    """A record.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def walk(path: Path, depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """A record and, one deeper each, what it was made from.

    Yields:
      (depth, record), each record once.

    Raises:
      UserError: if one cannot be read.
    """
    seen = set()

    def below(path: Path, depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
        if path in seen:
            return
        seen.add(path)
        record = read(path)
        if not {"step", "inputs", "command"} <= set(record):
            raise UserError(f"{path} is no record of a pipeline's step")
        yield depth, record
        for name in record["inputs"]:
            yield from below(path.parent / name, depth + 1)

    yield from below(path, depth)
