"""A directory of samples: audio files and the list of them, samples.json.

Needs no TensorFlow.
"""

import contextlib
import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.files import DirectoryKind, published_dir, refuse_existing

LIST, PICTURE = "samples.json", "grid.png"

# Characters of a label in a file name, at most.
_MAX_LABEL = 40


def check(output: Path) -> None:
    """Checks that an output is new, or contains earlier samples only.

    Raises:
      UserError: if it contains anything else.
    """
    refuse_existing(output, _kind(output), overwrite=True)


@contextlib.contextmanager
def published(output: Path) -> Iterator[Path]:
    """Yields a directory to fill, which replaces earlier samples as a whole.

    Raises:
      UserError: as `check`.
    """
    kind = _kind(output)
    with published_dir(output, kind, overwrite=True) as staging:
        yield staging


def write_list(directory: Path, values: dict[str, Any]) -> None:
    """Writes samples.json; `values["samples"]` has a row with each `file`."""
    text = json.dumps(values, indent=1) + "\n"
    (directory / LIST).write_text(text, encoding="utf-8")


def label_in_name(label: str | int) -> str:
    """The part of a file name for a label, without unusual characters."""
    plain = re.sub(r"[^\w-]", "_", str(label))
    return f"label-{plain[:_MAX_LABEL]}-"


def _kind(output: Path) -> DirectoryKind:
    """The list, the picture and the files in the list."""
    try:
        values = json.loads((output / LIST).read_text(encoding="utf-8"))
        names = [str(row["file"]) for row in values["samples"]]
    except (OSError, KeyError, TypeError, ValueError):
        names = []
    patterns = (LIST, PICTURE, *(glob.escape(name) for name in names))
    return DirectoryKind(LIST, patterns, '"samples"')
