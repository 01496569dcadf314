"""Reading a corpus: its manifest and deployments, its chunks with their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from retriever import payload
from retriever.any_case import resolved
from retriever.border import check_queries, difference
from retriever.corpus.record import CorpusRecord
from retriever.errors import CorpusUnfinishedError, InputError, ModelMismatchError, StoreCorruptError
from retriever.models.protocol import FloatArray
from retriever.records import LEXICAL, Chunk, Combination, CorpusManifest, Deployment, ModelSpec
from retriever.store.filters import AllOf, Condition, HasId, HasVector, Matches, of_documents
from retriever.store.protocol import Collection as PointCollection
from retriever.store.protocol import Point, ScoredPoint, SparseVector

_DOCUMENT_FIELDS = ("doc_id", payload.OWN_FIELD)
"""What `retriever.payload.document_of` reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDocument:
    """What is stored of one document; `complete` if it is whole and of one version."""

    doc_id: str
    chunk_ids: frozenset[str]
    document_hash: str
    complete: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVectors:
    """All vectors of a corpus: row i of every array belongs to ``chunk_ids[i]`` of ``doc_ids[i]``."""

    chunk_ids: tuple[str, ...]
    doc_ids: tuple[str, ...]
    by_model: Mapping[str, FloatArray]


class CorpusReader:
    """What is asked of an open corpus; `retriever.corpus.Corpus` adds what changes it."""

    def __init__(self, collection: PointCollection, *, location: str) -> None:
        self._collection = collection
        self._location = location
        self._record = self._read()

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.manifest.corpus

    @property
    def location(self) -> str:
        """Where the store is, for messages."""
        return self._location

    @property
    def manifest(self) -> CorpusManifest:
        """What it was made with."""
        return self._record.manifest

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """All deployments, oldest first."""
        return self._record.deployments

    @property
    def served(self) -> Deployment | None:
        """The deployment that is served; None where there is none."""
        return self._record.served

    @property
    def serving(self) -> int:
        """The place of the deployment that is served in the list of all, from 0; -1 where there is none."""
        count = len(self._record.deployments)
        return count - 1 if self._record.serving is None else self._record.serving

    def refresh(self) -> None:
        """Read the record again: others may have written it since."""
        self._record = self._read()

    def check_model(self, spec: ModelSpec) -> None:
        """Raise `ModelMismatchError` unless `spec` is the model of its key that was stored."""
        stored = self._manifest.model(spec.key)
        if stored.fingerprint != spec.fingerprint:
            raise ModelMismatchError(
                f"corpus {self.name!r} at {self._location}, vectors {spec.key!r}: "
                f"{difference(stored, spec)}. Load the model that was stored, "
                "or ingest into a corpus of another name."
            )

    def vectors_of(self, chunk_ids: Sequence[str]) -> dict[str, Mapping[str, FloatArray]]:
        """Return the vectors by model key of those of these chunks that have one of every model."""
        keys = self._manifest.keys
        if not chunk_ids:
            return {}
        where = HasId(ids=tuple(chunk_ids))
        return {
            point.point_id: point.dense
            for points in self._collection.scroll(where=where, with_vectors=keys, fields=())
            for point in points
            if all(key in point.vectors for key in keys)
        }

    def vectors_by_text(
        self, texts: Sequence[str], keys: Sequence[str]
    ) -> dict[str, Mapping[str, FloatArray]]:
        """Return, of those of these texts that a stored chunk was embedded from, its vectors by model key.

        A text is what the models embed (`Chunk.embedded_text`), compared whole; chunks that lack the
        vectors of one of `keys` do not count. Of chunks of an earlier release, which stored no hash of
        the text, none is found.
        """
        found: dict[str, Mapping[str, FloatArray]] = {}
        wanted = set(texts)
        while wanted:
            hashes = tuple(sorted({payload.text_hash(text) for text in wanted}))
            conditions: list[Condition] = [Matches(key=payload.TEXT_HASH, values=hashes)]
            conditions += [HasVector(name=key) for key in keys]
            # A text may be that of very many chunks: what is found is not asked for again.
            for points in self._collection.scroll(where=AllOf(parts=tuple(conditions)), with_vectors=keys):
                before = len(found)
                for point in points:
                    text = payload.to_chunk(point.payload).embedded_text
                    if text in wanted:
                        found.setdefault(text, point.dense)
                if len(found) > before:
                    break
            else:
                break
            wanted.difference_update(found)
        return found

    def stored_documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Return what is stored of those of these documents that are."""
        found: dict[str, list[Point]] = {}
        if doc_ids:
            where = of_documents(doc_ids)
            for points in self._collection.scroll(where=where, fields=_DOCUMENT_FIELDS):
                for point in points:
                    found.setdefault(point.payload["doc_id"], []).append(point)
        return {doc_id: _stored_document(doc_id, points) for doc_id, points in found.items()}

    def stored_document_ids(self) -> Iterator[str]:
        """Yield the document id of every stored chunk, so most ids more than once and in no order.

        What it needs does not grow with the corpus. Every document is met that has any chunk stored,
        also one whose first chunk an interruption has left out.
        """
        for points in self._collection.scroll(fields=("doc_id",)):
            for point in points:
                yield point.payload["doc_id"]

    def document_ids(self) -> set[str]:
        """Return the ids of all documents that have a chunk stored: of given nodes, their sources."""
        return {
            payload.document_of(point.payload)
            for points in self._collection.scroll(fields=_DOCUMENT_FIELDS)
            for point in points
        }

    def count_chunks(self, where: Condition | None = None) -> int:
        """Return the exact number of chunks, or of those for which `where` holds."""
        return self._collection.count(self.resolved(where))

    def chunks(self, where: Condition | None = None) -> Iterator[list[Chunk]]:
        """Yield stored chunks in lists, in the order of their ids."""
        for points in self._collection.scroll(where=self.resolved(where)):
            yield [payload.to_chunk(point.payload) for point in points]

    def resolved(self, where: Condition | None) -> Condition | None:
        """Return a condition that engines know and that holds for the same chunks as they are now."""
        return resolved(where, self._fields)

    def texts(self) -> Iterator[str]:
        """Yield what was embedded of each stored chunk, in the order of their ids."""
        for chunks in self.chunks():
            for chunk in chunks:
                yield chunk.embedded_text

    def payloads(self, where: Condition) -> Iterator[Mapping[str, Any]]:
        """Yield the payloads of matching chunks, in the order of their ids."""
        for points in self._collection.scroll(where=where):
            for point in points:
                yield point.payload

    def vector_blocks(self, keys: Sequence[str]) -> Iterator[list[Point]]:
        """Yield the chunks that have vectors of all these models, with these, in the order of their ids."""
        where = AllOf(parts=tuple(HasVector(name=key) for key in keys))
        yield from self._collection.scroll(where=where, with_vectors=keys, fields=())

    def complete_blocks(self, keys: Sequence[str]) -> Iterator[list[Point]]:
        """Yield all chunks with what names their document and these vectors, in the order of their ids.

        Raises
        ------
        StoreCorruptError
            If a chunk lacks one of them (an ingest that was cut short: run it again).
        """
        for points in self._collection.scroll(with_vectors=keys, fields=_DOCUMENT_FIELDS):
            for point in points:
                self._check_complete(point, keys)
            yield points

    def read_vectors(self, keys: Sequence[str]) -> StoredVectors:
        """Return all vectors of these models, in the order of the chunk ids.

        Raises
        ------
        StoreCorruptError
            If a chunk lacks one of them (an ingest that was cut short: run it again).
        """
        points = [point for block in self.complete_blocks(keys) for point in block]
        return StoredVectors(
            chunk_ids=tuple(point.point_id for point in points),
            doc_ids=tuple(payload.document_of(point.payload) for point in points),
            by_model={
                key: np.array([point.vectors[key] for point in points], dtype=np.float32).reshape(
                    len(points), self._manifest.model(key).dimensions
                )
                for key in keys
            },
        )

    def search(  # noqa: PLR0913  # what a search is
        self,
        queries: FloatArray,
        *,
        combination: Combination,
        k: int,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
        approximate: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Return the best `k` chunks per query, exactly; see the store's `search`.

        Raises
        ------
        ShapeError
            If the queries are not finite float32 vectors of the size of the combination.
        InputError
            If the corpus does not have this vector.
        """
        size = sum(self._manifest.size(part) for part in combination.parts)
        if not combination.is_stored_anyway and combination not in self._manifest.combinations:
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected a vector that is there "
                f"({', '.join([*self._manifest.keys, *self._manifest.derived])}), got "
                f"{combination.vector!r}. Deploy it first."
            )
        check_queries(combination.vector, queries, size=size)
        return self._collection.search(
            queries,
            vector=combination.vector,
            k=k,
            where=where,
            with_vectors=with_vectors,
            approximate=approximate,
        )

    def search_lexical(
        self,
        query: SparseVector,
        *,
        k: int,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[ScoredPoint]:
        """Return the best `k` chunks by BM25; those that share no token with the query are not found."""
        return self._collection.search_sparse(
            query, vector=LEXICAL, k=k, where=where, with_vectors=with_vectors
        )

    def count_above(
        self, query: FloatArray, *, combination: Combination, score: float, where: Condition | None = None
    ) -> int:
        """Return how many chunks score higher than `score`."""
        return self._collection.count_above(query, vector=combination.vector, score=score, where=where)

    def count_lexical_above(
        self, query: SparseVector, *, score: float, where: Condition | None = None
    ) -> int:
        """Return how many chunks score higher than `score` by BM25."""
        return self._collection.count_above(query, vector=LEXICAL, score=score, where=where)

    def points(self, chunk_ids: Sequence[str], *, with_vectors: Sequence[str] = ()) -> dict[str, Point]:
        """Return those of these chunks that are stored, as they are stored, by id."""
        if not chunk_ids:
            return {}
        where = HasId(ids=tuple(chunk_ids))
        return {
            point.point_id: point
            for points in self._collection.scroll(where=where, with_vectors=with_vectors)
            for point in points
        }

    def prepare(self, combination: Combination) -> None:
        """Make searches of this vector as fast as they will be; see the store's `prepare`."""
        self._collection.prepare(combination.vector)

    def close(self) -> None:
        """Release the store."""
        self._collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _manifest(self) -> CorpusManifest:
        return self._record.manifest

    def _fields(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        for points in self._collection.scroll(fields=names):
            for point in points:
                yield point.payload

    def _read(self) -> CorpusRecord:
        record = CorpusRecord.from_json(self._collection.read_record())
        if record.copied_from:
            raise CorpusUnfinishedError(
                f"corpus {record.manifest.corpus!r} at {self._location}: expected it whole, found a copy of "
                f"{record.copied_from} that was cut short, or goes on. Run the same `tandem copy` again: it "
                "continues where it stopped."
            )
        return record

    def _check_complete(self, point: Point, keys: Sequence[str]) -> None:
        for key in keys:
            if key not in point.vectors:
                raise StoreCorruptError(
                    f"corpus {self.name!r} at {self._location}: expected vectors of {key} for every chunk, "
                    f"chunk {point.point_id} has none. Run the same `ingest run` again to complete it."
                )


def _stored_document(doc_id: str, points: Sequence[Point]) -> StoredDocument:
    own = [point.payload[payload.OWN_FIELD] for point in points]
    versions = {(fields["document_hash"], fields["chunk_count"]) for fields in own}
    document_hash, chunk_count = next(iter(versions))
    return StoredDocument(
        doc_id=doc_id,
        chunk_ids=frozenset(point.point_id for point in points),
        document_hash=document_hash,
        complete=len(versions) == 1 and len(points) == chunk_count,
    )
