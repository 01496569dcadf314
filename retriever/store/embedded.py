"""The embedded engine: Qdrant's own core in this process.

On disk, a store is a folder with one folder per corpus: `shard/` belongs to the engine and
`tandem.json` holds the record. The record is written last when a corpus is created, so a corpus
without it does not exist; and by atomic rename ever after.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from retriever.errors import CorpusExistsError, CorpusNotFoundError, StoreCorruptError, StoreError
from retriever.models.protocol import FloatArray
from retriever.records import check_corpus_name, is_corpus_name
from retriever.store import filters, space
from retriever.store.embedded_filters import as_filter, required_filter
from retriever.store.embedded_shards import OpenShards, SharedShard, engine_errors, ensure_indexes
from retriever.store.points import ranked, to_point
from retriever.store.protocol import Point, ScoredPoint

_RECORD = "tandem.json"
_SHARD = "shard"

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

    def search(
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[list[ScoredPoint]]:
        """Search exactly; all queries share one pass over the vectors."""
        requests = [
            qe.QueryRequest(
                limit=k,
                query=qe.Query.Nearest(query, vector),
                filter=as_filter(where),
                params=qe.SearchParams(exact=True),
                with_payload=True,
                with_vector=list(with_vectors) or False,
            )
            for query in queries
        ]
        if not requests:
            return []
        with engine_errors(self._folder):
            answers = self._shard.engine.query_batch(qe.QueryBatchRequest(requests))
        return [ranked(found) for found in answers]

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
            with engine_errors(self._folder):
                records, offset = self._shard.engine.scroll(request)
            if records:
                yield [to_point(record) for record in records]
            if offset is None:
                return

    def count(self, where: filters.Condition | None = None) -> int:
        """Count exactly."""
        with engine_errors(self._folder):
            return self._shard.engine.count(qe.CountRequest(exact=True, filter=as_filter(where)))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write to the write-ahead log and apply."""
        rows = [qe.Point(point.point_id, dict(point.vectors), dict(point.payload)) for point in points]  # type: ignore[arg-type]
        if rows:
            self._update(qe.UpdateOperation.upsert_points(rows), size=space.size_of(points))

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace some vectors of existing points."""
        rows = [qe.PointVectors(point.point_id, dict(point.vectors)) for point in points]  # type: ignore[arg-type]
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
        with engine_errors(self._folder):
            if space.free_bytes(self._folder) >= needed:
                self._shard.engine.optimize()
            else:
                _logger.warning(
                    "store %s: not merged, which takes %d MiB of room on its disk: make room, ingest again.",
                    self._folder,
                    needed // space.MEBIBYTE,
                )
            self._shard.engine.flush()
        # The record has been renamed into its folder, and that may be new in the store.
        for folder in (self._folder, self._folder.parent):
            _sync(folder)

    def add_vector(self, name: str, size: int) -> None:
        """Add a named vector."""
        self._update(qe.UpdateOperation.create_dense_vector(name, size, qe.Distance.Dot))

    def drop_vector(self, name: str) -> None:
        """Delete a named vector."""
        self._update(qe.UpdateOperation.delete_vector_name(name))

    def ensure_indexes(self) -> None:
        """Make the payload indexes that are missing."""
        space.check_room(self._folder, space.TO_WRITE)
        ensure_indexes(self._shard.engine, self._folder)

    def read_record(self) -> dict[str, Any]:
        """Read the record from its file."""
        path = self._folder / _RECORD
        try:
            record: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise StoreCorruptError(
                f"{path}: expected the JSON record of a corpus, got: {error}. Restore the file."
            ) from error
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write a new file and rename it over the old one."""
        path = self._folder / _RECORD
        draft = path.with_suffix(".new")
        with space.writing_file(path):
            with draft.open("w", encoding="utf-8") as file:
                json.dump(dict(record), file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)

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
        with engine_errors(self._folder):
            self._shard.engine.update(operation)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to disk; Windows cannot be asked to."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
