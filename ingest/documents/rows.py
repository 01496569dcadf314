"""Rows of named values as documents: what JSON Lines, CSV and Parquet have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.documents.options import SourceOptions
from ingest.documents.seen import SeenIds
from ingest.documents.source import FailedDocument, check_document
from retriever.errors import SourceError
from retriever.records import Document

IDS = ("_id", "id")
"""What the column of ids is called where nobody says; the first one counts."""

_NAMES = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns hold what; `title` is None where none does."""

    text: tuple[str, ...]
    doc_id: str
    title: str | None
    metadata: tuple[str, ...]


def columns_of(found: Sequence[str], options: SourceOptions) -> Columns:
    """Return which of the columns `found` in a table hold what.

    Raises
    ------
    SourceError
        If one that was named, or one for ids or text, is not there; or if two have the same name.
    """
    doubled = sorted({name for name in found if found.count(name) > 1})
    if doubled:
        raise SourceError(f"expected each column once, got more than one {doubled[0]!r}. Rename one of them.")
    doc_id = options.id_column or next((name for name in IDS if name in found), IDS[0])
    text = options.text_columns or ("text",)
    title = options.title_column or ("title" if "title" in found else None)
    _check_there(found, (doc_id,), "id_column", "--id-column")
    _check_there(found, text, "text_columns", "--text-column")
    _check_there(found, (title,) if title else (), "title_column", "--title-column")
    metadata = options.metadata_columns
    if metadata is None:
        metadata = tuple(name for name in found if name not in {doc_id, title, *text})
    _check_there(found, metadata, "metadata_columns", "--metadata-column")
    unused = [name for name in options.number_columns if name not in metadata]
    if unused:
        raise SourceError(
            f"number_columns (--number-column): expected columns that become metadata "
            f"({', '.join(metadata)}), got {', '.join(unused)}."
        )
    return Columns(text=text, doc_id=doc_id, title=title, metadata=metadata)


def document_of(row: Mapping[str, Any], columns: Columns) -> Document:
    """Return the document of a row of a table; values that are missing do not become metadata.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    metadata = {name: row[name] for name in columns.metadata if not is_missing(row[name])}
    return assembled(row, columns, metadata)


def assembled(row: Mapping[str, Any], columns: Columns, metadata: Mapping[str, Any]) -> Document:
    """Return the document of a row with these metadata, to which the title is added.

    With a title, the text of the document is the title, an empty line and the text.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    text = "\n\n".join(filter(str.strip, _texts(row, columns.text)))
    if len(columns.text) == 1 and not text:  # white space, for the message about it
        text = _texts(row, columns.text)[0]
    title = "" if columns.title is None else _title(row, columns.title)
    if title.strip():
        metadata = {**metadata, "title": title}
        text = f"{title}\n\n{text}" if text else title
    document = Document(doc_id=id_of(row, columns.doc_id), text=text, metadata=metadata)
    check_document(document)
    return document


def id_of(row: Mapping[str, Any], name: str) -> str:
    """Return the id of a row; a whole number is written in decimal.

    Raises
    ------
    SourceError
        If it is nothing of either kind.
    """
    value = row[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    raise SourceError(
        f"expected a string or a whole number as {name}, got {kind_of(value)}; write it between "
        "quotation marks"
    )


def known_id(row: Mapping[str, Any], name: str) -> str | None:
    """Return the id of a row that failed; None if it has none that can be used."""
    try:
        doc_id = id_of(row, name)
    except (KeyError, SourceError):
        return None
    return doc_id if doc_id.strip() else None


def is_missing(value: Any) -> bool:
    """Return whether a cell stands for no value: null, an empty string, or not a number."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    return _NAMES.get(type(value), type(value).__name__)


def first_of_each(
    items: Iterable[tuple[str, Document | FailedDocument]], *, place: str, source: str
) -> Iterator[Document | FailedDocument]:
    """Yield `items`, each given with the number of its place; of documents with the same id, the first.

    `place` is what the number counts (``"line"``), `source` where they come from.
    """
    with SeenIds() as seen:
        for number, item in items:
            earlier = seen.add(item.doc_id, number) if isinstance(item, Document) else None
            if earlier is None:
                yield item
            else:
                reason = (
                    f"duplicate id {item.doc_id!r}: {place} {earlier} has it too and is the one used; "
                    "give each document its own"
                )
                yield FailedDocument(doc_id=item.doc_id, where=f"{source}{number}", reason=reason)


def _texts(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the texts of a row; of several, some may be null."""
    return [
        "" if row[name] is None and len(names) > 1 else normalised(_string(row[name], name)) for name in names
    ]


def _title(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else normalised(_string(value, name))


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise SourceError(
            f"expected a string as {name}, got {kind_of(value)}; write it between quotation marks"
        )
    return value


def normalised(text: str) -> str:
    r"""Return text with every line end as ``\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_there(found: Sequence[str], wanted: Sequence[str], option: str, flag: str) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SourceError(
            f"expected a column {missing[0]!r}, got the columns: {', '.join(found) or 'none'}. Name the "
            f"right one ({option}, {flag})."
        )
