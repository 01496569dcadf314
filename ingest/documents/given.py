"""Documents that a program made itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import length_hint

from ingest.documents.source import FailedDocument, Source, check_text, check_unicode
from retriever.errors import SourceError
from retriever.records import Document


def documents_from(documents: Iterable[Document]) -> Source:
    """Return a source of `documents`.

    Their text is taken as it is: offsets of chunks refer to it. It can be iterated as often as
    `documents` can. Places in failures count from 1.
    """
    return _GivenDocuments(documents)


class _GivenDocuments:
    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = documents

    @property
    def skipped(self) -> Mapping[str, int]:
        return {}

    def __length_hint__(self) -> int:
        return length_hint(self._documents)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        first_places: dict[str, int] = {}
        for place, document in enumerate(self._documents, start=1):
            try:
                _check(document, first_places)
            except SourceError as error:
                yield FailedDocument(doc_id=document.doc_id, where=f"document {place}", reason=str(error))
            else:
                first_places[document.doc_id] = place
                yield document


def _check(document: Document, first_places: Mapping[str, int]) -> None:
    if not document.doc_id.strip():
        raise SourceError("no id: expected one that is unique in its source")
    check_unicode(document.doc_id, "id")
    check_text(document.text)
    if document.doc_id in first_places:
        raise SourceError(
            f"duplicate id: document {first_places[document.doc_id]} has it too and is the one used; "
            "give each document its own"
        )
