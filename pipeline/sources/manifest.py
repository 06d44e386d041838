"""Manifests: lists of files in CSV or JSON lines (.csv, .tsv, .jsonl)."""

import difflib
import itertools
import os
import urllib.parse
from collections.abc import Iterable
from typing import Any

from pipeline import remote, storage
from pipeline.audio import missing
from pipeline.audio.containers import formats
from pipeline.sources import tables
from pipeline.sources.entries import Entry, Listing
from pipeline.sources.tables import Row, Table
from stftgan_tf.errors import UserError

EXTENSIONS = (".csv", ".tsv", ".jsonl")

# The columns that are used, and other names that people give them.
_COLUMNS = {
    "file": ("path", "wav", "audio", "audio_path", "clip", "recording"),
    "label": ("class", "word", "keyword", "category", "target", "digit"),
    "speaker": ("spk", "spkid", "client_id", "voice", "reader"),
    "start": ("begin", "onset", "offset", "from"),
    "end": ("stop", "to"),
}

# Columns with numbers of seconds.
_TIMES = ("start", "end")

# Similarity from which a column counts as a misspelling of another one.
_SIMILAR = 0.75


def read_manifest(source: str) -> Listing:
    """Reads the entries of a manifest.

    Args:
      source: path of the manifest, local or remote. It has the columns (or
        keys) `file`, and optionally `label`, `speaker`, `start` and `end`.
        Files are relative to the manifest's directory, times are in seconds:
        a row with times is an excerpt of its file.

    Raises:
      UserError: if the manifest cannot be read or parsed, if two of its rows
        contradict each other, or if none of its files exists.
    """
    is_jsonl = source.lower().endswith(".jsonl")
    parse = tables.parse_jsonl if is_jsonl else tables.parse_csv
    table = parse(source, tables.read_text(source))
    _check_columns(source, table)
    directory = _directory(source)
    entries = [_entry(row, source, directory) for row in table.rows]
    lines = [row.line for row in table.rows]
    # There may be millions, and they take more memory than the entries.
    table.rows.clear()
    identities = [file_identity(entry.path) for entry in entries]
    _check_rows(source, lines, entries, identities)
    absent = [
        entry
        for entry, identity in zip(entries, identities, strict=True)
        if isinstance(identity, str) and not storage.is_remote(entry.path)
    ]
    fields = {"label", "speaker"} & set(table.columns)
    return Listing(
        entries,
        dataset="",
        unit="rows",
        own_fields=frozenset(fields),
        warnings=[
            *_unused_columns(source, table.columns),
            *_check_absent(source, directory, entries, absent),
        ],
    )


def _check_columns(source: str, table: Table) -> None:
    """Raises UserError if there are no rows, or not the columns they need."""
    # An empty file has neither rows nor columns.
    if "file" not in table.columns and (table.rows or table.columns):
        raise UserError(
            f"source {source} has the columns "
            f"{', '.join(table.columns) or 'none'}; expected file and, "
            "optionally, label, speaker, start and end in the first line"
            f"{_hint(table.columns)}"
        )
    if not table.rows:
        raise UserError(f"source {source} lists no files")
    times = {"start", "end", "duration"} & set(table.columns)
    if times == {"start", "duration"}:
        raise UserError(
            f"source {source} has the columns start and duration; expected "
            "start and end, where end is start + duration"
        )


def file_identity(path: str) -> Any:
    """A key that all names of the same file share.

    It is the device and the inode, or the path if the file does not exist.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.normpath(path)
    return status.st_dev, status.st_ino


def _directory(source: str) -> str:
    if storage.is_remote(source):
        return source.rpartition("/")[0]
    return os.path.dirname(source) or "."


def _entry(row: Row, source: str, directory: str) -> Entry:
    where = f"source {source}, line {row.line}"
    file, label, speaker = (
        tables.text(where, key, row.values.get(key))
        for key in ("file", "label", "speaker")
    )
    if not file:
        raise UserError(f"{where}: expected a file")
    if file.lower().startswith(remote.OTHER_URLS):
        raise UserError(
            f"{where}: file is {file!r}; expected a path, or a URL of s3://, "
            "gs:// or hdfs://"
        )
    start, end = (
        tables.seconds(where, key, row.values.get(key)) for key in _TIMES
    )
    if end is not None and end <= (start or 0):
        raise UserError(
            f"{where}: end is {end:g}; expected more than start, {start or 0:g}"
        )
    is_absolute = storage.is_remote(file) or os.path.isabs(file)
    return Entry(
        path=file if is_absolute else storage.join(directory, file),
        name=file if is_absolute else os.path.normpath(file),
        label=label,
        speaker=speaker,
        start_secs=start or 0.0,
        end_secs=end,
    )


def _check_rows(
    source: str, lines: list[int], entries: list[Entry], identities: list[Any]
) -> None:
    """Refuses rows that say different things about the same audio."""
    files: dict[Any, list[tuple[Entry, int]]] = {}
    for line, entry, identity in zip(lines, entries, identities, strict=True):
        files.setdefault(identity, []).append((entry, line))
    for rows in files.values():
        rows.sort(key=lambda pair: _extent(pair[0]))
        for (last, last_line), (entry, line) in itertools.pairwise(rows):
            if _extent(entry)[0] < _extent(last)[1] and not _same(entry, last):
                raise UserError(_conflict(source, (last, last_line), line))


def _extent(entry: Entry) -> tuple[float, float]:
    end = float("inf") if entry.end_secs is None else entry.end_secs
    return entry.start_secs, end


def _same(a: Entry, b: Entry) -> bool:
    return (_extent(a), a.label, a.speaker) == (_extent(b), b.label, b.speaker)


def _conflict(source: str, first: tuple[Entry, int], line: int) -> str:
    entry, first_line = first
    low, high = sorted((first_line, line))
    return (
        f"source {source}, lines {low} and {high}, are about the same audio of "
        f"{entry.name} but differ in label, speaker, start or end; keep one, "
        "or give each a start and an end that do not overlap"
    )


def _unused_columns(source: str, columns: Iterable[str]) -> list[str]:
    """Warnings about columns that look like misspelled ones."""
    columns = list(columns)
    warnings = []
    for name in columns:
        meant = _meant(name)
        if meant and meant not in columns:
            warnings.append(
                f"{source}: the column {name} is not used; rename it if it is "
                f"the {meant}{' in seconds' * (meant in _TIMES)}"
            )
    return warnings


def _hint(columns: Iterable[str]) -> str:
    similar = [name for name in columns if _meant(name) == "file"]
    return f"; rename {similar[0]} to file" if similar else ""


def _meant(column: str) -> str | None:
    """The column that another name probably stands for."""
    if column in _COLUMNS:
        return None
    for name, others in _COLUMNS.items():
        is_longer = name in column if len(name) > 3 else column.startswith(name)
        if column in others or is_longer:
            return name
    names = difflib.get_close_matches(column, _COLUMNS, 1, _SIMILAR)
    return names[0] if names else None


def _check_absent(
    source: str, directory: str, entries: list[Entry], absent: list[Entry]
) -> list[str]:
    """Warnings about local files that do not exist.

    Raises:
      UserError: if none of the files exists.
    """
    if not absent:
        return []
    place, hint = os.path.abspath(directory), _elsewhere(absent, directory)
    if len(absent) == len(entries):
        raise UserError(
            f"source {source}: none of its {len(entries):,} files exists "
            f"relative to the manifest's directory, {place}; the first is "
            f"{missing.explain(absent[0].path)}{hint}"
        )
    if not hint:
        return []
    return [
        f"{source}: {len(absent):,} of {len(entries):,} files do not exist "
        f"relative to {place}{hint}"
    ]


def _elsewhere(absent: list[Entry], directory: str) -> str:
    """Where missing files are instead, as the end of a message."""
    # Paths are often written relative to where a script ran.
    count = sum(os.path.exists(entry.name) for entry in absent)
    if count:
        return (
            f"; {count:,} of them exist relative to the current directory: "
            "move the manifest there, or write paths relative to the manifest"
        )
    name = absent[0].name
    slashes = name.replace("\\", "/")
    others = {
        slashes: "it exists with / instead of \\",
        urllib.parse.unquote(name): "it exists without percent-encoding",
        **{
            name + end: f"{name}{end} exists there"
            for end in formats.EXTENSIONS
        },
    }
    for other, hint in others.items():
        if other != name and os.path.exists(os.path.join(directory, other)):
            return f"; {hint}"
    first, *rest = slashes.split("/")
    while rest:
        if os.path.exists(os.path.join(directory, *rest)):
            return f"; {'/'.join(rest)} exists there, without {first}/"
        first = f"{first}/{rest.pop(0)}"
    return ""
