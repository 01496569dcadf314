"""A corpus in a store: its manifest, its chunks with their vectors, its deployments.

What is written passes `retriever.border` first. Combined vectors are kept in step with the vectors
they are made of, in the same write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np

from retriever import payload
from retriever.border import check_distinct, check_vectors
from retriever.combine import concatenate, spread
from retriever.corpus_reader import CorpusReader, StoredDocument, StoredVectors
from retriever.corpus_record import CorpusRecord
from retriever.errors import InputError, ShapeError
from retriever.models.protocol import FloatArray
from retriever.records import COMBINED, Chunk, ChunkerSpec, CorpusManifest, Deployment, ModelSpec
from retriever.store.filters import (
    AllOf,
    HasId,
    HasVector,
    missing_vector,
    of_documents,
)
from retriever.store.protocol import Collection as PointCollection
from retriever.store.protocol import Point, VectorStore

__all__ = ["Corpus", "StoredDocument", "StoredVectors"]

_SPREAD_SAMPLE = 1000
_BATCH = 256


class Corpus(CorpusReader):
    """One corpus, open. Use `create` or `open`, and close it, or use ``with``."""

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
        return cls._of(
            store.create(name, vectors=sizes, record=CorpusRecord(manifest=manifest).to_json()), store
        )

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

    @contextmanager
    def lock(self, purpose: str = "ingest") -> Iterator[None]:
        """Be the only writer of the corpus within ``with``; `purpose` is what a second one is told.

        It excludes others that lock and the deletion of the corpus; it does not exclude readers, nor
        deploying beside it. What an earlier writer left unfinished in the layout is finished first.

        Raises
        ------
        StoreLockedError
            If there is another writer, of this process or another one: the message names it.
        """
        with self._collection.lock(purpose):
            self._collection.ensure_indexes()
            self._refresh()
            self._finish_dropping()
            yield

    def add_models(self, models: Sequence[ModelSpec]) -> None:
        """Make room for models the corpus has not seen; their vectors are written afterwards.

        Of a model that is stored, the place it was loaded from is brought up to date.

        Raises
        ------
        ModelMismatchError
            If a model of the same key is stored and differs; nothing is added then.
        """
        self._refresh()
        self._finish_dropping()
        given = {model.key: model for model in check_distinct(models)}
        stored = self._manifest.models
        for key in set(given) & set(self._manifest.keys):
            self.check_model(given[key])
        kept = tuple(given.get(model.key, model) for model in stored)
        added = tuple(model for key, model in given.items() if key not in self._manifest.keys)
        if added:  # what an interruption leaves of a vector is no model's, and is deleted by the next writer
            self._save(dropping=tuple(model.key for model in added))
        for model in added:
            self._collection.add_vector(model.key, model.dimensions)
        if (*kept, *added) != stored:
            self._save(manifest=replace(self._manifest, models=(*kept, *added)), dropping=())

    def drop_model(self, name: str) -> None:
        """Remove a model: its vectors, its combinations, and what the manifest says of it.

        The chunks stay as they were cut. Locks the corpus. Cut short, the model is gone from the
        manifest already, and the same call again deletes what is left of its vectors; so does the
        next writer.

        Raises
        ------
        InputError
            If the corpus has no vectors of it, it is the only model, or it is served.
        StoreLockedError
            If there is another writer.
        """
        unfinished = name.rsplit("/", 1)[-1] in self._read().dropping
        with self.lock("drop a model"):
            if unfinished:
                return
            key = self._manifest.resolve(name)
            self._check_droppable(key)
            manifest = self._manifest
            gone = tuple(keys for keys in manifest.combinations if key in keys)
            self._save(
                manifest=manifest.without(key),
                dropping=(key, *(COMBINED.join(keys) for keys in gone)),
            )
            self._finish_dropping()

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

    def write_payloads(
        self,
        chunks: Sequence[Chunk],
        *,
        document_hash: Mapping[str, str],
        chunk_count: Mapping[str, int],
    ) -> None:
        """Store anew what is said of chunks that are there already, and keep their vectors; as `write`."""
        self._collection.update_payloads(
            [
                Point(
                    point_id=chunk.chunk_id,
                    payload=payload.to_payload(
                        chunk,
                        document_hash=document_hash[chunk.doc_id],
                        chunk_count=chunk_count[chunk.doc_id],
                    ),
                )
                for chunk in chunks
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
            if name in self._record.dropping:
                self._finish_dropping()
            self._collection.add_vector(name, size)
            combinations = (*self._manifest.combinations, keys)
            self._save(manifest=replace(self._manifest, combinations=combinations))
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
        self._save(manifest=replace(self._manifest, spreads=spreads))

    def add_deployment(self, deployment: Deployment) -> None:
        """Serve this from now on: one atomic write; readers see the old one or the new one."""
        self._refresh()
        self._save(deployments=(*self._record.deployments, deployment))

    def flush(self) -> None:
        """Return when everything written survives a power failure."""
        self._collection.flush()

    def _refresh(self) -> None:
        # Others may have the corpus open and have written since: a change starts from what is there.
        self._record = self._read()

    def _refresh_combinations(self) -> None:
        # A deployment made while an ingest runs adds one, and finds no chunk that is written without.
        found = self._read().manifest.combinations
        known = set(self._manifest.keys)
        combinations = tuple(keys for keys in found if known.issuperset(keys))
        self._record = replace(self._record, manifest=replace(self._manifest, combinations=combinations))

    def _save(self, **changes: Any) -> None:
        record = replace(self._record, **changes)
        self._collection.write_record(record.to_json())
        self._record = record

    def _check_droppable(self, key: str) -> None:
        if self._manifest.keys == (key,):
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected another model beside {key}, "
                "it is the only one. Drop the corpus instead."
            )
        served = self.deployments[-1] if self.deployments else None
        if served is not None and key in served.models:
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected a model that is not served, but "
                f"deployment {served.vector} of {served.created or 'unknown date'} serves {key}. "
                "Deploy another model first."
            )

    def _finish_dropping(self) -> None:
        """Delete the vectors that the record knows as unfinished and no longer as part of the corpus."""
        if self._record.dropping:
            known = {*self._manifest.keys, *map(COMBINED.join, self._manifest.combinations)}
            for name in self._record.dropping:
                if name not in known:
                    self._collection.drop_vector(name)
            self._save(dropping=())

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
