"""The seam to Qdrant: what both engines do, and nothing more.

A collection has three sides, each a Protocol of its own: its points are read, its points are
written, its layout is changed. What a corpus *means* (models, chunks, combinations) stands above
this seam, in `retriever.corpus`, and what is handed down has been validated there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ShapeError
from retriever.models.protocol import FloatArray
from retriever.records import FULL_STORAGE
from retriever.store.filters import Condition


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SparseVector:
    """A vector that is 0 but for a few places: which places those are, and what stands there.

    `indices` (uint32, 1-d) are different from each other, `values` (float32, of the same length) finite.
    Without any, it is the vector of a text without tokens, which is not the same as none.

    Raises
    ------
    ShapeError
        If they are not.
    """

    indices: NDArray[np.uint32]
    values: FloatArray

    def __post_init__(self) -> None:
        indices, values = self.indices, self.values
        if indices.dtype != np.uint32 or values.dtype != np.float32 or indices.ndim != 1:
            raise ShapeError(
                "sparse vector: expected indices of uint32, 1-d, and values of float32, "
                f"got {indices.dtype}, {indices.ndim}-d, and {values.dtype}."
            )
        if indices.shape != values.shape:
            raise ShapeError(
                f"sparse vector: expected a value per index, got {indices.shape} and {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ShapeError("sparse vector: expected finite values, got NaN or infinity.")
        if len(set(indices.tolist())) < indices.size:
            raise ShapeError("sparse vector: expected different indices, got one of them twice.")

    @property
    def size(self) -> int:
        """How many places are given."""
        return self.indices.size

    @property
    def nbytes(self) -> int:
        """How many bytes its numbers take."""
        return self.indices.nbytes + self.values.nbytes


Vector: TypeAlias = FloatArray | SparseVector
"""What a named vector of a point is: dense (float32, 1-d) or sparse, as the layout has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A stored chunk: UUID, payload of JSON values, and vectors by name."""

    point_id: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Vector] = field(default_factory=dict)

    @property
    def dense(self) -> dict[str, FloatArray]:
        """Those of its vectors that are dense."""
        return {name: vector for name, vector in self.vectors.items() if not isinstance(vector, SparseVector)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPoint:
    """A point found by a search; `score` is the dot product with the query."""

    point: Point
    score: float


class PointReader(Protocol):
    """Reads points."""

    def search(  # noqa: PLR0913  # what a search is
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
        approximate: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Return, per query, the `k` points of highest dot product with what is stored, by exact search.

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
        approximate
            Choose the `k` points by the compact representation of a vector that is kept as int8 or binary,
            where the engine has made it: when `flush` merges, at the latest, and not for a few points. There
            are fewer bytes to scan, but others may be among the `k`: ask for more than are wanted. Scores are
            those of what is kept in float16 either way. Other kinds of vectors are searched exactly.

        Returns
        -------
        One list per query, best first, ties by id. Points without this vector are not found.
        """
        ...

    def search_sparse(
        self,
        query: SparseVector,
        *,
        vector: str,
        k: int,
        where: Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[ScoredPoint]:
        """Return the `k` points of highest dot product with a sparse query, by exact search.

        Each product of two values is weighted by the inverse document frequency of its index,
        ``ln(1 + (N - n + 0.5) / (n + 0.5))``, where `N` points have this vector, empty ones included, and
        `n` of these have a value at this index. Both are counted when the query comes, over all points,
        whatever `where` selects. (A server that keeps a corpus in several shards counts within each of
        them; one before 1.19 counts deleted points until it has merged what is left, and no empty ones.)

        Returns
        -------
        Best first, ties by id. Points that share no index with the query are not found.
        """
        ...

    def count_above(
        self,
        query: FloatArray | SparseVector,
        *,
        vector: str,
        score: float,
        where: Condition | None = None,
    ) -> int:
        """Return how many matching points score higher than `score`: one less than the rank of such a hit.

        The query is one dense one (float32, 1-d) or a sparse one, scored as `search` and `search_sparse`
        do. Take `score` from these: other arithmetic may differ in its last digits, and then a point
        counts as above itself.
        """
        ...

    def prepare(self, vector: str) -> None:
        """Make searches of a vector as fast as they will be, and return when they are.

        It costs memory until the next write and changes no result. An engine that has nothing to prepare,
        or not for so few points, returns at once.
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

    def add_vector(self, name: str, size: int, *, storage: str = FULL_STORAGE) -> None:
        """Add a named vector, kept as `storage` says; existing points have none of it until it is written.

        Adding one that is there with the same size and storage changes nothing.

        Raises
        ------
        InputError
            If one of this name is there that is otherwise, or `storage` is not one of
            `retriever.store.kinds.STORAGES`.
        """
        ...

    def add_sparse_vector(self, name: str) -> None:
        """Add a named sparse vector; existing points have none of it until it is written.

        Adding one that is there changes nothing.

        Raises
        ------
        InputError
            If a dense one of this name is there.
        """
        ...

    def drop_vector(self, name: str) -> None:
        """Delete a named vector, dense or sparse, from the layout and every point; a missing one, too."""
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
