"""Documents of the corpus that the source no longer has."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.collection.counts import Counts
from ingest.collection.waiting import AT_A_TIME
from ingest.documents import SeenIds
from retriever.corpus import Corpus


class Vanished:
    """Finds, and if asked deletes, the documents of a corpus that are not among those seen."""

    def __init__(self, corpus: Corpus, seen: SeenIds, counts: Counts) -> None:
        self._corpus = corpus
        self._seen = seen
        self._counts = counts

    def handle(self, *, prune: bool) -> tuple[int, str | None]:
        """Return how many there are and stay, and why they do if they should not."""
        refused = objection(self._counts) if prune else None
        if prune and refused is None:
            waiting: list[str] = []
            for doc_id in self.ids():
                waiting.append(doc_id)
                if len(waiting) == AT_A_TIME:
                    self._delete(waiting)
                    waiting = []
            self._delete(waiting)
            return 0, None
        return sum(1 for _ in self.ids()), refused

    def ids(self) -> Iterator[str]:
        """Yield the id of each of them once."""
        with SeenIds() as found:
            for doc_id in self._corpus.stored_document_ids():
                if doc_id not in self._seen and found.add(doc_id, doc_id) is None:
                    yield doc_id

    def _delete(self, doc_ids: list[str]) -> None:
        self._corpus.delete_documents(doc_ids)
        self._counts.removed += len(doc_ids)


def objection(counts: Counts) -> str | None:
    """Return why nothing may be deleted, None if it may."""
    unknown = [failed.where for failed in counts.failed if failed.doc_id is None]
    if not unknown:
        return None
    others = f" (and {len(unknown) - 1:,} more such places)" if len(unknown) > 1 else ""
    return (
        f"{unknown[0]} could not be read, and nobody knows which documents it holds{others}: expected to "
        "know all that the source has before deleting what it has not. Mend it and run again."
    )
