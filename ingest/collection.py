"""Vectors into the collection: what is missing is embedded and written, what is stale deleted.

The store is the only truth. Ids of chunks are hashes of what a chunk is, and each chunk carries the
hash of its document and the number of its chunks; so the store itself tells which documents are
there whole and which vectors can be kept. A document's new chunks are written before its old ones
are deleted: after an interruption at any point the same run again ends in the same collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest.chunks import Chunker
from ingest.documents import FailedDocument
from ingest.lengths import LengthGuard
from ingest.vectors import Embedder
from retriever.corpus import Corpus, StoredDocument
from retriever.errors import EmbeddingError, ModelTooShortError
from retriever.models.protocol import FloatArray
from retriever.payload import RESERVED_FIELDS
from retriever.records import Chunk, Document, fingerprint_of
from retriever.store.filters import missing_vector

CHUNKS_PER_WRITE = 256
"""How many chunks are embedded and stored at a time: what an interruption loses at most."""


@dataclass(kw_only=True, slots=True)
class Counts:
    """What has been done so far, counted in documents and chunks."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    written_chunks: int = 0
    written_tokens: int = 0
    failed: list[FailedDocument] = field(default_factory=list)

    @property
    def documents(self) -> int:
        """All documents seen."""
        return self.new + self.changed + self.unchanged + len(self.failed)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Version:
    """A document as it shall be stored, and what is stored of it now."""

    document: Document
    document_hash: str
    chunks: Sequence[Chunk]
    stored: StoredDocument | None

    @property
    def stored_ids(self) -> frozenset[str]:
        return frozenset() if self.stored is None else self.stored.chunk_ids


class CollectionWriter:
    """Brings documents of a corpus up to date; `counts` tells what it did."""

    def __init__(
        self, corpus: Corpus, chunker: Chunker, embedder: Embedder, *, guards: Sequence[LengthGuard] = ()
    ) -> None:
        self._guards = guards
        self._corpus = corpus
        self._chunker = chunker
        self._embedder = embedder
        self.counts = Counts()

    def write(self, documents: Sequence[Document]) -> None:
        """Bring these documents up to date: at most a few dozen, whose chunks fit in memory.

        A document on which a model fails is counted as failed and left as it was stored before.
        """
        usable = [document for document in documents if self._is_usable(document)]
        stored = self._corpus.stored_documents([document.doc_id for document in usable])
        versions = []
        for document in usable:
            version = self._version(document, stored.get(document.doc_id))
            if version is None:
                self.counts.unchanged += 1
            else:
                versions.append(version)
        for part in _parts(versions):
            self._store(part)

    def fill(self, key: str) -> None:
        """Embed with one model the stored chunks that have no vector of it."""
        for chunks in self._corpus.chunks(missing_vector(key)):
            vectors = self._embedder.embed([chunk.text for chunk in chunks], keys=[key])[key]
            self._corpus.write_vectors(key, [chunk.chunk_id for chunk in chunks], vectors)

    def _is_usable(self, document: Document) -> bool:
        taken = sorted(RESERVED_FIELDS & set(document.metadata))
        if taken:
            self._fail(
                document, f"metadata: expected other names than {', '.join(taken)}, which are reserved"
            )
        return not taken

    def _version(self, document: Document, stored: StoredDocument | None) -> _Version | None:
        identity = {"document": document.content_hash, "chunker": self._chunker.spec.fingerprint}
        document_hash = fingerprint_of(identity)
        if stored is not None and stored.complete and stored.document_hash == document_hash:
            return None
        return _Version(
            document=document,
            document_hash=document_hash,
            chunks=self._chunker.chunks(document, self._corpus.name),
            stored=stored,
        )

    def _store(self, versions: Sequence[_Version]) -> None:
        """Store some documents together; if a model fails on one of them, each by itself."""
        try:
            self._write_chunks(versions)
        except (EmbeddingError, ModelTooShortError) as error:
            if len(versions) > 1:
                for version in versions:
                    self._store([version])
                return
            (version,) = versions
            self._corpus.delete_chunks({chunk.chunk_id for chunk in version.chunks} - version.stored_ids)
            self._fail(version.document, str(error))
            return
        for version in versions:
            self._finish(version)

    def _write_chunks(self, versions: Sequence[_Version]) -> None:
        for guard in self._guards:
            guard.check([chunk for version in versions for chunk in version.chunks])
        hashes = {version.document.doc_id: version.document_hash for version in versions}
        sizes = {version.document.doc_id: len(version.chunks) for version in versions}
        kept = frozenset().union(*(version.stored_ids for version in versions))
        chunks = [chunk for version in versions for chunk in version.chunks]
        for start in range(0, len(chunks), CHUNKS_PER_WRITE):
            part = chunks[start : start + CHUNKS_PER_WRITE]
            vectors = self._vectors(part, kept)
            self._corpus.write(part, vectors, document_hash=hashes, chunk_count=sizes)

    def _vectors(self, chunks: Sequence[Chunk], stored_ids: frozenset[str]) -> dict[str, FloatArray]:
        """Return vectors of all models: those of stored chunks as they are, the others embedded.

        A chunk id is a hash of its text, so the same id has the same vectors.
        """
        keys = self._corpus.manifest.keys
        known = self._corpus.vectors_of([chunk.chunk_id for chunk in chunks if chunk.chunk_id in stored_ids])
        missing = [chunk for chunk in chunks if chunk.chunk_id not in known]
        fresh = self._embedder.embed([chunk.text for chunk in missing], keys=keys)
        row = {chunk.chunk_id: i for i, chunk in enumerate(missing)}
        return {
            key: np.stack(
                [
                    known[chunk.chunk_id][key] if chunk.chunk_id in known else fresh[key][row[chunk.chunk_id]]
                    for chunk in chunks
                ]
            )
            for key in keys
        }

    def _finish(self, version: _Version) -> None:
        written = {chunk.chunk_id for chunk in version.chunks}
        self._corpus.delete_chunks(version.stored_ids - written)
        if version.stored is None:
            self.counts.new += 1
        else:
            self.counts.changed += 1
        self.counts.written_chunks += len(version.chunks)
        self.counts.written_tokens += sum(chunk.token_count for chunk in version.chunks)

    def _fail(self, document: Document, reason: str) -> None:
        self.counts.failed.append(
            FailedDocument(doc_id=document.doc_id, where=document.doc_id, reason=reason)
        )


def _parts(versions: Sequence[_Version]) -> Iterator[list[_Version]]:
    """Group documents so that each group has about as many chunks as are written at a time."""
    part: list[_Version] = []
    for version in versions:
        part.append(version)
        if sum(len(one.chunks) for one in part) >= CHUNKS_PER_WRITE:
            yield part
            part = []
    if part:
        yield part
