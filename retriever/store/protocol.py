"""The seam to Qdrant: what both engines do, and nothing more.

A collection has three sides, each a Protocol of its own: its points are read, its points are
written, its layout is changed. What a corpus *means* (models, chunks, combinations) stands above
this seam, in `retriever.corpus`, and what is handed down has been validated there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from retriever.models.protocol import FloatArray
from retriever.store.filters import Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A stored chunk: UUID, payload of JSON values, and vectors by name (each float32, 1-d)."""

    point_id: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPoint:
    """A point found by a search; `score` is the dot product with the query."""

    point: Point
    score: float


class PointReader(Protocol):
    """Reads points."""

    def search(
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[list[ScoredPoint]]:
        """Return, per query, the `k` points of highest dot product, by exact search.

        Parameters
        ----------
        queries : float32, shape (n_queries, size of `vector`)
        vector
            Name of the vector to search.
        k
            At least 1; fewer points come back where fewer match.
        where
            Only points for which this holds.
        with_vectors
            Names of the vectors to return with each point.

        Returns
        -------
        One list per query, best first, ties by id. Points without this vector are not found.
        """
        ...

    def scroll(
        self,
        *,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
        fields: Sequence[str] | None = None,
        batch: int = 256,
    ) -> Iterator[list[Point]]:
        """Yield matching points in lists of at most `batch`, in the order of their ids.

        `fields` limits the payload to these top-level fields; None returns all of it.
        """
        ...

    def count(self, where: Condition | None = None) -> int:
        """Return the exact number of matching points."""
        ...


class PointWriter(Protocol):
    """Writes points; when a call returns, what it wrote survives the end of the process."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points whole: payload and vectors of an existing id are replaced."""
        ...

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace the given vectors of existing points and keep all else."""
        ...

    def update_payloads(self, points: Sequence[Point]) -> None:
        """Replace the whole payload of existing points and keep their vectors."""
        ...

    def delete(self, where: Condition) -> None:
        """Delete matching points; none matching is no error."""
        ...

    def flush(self) -> None:
        """Return when all that was written survives a power failure."""
        ...


class Layout(Protocol):
    """What a collection consists of."""

    def add_vector(self, name: str, size: int) -> None:
        """Add a named vector; existing points have none of it until it is written.

        Adding one that is there with the same size changes nothing.
        """
        ...

    def drop_vector(self, name: str) -> None:
        """Delete a named vector from the layout and from every point; one that is not there, too."""
        ...

    def ensure_indexes(self) -> None:
        """Make the payload indexes that are missing: a collection of an earlier release has fewer."""
        ...

    def read_record(self) -> dict[str, Any]:
        """Return the JSON values last written."""
        ...

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace the record by one atomic write; a reader sees the old or the new one."""
        ...


class Collection(PointReader, PointWriter, Layout, Protocol):
    """One corpus in a store."""

    def lock(self, purpose: str) -> AbstractContextManager[None]:
        """Be its only writer within ``with``; `purpose` is what a second one is told that this one does.

        It excludes others that lock, of this process or another one, and `VectorStore.drop`. Readers
        and writers that do not lock go on. A lock that was lost is told by the next write.

        Raises
        ------
        StoreLockedError
            If there is another writer: the message names it.
        """
        ...

    def close(self) -> None:
        """Release it; it must not be used afterwards. Closing it again changes nothing."""
        ...


class VectorStore(Protocol):
    """A place that holds collections."""

    @property
    def location(self) -> str:
        """Where it is, for messages."""
        ...

    def create(self, name: str, *, vectors: Mapping[str, int], record: Mapping[str, Any]) -> Collection:
        """Create and open a collection; one of this name must not exist (`CorpusExistsError`).

        A creation that was cut short leaves nothing that `names` or `open` would show.
        """
        ...

    def open(self, name: str) -> Collection:
        """Open an existing collection (`CorpusNotFoundError`)."""
        ...

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        ...

    def drop(self, name: str) -> None:
        """Delete a collection with all it holds (`CorpusNotFoundError`).

        One that is being written is refused (`StoreLockedError`).
        """
        ...
