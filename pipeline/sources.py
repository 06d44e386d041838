"""Where recordings come from: a folder, a manifest CSV, or the demo corpus.

A source becomes a sorted list of `Recording`s: names, never samples.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline import audio, demo
from stftgan_tf.cli import UserError
from stftgan_tf.config import AudioConfig
from stftgan_tf.example_io import UNKNOWN_LABEL


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance or file.

    Attributes:
      path: where it is read from.
      name: relative path below its source; its identity everywhere.
      label: index into the data set's labels, or `UNKNOWN_LABEL`.
      speaker: or "" where unknown.
      dataset: name of its source.
    """

    path: str
    name: str
    label: int
    speaker: str
    dataset: str


@dataclasses.dataclass(frozen=True)
class Source:
    """The recordings of a source, sorted by name, and its label names."""

    recordings: list[Recording]
    labels: list[str]


def open_source(source: str, config: AudioConfig) -> Source:
    """Lists the recordings of `demo`, a folder or a manifest CSV.

    Raises:
      UserError: if the source is missing, holds no audio, or is a CSV that
        cannot be used.
    """
    if source == "demo":
        return _folder(demo.corpus(), "demo", demo.NAME_REGEX)
    path = Path(source)
    if path.is_dir():
        return _folder(path, path.resolve().name, config.name_regex)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _manifest(path)
    if path.is_file():
        raise UserError(
            f"source {source} is a file; expected a folder, a manifest .csv "
            "(file,label,speaker), or demo"
        )
    raise UserError(f"source {source} does not exist")


def _folder(root: Path, dataset: str, name_regex: str) -> Source:
    """Every file with an audio extension below a folder."""
    names = []
    for folder, _, files in os.walk(root):
        for name in files:
            if name.lower().endswith(audio.EXTENSIONS):
                path = os.path.join(folder, name)
                names.append(os.path.relpath(path, root))
    if not names:
        known = " ".join(audio.EXTENSIONS)
        raise UserError(f"source {root} holds no audio ({known})")
    pattern = re.compile(name_regex)
    rows = []
    for name in names:
        match = pattern.search(name)
        groups = match.groupdict() if match else {}
        label, speaker = groups.get("label"), groups.get("speaker")
        rows.append((os.path.join(root, name), name, label, speaker))
    return _source(rows, dataset)


def _manifest(path: Path) -> Source:
    """The files that a CSV names, relative to where it lies."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            table = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"source {path} is no CSV: {error}") from error
    if "file" not in columns:
        raise UserError(
            f"source {path} has the columns {', '.join(columns) or 'none'}; "
            "expected file, and if known label and speaker"
        )
    if not table:
        raise UserError(f"source {path} names no file")
    rows = [
        (
            os.path.join(path.parent, row["file"]),
            os.path.normpath(row["file"]),
            row.get("label"),
            row.get("speaker"),
        )
        for row in table
    ]
    return _source(rows, path.resolve().parent.name)


def _source(
    rows: Iterable[tuple[str, str, str | None, str | None]], dataset: str
) -> Source:
    """Recordings of (path, name, label, speaker), labels as indices."""
    rows = sorted(rows, key=lambda row: row[1])
    labels = sorted({label for _, _, label, _ in rows if label})
    index = {label: i for i, label in enumerate(labels)}
    recordings = [
        Recording(
            path=path,
            name=name,
            label=index.get(label, UNKNOWN_LABEL),
            speaker=speaker or "",
            dataset=dataset,
        )
        for path, name, label, speaker in rows
    ]
    return Source(recordings=recordings, labels=labels)
