"""What a run has done so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.documents import FailedDocument
from ingest.vectors import EmbeddedBatch


@dataclass(kw_only=True, slots=True)
class Counts:
    """What has been done so far, counted in documents and chunks.

    Attributes
    ----------
    new, changed, unchanged
        Documents that are stored, by what was found of them in the store.
    compared
        Documents read and compared with the store; those of which something is under way included.
    planned_chunks, written_chunks
        Chunks that have to be written, as far as documents were compared, and those that are.
    written_tokens
        Of the written chunks.
    reused_chunks
        Of the written chunks, those that were given the vectors of an equal text.
    to_fill, filled
        By model key, stored chunks that lacked the vectors of a model added since, and those that
        were given them.
    texts, seconds
        By model key, how many texts were embedded, and what it took.
    removed
        Documents deleted because the source has them no longer.
    failed
        Documents that were not stored, or not with the vectors of every model, with the reason.
    model
        Key of the model at work; empty before the first.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    compared: int = 0
    planned_chunks: int = 0
    written_chunks: int = 0
    written_tokens: int = 0
    reused_chunks: int = 0
    to_fill: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    removed: int = 0
    failed: list[FailedDocument] = field(default_factory=list)
    model: str = ""

    @property
    def documents(self) -> int:
        """All documents that are done with."""
        return self.new + self.changed + self.unchanged + len(self.failed)

    def add_time(self, embedded: EmbeddedBatch) -> None:
        """Count the texts of a batch and the time they took."""
        done = len(embedded.batch.texts) - len(embedded.failures)
        for key, seconds in embedded.seconds.items():
            self.texts[key] = self.texts.get(key, 0) + done
            self.seconds[key] = self.seconds.get(key, 0.0) + seconds


class Failures:
    """Notes documents that fail, each once beside its duplicates, in `counts`; tells `on_failure`."""

    def __init__(self, counts: Counts, on_failure: Callable[[FailedDocument], None]) -> None:
        self._counts = counts
        self._on_failure = on_failure
        self._ids: set[str] = set()

    def add(self, failed: FailedDocument, *, is_duplicate: bool = False) -> None:
        """Note what a source could not read; where it is a duplicate, the document itself may fail yet."""
        if failed.doc_id is not None and not is_duplicate:
            self._ids.add(failed.doc_id)
        self._counts.failed.append(failed)
        self._on_failure(failed)

    def fail(self, doc_id: str, reason: str) -> None:
        """Note a document that could not be stored; only its first reason counts."""
        if doc_id not in self._ids:
            self.add(FailedDocument(doc_id=doc_id, where=doc_id, reason=reason))
