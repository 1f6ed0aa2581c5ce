"""Tables in text files: CSV and its relatives, JSON lines, and lists of records in JSON.

Cells are read as they stand, so that `007` stays `007`. A table is written back with its encoding, delimiter, quotes
and line ends: only the cells that change differ.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from audit.errors import InputError
from integrations.sources.file_kinds import is_picture_path

SEPARATED_SUFFIXES = (".csv", ".tsv", ".tab", ".psv", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
RECORDS_SUFFIXES = (".json",)
TEXT_TABLE_SUFFIXES = (*SEPARATED_SUFFIXES, *LINES_SUFFIXES, *RECORDS_SUFFIXES)

_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|", ".tab": "\t,;|", ".psv": "|,;\t", ".txt": "\t,;| "}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_ENCODINGS = ("utf-8", "cp1252", "latin-1")  # the last one reads any bytes
_EXCEL_HINT = re.compile(r"sep=(.)(\r\n|\n|\r)", re.I)  # a first line that tells Excel the delimiter


class _Cell(NamedTuple):
    """A cell of a separated file: its text, and where it stands in the file."""

    text: str
    start: int
    end: int
    quoted: bool


@dataclass(frozen=True)
class _Written:
    """How the file is written.

    Attributes:
        encoding: of the text.
        mark: the bytes before the text that tell its encoding.
        delimiter: between cells; '' for JSON.
        header: whether the first row names the columns.
    """

    encoding: str
    mark: bytes = b""
    delimiter: str = ""
    header: bool = True


@dataclass(frozen=True)
class TextTable:
    """A table as its file has it.

    Attributes:
        path: of the file.
        columns: the values of each column, by its name; None where a row has none.
        count: how many rows there are.
        notes: what is odd about the file, a sentence each.
    """

    path: Path
    columns: dict[str, list[Any]]
    count: int
    notes: tuple[str, ...] = ()
    _form: _Written = field(default=_Written("utf-8"), repr=False)

    def rewritten(self, column: str, changes: Mapping[int, Any]) -> bytes:
        """The file's bytes with some cells of a column changed, and all else as it is.

        Args:
            column: its name. A new one stands behind the others, and is empty where there is no value.
            changes: the new values by the position of the row, from 0.

        Raises:
            InputError: if the file's encoding does not have a letter of a new value.
        """
        content = self.path.read_bytes()
        text = _decoded(content)[0]
        if self.path.suffix.lower() in SEPARATED_SUFFIXES:
            known = column in self.columns
            text = (self._with_cells if known else self._with_column)(text, column, changes)
        elif self.path.suffix.lower() in LINES_SUFFIXES:
            text = self._with_lines(text, column, changes)
        else:
            text = _with_records(text, column, changes)
        try:
            return self._form.mark + text.encode(self._form.encoding)
        except UnicodeEncodeError as error:
            raise InputError(
                f"table {str(self.path)!r} is in {self._form.encoding}, which does not have the letter "
                f"{text[error.start]!r} of a new value; save the table as UTF-8 first"
            ) from None

    def _with_column(self, text: str, column: str, values: Mapping[int, Any]) -> str:
        width, end = len(self.columns), self._form.delimiter
        parts: list[str] = []
        done = 0
        for row, cells in enumerate(_rows(text, end), -1 if self._form.header else 0):
            last = cells[min(len(cells), width) - 1]
            value = _quoted(column if row < 0 else str(values.get(row, "")), last, end)
            parts += [text[done : last.end], end * (1 + max(0, width - len(cells))), value]
            done = last.end
        return "".join([*parts, text[done:]])

    def _with_cells(self, text: str, column: str, changes: Mapping[int, Any]) -> str:
        place = list(self.columns).index(column)
        parts: list[str] = []
        done = 0
        rows = _rows(text, self._form.delimiter)
        if self._form.header:
            next(rows, None)
        for row, cells in enumerate(rows):
            if row not in changes or place >= len(cells):
                continue
            cell = cells[place]
            parts += [text[done : cell.start], _quoted(str(changes[row]), cell, self._form.delimiter)]
            done = cell.end
        return "".join([*parts, text[done:]])

    def _with_lines(self, text: str, column: str, changes: Mapping[int, Any]) -> str:
        lines = re.split(r"(\r\n|\n|\r)", text)
        filled = [place for place in range(0, len(lines), 2) if lines[place].strip()]
        for row, value in changes.items():
            line = lines[filled[row]]
            lines[filled[row]] = _as_json(json.loads(line) | {column: value}, line)
        return "".join(lines)


def is_text_table(name: str) -> bool:
    """Whether a file is, by its name, a table that is read here."""
    return name.lower().endswith(TEXT_TABLE_SUFFIXES)


def read_text_table(path: Path) -> TextTable:
    """Read a table.

    Args:
        path: of a file with one of TEXT_TABLE_SUFFIXES.

    Raises:
        InputError: if it cannot be read, holds no rows, or is no table.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"table {str(path)!r} cannot be read ({error.strerror}); check its name and permissions"
        ) from None
    text, form = _decoded(content)
    suffix = path.suffix.lower()
    if suffix in SEPARATED_SUFFIXES:
        table = _separated(path, text, form)
    else:
        table = _of_records(path, _json_records(path, text, suffix in LINES_SUFFIXES), form)
    if not table.count:
        raise InputError(f"table {str(path)!r} holds no rows; give one with a row for each image")
    return table


def _decoded(content: bytes) -> tuple[str, _Written]:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace"), _Written(encoding, mark)
    for encoding in _OTHER_ENCODINGS:
        try:
            return content.decode(encoding), _Written(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 reads any bytes")


def _separated(path: Path, text: str, form: _Written) -> TextTable:
    if "\0" in text[:4096]:
        raise InputError(f"table {str(path)!r} holds binary data; give a table in plain text, or parquet")
    delimiter = _delimiter(text, _DELIMITERS[path.suffix.lower()])
    rows = [[cell.text for cell in cells] for cells in _rows(text, delimiter)]
    header = not (rows and _names_pictures(rows))
    first = rows[0] if header and rows else [""] * max(map(len, rows), default=0)
    rows = rows[1:] if header else rows
    names = _distinct([name.strip() for name in first])
    spaced = len(first) > 1 and all(name.startswith(" ") for name in first[1:])
    columns: dict[str, list[Any]] = {
        name: [(row[place].strip() if spaced else row[place]) if place < len(row) else None for row in rows]
        for place, name in enumerate(names)
    }
    wider = sum(len(row) > len(names) for row in rows)
    notes = (f"{wider:,} row(s) of {path.name} have more cells than its first row; the last ones are ignored",)
    form = _Written(form.encoding, form.mark, delimiter, header)
    return TextTable(path, columns, len(rows), notes if wider else (), form)


def _names_pictures(rows: list[list[str]]) -> bool:
    """Whether the first row names a picture as the others do, so that it is no header."""
    following = rows[1:33]
    return any(
        is_picture_path(cell.strip())
        and all(place < len(row) and is_picture_path(row[place].strip()) for row in following)
        for place, cell in enumerate(rows[0])
    )


def _delimiter(text: str, known: str) -> str:
    """The delimiter that Excel is told, or else that which divides the first lines most alike."""
    if hint := _EXCEL_HINT.match(text):
        return hint[1]
    begin = text[:65536]
    best, most = known[0], 0.0
    for delimiter in known:
        widths = [len(cells) for _, cells in zip(range(20), _rows(begin, delimiter), strict=False)]
        if len(widths) > 1 and len(begin) < len(text):
            widths = widths[:-1]  # the last row may be cut
        width, alike = Counter(widths).most_common(1)[0] if widths else (1, 0)
        if width > 1 and alike / len(widths) > most:
            best, most = delimiter, alike / len(widths)
    return best


def _rows(text: str, delimiter: str) -> Iterator[list[_Cell]]:
    """The cells of each row that is not blank."""
    end = re.escape(delimiter)
    pattern = re.compile(rf'[ ]*"([^"]*(?:""[^"]*)*)"[ ]*({end}|\r\n|\n|\r|\Z)|([^{end}\r\n]*)({end}|\r\n|\n|\r|\Z)')
    hint = _EXCEL_HINT.match(text)
    position = hint.end() if hint else 0
    cells: list[_Cell] = []
    while position < len(text) or cells:
        found = pattern.match(text, position)
        assert found is not None  # the second alternative matches anything
        quoted = found[2] is not None
        content, after = (found[1].replace('""', '"'), found[2]) if quoted else (found[3], found[4])
        cells.append(_Cell(content, position, position + len(found[0]) - len(after), quoted))
        position = found.end()
        if after != delimiter:
            if len(cells) > 1 or cells[0].text.strip() or cells[0].quoted:
                yield cells
            cells = []


def _quoted(value: str, cell: _Cell, delimiter: str) -> str:
    """A value as a cell, in quotes where it needs them or its cell had them."""
    if cell.quoted or value != value.strip() or re.search(rf'["\r\n{re.escape(delimiter)}]', value):
        return '"' + value.replace('"', '""') + '"'
    before = cell.text[: len(cell.text) - len(cell.text.lstrip())]
    return before + value


def _distinct(names: list[str]) -> list[str]:
    """Column names: those without one get their number, repeated ones a number behind."""
    seen: Counter[str] = Counter()
    distinct = []
    for place, given in enumerate(names, 1):
        name = given if given.strip() else f"column {place}"
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def _json_records(path: Path, text: str, by_line: bool) -> list[Any]:
    if not by_line:
        try:
            records = json.loads(text)
        except ValueError as error:
            raise InputError(f"table {str(path)!r} is no JSON ({error}); check the file") from None
        if not isinstance(records, list):
            raise InputError(
                f'{str(path)!r} is neither a list of records ([{{"file": ..., "label": ...}}, ...]) nor COCO\'s '
                "format; write it as one of these, or as CSV"
            )
        return records
    records = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"line {number} of {str(path)!r} is no JSON ({error}); correct it") from None
    return records


def _of_records(path: Path, records: list[Any], form: _Written) -> TextTable:
    odd = next((row for row, record in enumerate(records, 1) if not isinstance(record, dict)), None)
    if odd is not None:
        raise InputError(
            f'record {odd} of {str(path)!r} is no object such as {{"file": ..., "label": ...}}; correct it'
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: [record.get(name) for record in records] for name in names}
    return TextTable(path, columns, len(records), (), form)


def _with_records(text: str, column: str, changes: Mapping[int, Any]) -> str:
    records = json.loads(text)
    for row, value in changes.items():
        records[row][column] = value
    return like_json(records, text)


def like_json(value: Any, text: str) -> str:
    """A value as JSON, with the indentation and the line end of the text that it replaces."""
    indent = re.match(r"\s*[\[{]\s*\n([ \t]+)", text)
    end = text[len(text.rstrip()) :]
    if indent is None:
        return _as_json(value, text) + end
    width: int | str = len(indent[1]) if set(indent[1]) == {" "} else indent[1]
    return json.dumps(value, indent=width, ensure_ascii=_is_ascii(text)) + end


def _as_json(value: Any, like: str) -> str:
    """A value as JSON on one line, with spaces and escapes as another text has them."""
    spaced = re.search(r'":\s', like) is not None
    return json.dumps(value, separators=(", ", ": ") if spaced else (",", ":"), ensure_ascii=_is_ascii(like))


def _is_ascii(text: str) -> bool:
    return text.isascii() and "\\u" in text
