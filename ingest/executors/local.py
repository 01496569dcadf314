"""The work of a run, done in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ingest.chunks import Chunker
from ingest.executors.protocol import CutDocument
from ingest.lengths import LengthGuard
from ingest.vectors import Batch, EmbeddedBatch, Embedder
from retriever.errors import InputError, ModelTooShortError
from retriever.records import Document


class LocalExecutor:
    """Cuts and embeds as it is asked to; see `ingest.executors.protocol.Executor`."""

    def __init__(
        self, corpus: str, chunker: Chunker, guards: Sequence[LengthGuard], embedder: Embedder
    ) -> None:
        self._corpus = corpus
        self._chunker = chunker
        self._guards = guards
        self._embedder = embedder

    def cut(self, groups: Iterable[Sequence[Document]]) -> Iterator[Sequence[CutDocument]]:
        """Yield the documents of each group with their chunks, in order."""
        for group in groups:
            yield [cut_document(document, self._corpus, self._chunker, self._guards) for document in group]

    def embed(self, batches: Iterable[Batch]) -> Iterator[EmbeddedBatch]:
        """Yield each batch with its vectors, in order."""
        for batch in batches:
            yield self._embedder.embed(batch)

    def close(self) -> None:
        """Do nothing: the models belong to whoever loaded them."""


def cut_document(
    document: Document, corpus: str, chunker: Chunker, guards: Sequence[LengthGuard]
) -> CutDocument:
    """Return a document with its chunks, all short enough for every model, or with the reason why not."""
    try:
        chunks = chunker.chunks(document, corpus)
        for guard in guards:
            guard.check(chunks)
    except (InputError, ModelTooShortError) as error:
        return CutDocument(document=document, reason=str(error))
    return CutDocument(document=document, chunks=chunks)
