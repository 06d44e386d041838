"""Tables in CSV or JSON lines, parsed strictly, with the line of each row.

A damaged table is refused with the line of the damage, because a lenient
parser would lose rows or shift labels without a word.
"""

import csv
import dataclasses
import io
import json
import math
import re
from typing import Any

from pipeline import storage
from pipeline.audio.containers.formats import AV_EXTENSIONS, EXTENSIONS
from stftgan_tf.errors import UserError, counted

# A cell that swallowed the rows after an open quote contains line breaks, each
# followed by the file of the next row.
_SWALLOWED = re.compile(
    r"[\r\n][^\r\n]*("
    + "|".join(map(re.escape, EXTENSIONS + AV_EXTENSIONS))
    + r")\s*([,;\t|\"]|$)",
    re.IGNORECASE | re.MULTILINE,
)

_DELIMITERS = (",", ";", "\t", "|")

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Attributes:
      line: number of its first line.
      values: by column, in lower case; text is without spaces at its ends.
    """

    line: int
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows, and all columns that occur."""

    columns: list[str]
    rows: list[Row]


def read_text(source: str) -> str:
    """The text of a UTF-8 file.

    Raises:
      UserError: if it cannot be read, or is not UTF-8.
    """
    try:
        with storage.open_input(source) as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error
    encoding = "UTF-16" if data[:2] in _UTF16_MARKS else ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        encoding = encoding or f"not UTF-8 in line {line}"
    if not encoding and "\0" in text:
        encoding = "not text: it contains null characters"
    if encoding:
        raise UserError(f"source {source} is {encoding}; save it as UTF-8")
    return text


def parse_csv(source: str, text: str) -> Table:
    """Parses CSV, whose first line names the columns.

    The delimiter is a comma, a semicolon, a tab or a bar.

    Args:
      source: name of the file, for messages.
      text: its content.

    Raises:
      UserError: for an open quote, a row with too many or too few fields, or
        two columns with the same name.
    """
    lines = io.StringIO(text, newline="")
    delimiter = _delimiter(text)
    reader = csv.reader(
        lines, delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows, columns, width, start = [], None, 0, 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells) and columns is None:
                columns = _columns(source, cells)
                width = len(cells)
                # Without names of columns, the rows have no meaning.
                if "file" not in columns:
                    break
            elif any(cells):
                # Spreadsheets write empty columns at the end.
                if len(cells) == width and not any(cells[len(columns) :]):
                    cells = cells[: len(columns)]
                _check_cells(source, start, cells, columns)
                values = dict(zip(columns, cells, strict=True))
                rows.append(Row(start, values))
            start = reader.line_num + 1
    except csv.Error as error:
        quote = "unexpected end" in str(error)
        reason = "a quote is not closed" if quote else error
        raise UserError(f"source {source}, line {start}: {reason}") from error
    return Table(columns or [], rows)


def parse_jsonl(source: str, text: str) -> Table:
    """Parses JSON lines: one object a line, which is a row.

    Args:
      source: name of the file, for messages.
      text: its content.

    Raises:
      UserError: for a line that is not a JSON object, a key that occurs twice,
        or a value that is neither text nor a number.
    """
    rows, columns = [], {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"source {source}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_Pairs)
        except ValueError as error:
            raise UserError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, _Pairs):
            raise UserError(
                f"{where}: expected an object with file and, optionally, "
                "label, speaker, start and end"
            )
        values = _json_values(where, row)
        columns |= values
        rows.append(Row(number, values))
    return Table(list(columns), rows)


class _Pairs(list):
    """The keys and values of a JSON object."""


def _json_values(where: str, pairs: _Pairs) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = key.strip().lower()
        if name in values:
            raise UserError(f"{where}: the key {name} occurs twice")
        values[name] = value.strip() if isinstance(value, str) else value
    return values


def _delimiter(text: str) -> str:
    """The character that separates `file` from the other columns.

    Without a column `file`, it is the one that texts contain most rarely.
    """
    header = next(filter(str.strip, text.splitlines()), "").lower()
    for delimiter in _DELIMITERS:
        cells = [cell.strip(' "') for cell in header.split(delimiter)]
        if len(cells) > 1 and "file" in cells:
            return delimiter
    return next((d for d in reversed(_DELIMITERS) if d in header), ",")


def _columns(source: str, cells: list[str]) -> list[str]:
    columns = [cell.lower() for cell in cells]
    while not columns[-1]:
        columns.pop()
    for name in columns if "file" in columns else ():
        if columns.count(name) > 1:
            raise UserError(
                f"source {source} has the column {name or 'without a name'} "
                "twice"
            )
    return columns


def _check_cells(
    source: str, line: int, cells: list[str], columns: list[str]
) -> None:
    """Raises UserError for a row that does not fit the columns."""
    where = f"source {source}, line {line}"
    if any(_SWALLOWED.search(cell) for cell in cells):
        raise UserError(f"{where}: a quote is not closed")
    if len(cells) != len(columns):
        raise UserError(
            f"{where}: {counted(len(cells), 'field')}; expected {len(columns)} "
            f"({', '.join(columns)}); quote a field that contains the "
            "separator"
        )


def seconds(where: str, key: str, value: Any) -> float | None:
    """A time in seconds; None if it is empty.

    Raises:
      UserError: if it is not a number from 0 on.
    """
    if value is None or value == "":
        return None
    try:
        secs = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        secs = math.nan
    # float() also takes 1_000.
    if not 0 <= secs < math.inf or "_" in str(value):
        raise UserError(
            f"{where}: {key} is {value!r}; expected seconds, such as 1.25"
        )
    return secs


def text(where: str, key: str, value: Any) -> str | None:
    """A value as text; None if there is none.

    Raises:
      UserError: for a list, an object, or text of several lines.
    """
    if value is None or value == "":
        return None
    if isinstance(value, list | dict):
        raise UserError(f"{where}: {key} is not text")
    if any(mark in str(value) for mark in "\r\n"):
        raise UserError(f"{where}: {key} contains a line break")
    return str(value)
