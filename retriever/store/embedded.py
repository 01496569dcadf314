"""The embedded engine: Qdrant's own core in this process. The only module that imports it.

On disk, a store is a folder with one folder per corpus: `shard/` belongs to the engine and
`tandem.json` holds the record. The record is written last when a corpus is created, so a corpus
without it does not exist; and by atomic rename ever after.

The engine accepts one opener per folder and process, so all collections of one folder share one
shard here, counted, and closed with the last of them.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import qdrant_edge as qe

from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
)
from retriever.models.protocol import FloatArray
from retriever.records import check_corpus_name, is_corpus_name
from retriever.store import filters
from retriever.store.points import ranked, to_point
from retriever.store.protocol import Point, ScoredPoint

_RECORD = "tandem.json"
_SHARD = "shard"
_INDEXED_FIELDS = ("doc_id",)


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
        collection = EmbeddedCollection(folder, _OpenShards.create(folder / _SHARD, vectors))
        try:
            collection.write_record(record)
        except BaseException:
            collection.close()
            raise
        return collection

    def open(self, name: str) -> EmbeddedCollection:
        """Open a corpus; see `retriever.store.protocol.VectorStore`."""
        folder = self._existing(name)
        return EmbeddedCollection(folder, _OpenShards.load(folder / _SHARD))

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
        _OpenShards.check_closed(folder / _SHARD)
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

    def __init__(self, folder: Path, shard: _Shared) -> None:
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
                filter=_filter(where),
                params=qe.SearchParams(exact=True),
                with_payload=True,
                with_vector=list(with_vectors) or False,
            )
            for query in queries
        ]
        if not requests:
            return []
        with _engine_errors(self._folder):
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
                filter=_filter(where),
                with_payload=True if fields is None else qe.PayloadSelector.Include(list(fields)),
                with_vector=list(with_vectors) or False,
            )
            with _engine_errors(self._folder):
                records, offset = self._shard.engine.scroll(request)
            if records:
                yield [to_point(record) for record in records]
            if offset is None:
                return

    def count(self, where: filters.Condition | None = None) -> int:
        """Count exactly."""
        with _engine_errors(self._folder):
            return self._shard.engine.count(qe.CountRequest(exact=True, filter=_filter(where)))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write to the write-ahead log and apply."""
        rows = [qe.Point(point.point_id, dict(point.vectors), dict(point.payload)) for point in points]  # type: ignore[arg-type]
        if rows:
            self._update(qe.UpdateOperation.upsert_points(rows))

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace some vectors of existing points."""
        rows = [qe.PointVectors(point.point_id, dict(point.vectors)) for point in points]  # type: ignore[arg-type]
        if rows:
            self._update(qe.UpdateOperation.update_vectors(rows))

    def delete(self, where: filters.Condition) -> None:
        """Delete matching points."""
        self._update(qe.UpdateOperation.delete_points_by_filter(_required(where)))

    def flush(self) -> None:
        """Write everything to disk and merge what many small writes have left."""
        with _engine_errors(self._folder):
            self._shard.engine.optimize()
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
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(dict(record), file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: expected a file that can be written, got: {error}.") from error

    def close(self) -> None:
        """Give the shard back, once; the last collection that does closes it."""
        if not self._is_closed:
            self._is_closed = True
            _OpenShards.release(self._shard)

    def _update(self, operation: qe.UpdateOperation) -> None:
        with _engine_errors(self._folder):
            self._shard.engine.update(operation)


class _Shared:
    """A shard and how many collections of this process use it."""

    def __init__(self, path: Path, engine: qe.EdgeShard) -> None:
        self.path = path
        self.engine = engine
        self.users = 1


class _OpenShards:
    """The shards this process has open, by folder."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _by_path: ClassVar[dict[Path, _Shared]] = {}

    @classmethod
    def create(cls, path: Path, vectors: Mapping[str, int]) -> _Shared:
        """Create a shard; what an earlier creation that was cut short has left is removed."""
        with cls._lock:
            if path.exists():
                cls._check_closed(path)
                shutil.rmtree(path)
            with _engine_errors(path.parent):
                engine = qe.EdgeShard.create(str(path), _config(vectors))
                for field in _INDEXED_FIELDS:
                    operation = qe.UpdateOperation.create_field_index(field, qe.PayloadSchemaType.Keyword)
                    engine.update(operation)
            shared = cls._by_path[path] = _Shared(path, engine)
            return shared

    @classmethod
    def load(cls, path: Path) -> _Shared:
        """Open a shard, or count one more user of one that is open."""
        with cls._lock:
            shared = cls._by_path.get(path)
            if shared is not None:
                shared.users += 1
                return shared
            shared = cls._by_path[path] = cls._load(path)
            return shared

    @classmethod
    def check_closed(cls, path: Path) -> None:
        """Raise `StoreLockedError` if a shard is open, here or in another process."""
        with cls._lock:
            cls._check_closed(path)

    @classmethod
    def release(cls, shared: _Shared) -> None:
        """Count one user less; without users the shard is closed."""
        with cls._lock:
            shared.users -= 1
            if shared.users == 0:
                del cls._by_path[shared.path]
                shared.engine.close()

    @classmethod
    def _check_closed(cls, path: Path) -> None:
        if path in cls._by_path:
            raise StoreLockedError(
                f"store {path.parent}: expected it to be closed, but this process has it open. "
                "Close it first."
            )
        try:
            cls._load(path).engine.close()  # the engine's own lock tells of other processes
        except StoreCorruptError:
            return  # what cannot be opened, nobody has open

    @staticmethod
    def _load(path: Path) -> _Shared:
        try:
            with _engine_errors(path.parent):
                return _Shared(path, qe.EdgeShard.load(str(path)))
        except StoreLockedError:
            raise
        except StoreError as error:
            raise StoreCorruptError(
                f"{error}. The vectors cannot be opened: restore the folder from a copy, or delete it and "
                "ingest again."
            ) from error


def _config(vectors: Mapping[str, int]) -> qe.EdgeConfig:
    # m=0: no graph is ever built, every search is exact.
    graph = qe.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000)
    sizes = {name: qe.EdgeVectorParams(size=size, distance=qe.Distance.Dot) for name, size in vectors.items()}
    return qe.EdgeConfig(vectors=sizes, hnsw_config=graph)


@contextmanager
def _engine_errors(folder: Path) -> Iterator[None]:
    """Turn what the engine raises into our errors.

    It raises bare `Exception`, so its text is all there is to tell a lock by.
    """
    try:
        yield
    except Exception as error:
        if "WouldBlock" in str(error):
            raise StoreLockedError(
                f"store {folder}: expected to be the only process that has it open, but another one has. "
                "Stop that process, or serve several from a Qdrant server (--url)."
            ) from error
        raise StoreError(f"store {folder}: the embedded engine failed: {error}") from error


def _sync(folder: Path) -> None:
    """Bring the names in a folder to disk; Windows cannot be asked to."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _filter(where: filters.Condition | None) -> qe.Filter | None:
    return None if where is None else _required(where)


def _required(where: filters.Condition) -> qe.Filter:
    condition = _condition(where)
    return condition if isinstance(condition, qe.Filter) else qe.Filter(must=[condition])


def _condition(  # noqa: PLR0911  # one return per kind of condition
    where: filters.Condition,
) -> qe.Filter | qe.FieldCondition | qe.HasIdCondition | qe.HasVectorCondition | qe.IsEmptyCondition:
    match where:
        case filters.Matches(key=key, values=values):
            matches = [qe.FieldCondition(key, match=_exactly(value)) for value in values]
            return qe.Filter(should=list(matches)) if matches else _NEVER
        case filters.Between(key=key, gt=gt, gte=gte, lt=lt, lte=lte):
            return qe.FieldCondition(key, range=qe.RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
        case filters.HasText(key=key, text=text):
            return qe.FieldCondition(key, match=qe.MatchSubstring(text))
        case filters.IsEmpty(key=key):
            return qe.IsEmptyCondition(key)
        case filters.HasId(ids=ids):
            return qe.HasIdCondition(set(ids))
        case filters.HasVector(name=name):
            return qe.HasVectorCondition(name)
        case filters.AllOf(parts=parts):
            return qe.Filter(must=[_condition(part) for part in parts])
        case filters.AnyOf(parts=parts):
            return qe.Filter(should=[_condition(part) for part in parts]) if parts else _NEVER
        case filters.NoneOf(parts=parts):
            return qe.Filter(must_not=[_condition(part) for part in parts])


def _exactly(value: filters.Scalar) -> qe.MatchValue:
    # The engine reads a Python bool as 0 or 1, which matches numbers only; numpy's it reads as a bool.
    return qe.MatchValue(np.bool_(value) if isinstance(value, bool) else value)  # type: ignore[arg-type]


_NEVER = qe.Filter(must=[qe.HasIdCondition(set())])
