"""The embedded engine: Qdrant's own core in this process.

On disk, a store is a folder with one folder per corpus: `shard/` belongs to the engine and
`tandem.json` holds the record. The record is written last when a corpus is created, so a corpus
without it does not exist; and by atomic rename ever after. `storage.json` says how vectors are kept that
were added later.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from retriever.errors import CorpusExistsError, CorpusNotFoundError, StoreError
from retriever.models.protocol import FloatArray
from retriever.records import FULL_STORAGE, check_corpus_name, is_corpus_name
from retriever.store import filters, space
from retriever.store.embedded_filters import as_filter, required_filter
from retriever.store.embedded_layout import datatype, keep_storage, read_layout
from retriever.store.embedded_shards import OpenShards, SharedShard, ensure_indexes
from retriever.store.json_file import read_json, write_json
from retriever.store.kinds import Dense, Sparse, is_there
from retriever.store.points import ranked, to_point
from retriever.store.protocol import Point, ScoredPoint, SparseVector, Vector
from retriever.store.scan_keeper import Rows

_RECORD = "tandem.json"
_SHARD = "shard"

_EXACT = qe.SearchParams(exact=True)

# Rescored in what is kept beside: points that have no compact representation yet would otherwise be compared
# with those that have one by scores of two scales.
_COMPACT = qe.SearchParams(quantization=qe.QuantizationSearchParams(rescore=True))

# Document frequencies of the whole corpus, counted when a query comes. Without a filter the engine takes
# those of its index, which go on counting deleted points and never count empty vectors.
_SPARSE = qe.SearchParams(exact=True, idf=qe.IdfParams(corpus=qe.Filter()))

_WORTH_A_SCAN = 5_000
"""Points from which on a scan is faster than the engine's."""

_logger = logging.getLogger(__name__)


class EmbeddedStore:
    """A folder of corpora, opened in this process by the embedded engine."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser().resolve()

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._path)

    def create(
        self, name: str, *, vectors: Mapping[str, int], record: Mapping[str, Any]
    ) -> EmbeddedCollection:
        """Create a corpus; see `retriever.store.protocol.VectorStore`."""
        folder = self._folder(name)
        if (folder / _RECORD).exists():
            raise CorpusExistsError(
                f"store {self.location}: expected no corpus {name!r}, but there is one. Choose another name."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store {self.location}: expected a folder that can be written, got: {error}. "
                "Choose another folder."
            ) from error
        collection = EmbeddedCollection(folder, OpenShards.create(folder / _SHARD, vectors))
        try:
            collection.write_record(record)
        except BaseException:
            collection.close()
            raise
        return collection

    def open(self, name: str) -> EmbeddedCollection:
        """Open a corpus; see `retriever.store.protocol.VectorStore`."""
        folder = self._existing(name)
        return EmbeddedCollection(folder, OpenShards.load(folder / _SHARD))

    def names(self) -> list[str]:
        """Return the corpora of the folder, sorted; folders that could not have been made here are none."""
        found = (record.parent.name for record in self._path.glob(f"*/{_RECORD}"))
        return sorted(name for name in found if is_corpus_name(name))

    def drop(self, name: str) -> None:
        """Delete a corpus from disk; see `retriever.store.protocol.VectorStore`.

        Raises
        ------
        StoreLockedError
            If it is open, here or in another process.
        """
        folder = self._existing(name)
        OpenShards.check_closed(folder / _SHARD)
        # The record goes first: a deletion cut short leaves no corpus rather than half of one.
        (folder / _RECORD).unlink()
        shutil.rmtree(folder)

    def _folder(self, name: str) -> Path:
        return self._path / check_corpus_name(name)

    def _existing(self, name: str) -> Path:
        folder = self._folder(name)
        if not (folder / _RECORD).exists():
            there = ", ".join(self.names()) or "no corpus"
            raise CorpusNotFoundError(
                f"store {self.location}: expected a corpus {name!r}, found {there}. "
                "Check the store and the name, or make it with `ingest run`."
            )
        return folder


class EmbeddedCollection:
    """One corpus on disk; see `retriever.store.protocol.Collection`."""

    def __init__(self, folder: Path, shard: SharedShard) -> None:
        self._folder = folder
        self._shard = shard
        self._is_closed = False

    def search(  # noqa: PLR0913  # what a search is
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
        approximate: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Search among the candidates of a scan where there is one, else scan in the engine.

        All queries share one pass over the vectors. The engine computes the scores either way.
        """
        conditions: list[filters.Condition | None] = [where] * len(queries)
        scan = None
        if where is None and not approximate and len(queries):
            scan = self._shard.scans.find(vector, self._rows)
        if scan is not None:
            candidates = scan.candidates(queries, k=k)
            conditions = [None if ids is None else filters.HasId(ids=tuple(ids)) for ids in candidates]
        requests = [
            qe.QueryRequest(
                limit=k,
                query=qe.Query.Nearest(query, vector),
                filter=as_filter(condition),
                params=_COMPACT if approximate else _EXACT,
                with_payload=True,
                with_vector=list(with_vectors) or False,
            )
            for query, condition in zip(queries, conditions, strict=True)
        ]
        if not requests:
            return []
        with self._shard.calling() as engine:
            answers = engine.query_batch(qe.QueryBatchRequest(requests))
        if scan is not None and not self._shard.scans.is_current(vector, scan):
            return self.search(queries, vector=vector, k=k, with_vectors=with_vectors)
        return [ranked(found) for found in answers]

    def prepare(self, vector: str) -> None:
        """Make the scan of a vector."""
        self._shard.scans.prepare(vector, self._rows)

    def search_sparse(
        self,
        query: SparseVector,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[ScoredPoint]:
        """Search exactly, through the inverted index."""
        request = qe.QueryRequest(
            limit=k,
            query=qe.Query.Nearest(_engine_vector(query), vector),
            filter=as_filter(where),
            params=_SPARSE,
            with_payload=True,
            with_vector=list(with_vectors) or False,
        )
        with self._shard.calling() as engine:
            found = engine.query(request)
        return ranked(found)

    def count_above(
        self,
        query: FloatArray | SparseVector,
        *,
        vector: str,
        score: float,
        where: filters.Condition | None = None,
    ) -> int:
        """Count what a search without payloads finds above the score."""
        request = qe.QueryRequest(
            limit=max(1, self.count()),
            query=qe.Query.Nearest(_engine_vector(query), vector),
            filter=as_filter(where),
            params=_SPARSE if isinstance(query, SparseVector) else _EXACT,
            score_threshold=score,
            with_payload=False,
        )
        with self._shard.calling() as engine:
            return len(engine.query(request))

    def scroll(
        self,
        *,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
        fields: Sequence[str] | None = None,
        batch: int = 256,
    ) -> Iterator[list[Point]]:
        """Yield matching points in the order of their ids."""
        offset: Any = None
        while True:
            request = qe.ScrollRequest(
                offset=offset,
                limit=batch,
                filter=as_filter(where),
                with_payload=True if fields is None else qe.PayloadSelector.Include(list(fields)),
                with_vector=list(with_vectors) or False,
            )
            with self._shard.calling() as engine:
                records, offset = engine.scroll(request)
            if records:
                yield [to_point(record) for record in records]
            if offset is None:
                return

    def count(self, where: filters.Condition | None = None) -> int:
        """Count exactly."""
        with self._shard.calling() as engine:
            return engine.count(qe.CountRequest(exact=True, filter=as_filter(where)))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write to the write-ahead log and apply."""
        rows = [
            qe.Point(point.point_id, _engine_vectors(point.vectors), dict(point.payload)) for point in points
        ]
        if rows:
            self._update(qe.UpdateOperation.upsert_points(rows), size=space.size_of(points))

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace some vectors of existing points."""
        rows = [qe.PointVectors(point.point_id, _engine_vectors(point.vectors)) for point in points]
        if rows:
            self._update(qe.UpdateOperation.update_vectors(rows), size=space.size_of(points))

    def update_payloads(self, points: Sequence[Point]) -> None:
        """Replace the payload of existing points."""
        for point in points:
            operation = qe.UpdateOperation.overwrite_payload([point.point_id], dict(point.payload))
            self._update(operation, size=space.size_of([point]))

    def delete(self, where: filters.Condition) -> None:
        """Delete matching points."""
        self._update(qe.UpdateOperation.delete_points_by_filter(required_filter(where)))

    def flush(self) -> None:
        """Write everything to disk and merge what many small writes have left, where there is room."""
        # Merging writes a copy of what it merges, and what it left out before; what is merged reads faster.
        needed = space.TO_WRITE + 2 * space.size_on_disk(self._folder / _SHARD)
        with self._shard.calling() as engine:
            if space.free_bytes(self._folder) >= needed:
                engine.optimize()
            else:
                _logger.warning(
                    "store %s: not merged, which takes %d MiB of room on its disk: make room, ingest again.",
                    self._folder,
                    needed // space.MEBIBYTE,
                )
            engine.flush()
        # The record has been renamed into its folder, and that may be new in the store.
        for folder in (self._folder, self._folder.parent):
            _sync(folder)

    def add_vector(self, name: str, size: int, *, storage: str = FULL_STORAGE) -> None:
        """Add a named vector."""
        kind = Dense(size=size, storage=storage)
        if is_there(name, kind, read_layout(self._shard.path)):
            return
        space.check_room(self._folder, space.TO_WRITE)
        keep_storage(self._shard.path, name, storage)
        self._update(
            qe.UpdateOperation.create_dense_vector(name, size, qe.Distance.Dot, datatype=datatype(kind))
        )
        if kind.is_quantized:  # which the engine can be told only when it opens a shard
            self._shard.reopen()

    def add_sparse_vector(self, name: str) -> None:
        """Add a named sparse vector."""
        if not is_there(name, Sparse(), read_layout(self._shard.path)):
            self._update(qe.UpdateOperation.create_sparse_vector(name, qe.Modifier.Idf))

    def drop_vector(self, name: str) -> None:
        """Delete a named vector."""
        self._update(qe.UpdateOperation.delete_vector_name(name))

    def ensure_indexes(self) -> None:
        """Make the payload indexes that are missing."""
        space.check_room(self._folder, space.TO_WRITE)
        with self._shard.calling() as engine:
            ensure_indexes(engine, self._folder)

    def read_record(self) -> dict[str, Any]:
        """Read the record from its file."""
        self._shard.check_process()  # so that a forked process is told before it embeds anything
        return read_json(self._folder / _RECORD, "record of a corpus")

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write a new file and rename it over the old one."""
        write_json(self._folder / _RECORD, record)

    def lock(self, purpose: str) -> AbstractContextManager[None]:
        """Be the only writer of this process; the engine keeps all other processes out."""
        return OpenShards.writing(self._shard, purpose)

    def close(self) -> None:
        """Give the shard back, once; the last collection that does closes it."""
        if not self._is_closed:
            self._is_closed = True
            OpenShards.release(self._shard)

    def _update(self, operation: qe.UpdateOperation, *, size: int = 0) -> None:
        space.check_room(self._folder, space.TO_WRITE + size)
        with self._shard.scans.writing(), self._shard.calling() as engine:
            engine.update(operation)

    def _rows(self, vector: str) -> Rows | None:
        """Read what a scan is made of; none for few points, and for vectors that are not kept in float32."""
        kind = read_layout(self._shard.path).get(vector)
        if not isinstance(kind, Dense) or kind.storage != FULL_STORAGE:
            return None
        where = filters.HasVector(name=vector)
        count = self.count(where)
        if count < _WORTH_A_SCAN:
            return None
        pages = self.scroll(where=where, with_vectors=(vector,), fields=())
        blocks = (
            ([point.point_id for point in page], np.array([point.vectors[vector] for point in page]))
            for page in pages
        )
        return Rows(count=count, size=kind.size, blocks=blocks)


def _engine_vectors(vectors: Mapping[str, Vector]) -> dict[str, Any]:
    return {name: _engine_vector(vector) for name, vector in vectors.items()}


def _engine_vector(vector: Vector) -> Any:
    """Return a vector as the engine takes it: a dense one is read from numpy without a copy to a list."""
    if isinstance(vector, SparseVector):
        return qe.SparseVector(vector.indices.tolist(), vector.values.tolist())
    return vector


def _sync(folder: Path) -> None:
    """Bring the names in a folder to disk; Windows cannot be asked to."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
