"""Manifests: lists of files in CSV or JSON lines (.csv, .jsonl)."""

import csv
import io
import json
import os
from typing import Any

from pipeline import storage
from pipeline.sources.entries import Entry
from stftgan_tf.errors import UserError

EXTENSIONS = (".csv", ".jsonl")


def read_manifest(source: str) -> list[Entry]:
    """Reads the entries of a manifest.

    Args:
      source: path of the manifest, local or remote. It has the columns (or
        keys) `file`, and optionally `label` and `speaker`. Files are relative
        to the manifest's directory.

    Raises:
      UserError: if the manifest cannot be read or parsed.
    """
    text = _read(source)
    parse = _parse_csv if source.lower().endswith(".csv") else _parse_jsonl
    rows = parse(source, text)
    if not rows:
        raise UserError(f"source {source} lists no files")
    for number, row in enumerate(rows, start=1):
        if not row["file"]:
            raise UserError(f"source {source}: entry {number} has no file")
    directory = _directory(source)
    return [_entry(row, directory) for row in rows]


def _read(source: str) -> str:
    try:
        # Spreadsheet programs write a byte order mark.
        return storage.read_text(source).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"source {source} is not UTF-8: {error}") from error
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error


def _directory(source: str) -> str:
    if storage.is_remote(source):
        return source.rpartition("/")[0]
    return os.path.dirname(source) or "."


def _entry(row: dict[str, Any], directory: str) -> Entry:
    file = str(row["file"])
    is_absolute = storage.is_remote(file) or os.path.isabs(file)
    return Entry(
        path=file if is_absolute else storage.join(directory, file),
        name=file if is_absolute else os.path.normpath(file),
        label=_text(row.get("label")),
        speaker=_text(row.get("speaker")),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _parse_csv(source: str, text: str) -> list[dict[str, Any]]:
    try:
        lines = io.StringIO(text, newline="")
        reader = csv.DictReader(lines, skipinitialspace=True)
        columns = reader.fieldnames or []
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"source {source} is not CSV: {error}") from error
    if "file" not in columns:
        raise UserError(
            f"source {source} has the columns {', '.join(columns) or 'none'}; "
            "expected file and, optionally, label and speaker"
        )
    return rows


def _parse_jsonl(source: str, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"source {source}, line {number}, is not JSON: {error}"
            ) from error
        if not isinstance(row, dict) or not row.get("file"):
            raise UserError(
                f"source {source}, line {number}: expected an object with "
                "file and, optionally, label and speaker"
            )
        rows.append(row)
    return rows
