"""A recording as a source lists it, before labels become indices."""

import dataclasses
import re
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Entry:
    """One recording of a source.

    Attributes:
      path: where it is read from.
      name: relative path below its source.
      label: name of its label; None if unknown.
      speaker: name of its speaker; None if unknown.
    """

    path: str
    name: str
    label: str | None
    speaker: str | None


def from_names(
    files: Iterable[tuple[str, str]], name_regex: str
) -> list[Entry]:
    """Entries whose names contain the label and the speaker.

    Args:
      files: (path, name) of each.
      name_regex: searched in the name; its named groups `label` and `speaker`
        give these.
    """
    pattern = re.compile(name_regex)
    entries = []
    for path, name in files:
        match = pattern.search(name)
        groups = match.groupdict() if match else {}
        label, speaker = groups.get("label"), groups.get("speaker")
        entries.append(Entry(path, name, label, speaker))
    return entries
