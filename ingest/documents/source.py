"""The seam to documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from retriever.errors import SourceError
from retriever.records import Document


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

    No two documents have the same id, each has text, and text and id can be written as UTF-8: whatever
    violates this is a `FailedDocument`. `operator.length_hint` tells about how many there are, 0 where
    that is not known without reading them.
    """

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files the last iteration left aside, by their suffix in small letters."""
        ...

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the source from its beginning.

        Raises
        ------
        SourceError
            If the source as a whole cannot be read.
        """
        ...


def check_text(text: str) -> None:
    """Refuse text that cannot be stored or has nothing to find.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    if not text or text.isspace():
        raise SourceError("no text: expected more than white space; fill it or leave it out")
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
