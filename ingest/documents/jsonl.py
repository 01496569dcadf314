"""BEIR corpora: one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ingest.documents.decoding import byte_order_mark, decode
from ingest.documents.files import printable
from ingest.documents.source import FailedDocument, check_text, check_unicode
from retriever.errors import SourceError
from retriever.records import Document

_BLOCK = 1 << 20
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_JSON_NAMES = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


class JsonLinesSource:
    r"""A file of documents in the layout of BEIR, read line by line.

    Each line is an object with ``_id`` (or ``id``) and ``text``, both strings, and perhaps ``title`` and
    ``metadata``, an object. With a title, the text of the document is the title, an empty line and the
    text; the metadata then have the title too. Line ends within strings become ``\n``. Other fields are
    left aside, empty lines as well.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file; of documents with the same id, the first is used.

        Raises
        ------
        SourceError
            If the file cannot be read.
        """
        first_lines: dict[str, int] = {}
        for number, line in self._lines():
            fields: dict[str, Any] = {}
            try:
                fields.update(_fields(decode(line)))
                document = _document(fields)
                _check_first(document.doc_id, first_lines)
            except SourceError as error:
                where = f"{printable(self._path)}:{number}"
                yield FailedDocument(doc_id=_known_id(fields), where=where, reason=str(error))
            else:
                first_lines[document.doc_id] = number
                yield document

    def __length_hint__(self) -> int:
        """Return how many line ends the file has."""
        try:
            with self._path.open("rb") as file:
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
                f"{printable(self._path)}: expected one JSON object a line, got an empty file. Fill it, or "
                "give another one."
            )
        mark = byte_order_mark(first[1])
        if mark and mark[1] != "UTF-8":
            raise SourceError(
                f"{printable(self._path)}: expected JSON Lines in UTF-8, got {mark[1]}. Convert it "
                f"(iconv -f {mark[1]} -t UTF-8)."
            )

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each line that is not empty."""
        try:
            with self._path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield number, line
        except OSError as error:
            raise SourceError(
                f"{printable(self._path)}: expected a file that can be read, got: {error.strerror}."
            ) from error


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
        raise SourceError(f"expected a JSON object, got {_JSON_NAMES[type(value)]}; repair the line")
    if _ESCAPED_SURROGATE.search(line):
        check_unicode(json.dumps(value, ensure_ascii=False), "line")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _document(fields: Mapping[str, Any]) -> Document:
    doc_id = _string(fields, "_id" if "_id" in fields else "id")
    if not doc_id.strip():
        raise SourceError("empty id: expected one that is unique in the corpus; fill it")
    text = _normalised(_string(fields, "text"))
    title = _normalised(_string(fields, "title")) if fields.get("title") is not None else ""
    metadata = {} if fields.get("metadata") is None else fields["metadata"]
    if not isinstance(metadata, dict):
        raise SourceError(f"expected an object as metadata, got {_JSON_NAMES[type(metadata)]}; repair it")
    if title.strip():
        metadata = metadata | {"title": title}
        text = f"{title}\n\n{text}" if text else title
    check_text(text)
    return Document(doc_id=doc_id, text=text, metadata=metadata)


def _string(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        name = "_id" if name == "id" else name
        found = ", ".join(fields) or "none"
        raise SourceError(f"no {name}: expected the fields _id and text, found: {found}; add it")
    value = fields[name]
    if not isinstance(value, str):
        raise SourceError(
            f"expected a string as {name}, got {_JSON_NAMES[type(value)]}; write it between quotation marks"
        )
    return value


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_first(doc_id: str, first_lines: Mapping[str, int]) -> None:
    if doc_id in first_lines:
        raise SourceError(
            f"duplicate id {doc_id!r}: line {first_lines[doc_id]} has it too and is the one used; give each "
            "document its own"
        )


def _known_id(fields: Mapping[str, Any]) -> str | None:
    doc_id = fields.get("_id", fields.get("id"))
    return doc_id if isinstance(doc_id, str) and doc_id.strip() else None
