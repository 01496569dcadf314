"""Vectors into the collection: what is missing is embedded and written, what is stale deleted.

The store is the only truth. Ids of chunks are hashes of what a chunk is, and each chunk carries the
hash of its document and the number of its chunks; so the store itself tells which documents are
there whole and which vectors can be kept. A document's new chunks are written first, then those
that stay, and last its old ones are deleted: a model that fails leaves what was stored as it was, and
after an interruption at any point the same run again ends in the same collection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest.chunks import Chunker
from ingest.documents import FailedDocument
from ingest.lengths import LengthGuard
from ingest.vectors import Embedder
from retriever.corpus import Corpus, StoredDocument
from retriever.errors import EmbeddingError, InputError, ModelTooShortError
from retriever.models.protocol import FloatArray
from retriever.payload import OWN_FIELD, RESERVED_FIELDS
from retriever.records import Chunk, Document, fingerprint_of
from retriever.store.filters import AllOf, HasId, Matches, missing_vector, of_documents

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

    @property
    def stale_ids(self) -> frozenset[str]:
        return self.stored_ids - {chunk.chunk_id for chunk in self.chunks}


class CollectionWriter:
    """Brings documents of a corpus up to date.

    `counts` tells what it did so far; `on_progress` is called with it after every few documents.
    """

    def __init__(
        self,
        corpus: Corpus,
        chunker: Chunker,
        embedder: Embedder,
        *,
        guards: Sequence[LengthGuard],
        on_progress: Callable[[Counts], None],
    ) -> None:
        self._guards = guards
        self._on_progress = on_progress
        self._corpus = corpus
        self._chunker = chunker
        self._embedder = embedder
        self._failed: set[str] = set()
        self.counts = Counts()

    def write(self, documents: Sequence[Document]) -> None:
        """Bring these documents up to date: at most a few dozen, whose chunks fit in memory.

        A document on which a model fails is counted as failed and left as it was stored before.
        """
        usable = [document for document in documents if self._is_usable(document)]
        stored = self._corpus.stored_documents([document.doc_id for document in usable])
        versions = []
        for document in usable:
            try:
                version = self._version(document, stored.get(document.doc_id))
            except InputError as error:
                self._fail(document.doc_id, str(error))
                continue
            if version is None:
                self.counts.unchanged += 1
            else:
                versions.append(version)
        self._on_progress(self.counts)
        for part in _parts(versions):
            self._store(part)
            self._on_progress(self.counts)

    def fill(self, key: str) -> None:
        """Embed with one model the stored chunks that have no vector of it.

        A document on which the model fails is counted as failed; it stays without this vector.
        """
        for chunks in self._corpus.chunks(missing_vector(key)):
            self._fill(key, chunks)

    def _fill(self, key: str, chunks: Sequence[Chunk]) -> None:
        """Embed some chunks together; if the model fails on one of them, each by itself."""
        try:
            self._embed_stored(key, chunks)
        except EmbeddingError as error:
            if len(chunks) > 1:
                for chunk in chunks:
                    self._fill(key, [chunk])
                return
            self._fail(chunks[0].doc_id, f"stored, but without its vectors of {key}: {error}")

    def _embed_stored(self, key: str, chunks: Sequence[Chunk]) -> None:
        vectors = self._embedder.embed([chunk.text for chunk in chunks], keys=[key])[key]
        self._corpus.write_vectors(key, [chunk.chunk_id for chunk in chunks], vectors)

    def _is_usable(self, document: Document) -> bool:
        reason = _objection(document)
        if reason is not None:
            self._fail(document.doc_id, reason)
        return reason is None

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
            self._withdraw(version)
            self._fail(version.document.doc_id, str(error))
            return
        self._corpus.delete_chunks(set().union(*(version.stale_ids for version in versions)))
        for version in versions:
            self._count(version)

    def _withdraw(self, version: _Version) -> None:
        """Delete what is stored of a version that failed, also by a run that was cut short."""
        this_hash = Matches(key=f"{OWN_FIELD}.document_hash", values=(version.document_hash,))
        where = AllOf(parts=(of_documents([version.document.doc_id]), this_hash))
        self._corpus.delete_chunks(
            [chunk.chunk_id for chunks in self._corpus.chunks(where) for chunk in chunks]
        )

    def _write_chunks(self, versions: Sequence[_Version]) -> None:
        chunks = [chunk for version in versions for chunk in version.chunks]
        for guard in self._guards:
            guard.check(chunks)
        hashes = {version.document.doc_id: version.document_hash for version in versions}
        sizes = {version.document.doc_id: len(version.chunks) for version in versions}
        stored_ids = frozenset().union(*(version.stored_ids for version in versions))
        kept = {chunk.chunk_id for chunk in chunks if chunk.chunk_id in stored_ids}
        self._complete(kept)
        new_first = sorted(chunks, key=lambda chunk: chunk.chunk_id in kept)
        for start in range(0, len(chunks), CHUNKS_PER_WRITE):
            part = new_first[start : start + CHUNKS_PER_WRITE]
            vectors = self._vectors(part, kept)
            self._corpus.write(part, vectors, document_hash=hashes, chunk_count=sizes)

    def _complete(self, chunk_ids: Collection[str]) -> None:
        """Give stored chunks the vectors that they lack, of models added since."""
        if not chunk_ids:
            return
        for key in self._corpus.manifest.keys:
            where = AllOf(parts=(missing_vector(key), HasId(ids=tuple(chunk_ids))))
            for chunks in self._corpus.chunks(where):
                self._embed_stored(key, chunks)

    def _vectors(self, chunks: Sequence[Chunk], kept: Collection[str]) -> dict[str, FloatArray]:
        """Return vectors of all models: those of stored chunks as they are, the others embedded.

        A chunk id is a hash of its text, so the same id has the same vectors.
        """
        keys = self._corpus.manifest.keys
        known = self._corpus.vectors_of([chunk.chunk_id for chunk in chunks if chunk.chunk_id in kept])
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

    def _count(self, version: _Version) -> None:
        if version.stored is None:
            self.counts.new += 1
        else:
            self.counts.changed += 1
        self.counts.written_chunks += len(version.chunks)
        self.counts.written_tokens += sum(chunk.token_count for chunk in version.chunks)

    def _fail(self, doc_id: str, reason: str) -> None:
        if doc_id not in self._failed:
            self._failed.add(doc_id)
            self.counts.failed.append(FailedDocument(doc_id=doc_id, where=doc_id, reason=reason))


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
