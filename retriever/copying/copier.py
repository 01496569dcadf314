"""A corpus from one store to another, whole: manifest, deployments, chunks, and every vector they have.

The target holds the corpus under a record that says it is a copy, which readers refuse by name, until
all is there and has been checked; then the record is replaced by one atomic write. What is there is
asked of the target alone, so a copy that was killed is continued by copying again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retriever.copying.differences import alike, different_corpus, different_records, size_of
from retriever.corpus.reader import CorpusReader
from retriever.corpus.record import CorpusRecord
from retriever.errors import InputError, StoreCorruptError, StoreError
from retriever.records import FULL_STORAGE, LEXICAL, check_corpus_name
from retriever.store.filters import HasId, HasVector
from retriever.store.protocol import Collection, Point, VectorStore

CHECKED = 200
"""How many chunks are read again in both stores once all are there; all, where there are fewer."""

_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyReport:
    """What copying a corpus did.

    Attributes
    ----------
    corpus, source
        What was copied, and where it lies.
    name, target
        What the copy is called, and where it lies.
    chunks
        How many chunks both have.
    sent
        How many of them were written by this run; the others were there, and equal.
    bytes
        Size of what was sent: vectors as they are in memory, payloads as JSON.
    checked
        How many chunks, spread over the whole, were read again in both stores and are equal.
    seconds
        How long it took.
    """

    corpus: str
    source: str
    name: str
    target: str
    chunks: int
    sent: int
    bytes: int
    checked: int
    seconds: float


def copy(
    source: VectorStore,
    target: VectorStore,
    corpus: str,
    *,
    name: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CopyReport:
    """Copy a corpus into another store, or within one; nothing is embedded.

    The source is only read, and locked against writers meanwhile. Chunks that are at the target with the
    same content are not sent again, so after an interruption the same call continues; until it has come
    to its end, readers refuse the copy. Copying what is there already, whole and equal, changes nothing.
    Memory does not grow with the corpus.

    Parameters
    ----------
    source, target
        Stores of either engine.
    corpus
        Name of the corpus.
    name
        Name of the copy, where that is another.
    on_progress
        Called with how many chunks are done, and how many there are.

    Raises
    ------
    CorpusNotFoundError
        If the source has no such corpus.
    CorpusUnfinishedError
        If the corpus is itself a copy that is not whole.
    CorpusExistsError
        If the target has another corpus of that name; the message says what differs.
    StoreLockedError
        If one of the two has another writer.
    StoreCorruptError
        If what was written reads back otherwise: the copy stays unfinished.
    StoreError
        If the source was changed meanwhile, which deploying beside does.
    InputError
        If the copy would be the corpus itself.
    """
    began = time.monotonic()
    name = corpus if name is None else check_corpus_name(name)
    if (source.location, corpus) == (target.location, name):
        raise InputError(
            f"copy: expected another store or another name, got corpus {corpus!r} at {source.location} twice."
        )
    with closing(source.open(corpus)) as origin, origin.lock("copy"):
        CorpusReader(origin, location=source.location)  # refuses what is not whole
        found = CorpusRecord.from_json(origin.read_record())
        wanted = _renamed(found, name)
        whole = _is_there(target, name, wanted)
        with closing(_opened(target, name, wanted, origin=f"{corpus!r} at {source.location}")) as there:
            copying = _Copying(origin, there, wanted, on_progress or (lambda *_: None))
            if whole:
                copying.confirm(target.location)
            else:
                with there.lock("copy"):
                    copying.bring()
                    _check_unchanged(origin, found, location=source.location)
                    there.write_record(wanted.to_json())
                    there.flush()
    return CopyReport(
        corpus=corpus,
        source=source.location,
        name=name,
        target=target.location,
        chunks=copying.total,
        sent=copying.sent,
        bytes=copying.bytes,
        checked=copying.checked,
        seconds=time.monotonic() - began,
    )


class _Copying:
    """One corpus on its way from `origin` to `there`, where it shall have the record `wanted`."""

    def __init__(
        self,
        origin: Collection,
        there: Collection,
        wanted: CorpusRecord,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._origin = origin
        self._there = there
        self._manifest = wanted.manifest
        self._vectors = (*self._manifest.keys, *self._manifest.derived)
        self._rounded = {one.vector for one in self._manifest.combinations if one.storage != FULL_STORAGE}
        self._on_progress = on_progress
        self.total = origin.count()
        self.sent = self.bytes = self.checked = 0

    def bring(self) -> None:
        """Make the points there those of the origin, and check it."""
        self._add_vectors()
        sample: list[str] = []
        resumed = self._there.count() > 0
        for points, chosen in self._batches():
            self._send(self._unequal(points) if resumed else points)
            sample += chosen
        if self._there.count() > self.total:
            self._remove_strangers()
        self._there.flush()
        self._check_counts()
        self._check(sample)

    def confirm(self, location: str) -> None:
        """Refuse what is there unless every point of it is equal; nothing is written."""
        if self._there.count() != self.total:
            raise different_corpus(
                self._manifest.corpus,
                location,
                [f"number of chunks (expected {self.total:,}, found {self._there.count():,})"],
            )
        for points, _ in self._batches():
            if unequal := self._unequal(points):
                raise different_corpus(
                    self._manifest.corpus, location, [f"chunk {unequal[0].point_id}, or it is missing"]
                )
            self.checked += len(points)

    def _add_vectors(self) -> None:
        for one in self._manifest.combinations:
            size = sum(self._manifest.size(part) for part in one.parts)
            self._there.add_vector(one.vector, size, storage=one.storage)
        if self._manifest.lexical is not None:
            self._there.add_sparse_vector(LEXICAL)

    def _batches(self) -> Iterator[tuple[list[Point], list[str]]]:
        """Yield the points of the origin in lists, and which of each are of the sample; tell of progress."""
        done = 0
        positions = set(np.linspace(0, self.total - 1, min(self.total, CHECKED)).astype(int).tolist())
        self._on_progress(done, self.total)
        for points in self._origin.scroll(with_vectors=self._vectors, batch=_BATCH):
            yield points, [point.point_id for i, point in enumerate(points, start=done) if i in positions]
            done += len(points)
            self._on_progress(done, self.total)

    def _send(self, points: Sequence[Point]) -> None:
        self._there.upsert(points)
        self.sent += len(points)
        self.bytes += sum(map(size_of, points))

    def _unequal(self, points: Sequence[Point]) -> list[Point]:
        """Return those of these points that are not there, or otherwise."""
        found = self._read(self._there, [point.point_id for point in points])
        return [
            point
            for point in points
            if point.point_id not in found or not alike(point, found[point.point_id], rounded=self._rounded)
        ]

    def _read(self, collection: Collection, ids: Sequence[str]) -> dict[str, Point]:
        where = HasId(ids=tuple(ids))
        return {
            point.point_id: point
            for points in collection.scroll(where=where, with_vectors=self._vectors, batch=_BATCH)
            for point in points
        }

    def _remove_strangers(self) -> None:
        """Delete what an earlier run has sent and the origin no longer has."""
        for points in self._there.scroll(fields=(), batch=_BATCH):
            ids = {point.point_id for point in points}
            known = self._origin.scroll(where=HasId(ids=tuple(ids)), fields=(), batch=_BATCH)
            strangers = ids - {point.point_id for batch in known for point in batch}
            if strangers:
                self._there.delete(HasId(ids=tuple(strangers)))

    def _check_counts(self) -> None:
        conditions = {"chunks": None, **{f"vectors {name}": HasVector(name=name) for name in self._vectors}}
        for what, where in conditions.items():
            expected, found = self._origin.count(where), self._there.count(where)
            if found != expected:
                raise self._miscopied(f"expected {expected:,} {what}, found {found:,}")

    def _check(self, sample: Sequence[str]) -> None:
        """Read these points again, on both sides."""
        for start in range(0, len(sample), _BATCH):
            points = list(self._read(self._origin, sample[start : start + _BATCH]).values())
            if unequal := self._unequal(points):
                raise self._miscopied(f"expected chunk {unequal[0].point_id} as it was sent, found another")
            self.checked += len(points)

    def _miscopied(self, what: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"copy {self._manifest.corpus!r}: {what}. It stays unfinished: copy again, which sends what "
            "differs."
        )


def _renamed(record: CorpusRecord, name: str) -> CorpusRecord:
    """Return the record of a corpus that is whole, under this name."""
    return replace(
        record,
        manifest=replace(record.manifest, corpus=name),
        deployments=tuple(replace(one, corpus=name) for one in record.deployments),
        dropping=(),
    )


def _is_there(target: VectorStore, name: str, wanted: CorpusRecord) -> bool:
    """Return whether the target has the corpus, as far as its record goes; a copy that is not whole is none.

    Raises
    ------
    CorpusExistsError
        If it has another one of this name.
    """
    if name not in target.names():
        return False
    with _record_of(target, name) as found:
        if different := different_records(wanted, found, whole=not found.copied_from):
            raise different_corpus(name, target.location, different)
        return not found.copied_from


@contextmanager
def _record_of(store: VectorStore, name: str) -> Iterator[CorpusRecord]:
    with closing(store.open(name)) as collection:
        yield CorpusRecord.from_json(collection.read_record())


def _opened(target: VectorStore, name: str, wanted: CorpusRecord, *, origin: str) -> Collection:
    """Open the copy; it is created where it is not there, or was begun with other vectors."""
    if name in target.names():
        with _record_of(target, name) as found:
            reusable = not found.copied_from or _layout(found) == _layout(wanted)
        if reusable:
            return target.open(name)
        target.drop(name)  # never was whole, so nothing is lost
    sizes = {model.key: model.dimensions for model in wanted.manifest.models}
    return target.create(name, vectors=sizes, record=replace(wanted, copied_from=origin).to_json())


def _check_unchanged(origin: Collection, record: CorpusRecord, *, location: str) -> None:
    """Refuse to call a copy whole if something was deployed meanwhile, say, which needs no lock."""
    if CorpusRecord.from_json(origin.read_record()) != record:
        raise StoreError(
            f"corpus {record.manifest.corpus!r} at {location}: expected it to stay as it was, but it was "
            "changed while it was copied. Copy again: what is there already is not sent again."
        )


def _layout(record: CorpusRecord) -> Any:
    manifest = record.manifest
    sizes = {model.key: model.dimensions for model in manifest.models}
    return sizes, set(manifest.combinations), manifest.lexical is not None
