"""Vectors of models that were added later, for chunks that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np

from ingest.collection.counts import Counts, Failures
from ingest.collection.waiting import Waiting, distinct, portions
from ingest.vectors import Batch, EmbeddedBatch, batches_of
from retriever.corpus import Corpus
from retriever.records import Chunk
from retriever.store.filters import missing_vector


class VectorFiller:
    """Gives stored chunks the vectors of one model that they lack, from their stored text.

    `plan` and `write` may run in different threads. A document on whose text the model fails is
    counted as failed; it stays without this vector.
    """

    def __init__(self, corpus: Corpus, key: str, counts: Counts, failures: Failures, turn: Lock) -> None:
        self._corpus = corpus
        self._key = key
        self._counts = counts
        self._failures = failures
        self._turn = turn
        self._waiting: Waiting[Chunk] = Waiting()

    def plan(self) -> Iterator[Batch]:
        """Yield what has to be embedded; where the store has the vector of a text, it is copied."""
        pages = self._corpus.chunks(missing_vector(self._key))
        while True:
            with self._turn:
                chunks = next(pages, None)
                if chunks is None:
                    return
                lengths = self._begin(chunks)
            yield from batches_of(lengths, [self._key])

    def write(self, embedded: EmbeddedBatch) -> None:
        """Store the vectors of the chunks that waited for these texts."""
        with self._turn:
            chunks: list[Chunk] = []
            rows: list[int] = []
            for i, text in enumerate(embedded.batch.texts):
                waiting = self._waiting.take(text)
                if i in embedded.failures:
                    self._fail(waiting, embedded.failures[i])
                else:
                    chunks += waiting
                    rows += [i] * len(waiting)
            vectors = embedded.vectors[self._key][rows]
            for portion in portions(range(len(chunks))):
                part = [chunks[i].chunk_id for i in portion]
                self._corpus.write_vectors(self._key, part, vectors[portion])
            self._count(len(chunks))

    def _begin(self, chunks: Sequence[Chunk]) -> dict[str, int]:
        texts = distinct(chunk.embedded_text for chunk in chunks)
        unknown = [text for text in texts if text not in self._waiting]
        known = self._corpus.vectors_by_text(unknown, [self._key])
        ready = [chunk for chunk in chunks if chunk.embedded_text in known]
        if ready:
            vectors = np.stack([known[chunk.embedded_text][self._key] for chunk in ready])
            self._corpus.write_vectors(self._key, [chunk.chunk_id for chunk in ready], vectors)
            self._count(len(ready))
        lengths: dict[str, int] = {}
        for chunk in chunks:
            if chunk.embedded_text not in known:
                if chunk.embedded_text not in self._waiting:
                    lengths[chunk.embedded_text] = chunk.token_count
                self._waiting.add(chunk.embedded_text, chunk)
        return lengths

    def _count(self, chunks: int) -> None:
        self._counts.filled[self._key] = self._counts.filled.get(self._key, 0) + chunks

    def _fail(self, chunks: Sequence[Chunk], reason: str) -> None:
        for chunk in chunks:
            self._failures.fail(chunk.doc_id, f"stored, but without its vectors of {self._key}: {reason}")
