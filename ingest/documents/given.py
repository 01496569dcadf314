"""Documents that a program made itself, or that LlamaIndex loads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import length_hint
from typing import TYPE_CHECKING, Any

from ingest.documents.rows import first_of_each
from ingest.documents.source import FailedDocument, Source, check_document
from retriever.errors import SourceError
from retriever.records import Document

if TYPE_CHECKING:
    from llama_index.core.readers.base import BaseReader
    from llama_index.core.schema import BaseNode


def documents_from(documents: Iterable[Document | FailedDocument | BaseNode]) -> Source:
    """Return a source of `documents`: our own, or documents and nodes of LlamaIndex.

    Their text is taken as it is: offsets of chunks refer to it. The id of one of LlamaIndex is its
    ``node_id``, which for a document is its ``doc_id``: one that is left to LlamaIndex is different each
    time, and so is what is then taken for new. Its metadata are carried over. The source can be
    iterated as often as `documents` can. Places in failures count from 1.
    """
    return _GivenDocuments(lambda: documents, "document")


def documents_from_reader(reader: BaseReader, **load_kwargs: Any) -> Source:
    """Return a source of what a LlamaIndex reader loads with `load_kwargs`, anew in each iteration.

    A reader that can load lazily does. Give it the option that makes ids stable, if it has one:
    ``SimpleDirectoryReader(folder, filename_as_id=True)``.

    Raises
    ------
    SourceError
        When it is iterated: if `reader` is none, or fails.
    """
    return _GivenDocuments(lambda: _loaded(reader, load_kwargs), type(reader).__name__)


class _GivenDocuments:
    def __init__(self, documents: Callable[[], Iterable[object]], kind: str) -> None:
        self._documents = documents
        self._kind = kind

    @property
    def skipped(self) -> Mapping[str, int]:
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        return {}

    def __length_hint__(self) -> int:
        return length_hint(self._documents()) if self._kind == "document" else 0

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        items = (
            (str(place), _checked(given, f"{self._kind} {place}"))
            for place, given in enumerate(self._documents(), start=1)
        )
        return first_of_each(items, place=self._kind, source=f"{self._kind} ")


def _checked(given: object, place: str) -> Document | FailedDocument:
    if isinstance(given, FailedDocument):
        return given
    doc_id = None
    try:
        document = given if isinstance(given, Document) else _converted(given)
        doc_id = document.doc_id
        check_document(document)
    except SourceError as error:
        return FailedDocument(doc_id=doc_id, where=place, reason=str(error))
    return document


def _converted(given: object) -> Document:
    from ingest.documents.llama_nodes import document_of_node

    return document_of_node(given)


def _loaded(reader: object, load_kwargs: dict[str, Any]) -> Iterator[object]:
    from ingest.documents.llama_nodes import loaded

    try:
        yield from loaded(reader, load_kwargs)
    except SourceError:
        raise
    except Exception as error:  # a reader may raise anything
        raise SourceError(
            f"{type(reader).__name__}: expected documents, got {type(error).__name__}: {error}. Mend what "
            "it reads."
        ) from error
