"""Lists the recordings of a source: a directory, a manifest, TFDS or demo.

The result is a sorted list of `Recording`s, which contain no samples.
"""

import dataclasses
import fnmatch
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.audio.containers import EXTENSIONS
from pipeline.sources import demo, directory, entries, manifest, tfds
from pipeline.sources.entries import Entry
from stftgan_tf.config import AudioConfig
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Recording:
    """One recording of a source.

    Attributes:
      path: path or URL to read it from.
      name: path relative to the source.
      label: index into the data set's labels, or `UNKNOWN_LABEL`.
      speaker: name of the speaker, or "" if unknown.
      dataset: name of the source.
      start_secs: where an excerpt of the file begins.
      end_secs: where it ends; None for the end of the file.
    """

    path: str
    name: str
    label: int
    speaker: str
    dataset: str
    start_secs: float = 0.0
    end_secs: float | None = None

    @property
    def id(self) -> str:
        """Identifies the recording everywhere.

        It is the name, followed by the times of an excerpt, such as
        `talk.wav@1.5-4` or `talk.wav@10-`.
        """
        if not self.start_secs and self.end_secs is None:
            return self.name
        end = "" if self.end_secs is None else _seconds(self.end_secs)
        return f"{self.name}@{_seconds(self.start_secs)}-{end}"


@dataclasses.dataclass(frozen=True)
class Source:
    """The recordings of a source.

    Attributes:
      recordings: sorted by name; each file occurs once.
      labels: names of the labels, sorted.
      duplicates: number of entries that were skipped because an earlier entry
        refers to the same file.
    """

    recordings: list[Recording]
    labels: list[str]
    duplicates: int = 0


def open_source(
    source: str,
    config: AudioConfig,
    pattern: str = "*",
    tfds_data_dir: str | None = None,
) -> Source:
    """Lists the recordings of a source.

    Args:
      source: `demo`, a directory or a manifest (.csv or .jsonl), either of
        which may be remote, or `tfds:NAME[:CONFIG][:SPLIT]`.
      config: regular expressions for labels and speakers.
      pattern: a glob that relative paths must match.
      tfds_data_dir: directory of the prepared TFDS data sets.

    Raises:
      UserError: if the source does not exist, contains no matching audio, or
        is an invalid manifest.
    """
    unreadable: list[Entry] = []
    if source == "demo":
        files, _ = directory.walk(demo.corpus())
        candidates = entries.from_names(files, demo.NAME_REGEX)
        dataset = "demo"
    elif source.startswith(tfds.PREFIX):
        candidates, dataset = tfds.list_entries(source, tfds_data_dir)
    elif source.lower().endswith(manifest.EXTENSIONS):
        candidates = manifest.read_manifest(source)
        dataset = _dataset_name(os.path.dirname(source))
    else:
        files, directories = directory.list_files(source)
        candidates = entries.from_names(files, config.name_regex)
        # These pass every filter, because their contents are unknown.
        unreadable = entries.from_names(directories, "")
        dataset = _dataset_name(source)
    if not candidates + unreadable:
        extensions = " ".join(EXTENSIONS)
        raise UserError(f"source {source} contains no audio ({extensions})")
    matches = [e for e in candidates if _matches(e, pattern, config)]
    if not matches + unreadable:
        raise UserError(
            f"source {source}: none of {len(candidates)} recordings matches "
            f"--pattern {pattern!r} and audio.label_regex "
            f"{config.label_regex!r}"
        )
    return _index(matches + unreadable, dataset)


def is_path(source: str) -> bool:
    """Whether a source is the path of a directory or a manifest."""
    return source != "demo" and not source.startswith(tfds.PREFIX)


def source_name(source: str) -> str:
    """The default name of the data set that is made from a source.

    Examples: `in/digits/` gives `digits`, `lists/digits.csv` gives `digits`,
    `tfds:spoken_digit:train` gives `spoken_digit-train`.
    """
    if not is_path(source):
        return source.removeprefix(tfds.PREFIX).replace(":", "-")
    name = os.path.basename(os.path.abspath(source.rstrip("/")))
    if source.lower().endswith(manifest.EXTENSIONS):
        name = os.path.splitext(name)[0]
    return name


def _matches(entry: Entry, pattern: str, config: AudioConfig) -> bool:
    # Here `*` also matches slashes.
    if not fnmatch.fnmatchcase(entry.name, pattern):
        return False
    label_regex = config.label_regex
    return not label_regex or bool(re.fullmatch(label_regex, entry.label or ""))


def _dataset_name(path: str) -> str:
    """The name of a data set: the last part of its directory's path."""
    if storage.is_remote(path):
        return path.rstrip("/").rpartition("/")[2]
    return Path(path).resolve().name


def _index(matches: Iterable[Entry], dataset: str) -> Source:
    """Removes duplicates, and turns labels into indices."""
    files: dict[Any, Entry] = {}
    matches = sorted(matches, key=lambda entry: entry.name)
    for entry in matches:
        files.setdefault(_file_identity(entry.path), entry)
    labels = sorted({entry.label for entry in files.values() if entry.label})
    index = {label: i for i, label in enumerate(labels)}
    recordings = [
        Recording(
            path=entry.path,
            name=entry.name,
            label=index.get(entry.label, UNKNOWN_LABEL),
            speaker=entry.speaker or "",
            dataset=dataset,
            start_secs=entry.start_secs,
            end_secs=entry.end_secs,
        )
        for entry in files.values()
    ]
    return Source(recordings, labels, len(matches) - len(files))


def _seconds(secs: float) -> str:
    """A time without a superfluous fraction: 4, 1.5."""
    return f"{secs:.6f}".rstrip("0").rstrip(".")


def _file_identity(path: str) -> Any:
    """A key that all names of the same file share."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino
