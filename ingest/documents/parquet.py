"""Parquet files, read a few rows at a time; the one file that imports pyarrow."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.documents.options import COLUMNS, DEFAULTS, SourceOptions, check_size
from ingest.documents.rows import Columns, columns_of, document_of, first_of_each, known_id
from ingest.documents.source import FailedDocument
from ingest.documents.walking import printable
from retriever.errors import SourceError
from retriever.records import Document

try:
    import pyarrow as pa
    from pyarrow import parquet
except ModuleNotFoundError as error:
    raise SourceError(
        "Parquet: expected the package pyarrow, got no such package. "
        'Install it with: pip install "tandem-rag[parquet]"'
    ) from error

_ROWS_AT_A_TIME = 256
_BUFFER = 1 << 20


class ParquetSource:
    """A Parquet file, read a few rows at a time.

    Numbers, booleans, lists and structs stay what they are as metadata; dates, times and decimals become
    strings; nulls are none. With a title, the text of the document is the title, an empty line and the
    text; the metadata then have the title too.

    Parameters
    ----------
    path
        The file.
    options
        The columns apply, but for `number_columns`; `max_bytes` applies to the text of each row.

    Raises
    ------
    SourceError
        If another option is given.
    """

    def __init__(self, path: Path, options: SourceOptions = DEFAULTS) -> None:
        options.accept((*COLUMNS, "max_bytes"), f"{printable(path)}, a Parquet file")
        self._path = path
        self._options = options

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        """Nothing: strings in Parquet are in UTF-8."""
        return {}

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file; of documents with the same id, the first is used.

        Raises
        ------
        SourceError
            If the file cannot be read, or has not the columns.
        """
        return first_of_each(self._items(), place="row", source=f"{printable(self._path)}:")

    def __length_hint__(self) -> int:
        """Return how many rows there are."""
        try:
            with self._opened() as file:
                return int(file.metadata.num_rows)
        except SourceError:
            return 0

    def check(self) -> None:
        """Refuse a file without the columns.

        Raises
        ------
        SourceError
            If it cannot be read, or has not the columns.
        """
        with self._opened() as file:
            self._columns(file)

    def _opened(self) -> Any:
        try:
            return parquet.ParquetFile(self._path, buffer_size=_BUFFER, pre_buffer=False)
        except OSError as error:
            raise self._unreadable(error) from error
        except pa.ArrowException as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"{printable(self._path)}: expected a Parquet file that can be read, got: {error}."
        )

    def _columns(self, file: Any) -> Columns:
        try:
            return columns_of(list(file.schema_arrow.names), self._options)
        except SourceError as error:
            raise SourceError(f"{printable(self._path)}: {error}") from error

    def _items(self) -> Iterator[tuple[str, Document | FailedDocument]]:
        with self._opened() as file:
            columns = self._columns(file)
            needed = [
                columns.doc_id,
                *columns.text,
                *columns.metadata,
                *((columns.title,) if columns.title else ()),
            ]
            batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=list(dict.fromkeys(needed)))
            number = 0
            while (batch := self._next(batches)) is not None:
                for index in range(batch.num_rows):
                    number += 1
                    yield str(number), self._item(batch, index, number, columns)

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    def _item(self, batch: Any, index: int, number: int, columns: Columns) -> Document | FailedDocument:
        row: dict[str, Any] = {}
        try:
            for name in batch.schema.names:
                row[name] = _value(batch.column(name), index, name)
            size = sum(len(row[name]) for name in columns.text if isinstance(row[name], str))
            check_size(size, self._options.max_bytes, "of text")
            return document_of(row, columns)
        except SourceError as error:
            where = f"{printable(self._path)}:{number}"
            return FailedDocument(doc_id=known_id(row, columns.doc_id), where=where, reason=str(error))


def _value(column: Any, index: int, name: str) -> Any:
    """Return a value as JSON has it."""
    try:
        return _plain(column[index].as_py())
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        raise SourceError(f"{name}: expected a value that can be read, got: {error}; repair it") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (dt.timedelta, decimal.Decimal)):
        return str(value)
    return value
