"""A corpus in a store: its manifest, its chunks with their vectors, its deployments.

What is written passes `retriever.border` first. Combined vectors are kept in step with the vectors
they are made of, in the same write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np

from retriever import payload
from retriever.border import check_distinct, check_vectors
from retriever.combine import concatenate, parts_of
from retriever.corpus.reader import CorpusReader
from retriever.corpus.record import CorpusRecord
from retriever.corpus.spreads import measured_spreads
from retriever.errors import InputError, ModelMismatchError, ShapeError
from retriever.lexical import encode_chunks
from retriever.models.protocol import FloatArray
from retriever.records import (
    COMBINED,
    FULL_STORAGE,
    LEXICAL,
    STORED_AS,
    Chunk,
    ChunkerSpec,
    Combination,
    CorpusManifest,
    Deployment,
    LexicalSpec,
    ModelSpec,
)
from retriever.store.filters import (
    AllOf,
    HasId,
    HasVector,
    missing_vector,
    of_documents,
)
from retriever.store.protocol import Collection as PointCollection
from retriever.store.protocol import Point, SparseVector, VectorStore

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
        added = self._unknown(given)
        keys = {model.key for model in added}
        if added:  # what an interruption leaves of a vector is no model's, and is deleted by the next writer
            self._save(dropping=(*self._record.dropping, *keys))
            for model in added:
                self._collection.add_vector(model.key, model.dimensions)
            self._refresh()
        kept = tuple(given.get(model.key, model) for model in self._manifest.models)
        known = (*kept, *self._unknown(given))
        if added or known != self._manifest.models:
            dropping = tuple(name for name in self._record.dropping if name not in keys)
            self._save(manifest=replace(self._manifest, models=known), dropping=dropping)

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
            gone = tuple(one.vector for one in manifest.combinations if key in one.keys)
            self._save(manifest=manifest.without(key), dropping=(key, *gone))
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
        self._refresh_derived()
        stored: dict[str, Any] = {**vectors, **self._combined(vectors), **self._lexical(chunks)}
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

    def add_combination(self, parts: Sequence[str], *, storage: str = FULL_STORAGE) -> Combination:
        """Keep the concatenated vectors of these models, made from stored vectors; nothing is embedded.

        A rerun after an interruption fills what is missing. The vector of one whole model at full
        storage is there anyway: nothing is added for it.

        Parameters
        ----------
        parts
            Models by any of their names, each whole or its first dimensions (``"A@128"``).
        storage
            What the engine scans, see `Combination`.

        Raises
        ------
        InputError
            If the corpus has no vectors of one of the models.
        """
        self._refresh()
        combination = Combination(self._manifest.ordered(parts), storage)
        if combination.is_stored_anyway:
            return combination
        if combination not in self._manifest.combinations:
            if combination.vector in self._record.dropping:
                self._finish_dropping()
            size = sum(self._manifest.size(part) for part in combination.parts)
            self._collection.add_vector(combination.vector, size, storage=storage)
            self._refresh()
            self._manifest.ordered(parts)  # a model may have been dropped meanwhile
            combinations = dict.fromkeys((*self._manifest.combinations, combination))
            self._save(manifest=replace(self._manifest, combinations=tuple(combinations)))
        self._fill_combination(combination)
        return combination

    def add_lexical(self, spec: LexicalSpec) -> None:
        """Keep a BM25 vector of every chunk, made from the stored text; nothing is embedded.

        A rerun after an interruption fills what is missing.

        Raises
        ------
        ModelMismatchError
            If the corpus has BM25 vectors that were made otherwise.
        """
        self._refresh()
        if not self._has_lexical(spec):
            if LEXICAL in self._record.dropping:
                self._finish_dropping()
            self._collection.add_sparse_vector(LEXICAL)
            self._refresh()
            if not self._has_lexical(spec):
                self._save(manifest=replace(self._manifest, lexical=spec))
        self._fill_lexical(spec)

    def fill_derived(self) -> None:
        """Make the vectors that are derived from others, or from text, where chunks lack them."""
        self._refresh()
        for combination in self._manifest.combinations:
            self._fill_combination(combination)
        if self._manifest.lexical is not None:
            self._fill_lexical(self._manifest.lexical)

    def drop_derived(self, vector: str) -> None:
        """Delete a concatenated vector, or the BM25 vectors (``"bm25"``), and the deployments that need it.

        Its models may be called by any of their names, in any order: ``"A+B"``, ``"B+A~int8"``.
        What they were made from stays, so they can be made again. Locks the corpus. Cut short, the next
        writer deletes what is left.

        Raises
        ------
        InputError
            If there is no such vector, or it is served.
        StoreLockedError
            If there is another writer.
        """
        with self.lock(f"drop {vector}"):
            manifest = self._manifest
            vector = _derived(manifest, vector)
            if vector not in manifest.derived:
                raise InputError(
                    f"corpus {self.name!r} at {self._location}: expected a vector that was made for a "
                    f"deployment ({', '.join(manifest.derived) or 'there is none'}), got {vector!r}."
                )
            if self.served is not None and vector in _needed(self.served):
                raise InputError(
                    f"corpus {self.name!r} at {self._location}: expected a vector that is not served, but "
                    f"{self.served.name} is, with {vector}. Deploy another one first."
                )
            kept = [one for one in self._record.deployments if vector not in _needed(one)]
            if vector == LEXICAL:
                spreads = {leg: value for leg, value in manifest.spreads.items() if leg != LEXICAL}
                manifest = replace(manifest, lexical=None, lexical_scale=1.0, spreads=spreads)
            else:
                combinations = tuple(one for one in manifest.combinations if one.vector != vector)
                manifest = replace(manifest, combinations=combinations)
            self._save(
                manifest=manifest,
                deployments=tuple(kept),
                serving=None if self.served is None else kept.index(self.served),
                dropping=(vector,),
            )
            self._finish_dropping()

    def measure_spreads(self) -> None:
        """Measure how far the scores of each leg spread, see `corpus.spreads`; keep it in the manifest."""
        spreads, scale = measured_spreads(self, self._sample())
        self._refresh()
        if self._serves_lexical:  # a scale that moved would move the scores of a deployment
            scale = self._manifest.lexical_scale
        self._save(manifest=replace(self._manifest, spreads=spreads, lexical_scale=scale))

    def add_deployment(self, deployment: Deployment) -> None:
        """Serve this from now on: one atomic write; readers see the old one or the new one.

        What was served until now stands right before it, so that is what going back leads to: not to one
        that had been gone back from.
        """
        self._refresh()
        served = self.served
        before = tuple(one for one in self._record.deployments if one != served)
        if served is not None:
            before = (*before, served)
        self._save(deployments=(*before, deployment), serving=None)

    def serve(self, number: int) -> Deployment:
        """Serve an earlier deployment again, by its place in the list from 0: one atomic write.

        Raises
        ------
        InputError
            If there is none, or its vectors have been deleted since.
        """
        self._refresh()
        there = self._record.deployments
        if not 0 <= number < len(there):
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected one of {len(there)} deployments, "
                f"got number {number + 1}."
            )
        deployment = there[number]
        known = {*self._manifest.keys, *self._manifest.derived}
        gone = sorted(_needed(deployment) - known)
        if gone:
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected the vectors of deployment "
                f"{deployment.name}, {', '.join(gone)} has been dropped since. Deploy it again."
            )
        self._save(serving=number)
        return deployment

    def flush(self) -> None:
        """Return when everything written survives a power failure."""
        self._collection.flush()

    def _refresh(self) -> None:
        # Others may have the corpus open and have written since: a change starts from what is there, and
        # the record is read again behind each request that may take its time.
        self.refresh()

    def _refresh_derived(self) -> None:
        # A deployment made while an ingest runs adds one, and finds no chunk that is written without.
        stored = self._read().manifest
        found = stored.combinations
        known = set(self._manifest.keys)
        combinations = tuple(one for one in found if known.issuperset(one.keys))
        manifest = replace(self._manifest, combinations=combinations, lexical=stored.lexical)
        self._record = replace(self._record, manifest=manifest)

    def _save(self, **changes: Any) -> None:
        record = replace(self._record, **changes)
        self._collection.write_record(record.to_json())
        self._record = record

    def _check_droppable(self, key: str) -> None:
        if self._manifest.keys == (key,):
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected another model beside {key}, "
                "it is the only one. Delete the corpus instead: `ingest drop-corpus`."
            )
        served = self.served
        if served is not None and key in served.combination.keys:
            raise InputError(
                f"corpus {self.name!r} at {self._location}: expected a model that is not served, but "
                f"deployment {served.name} of {served.created or 'unknown date'} serves {key}. "
                "Deploy another model first."
            )

    def _unknown(self, given: Mapping[str, ModelSpec]) -> tuple[ModelSpec, ...]:
        """Return those of these models, by key, that the corpus has not; refuse others that differ."""
        for key in set(given) & set(self._manifest.keys):
            self.check_model(given[key])
        return tuple(model for key, model in given.items() if key not in self._manifest.keys)

    def _has_lexical(self, spec: LexicalSpec) -> bool:
        stored = self._manifest.lexical
        if stored is not None and stored.fingerprint != spec.fingerprint:
            raise ModelMismatchError(
                f"corpus {self.name!r} at {self._location}: expected BM25 vectors made with {stored}, "
                f"got {spec}. Leave the settings out, or drop {LEXICAL} first."
            )
        return stored is not None

    def _finish_dropping(self) -> None:
        """Delete the vectors that the record knows as unfinished and no longer as part of the corpus."""
        unfinished = self._record.dropping
        if unfinished:
            known = {*self._manifest.keys, *self._manifest.derived}
            for name in unfinished:
                if name not in known:
                    self._collection.drop_vector(name)
            self._refresh()
            self._save(dropping=tuple(name for name in self._record.dropping if name not in unfinished))

    def _combined(self, vectors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {one.vector: concatenate(parts_of(vectors, one.parts)) for one in self._manifest.combinations}

    def _lexical(self, chunks: Sequence[Chunk]) -> dict[str, Sequence[SparseVector]]:
        spec = self._manifest.lexical
        if spec is None or not chunks:
            return {}
        return {LEXICAL: encode_chunks([chunk.embedded_text for chunk in chunks], spec)}

    def _fill_combination(self, combination: Combination) -> None:
        name, keys = combination.vector, combination.keys
        missing = AllOf(parts=(missing_vector(name), *(HasVector(name=key) for key in keys)))
        for points in self._collection.scroll(where=missing, with_vectors=keys, fields=(), batch=_BATCH):
            whole = {
                key: np.array([point.vectors[key] for point in points], dtype=np.float32) for key in keys
            }
            self._write_derived(name, points, concatenate(parts_of(whole, combination.parts)))

    def _fill_lexical(self, spec: LexicalSpec) -> None:
        for points in self._collection.scroll(where=missing_vector(LEXICAL), batch=_BATCH):
            chunks = [payload.to_chunk(point.payload) for point in points]
            vectors = encode_chunks([chunk.embedded_text for chunk in chunks], spec)
            self._write_derived(LEXICAL, points, vectors)

    def _write_derived(self, name: str, points: Sequence[Point], vectors: Iterable[Any]) -> None:
        self._collection.update_vectors(
            [
                Point(point_id=point.point_id, vectors={name: vector})
                for point, vector in zip(points, vectors, strict=True)
            ]
        )

    def _sample(self) -> list[Point]:
        # Ids of chunks are hashes, so the first ones in their order are random, and the same for every run.
        sample: list[Point] = []
        fields = () if self._manifest.lexical is None else None
        for points in self._collection.scroll(with_vectors=self._manifest.keys, fields=fields):
            sample.extend(points)
            if len(sample) >= _SPREAD_SAMPLE:
                break
        return sample[:_SPREAD_SAMPLE]

    @property
    def _serves_lexical(self) -> bool:
        return any(one.lexical_fingerprint for one in self._record.deployments)


def _derived(manifest: CorpusManifest, name: str) -> str:
    """Return a combined vector as the corpus calls it; a name that says nothing to it as it is."""
    parts, _, storage = name.partition(STORED_AS)
    try:
        return Combination(manifest.ordered(parts.split(COMBINED)), storage or FULL_STORAGE).vector
    except InputError:
        return name


def _needed(deployment: Deployment) -> set[str]:
    """Return the named vectors that serving a deployment takes."""
    vectors = {deployment.vector, *deployment.combination.keys}
    return {*vectors, LEXICAL} if deployment.lexical_fingerprint else vectors
