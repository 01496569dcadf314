"""What an engine answers, as points: both engines answer in the same terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from retriever.errors import StoreCorruptError
from retriever.payload import SOURCE_ID, TEXT_HASH
from retriever.store.protocol import Point, ScoredPoint, SparseVector, Vector

INDEXED_IN_MEMORY = ("doc_id", SOURCE_ID)
"""Payload fields that queries may filter by: keyword indexes, kept in memory."""

INDEXED_ON_DISK = (TEXT_HASH,)
"""Payload fields that only an ingest asks for: keyword indexes, read from disk."""


class Answered(Protocol):
    """A stored point as an engine returns it."""

    @property
    def id(self) -> Any: ...  # noqa: D102

    @property
    def payload(self) -> Any: ...  # noqa: D102

    @property
    def vector(self) -> Any: ...  # noqa: D102


class AnsweredWithScore(Answered, Protocol):
    """A point that a search found."""

    @property
    def score(self) -> float: ...  # noqa: D102


def to_point(answered: Answered) -> Point:
    """Return a point with the payload and the vectors that were asked for.

    Raises
    ------
    StoreCorruptError
        If its vectors have no names: Tandem did not store it.
    """
    vectors = answered.vector or {}
    if not isinstance(vectors, dict):
        raise StoreCorruptError(f"point {answered.id}: expected named vectors, got one without a name.")
    return Point(
        point_id=str(answered.id),
        payload=answered.payload or {},
        vectors={name: _to_vector(vector) for name, vector in vectors.items()},
    )


def ranked(found: Sequence[AnsweredWithScore]) -> list[ScoredPoint]:
    """Return what a search found, best first, ties by id."""
    points = [ScoredPoint(point=to_point(answered), score=answered.score) for answered in found]
    return sorted(points, key=lambda scored: (-scored.score, scored.point.point_id))


def _to_vector(answered: Any) -> Vector:
    """Return a dense or a sparse vector; both engines give the latter as an object of the same attributes."""
    if not hasattr(answered, "indices"):
        return np.asarray(answered, dtype=np.float32)
    return SparseVector(
        indices=np.array(answered.indices, dtype=np.uint32),
        values=np.array(answered.values, dtype=np.float32),
    )
