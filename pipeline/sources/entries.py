"""The entries of a source: recordings whose labels are still names."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True, slots=True)
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
    label: str | None = None
    speaker: str | None = None
    start_secs: float = 0.0
    end_secs: float | None = None

    @property
    def id(self) -> str:
        """Identifies the recording everywhere; see `excerpt_id`."""
        return excerpt_id(self.name, self.start_secs, self.end_secs)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source contains.

    Attributes:
      entries: its recordings.
      dataset: its name.
      unit: what one entry is: a name, a row, a record.
      own_fields: which of `label` and `speaker` the source itself gives.
      has_folders: whether the names contain the folders of the recordings.
      unreadable: local directories that cannot be read.
      left_out: number of files that do not count as recordings, by kind.
      warnings: what the user should know.
    """

    entries: list[Entry]
    dataset: str
    unit: str = "names"
    own_fields: frozenset[str] = frozenset()
    has_folders: bool = True
    unreadable: list[Entry] = dataclasses.field(default_factory=list)
    left_out: Mapping[str, int] = dataclasses.field(
        default_factory=collections.Counter
    )
    warnings: list[str] = dataclasses.field(default_factory=list)


def excerpt_id(name: str, start_secs: float, end_secs: float | None) -> str:
    """The name of a file, followed by the times of an excerpt.

    Examples: `talk.wav`, `talk.wav@1.5-4`, `talk.wav@10-`.
    """
    if not start_secs and end_secs is None:
        return name
    end = "" if end_secs is None else format_secs(end_secs)
    return f"{name}@{format_secs(start_secs)}-{end}"


def format_secs(secs: float) -> str:
    """A time in seconds without superfluous digits: 4, 1.5."""
    return f"{secs:.6f}".rstrip("0").rstrip(".")


def of_files(files: Iterable[tuple[str, str]]) -> list[Entry]:
    """The entries of the (path, name) of files."""
    return [Entry(path, name) for path, name in files]
