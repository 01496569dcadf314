"""CSV files with named columns, read row by row."""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ingest.documents.decoding import byte_order_mark
from ingest.documents.files import ENCODING
from ingest.documents.options import COLUMNS, DEFAULTS, DETECT, SourceOptions, too_large
from ingest.documents.rows import Columns, columns_of, document_of, first_of_each, known_id
from ingest.documents.source import FailedDocument
from ingest.documents.walking import printable
from retriever.errors import SourceError
from retriever.records import Document

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""What separates the cells, by the suffix of the file."""

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_UNDECODED = "\udc80", "\udcff"
"""The range of characters that stand for bytes that are not in the encoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """What the beginning of a file says about its rows; `extra` is put into the metadata of each."""

    header: Sequence[str]
    columns: Columns
    encoding: str
    extra: Mapping[str, str]


class CsvSource:
    """A CSV file whose first row names the columns, read row by row.

    Cells may have quotation marks around them, and line ends within these. Values are strings, but for
    those of `number_columns`; empty cells and empty rows are none. With a title, the text of the document
    is the title, an empty line and the text; the metadata then have the title too.

    Parameters
    ----------
    path
        The file.
    options
        The columns, `delimiter` and `encoding` apply; `max_bytes` applies to each row.

    Raises
    ------
    SourceError
        If another option is given.
    """

    def __init__(self, path: Path, options: SourceOptions = DEFAULTS) -> None:
        options.accept(
            (*COLUMNS, "number_columns", "delimiter", "max_bytes", "encoding"),
            f"{printable(path)}, a CSV file",
        )
        self._path = path
        self._options = options
        self._delimiter = options.delimiter or DELIMITERS.get(path.suffix.lower(), ",")
        self._detected: dict[str, int] = {}

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        """The encoding, if the last iteration had to infer it."""
        return dict(self._detected)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file; of documents with the same id, the first is used.

        Raises
        ------
        SourceError
            If the file cannot be read, or has not the columns.
        """
        return first_of_each(self._items(), place="line", source=f"{printable(self._path)}:")

    def __length_hint__(self) -> int:
        """Return how many line ends the file has behind the first: at least as many as rows."""
        try:
            with self._path.open("rb") as file:
                lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
        except OSError:
            return 0
        return max(lines - 1, 0)

    def check(self) -> None:
        """Refuse a file without the columns.

        Raises
        ------
        SourceError
            If it cannot be read, is empty, or has not the columns.
        """
        for _ in self._items(header_only=True):
            break

    def _items(self, *, header_only: bool = False) -> Iterator[tuple[str, Document | FailedDocument]]:
        encoding, detected = self._encoding()
        self._detected = {} if detected is None else {detected: 1}
        extra = {} if detected is None else {ENCODING: detected}
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        errors = "strict" if wide else "surrogateescape"
        try:
            with self._path.open(encoding=encoding, errors=errors, newline="") as file:
                rows = _Rows(file, self._delimiter, self._options.max_bytes)
                layout = self._layout(rows, encoding, extra)
                if not header_only:
                    yield from self._documents(rows, layout)
        except OSError as error:
            raise SourceError(
                f"{printable(self._path)}: expected a file that can be read, got: {error.strerror}."
            ) from error

    def _layout(self, rows: _Rows, encoding: str, extra: Mapping[str, str]) -> _Layout:
        try:
            header = [name.strip() for name in next(rows, [])]
            _check_decoded(header, encoding)
            columns = columns_of(header, self._options)
            return _Layout(header=header, columns=columns, encoding=encoding, extra=extra)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(
                f"{printable(self._path)}: expected a first row with the names of the columns, got: {error}."
            ) from error
        except SourceError as error:
            raise SourceError(f"{printable(self._path)}: {error}") from error

    def _documents(self, rows: _Rows, layout: _Layout) -> Iterator[tuple[str, Document | FailedDocument]]:
        ended = False
        while not ended:
            row: dict[str, Any] = {}
            item: Document | FailedDocument
            try:
                cells = next(rows, None)
                if cells is None:
                    return
                if not any(cells):
                    continue
                if len(cells) == len(layout.header):  # else nobody knows which of them is the id
                    row.update(zip(layout.header, cells, strict=True))
                item = self._document(row, cells, layout)
            except (csv.Error, UnicodeDecodeError, SourceError) as error:
                ended = isinstance(error, UnicodeDecodeError)  # nobody knows where the next character begins
                reason = str(error) if isinstance(error, SourceError) else _why_broken(error, rows)
                where = f"{printable(self._path)}:{rows.first_line}"
                item = FailedDocument(doc_id=_known_id(row, layout.columns), where=where, reason=reason)
            yield str(rows.first_line), item

    def _document(self, row: dict[str, Any], cells: list[str], layout: _Layout) -> Document:
        _check_decoded(cells, layout.encoding)
        if len(cells) != len(layout.header):
            raise SourceError(
                f"expected {len(layout.header)} cells, got {len(cells)}; quote those with a delimiter in them"
            )
        for name in self._options.number_columns:
            row[name] = _number(row[name], name)
        document = document_of(row, layout.columns)
        if not layout.extra:
            return document
        return Document(
            doc_id=document.doc_id, text=document.text, metadata={**document.metadata, **layout.extra}
        )

    def _encoding(self) -> tuple[str, str | None]:
        """Return the encoding of the file, and its name if it had to be inferred."""
        try:
            with self._path.open("rb") as file:
                mark = byte_order_mark(file.read(4))
                if mark is not None:
                    return ("utf-8-sig", None) if mark[1] == "UTF-8" else (mark[1][:6], None)
                if self._options.encoding != DETECT:
                    return self._options.encoding, None
                file.seek(0)
                offending = _first_lines_not_in_utf8(file)
        except OSError as error:
            raise SourceError(
                f"{printable(self._path)}: expected a file that can be read, got: {error.strerror}."
            ) from error
        if not offending:
            return "UTF-8", None
        from ingest.documents.detection import detected_encoding

        detected = detected_encoding(offending)
        return detected or "UTF-8", detected


class _Rows:
    """The rows of an open file; an error of one leaves the following ones to be read.

    `first_line` is where the latest one begins, `last_line` where it ends; lines count from 1.
    """

    def __init__(self, file: TextIO, delimiter: str, limit: int) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), limit))  # of the process; this class bounds rows
        self._file = file
        self._limit = limit
        self._left = limit
        self.first_line = 1
        self.last_line = 0
        self._rows = csv.reader(_Lines(self), delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        self.first_line = self.last_line + 1
        self._left = self._limit
        return next(self._rows)

    def next_line(self) -> str:
        """Return one more line of the file for the row that is being read; at its end, an empty string."""
        line = self._file.readline(self._left + 1)
        self.last_line += bool(line)
        self._left -= len(line)
        if self._left < 0:
            self._pass_over(line)
            raise SourceError(too_large("a longer row", self._limit))
        refused = line.find("\0")
        if refused >= 0:
            raise SourceError(
                f"binary: expected text, got a zero character at {refused} of the line; repair it"
            )
        return line

    def _pass_over(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(_BLOCK)


class _Lines:
    """Gives a CSV reader its lines; unlike a generator, it goes on after an error."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._rows.next_line()
        if not line:
            raise StopIteration
        return line


def _check_decoded(cells: list[str], encoding: str) -> None:
    for cell in cells:
        if cell.isascii():
            continue
        undecoded = next((char for char in cell if _UNDECODED[0] <= char <= _UNDECODED[1]), None)
        if undecoded is not None:
            raise SourceError(
                f"not {encoding}: got the byte 0x{ord(undecoded) - 0xDC00:02x} in {cell[:40]!r}; convert "
                "the file to UTF-8, or name its encoding (--encoding)"
            )


def _why_broken(error: Exception, rows: _Rows) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not {error.encoding}: {error.reason}; no row behind this one is read. Convert it to UTF-8"
    lines = f"; lines up to {rows.last_line} belong to it" if rows.last_line > rows.first_line else ""
    return f"broken CSV: {error}{lines}; double the quotation marks inside of a cell, and close it"


def _known_id(row: Mapping[str, Any], columns: Columns) -> str | None:
    doc_id = known_id(row, columns.doc_id)
    return None if doc_id is None or not doc_id.isprintable() else doc_id


def _number(cell: str, name: str) -> int | float | None:
    """Return the number that a cell holds; None where it is empty."""
    cell = cell.strip()
    if not cell:
        return None
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    raise SourceError(f"expected a number as {name}, got {cell[:40]!r}; write it with digits and a point")


def _first_lines_not_in_utf8(file: BinaryIO) -> bytes:
    """Return lines of a file that is not in UTF-8; none of one that is, be it that some lines are broken."""
    lines, length = [], 0
    while line := file.readline(_BLOCK):
        if line.isascii() or (len(line) == _BLOCK and not line.endswith(b"\n")):
            continue
        try:
            line.decode()
        except UnicodeDecodeError:
            lines.append(line)
            length += len(line)
            if length > _SAMPLE:
                break
        else:
            return b""
    return b"".join(lines)
