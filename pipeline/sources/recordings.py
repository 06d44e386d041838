"""Where recordings come from: a folder, a manifest, a prepared data set, demo.

A source becomes a sorted list of `Recording`s: names, never samples.
"""

import argparse
import csv
import dataclasses
import fnmatch
import io
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.audio import reading as audio
from pipeline.sources import demo
from pipeline.sources import tfds as tfds_source
from pipeline.sources.tfds import Row
from stftgan_tf.config import AudioConfig
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError

# What a list of files is called.
MANIFESTS = (".csv", ".jsonl")


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
    """The recordings of a source.

    Attributes:
      recordings: sorted by name, each file once.
      labels: names of the labels.
      duplicates: how many were the file of another name.
    """

    recordings: list[Recording]
    labels: list[str]
    duplicates: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose recordings."""
    parser.add_argument(
        "--source",
        default="demo",
        help="a folder, a manifest, tfds:NAME or demo (default: demo)",
    )
    parser.add_argument(
        "--pattern",
        default="*",
        help="a glob that recordings' relative paths must match, such as "
        "'*.flac' or 'dev/*' (default: *)",
    )
    parser.add_argument(
        "--tfds_data_dir",
        help="where prepared data sets lie (default: $TFDS_DATA_DIR, or "
        "~/tensorflow_datasets)",
    )


def open_source(
    source: str,
    config: AudioConfig,
    pattern: str = "*",
    tfds_data_dir: str | None = None,
) -> Source:
    """Lists the recordings of a source.

    Args:
      source: `demo`, a folder, a manifest (.csv or .jsonl), either of which
        may be remote, or `tfds:NAME[:CONFIG][:SPLIT]`.
      config: says labels and speakers by name, and which labels are wanted.
      pattern: a glob that relative paths must match.
      tfds_data_dir: where prepared data sets lie.

    Raises:
      UserError: if the source is missing, holds no such audio, or is a
        manifest that cannot be used.
    """
    refused: list[Row] = []
    if source == "demo":
        files, _ = _walk(demo.corpus())
        rows, dataset = _named(files, demo.NAME_REGEX), "demo"
    elif source.startswith(tfds_source.PREFIX):
        rows, dataset = tfds_source.rows(source, tfds_data_dir)
    elif source.lower().endswith(MANIFESTS):
        rows, dataset = _manifest(source), _name(os.path.dirname(source))
    else:
        files, folders = _folder(source)
        rows = _named(files, config.name_regex)
        # Whatever is wanted: what is in them cannot be known.
        refused = [Row(path, name, None, None) for path, name in folders]
        dataset = _name(source)
    if not rows + refused:
        known = " ".join(audio.EXTENSIONS)
        raise UserError(f"source {source} holds no audio ({known})")
    wanted = [row for row in rows if _is_wanted(row, pattern, config)]
    if not wanted + refused:
        raise UserError(
            f"source {source}: none of {len(rows)} recordings matches "
            f"--pattern {pattern!r} and audio.label_regex "
            f"{config.label_regex!r}"
        )
    return _source(wanted + refused, dataset)


def _is_wanted(row: Row, pattern: str, config: AudioConfig) -> bool:
    # A `*` takes folders, too.
    if not fnmatch.fnmatchcase(row.name, pattern):
        return False
    wanted = config.label_regex
    return not wanted or bool(re.fullmatch(wanted, row.label or ""))


def _name(folder: str) -> str:
    """The last part of a folder's path, as the data set's name."""
    if storage.is_remote(folder):
        return folder.rstrip("/").rpartition("/")[2]
    return Path(folder).resolve().name


def _folder(source: str) -> tuple[list[tuple[str, str]], ...]:
    """(path, name) of every file with an audio extension below a folder.

    And, of a local one, of the folders in it that may not be read.
    """
    if storage.is_remote(source):
        names = filter(_is_audio, _listed(source))
        return [(storage.join(source, name), name) for name in names], []
    path = Path(source)
    if path.is_dir():
        return _walk(path)
    if path.exists():
        raise UserError(
            f"source {source} is a file; expected a folder, a manifest "
            "(.csv or .jsonl), tfds:NAME or demo"
        )
    raise UserError(f"source {source} does not exist")


def _listed(source: str) -> list[str]:
    try:
        return list(storage.files_below(source))
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error


def _walk(root: Path) -> tuple[list[tuple[str, str]], ...]:
    """(path, name) of the audio below a local folder, links followed.

    What is called like audio and is none is listed too; folders that may not
    be read come beside: all of them become dead letters.
    """
    paths, refused, seen = [], [], set()

    def refuse(error: OSError) -> None:
        refused.append(str(error.filename))

    for folder, folders, files in os.walk(
        root, onerror=refuse, followlinks=True
    ):
        here = os.stat(folder)
        # A link to a folder above would lead round and round.
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders.sort()
        paths += [
            os.path.join(folder, n) for n in folders + files if _is_audio(n)
        ]
    return tuple(
        [(path, os.path.relpath(path, root)) for path in found]
        for found in (paths, refused)
    )


def _is_audio(name: str) -> bool:
    return name.lower().endswith(audio.EXTENSIONS)


def _named(files: Iterable[tuple[str, str]], name_regex: str) -> list[Row]:
    """Files with the labels and speakers that their names tell."""
    pattern = re.compile(name_regex)
    rows = []
    for path, name in files:
        match = pattern.search(name)
        groups = match.groupdict() if match else {}
        rows.append(Row(path, name, groups.get("label"), groups.get("speaker")))
    return rows


def _manifest(source: str) -> list[Row]:
    """The files that a manifest names, relative to where it lies."""
    try:
        # As spreadsheets write it, with a byte order mark.
        text = storage.read_text(source).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"source {source} is no UTF-8: {error}") from error
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error
    parse = _parse_csv if source.lower().endswith(".csv") else _parse_jsonl
    table = parse(source, text)
    if not table:
        raise UserError(f"source {source} names no file")
    if storage.is_remote(source):
        folder = source.rpartition("/")[0]
    else:
        folder = os.path.dirname(source) or "."
    rows = []
    for number, entry in enumerate(table, start=1):
        if not entry["file"]:
            raise UserError(f"source {source}: entry {number} names no file")
        file = str(entry["file"])
        alone = storage.is_remote(file) or os.path.isabs(file)
        rows.append(
            Row(
                path=file if alone else storage.join(folder, file),
                name=file if alone else os.path.normpath(file),
                label=_text(entry.get("label")),
                speaker=_text(entry.get("speaker")),
            )
        )
    return rows


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _parse_csv(source: str, text: str) -> list[dict[str, Any]]:
    try:
        lines = io.StringIO(text, newline="")
        reader = csv.DictReader(lines, skipinitialspace=True)
        columns = reader.fieldnames or []
        table = list(reader)
    except csv.Error as error:
        raise UserError(f"source {source} is no CSV: {error}") from error
    if "file" not in columns:
        raise UserError(
            f"source {source} has the columns {', '.join(columns) or 'none'}; "
            "expected file, and if known label and speaker"
        )
    return table


def _parse_jsonl(source: str, text: str) -> list[dict[str, Any]]:
    table = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"source {source}, line {number}, is no JSON: {error}"
            ) from error
        if not isinstance(entry, dict) or not entry.get("file"):
            raise UserError(
                f"source {source}, line {number}: expected an object with "
                "file, and if known label and speaker"
            )
        table.append(entry)
    return table


def _source(rows: Iterable[Row], dataset: str) -> Source:
    """Recordings of rows, each file once, labels as indices."""
    files: dict[Any, Row] = {}
    rows = sorted(rows, key=lambda row: row.name)
    for row in rows:
        files.setdefault(_file_identity(row.path), row)
    labels = sorted({row.label for row in files.values() if row.label})
    index = {label: i for i, label in enumerate(labels)}
    recordings = [
        Recording(
            path=row.path,
            name=row.name,
            label=index.get(row.label, UNKNOWN_LABEL),
            speaker=row.speaker or "",
            dataset=dataset,
        )
        for row in files.values()
    ]
    return Source(recordings, labels, len(rows) - len(files))


def _file_identity(path: str) -> Any:
    """The same for two names of one file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return path
    return found.st_dev, found.st_ino
