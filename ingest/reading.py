"""A source on its way into a run: in groups, with what fails and what was seen noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.collection.counts import Failures
from ingest.documents import FailedDocument, SeenIds, documents_from
from retriever.errors import SourceError
from retriever.records import Document

_DOCUMENTS_AT_A_TIME = 64
_CHARACTERS_AT_A_TIME = 1_000_000


class Reading:
    """Reads a source once.

    Parameters
    ----------
    source
        Documents. Those that violate what `ingest.documents.Source` promises (an id that comes twice,
        no text) fail.
    name
        Of the corpus, for messages.
    failures
        Takes what fails.
    seen
        Takes the ids of all that the source has, of what failed too.

    Raises
    ------
    SourceError
        If the source has no document at all.
    """

    def __init__(
        self, source: Iterable[Document | FailedDocument], name: str, failures: Failures, seen: SeenIds
    ) -> None:
        self._items = iter(source)
        first = next(self._items, None)
        if first is None:
            raise SourceError(f"corpus {name!r}: expected documents, the source has none.")
        self._first = first
        self._failures = failures
        self._seen = seen

    def groups(self) -> Iterator[list[Document]]:
        """Yield documents in lists that are compared with the store together; they bound what is held.

        A source that breaks off loses none of the documents that came before.
        """
        group: list[Document] = []
        characters = 0
        try:
            for document in self._documents():
                group.append(document)
                characters += len(document.text)
                if len(group) == _DOCUMENTS_AT_A_TIME or characters >= _CHARACTERS_AT_A_TIME:
                    yield group
                    group, characters = [], 0
        except Exception:
            yield group
            raise
        yield group

    def _documents(self) -> Iterator[Document]:
        for item in documents_from(self._given()):
            if isinstance(item, FailedDocument):
                self._fail(item)
            else:
                self._seen.add(item.doc_id, "")
                yield item

    def _given(self) -> Iterator[Document]:
        """Yield what the source could read; note what it could not."""
        for item in self._all():
            if isinstance(item, FailedDocument):
                self._fail(item)
            else:
                yield item

    def _fail(self, failed: FailedDocument) -> None:
        came_before = failed.doc_id is not None and self._seen.add(failed.doc_id, "") is not None
        self._failures.add(failed, is_duplicate=came_before)

    def _all(self) -> Iterator[Document | FailedDocument]:
        yield self._first
        yield from self._items
