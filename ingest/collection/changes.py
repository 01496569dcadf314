"""Which documents differ from what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from ingest.collection.counts import Counts, Failures
from retriever.corpus import Corpus, StoredDocument
from retriever.payload import RESERVED_FIELDS
from retriever.records import ChunkerSpec, Document, fingerprint_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A document to store: the hash of its content and how it is cut, and what is stored of it now."""

    document_hash: str
    stored: StoredDocument | None

    @property
    def stored_ids(self) -> frozenset[str]:
        """The ids of its chunks in the store."""
        return frozenset() if self.stored is None else self.stored.chunk_ids


class Changes:
    """Passes on the documents that are new, changed or stored in part.

    What is to be done with each of them waits here until it comes back with its chunks: `take`.
    """

    def __init__(
        self, corpus: Corpus | None, chunker: ChunkerSpec, counts: Counts, failures: Failures, turn: Lock
    ) -> None:
        self._corpus = corpus
        self._chunker = chunker.fingerprint
        self._counts = counts
        self._failures = failures
        self._turn = turn
        self._waiting: dict[str, Change] = {}

    def among(self, groups: Iterable[Sequence[Document]]) -> Iterator[list[Document]]:
        """Yield of each group the documents that have to be stored; possibly none."""
        for group in groups:
            usable = [document for document in group if self._is_usable(document)]
            stored = self._stored(usable)
            yield [document for document in usable if self._differs(document, stored.get(document.doc_id))]
            self._counts.compared += len(group)

    def take(self, doc_id: str) -> Change:
        """Return what is to be done with a document that was passed on, once."""
        return self._waiting.pop(doc_id)

    def _stored(self, documents: Sequence[Document]) -> dict[str, StoredDocument]:
        if self._corpus is None:
            return {}
        with self._turn:
            return self._corpus.stored_documents([document.doc_id for document in documents])

    def _differs(self, document: Document, stored: StoredDocument | None) -> bool:
        identity = {"document": document.content_hash, "chunker": self._chunker}
        document_hash = fingerprint_of(identity)
        if stored is not None and stored.complete and stored.document_hash == document_hash:
            self._counts.unchanged += 1
            return False
        self._waiting[document.doc_id] = Change(document_hash=document_hash, stored=stored)
        return True

    def _is_usable(self, document: Document) -> bool:
        reason = _objection(document)
        if reason is not None:
            self._failures.fail(document.doc_id, reason)
        return reason is None


def _objection(document: Document) -> str | None:
    """Return why a document cannot be stored, None if it can."""
    taken = sorted(RESERVED_FIELDS & set(document.metadata))
    if taken:
        return f"metadata: expected other names than {', '.join(taken)}, which are reserved; rename them"
    if not all(isinstance(name, str) for name in document.metadata):
        return "metadata: expected strings as names, got others; rename them"
    try:
        json.dumps(dict(document.metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"metadata: expected JSON values, got others ({error}); convert them or leave them out"
    return None
