"""A corpus in a store: its manifest, its chunks with their vectors, its deployments.

What is written passes `retriever.border` first. Combined vectors are kept in step with the vectors
they are made of, in the same write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from retriever import payload
from retriever.border import check_distinct, check_queries, check_vectors, difference
from retriever.combine import concatenate, spread
from retriever.errors import InputError, ModelMismatchError, ShapeError, StoreCorruptError
from retriever.models.protocol import FloatArray
from retriever.records import COMBINED, Chunk, ChunkerSpec, CorpusManifest, Deployment, ModelSpec
from retriever.store.filters import AllOf, Condition, HasId, HasVector, missing_vector, of_documents
from retriever.store.protocol import Collection as PointCollection
from retriever.store.protocol import Point, ScoredPoint, VectorStore

_SPREAD_SAMPLE = 1000
_BATCH = 256


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


class Corpus:
    """One corpus, open. Use `create` or `open`, and close it, or use ``with``."""

    def __init__(self, collection: PointCollection, *, location: str) -> None:
        self._collection = collection
        self._location = location
        self._manifest, self._deployments = _read(collection)

    @classmethod
    def create(
        cls, store: VectorStore, name: str, *, chunker: ChunkerSpec, models: Sequence[ModelSpec]
    ) -> Self:
        """Create a corpus for these models, its manifest before its first vector.

        Raises
        ------
        CorpusExistsError
            If the store has one of this name.
        ModelMismatchError
            If two models have the same key.
        """
        manifest = CorpusManifest(corpus=name, chunker=chunker, models=check_distinct(models))
        sizes = {model.key: model.dimensions for model in models}
        return cls._of(store.create(name, vectors=sizes, record=_record(manifest, ())), store)

    @classmethod
    def open(cls, store: VectorStore, name: str) -> Self:
        """Open an existing corpus.

        Raises
        ------
        CorpusNotFoundError
            If the store has none of this name.
        StoreCorruptError
            If its record cannot be read.
        """
        return cls._of(store.open(name), store)

    @classmethod
    def _of(cls, collection: PointCollection, store: VectorStore) -> Self:
        try:
            return cls(collection, location=store.location)
        except BaseException:
            collection.close()
            raise

    @property
    def name(self) -> str:
        """Its name."""
        return self._manifest.corpus

    @property
    def location(self) -> str:
        """Where the store is, for messages."""
        return self._location

    @property
    def manifest(self) -> CorpusManifest:
        """What it was made with."""
        return self._manifest

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """All deployments, oldest first; the last one is served."""
        return self._deployments

    def check_model(self, spec: ModelSpec) -> None:
        """Raise `ModelMismatchError` unless `spec` is the model of its key that was stored."""
        stored = self._manifest.model(spec.key)
        if stored.fingerprint != spec.fingerprint:
            raise ModelMismatchError(
                f"corpus {self.name!r} at {self._location}, vectors {spec.key!r}: "
                f"{difference(stored, spec)}. Load the model that was stored, "
                "or ingest into a corpus of another name."
            )

    def add_models(self, models: Sequence[ModelSpec]) -> None:
        """Make room for models the corpus has not seen; their vectors are written afterwards.

        Of a model that is stored, the place it was loaded from is brought up to date.

        Raises
        ------
        ModelMismatchError
            If a model of the same key is stored and differs; nothing is added then.
        """
        self._refresh()
        given = {model.key: model for model in check_distinct(models)}
        stored = self._manifest.models
        for key in set(given) & set(self._manifest.keys):
            self.check_model(given[key])
        kept = tuple(given.get(model.key, model) for model in stored)
        added = tuple(model for key, model in given.items() if key not in self._manifest.keys)
        for model in added:
            self._collection.add_vector(model.key, model.dimensions)
        if (*kept, *added) != stored:
            self._save(replace(self._manifest, models=(*kept, *added)))

    def write(
        self,
        chunks: Sequence[Chunk],
        vectors: Mapping[str, FloatArray],
        *,
        document_hash: Mapping[str, str],
        chunk_count: Mapping[str, int],
    ) -> None:
        """Store chunks with the vectors of every model; combined vectors are made in the same write.

        Parameters
        ----------
        chunks
            Any number, of any documents.
        vectors : arrays by model key, float32, shape (n_chunks, d)
            Unit rows, for every model of the manifest.
        document_hash, chunk_count
            By document id, see `retriever.payload.to_payload`.

        Raises
        ------
        ShapeError
            If a model is missing or unknown, or an array is not as described; nothing is stored then.
        """
        unknown = sorted(set(vectors) - set(self._manifest.keys))
        if unknown:
            raise ShapeError(
                f"vectors: expected those of {', '.join(self._manifest.keys)}, "
                f"got {', '.join(unknown)} as well."
            )
        for key in self._manifest.keys:
            check_vectors(self._manifest.model(key), vectors.get(key), rows=len(chunks))
        self._refresh_combinations()
        stored = {**vectors, **self._combined(vectors)}
        self._collection.upsert(
            [
                Point(
                    point_id=chunk.chunk_id,
                    payload=payload.to_payload(
                        chunk,
                        document_hash=document_hash[chunk.doc_id],
                        chunk_count=chunk_count[chunk.doc_id],
                    ),
                    vectors={name: rows[i] for name, rows in stored.items()},
                )
                for i, chunk in enumerate(chunks)
            ]
        )

    def write_vectors(self, key: str, chunk_ids: Sequence[str], vectors: FloatArray) -> None:
        """Store one model's vectors of chunks that are there already."""
        check_vectors(self._manifest.model(key), vectors, rows=len(chunk_ids))
        self._collection.update_vectors(
            [
                Point(point_id=chunk_id, vectors={key: row})
                for chunk_id, row in zip(chunk_ids, vectors, strict=True)
            ]
        )

    def delete_documents(self, doc_ids: Sequence[str]) -> None:
        """Delete all chunks of these documents; unknown ones are no error."""
        if doc_ids:
            self._collection.delete(of_documents(doc_ids))

    def delete_chunks(self, chunk_ids: Collection[str]) -> None:
        """Delete these chunks; unknown ones are no error."""
        if chunk_ids:
            self._collection.delete(HasId(ids=tuple(chunk_ids)))

    def vectors_of(self, chunk_ids: Sequence[str]) -> dict[str, Mapping[str, FloatArray]]:
        """Return the vectors by model key of those of these chunks that have one of every model."""
        keys = self._manifest.keys
        if not chunk_ids:
            return {}
        where = HasId(ids=tuple(chunk_ids))
        return {
            point.point_id: point.vectors
            for points in self._collection.scroll(where=where, with_vectors=keys, fields=())
            for point in points
            if all(key in point.vectors for key in keys)
        }

    def stored_documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Return what is stored of those of these documents that are."""
        found: dict[str, list[Point]] = {}
        if doc_ids:
            where = of_documents(doc_ids)
            for points in self._collection.scroll(where=where, fields=("doc_id", payload.OWN_FIELD)):
                for point in points:
                    found.setdefault(point.payload["doc_id"], []).append(point)
        return {doc_id: _stored_document(doc_id, points) for doc_id, points in found.items()}

    def document_ids(self) -> set[str]:
        """Return the ids of all documents that have a chunk stored."""
        return {
            point.payload["doc_id"]
            for points in self._collection.scroll(fields=("doc_id",))
            for point in points
        }

    def count_chunks(self, where: Condition | None = None) -> int:
        """Return the exact number of chunks, or of those for which `where` holds."""
        return self._collection.count(where)

    def chunks(self, where: Condition | None = None) -> Iterator[list[Chunk]]:
        """Yield stored chunks in lists, in the order of their ids."""
        for points in self._collection.scroll(where=where):
            yield [payload.to_chunk(point.payload) for point in points]

    def read_vectors(self, keys: Sequence[str]) -> StoredVectors:
        """Return all vectors of these models, in the order of the chunk ids.

        Raises
        ------
        StoreCorruptError
            If a chunk lacks one of them (an ingest that was cut short: run it again).
        """
        points = [
            point
            for batch in self._collection.scroll(with_vectors=keys, fields=("doc_id",))
            for point in batch
        ]
        for point in points:
            self._check_complete(point, keys)
        return StoredVectors(
            chunk_ids=tuple(point.point_id for point in points),
            doc_ids=tuple(point.payload["doc_id"] for point in points),
            by_model={
                key: np.array([point.vectors[key] for point in points], dtype=np.float32).reshape(
                    len(points), self._manifest.model(key).dimensions
                )
                for key in keys
            },
        )

    def search(
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: Condition | None = None,
    ) -> list[list[ScoredPoint]]:
        """Return the best `k` chunks per query with their vectors, exactly; see the store's `search`.

        Raises
        ------
        ShapeError
            If the queries are not finite float32 vectors of the size of `vector`.
        """
        size = sum(self._manifest.model(key).dimensions for key in vector.split(COMBINED))
        check_queries(vector, queries, size=size)
        return self._collection.search(queries, vector=vector, k=k, where=where, with_vectors=(vector,))

    def add_combination(self, keys: Sequence[str]) -> None:
        """Keep the concatenated vectors of these models, made from stored vectors; nothing is embedded.

        A rerun after an interruption fills what is missing.

        Raises
        ------
        InputError
            If the corpus has no vectors of one of the models, or there are fewer than two.
        """
        self._refresh()
        keys = self._manifest.ordered(keys)
        name = COMBINED.join(keys)
        if len(keys) == 1:
            raise InputError(f"combination: expected two models or more, got {name} alone.")
        if keys not in self._manifest.combinations:
            size = sum(self._manifest.model(key).dimensions for key in keys)
            self._collection.add_vector(name, size)
            self._save(replace(self._manifest, combinations=(*self._manifest.combinations, keys)))
        self._fill_combination(keys)

    def measure_spreads(self) -> None:
        """Measure each model's spread of cosines on a sample of chunks and keep it in the manifest.

        Ids of chunks are hashes, so the first ones in the order of ids are a random sample that
        every run draws alike.
        """
        sample: list[Point] = []
        for points in self._collection.scroll(with_vectors=self._manifest.keys, fields=()):
            sample.extend(points)
            if len(sample) >= _SPREAD_SAMPLE:
                break
        spreads: dict[str, float] = {}
        for key in self._manifest.keys:
            rows = [point.vectors[key] for point in sample[:_SPREAD_SAMPLE] if key in point.vectors]
            if len(rows) > 1:
                spreads[key] = spread(np.array(rows, dtype=np.float32))
        self._refresh()
        self._save(replace(self._manifest, spreads=spreads))

    def add_deployment(self, deployment: Deployment) -> None:
        """Serve this from now on: one atomic write; readers see the old one or the new one."""
        self._refresh()
        self._save(self._manifest, (*self._deployments, deployment))

    def flush(self) -> None:
        """Return when everything written survives a power failure."""
        self._collection.flush()

    def close(self) -> None:
        """Release the store."""
        self._collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refresh(self) -> None:
        # Others may have the corpus open and have written since: a change starts from what is there.
        self._manifest, self._deployments = _read(self._collection)

    def _refresh_combinations(self) -> None:
        # A deployment made while an ingest runs adds one, and finds no chunk that is written without.
        found = _read(self._collection)[0].combinations
        known = set(self._manifest.keys)
        combinations = tuple(keys for keys in found if known.issuperset(keys))
        self._manifest = replace(self._manifest, combinations=combinations)

    def _save(self, manifest: CorpusManifest, deployments: Iterable[Deployment] | None = None) -> None:
        kept = self._deployments if deployments is None else tuple(deployments)
        self._collection.write_record(_record(manifest, kept))
        self._manifest, self._deployments = manifest, kept

    def _combined(self, vectors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {
            COMBINED.join(keys): concatenate([vectors[key] for key in keys])
            for keys in self._manifest.combinations
        }

    def _fill_combination(self, keys: tuple[str, ...]) -> None:
        name = COMBINED.join(keys)
        missing = AllOf(parts=(missing_vector(name), *(HasVector(name=key) for key in keys)))
        for points in self._collection.scroll(where=missing, with_vectors=keys, fields=(), batch=_BATCH):
            parts = [np.array([point.vectors[key] for point in points], dtype=np.float32) for key in keys]
            rows = concatenate(parts)
            self._collection.update_vectors(
                [
                    Point(point_id=point.point_id, vectors={name: row})
                    for point, row in zip(points, rows, strict=True)
                ]
            )

    def _check_complete(self, point: Point, keys: Sequence[str]) -> None:
        for key in keys:
            if key not in point.vectors:
                raise StoreCorruptError(
                    f"corpus {self.name!r} at {self._location}: expected vectors of {key} for every chunk, "
                    f"chunk {point.point_id} has none. Run the same `ingest run` again to complete it."
                )


def _record(manifest: CorpusManifest, deployments: Iterable[Deployment]) -> dict[str, Any]:
    return {
        "manifest": manifest.to_json(),
        "deployments": [deployment.to_json() for deployment in deployments],
    }


def _read(collection: PointCollection) -> tuple[CorpusManifest, tuple[Deployment, ...]]:
    record = collection.read_record()
    try:
        manifest, deployments = record["manifest"], record["deployments"]
    except KeyError as error:
        raise StoreCorruptError(
            f"record: expected a manifest and deployments, got {sorted(record)}."
        ) from error
    return CorpusManifest.from_json(manifest), tuple(Deployment.from_json(value) for value in deployments)


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
