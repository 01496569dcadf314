"""New and changed documents into the collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ingest.collection.changes import Change, Changes
from ingest.collection.counts import Counts, Failures
from ingest.collection.waiting import Waiting, distinct, portions
from ingest.executors.protocol import CutDocument
from ingest.vectors import Batch, EmbeddedBatch, batches_of
from retriever.corpus import Corpus
from retriever.models.protocol import FloatArray
from retriever.payload import OWN_FIELD
from retriever.records import Chunk
from retriever.store.filters import AllOf, Matches, of_documents

CHUNKS_PER_WINDOW = 1024
"""Among so many chunks those of similar length are put together; they bound what is held in memory."""


@dataclass(kw_only=True, slots=True)
class _Version:
    """A document on its way into the store.

    `kept` are the chunks that are stored already, `new` those that were not, `missing` counts those that
    still are not; `failure` is why one of them never will.
    """

    doc_id: str
    change: Change
    chunk_ids: frozenset[str]
    kept: Sequence[Chunk]
    new: Sequence[Chunk]
    missing: int
    failure: str | None = None

    @property
    def stale_ids(self) -> frozenset[str]:
        return self.change.stored_ids - self.chunk_ids


_Waiter = tuple[Chunk, _Version]


class DocumentWriter:
    """Brings documents of a corpus up to date, as their chunks come in and their vectors come back.

    `plan` and `write` may run in different threads. On a document with which a model fails nothing
    changes: it is counted as failed, and what was stored of it before stays.
    """

    def __init__(
        self, corpus: Corpus, changes: Changes, counts: Counts, failures: Failures, turn: Lock
    ) -> None:
        self._corpus = corpus
        self._changes = changes
        self._counts = counts
        self._failures = failures
        self._turn = turn
        self._waiting: Waiting[_Waiter] = Waiting()

    def plan(self, groups: Iterable[Sequence[CutDocument]]) -> Iterator[Batch]:
        """Yield what has to be embedded for these documents, and store what has not.

        Each text is yielded once, and not at all where the store has its vectors.
        """
        for window in _windows(groups):
            with self._turn:
                lengths = self._begin(window)
            yield from batches_of(lengths, self._corpus.manifest.keys)

    def write(self, embedded: EmbeddedBatch) -> None:
        """Store the chunks that waited for these texts, and finish the documents that are whole now."""
        with self._turn:
            waiters: list[_Waiter] = []
            rows: list[int] = []
            for i, text in enumerate(embedded.batch.texts):
                waiting = self._waiting.take(text)
                for _, version in waiting:
                    version.failure = version.failure or embedded.failures.get(i)
                if i not in embedded.failures:
                    waiters += waiting
                    rows += [i] * len(waiting)
                    self._counts.reused_chunks += len(waiting) - 1
                else:
                    self._arrived(waiting)
            self._store(waiters, {key: array[rows] for key, array in embedded.vectors.items()})

    def _begin(self, window: Sequence[CutDocument]) -> dict[str, int]:
        """Take documents in; return the texts to embed, with their lengths.

        Nothing is deleted before the store was asked for vectors: a text may move to another document.
        """
        versions = [version for cut in window if (version := self._version(cut)) is not None]
        waiters = [(chunk, version) for version in versions for chunk in version.new]
        self._counts.planned_chunks += len(waiters)
        known = self._known(waiters)
        ready = [waiter for waiter in waiters if waiter[0].embedded_text in known]
        for portion in portions(ready):
            self._store(portion, _stacked([known[chunk.embedded_text] for chunk, _ in portion]))
        self._counts.reused_chunks += len(ready)
        self._finish([version for version in versions if not version.new])
        lengths: dict[str, int] = {}
        for chunk, version in waiters:
            text = chunk.embedded_text
            if text not in known:
                if text not in self._waiting:
                    lengths[text] = chunk.token_count
                self._waiting.add(text, (chunk, version))
        return lengths

    def _version(self, cut: CutDocument) -> _Version | None:
        """Return what a document is to become; None for one that could not be cut, which fails."""
        change = self._changes.take(cut.document.doc_id)
        if cut.reason is not None:
            self._failures.fail(cut.document.doc_id, cut.reason)
            return None
        new = [chunk for chunk in cut.chunks if chunk.chunk_id not in change.stored_ids]
        return _Version(
            doc_id=cut.document.doc_id,
            change=change,
            chunk_ids=frozenset(chunk.chunk_id for chunk in cut.chunks),
            kept=[chunk for chunk in cut.chunks if chunk.chunk_id in change.stored_ids],
            new=new,
            missing=len(new),
        )

    def _known(self, waiters: Sequence[_Waiter]) -> dict[str, Mapping[str, FloatArray]]:
        """Return the vectors of those texts that the store has, for whichever chunk."""
        texts = distinct(chunk.embedded_text for chunk, _ in waiters)
        keys = self._corpus.manifest.keys
        known: dict[str, Mapping[str, FloatArray]] = {}
        for portion in portions([text for text in texts if text not in self._waiting]):
            known.update(self._corpus.vectors_by_text(portion, keys))
        return known

    def _store(self, waiters: Sequence[_Waiter], vectors: Mapping[str, FloatArray]) -> None:
        for portion in portions(range(len(waiters))):
            part = [waiters[i] for i in portion]
            self._corpus.write(
                [chunk for chunk, _ in part],
                {key: array[portion] for key, array in vectors.items()},
                document_hash={version.doc_id: version.change.document_hash for _, version in part},
                chunk_count={version.doc_id: len(version.chunk_ids) for _, version in part},
            )
            self._counts.written_chunks += len(part)
            self._counts.written_tokens += sum(chunk.token_count for chunk, _ in part)
        self._arrived(waiters)

    def _arrived(self, waiters: Sequence[_Waiter]) -> None:
        """Count chunks that wait no longer, and finish the documents that wait for none."""
        whole = []
        for _, version in waiters:
            version.missing -= 1
            if version.missing == 0:
                whole.append(version)
        self._finish([version for version in whole if version.failure is None])
        for version in whole:
            if version.failure is not None:
                self._withdraw(version)
                self._failures.fail(version.doc_id, version.failure)

    def _finish(self, versions: Sequence[_Version]) -> None:
        """Say the same of all chunks of a document, and delete those that are no longer part of it."""
        kept = [(chunk, version) for version in versions for chunk in version.kept]
        for portion in portions(kept):
            self._corpus.write_payloads(
                [chunk for chunk, _ in portion],
                document_hash={version.doc_id: version.change.document_hash for _, version in portion},
                chunk_count={version.doc_id: len(version.chunk_ids) for _, version in portion},
            )
        for stale in portions(sorted(set().union(*(version.stale_ids for version in versions)))):
            self._corpus.delete_chunks(stale)
        for version in versions:
            if version.change.stored is None:
                self._counts.new += 1
            else:
                self._counts.changed += 1

    def _withdraw(self, version: _Version) -> None:
        """Delete what is stored of a version that failed, also by a run that was cut short."""
        this_hash = Matches(key=f"{OWN_FIELD}.document_hash", values=(version.change.document_hash,))
        where = AllOf(parts=(of_documents([version.doc_id]), this_hash))
        self._corpus.delete_chunks(
            [chunk.chunk_id for chunks in self._corpus.chunks(where) for chunk in chunks]
        )


def _windows(groups: Iterable[Sequence[CutDocument]]) -> Iterator[list[CutDocument]]:
    """Yield documents in lists of about as many chunks as are sorted together.

    A source that breaks off loses none of the documents that came before.
    """
    window: list[CutDocument] = []
    chunks = 0
    try:
        for group in groups:
            window += group
            chunks += sum(len(cut.chunks) for cut in group)
            if chunks >= CHUNKS_PER_WINDOW:
                yield window
                window, chunks = [], 0
    except Exception:
        yield window
        raise
    yield window


def _stacked(vectors: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    return {key: np.stack([one[key] for one in vectors]) for key in vectors[0]}
