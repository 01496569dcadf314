"""The seam to documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from retriever.errors import SourceError
from retriever.records import Document

_SOMETHING_TO_SEE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)
"""Any character but white space, control characters and those that leave no mark."""

_LARGEST_INTEGER = 2**63
"""Whole numbers from here on have no place in a payload: Qdrant's are of 64 bits."""

_DEEPEST = 32
"""How many lists and objects may lie one in another in a value. Qdrant writes up to about 125 of them, and
then cannot read what it wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedDocument:
    """A document that cannot be used, while others of its source can.

    Attributes
    ----------
    doc_id
        Its id; None where not even that can be read.
    where
        The file, with the line if the file holds many documents: ``corpus.jsonl:3``.
    reason
        What was expected, what was found and what to do.
    """

    doc_id: str | None
    where: str
    reason: str


class Source(Protocol):
    """Yields documents, one at a time and in the same order each time.

    No two documents have the same id, each has text, text and id can be written as UTF-8, and metadata
    as JSON that a payload can hold (`check_metadata`): whatever violates this is a `FailedDocument`.
    `operator.length_hint` tells about how many there are, 0 where that is not known without reading them.
    """

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files the last iteration left aside, by their suffix in small letters."""
        ...

    @property
    def detected(self) -> Mapping[str, int]:
        """How many files the last iteration read in an encoding that was inferred, by its name."""
        ...

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the source from its beginning.

        Raises
        ------
        SourceError
            If the source as a whole cannot be read.
        """
        ...


def check_document(document: Document) -> None:
    """Refuse a document that cannot be stored or has nothing to find.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    if not document.doc_id.strip():
        raise SourceError("empty id: expected one that is unique in its source; fill it")
    check_unicode(document.doc_id, "id")
    check_text(document.text)
    check_metadata(document.metadata)
    _check_node(document.node)


def _check_node(node: Mapping[str, Any]) -> None:
    try:
        written = json.dumps(dict(node), ensure_ascii=False, allow_nan=False, sort_keys=True)  # as hashed
    except (TypeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"node: expected JSON values beside text and metadata, got others ({error}); convert them or "
            "leave them out"
        ) from error
    check_unicode(written, "node")


def check_text(text: str) -> None:
    """Refuse text that cannot be stored or has nothing to find.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    if not text or text.isspace():
        raise SourceError("no text: expected more than white space; fill it or leave it out")
    if not _SOMETHING_TO_SEE.search(text):
        raise SourceError(
            "no text: expected more than control characters and characters without width, such as "
            f"U+{ord(text.strip()[0]):04X}; fill it or leave it out"
        )
    check_unicode(text, "text")


def check_unicode(text: str, name: str) -> None:
    """Refuse a string that UTF-8 cannot express.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{name}: expected Unicode, got half a surrogate pair (U+{ord(text[error.start]):04X}) at "
            f"character {error.start}; write the whole character"
        ) from error


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Refuse metadata that have no place in a payload.

    Raises
    ------
    SourceError
        With the name of the value and the reason, for a `FailedDocument`.
    """
    for name, value in metadata.items():
        if not isinstance(name, str):
            raise SourceError(f"metadata: expected names that are strings, got {name!r}; rename it")
        check_unicode(name, "name of metadata")
        _check_value(name, value)


def _check_value(name: str, value: Any) -> None:
    _check_parts(name, value)
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"metadata {name!r}: expected a JSON value, got {type(value).__name__} ({error}); convert it to "
            "a string or number, or leave it out"
        ) from error
    check_unicode(written, f"metadata {name!r}")


def _check_parts(name: str, value: Any) -> None:
    """Refuse what JSON could write and no payload could hold, however deep it lies."""
    level = [value]
    for _ in range(_DEEPEST + 1):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, int):
                _check_integer(name, one)
            elif isinstance(one, dict):
                _check_keys(name, one)
                inner += one.values()
            elif isinstance(one, (list, tuple)):
                inner += one
        if not inner:
            return
        level = inner
    raise SourceError(
        f"metadata {name!r}: expected lists and objects at most {_DEEPEST} deep, got more; simplify it"
    )


def _check_integer(name: str, value: int) -> None:
    if not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        raise SourceError(
            f"metadata {name!r}: expected a whole number of at most 64 bits, got one of "
            f"{value.bit_length()}; write it as a string"
        )


def _check_keys(name: str, value: Mapping[Any, Any]) -> None:
    one_of_each = {str if isinstance(key, str) else type(key): key for key in value}
    if len(one_of_each) > 1:  # keys of one kind other than strings are written as strings
        found = " beside ".join(repr(key) for key in one_of_each.values())
        raise SourceError(f"metadata {name!r}: expected names that are strings, got {found}; rename them")
