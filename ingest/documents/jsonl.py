"""BEIR corpora: one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ingest.documents.decoding import byte_order_mark, decode
from ingest.documents.options import COLUMNS, DEFAULTS, DETECT, SourceOptions, check_size
from ingest.documents.rows import IDS, Columns, assembled, first_of_each, is_missing, kind_of, known_id
from ingest.documents.source import FailedDocument, check_unicode
from ingest.documents.walking import printable
from retriever.errors import SourceError
from retriever.records import Document

_BLOCK = 1 << 20
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonLinesSource:
    r"""A file of documents in the layout of BEIR, read line by line.

    Each line is an object with ``_id`` (or ``id``), a string or a whole number, ``text``, a string, and
    perhaps ``title`` and ``metadata``, an object; `options` may name other fields. With a title, the text
    of the document is the title, an empty line and the text; the metadata then have the title too. Line
    ends within strings become ``\n``. Other fields are left aside, empty lines as well.

    Parameters
    ----------
    path
        The file.
    options
        `max_bytes` applies to each line; `encoding` and the columns, but for `number_columns`, apply too.
    opened
        Opens what is read, instead of the file.

    Raises
    ------
    SourceError
        If another option is given, or the encoding is one that cannot be read line by line.
    """

    def __init__(
        self,
        path: Path,
        options: SourceOptions = DEFAULTS,
        *,
        opened: Callable[[], BinaryIO] | None = None,
    ) -> None:
        options.accept((*COLUMNS, "max_bytes", "encoding"), f"{printable(path)}, JSON Lines")
        self._name = printable(path)
        self._options = options
        self._encoding = _linewise(options.encoding)
        self._opened = opened or (lambda: path.open("rb"))
        self._hint = 0 if opened else None

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        """Nothing: JSON Lines are in UTF-8, unless `options` say otherwise."""
        return {}

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file; of documents with the same id, the first is used.

        Raises
        ------
        SourceError
            If the file cannot be read.
        """
        return first_of_each(self._items(), place="line", source=f"{self._name}:")

    def __length_hint__(self) -> int:
        """Return how many line ends the file has."""
        if self._hint is not None:
            return self._hint
        try:
            with self._opened() as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
        except OSError:
            return 0

    def check(self) -> None:
        """Refuse a file that is no JSON Lines at all.

        Raises
        ------
        SourceError
            If it cannot be read, is empty, or is not in UTF-8.
        """
        first = next(self._lines(), None)
        if first is None:
            raise SourceError(
                f"{self._name}: expected one JSON object a line, got an empty file. Fill it, or give "
                "another one."
            )
        mark = byte_order_mark(first[1])
        if mark and mark[1] != "UTF-8":
            raise SourceError(
                f"{self._name}: expected JSON Lines in UTF-8, got {mark[1]}. Convert it "
                f"(iconv -f {mark[1]} -t UTF-8)."
            )

    def _items(self) -> Iterator[tuple[str, Document | FailedDocument]]:
        for number, line in self._lines():
            fields: dict[str, Any] = {}
            try:
                check_size(len(line), self._options.max_bytes, "or more in this line")
                fields.update(_fields(decode(line, self._encoding).text))
                yield str(number), _document(fields, self._options)
            except SourceError as error:
                doc_id = known_id(fields, _id_name(fields, self._options))
                where = f"{self._name}:{number}"
                yield str(number), FailedDocument(doc_id=doc_id, where=where, reason=str(error))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each line that is not empty; of enormous ones, the begin."""
        limit = self._options.max_bytes + 1
        number = 0
        try:
            with self._opened() as file:
                while line := file.readline(limit):
                    number += 1
                    if line.strip() or len(line) == limit:
                        yield number, line
                    while len(line) == limit and not line.endswith(b"\n"):
                        line = file.readline(limit)
        except OSError as error:
            raise SourceError(
                f"{self._name}: expected a file that can be read, got: {error.strerror}."
            ) from error


def _linewise(encoding: str) -> str:
    if encoding == DETECT:
        return "UTF-8"
    if '{"a"}\n'.encode(encoding, errors="replace") != b'{"a"}\n':
        raise SourceError(
            f"encoding: expected one that can be read line by line for JSON Lines, got {encoding!r}. Convert "
            f"the file (iconv -f {encoding} -t UTF-8)."
        )
    return encoding


def _fields(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SourceError(
            f"broken JSON: {error.msg} at character {error.pos + 1}; repair the line"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"broken JSON: {error}; repair the line") from error
    if not isinstance(value, dict):
        raise SourceError(f"expected a JSON object, got {kind_of(value)}; repair the line")
    if _ESCAPED_SURROGATE.search(line):
        _check_whole_characters(value)
    return value


def _check_whole_characters(value: Any) -> None:
    try:
        check_unicode(json.dumps(value, ensure_ascii=False), "line")
    except RecursionError as error:
        raise SourceError("nested too deeply to be read; simplify the line") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _id_name(fields: Mapping[str, Any], options: SourceOptions) -> str:
    return options.id_column or next((name for name in IDS if name in fields), IDS[0])


def _document(fields: Mapping[str, Any], options: SourceOptions) -> Document:
    columns = Columns(
        doc_id=_id_name(fields, options),
        text=options.text_columns or ("text",),
        title=options.title_column or "title",
        metadata=options.metadata_columns or (),
    )
    for name in (columns.doc_id, *columns.text):
        if name not in fields:
            raise SourceError(
                f"no {name}: expected the fields {columns.doc_id} and {', '.join(columns.text)}, found: "
                f"{', '.join(fields) or 'none'}; add it"
            )
    return assembled(fields, columns, _metadata(fields, options))


def _metadata(fields: Mapping[str, Any], options: SourceOptions) -> Mapping[str, Any]:
    if options.metadata_columns is not None:
        return {name: fields[name] for name in options.metadata_columns if not is_missing(fields.get(name))}
    metadata = fields.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise SourceError(f"expected an object as metadata, got {kind_of(metadata)}; repair it")
    return metadata
