"""The entries of a source: recordings whose labels are still names."""

import dataclasses
import re
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Entry:
    """One recording of a source.

    Attributes:
      path: path or URL to read it from.
      name: path relative to the source.
      label: name of the label; None if unknown.
      speaker: name of the speaker; None if unknown.
      start_secs: where an excerpt of the file begins.
      end_secs: where it ends; None for the end of the file.
    """

    path: str
    name: str
    label: str | None
    speaker: str | None
    start_secs: float = 0.0
    end_secs: float | None = None


def from_names(
    files: Iterable[tuple[str, str]], name_regex: str
) -> list[Entry]:
    """Takes labels and speakers from the names of files.

    Args:
      files: (path, name) of each file.
      name_regex: searched in the name; its named groups give the `label` and
        the `speaker`.
    """
    pattern = re.compile(name_regex)
    entries = []
    for path, name in files:
        match = pattern.search(name)
        groups = match.groupdict() if match else {}
        label, speaker = groups.get("label"), groups.get("speaker")
        entries.append(Entry(path, name, label, speaker))
    return entries
