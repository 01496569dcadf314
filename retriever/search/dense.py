"""The dense legs: one search of the concatenated vector, scored from the vectors of each model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retriever.combine import parts_of, shares, weigh
from retriever.corpus import Corpus
from retriever.errors import StoreCorruptError
from retriever.models.protocol import FloatArray
from retriever.records import FULL_STORAGE, Combination
from retriever.search.wish import EmbeddedQuery, Found, best_first
from retriever.store.filters import Condition
from retriever.store.protocol import Point, ScoredPoint

_STEP_TOLERANCE = 1e-4
"""How far a stored score may be from the sum of its parts, for a query of length 1."""

_ROUNDING = {"float16": 1.1 * 2**-10}
"""Largest error of a score by how its vector is stored, for a query of length 1; unknown for the others."""

_CANDIDATES = {"float16": 2, "int8": 4, "binary": 16}
"""How many candidates per chunk that is wanted are scored from the vectors of the models."""

_FEWEST_CANDIDATES = 50


class DenseLegs:
    """Searches a combination at some weights.

    A score is ``Σ weight·cosine``, computed in float64 from the stored vectors of each model; the
    concatenated vector only says which chunks these are. Where it is stored in fewer bits, more
    candidates are scored than are wanted; of ``"float16"`` it is proven, for each query, that none was
    missed, with the bound on its rounding.

    Parameters
    ----------
    corpus
        An open corpus.
    combination
        What to search.
    weights
        One per part.
    """

    def __init__(self, corpus: Corpus, combination: Combination, weights: Sequence[float]) -> None:
        self._corpus = corpus
        self._combination = combination
        self._weights = tuple(weights)

    def search(
        self, queries: Sequence[EmbeddedQuery], *, k: int, where: Condition | None = None
    ) -> list[list[Found]]:
        """Return the best `k` chunks per query, best first, ties by id.

        Raises
        ------
        StoreCorruptError
            If a concatenated vector is not made of the vectors that are stored beside it.
        """
        if self._combination.storage != FULL_STORAGE:
            return [self._from_candidates(query, k=k, where=where) for query in queries]
        return [
            self._in_step(query, ranking)
            for query, ranking in zip(queries, self._scan(queries, k=k, where=where), strict=True)
        ]

    def row(self, query: EmbeddedQuery) -> FloatArray:
        """Return what the concatenated vector is searched with, float32, shape (Σ d_i,)."""
        row: FloatArray = weigh([part[None] for part in self._parts(query)], self._weights)[0]
        return row

    def founds(self, query: EmbeddedQuery, points: Sequence[Point]) -> list[Found]:
        """Return these points, in this order, with their scores for a query."""
        rows = self._summands(query, points)
        return [
            Found(
                point_id=point.point_id,
                score=math.fsum(row),
                payload=point.payload,
                contributions=dict(zip(self._combination.parts, row, strict=True)),
            )
            for point, row in zip(points, rows, strict=True)
        ]

    def _from_candidates(self, query: EmbeddedQuery, *, k: int, where: Condition | None) -> list[Found]:
        """Score more candidates than are wanted, until no other chunk can be better, if that can be said."""
        storage = self._combination.storage
        rounding = _ROUNDING.get(storage, math.inf) * float(np.linalg.norm(self.row(query)))
        wanted = max(k * _CANDIDATES[storage], _FEWEST_CANDIDATES)
        while True:
            (ranking,) = self._scan([query], k=wanted, where=where, approximate=True)
            found = best_first(self.founds(query, [scored.point for scored in ranking]))[:k]
            if len(ranking) < wanted or found[-1].score >= ranking[-1].score + rounding:
                return found
            if math.isinf(rounding):
                return [replace(one, approximate=True) for one in found]
            wanted *= 4

    def _scan(
        self,
        queries: Sequence[EmbeddedQuery],
        *,
        k: int,
        where: Condition | None,
        approximate: bool = False,
    ) -> list[list[ScoredPoint]]:
        return self._corpus.search(
            np.array([self.row(query) for query in queries]),
            combination=self._combination,
            k=k,
            where=where,
            with_vectors=self._combination.keys,
            approximate=approximate,
        )

    def _parts(self, query: EmbeddedQuery) -> list[FloatArray]:
        return [query.vectors[part] for part in self._combination.parts]

    def _summands(self, query: EmbeddedQuery, points: Sequence[Point]) -> list[list[float]]:
        if not points:
            return []
        whole = {
            key: np.array([self._vector(point, key) for point in points]) for key in self._combination.keys
        }
        rows: list[list[float]] = shares(
            self._parts(query), parts_of(whole, self._combination.parts), self._weights
        ).tolist()
        return rows

    def _vector(self, point: Point, key: str) -> FloatArray:
        vector = point.vectors.get(key)
        if not isinstance(vector, np.ndarray):
            raise StoreCorruptError(
                f"corpus {self._corpus.name!r} at {self._corpus.location}: expected a vector of {key} for "
                f"chunk {point.point_id}, it has none: it was written by something else. Ingest again."
            )
        return vector

    def _in_step(self, query: EmbeddedQuery, ranking: Sequence[ScoredPoint]) -> list[Found]:
        """Return a ranking with its scores; refuse a concatenated vector that something else has written."""
        founds = self.founds(query, [scored.point for scored in ranking])
        tolerance = _STEP_TOLERANCE * max(1.0, float(np.linalg.norm(self.row(query))))
        for scored, found in zip(ranking, founds, strict=True):
            if abs(scored.score - found.score) > tolerance:
                raise StoreCorruptError(
                    f"corpus {self._corpus.name!r} at {self._corpus.location}: expected vector "
                    f"{self._combination.vector} of chunk {found.point_id} to be made of "
                    f"{', '.join(self._combination.keys)} beside it (score {found.score:.6f}), got "
                    f"another one (score {scored.score:.6f}): the store was changed by something else. "
                    f"Drop {self._combination.vector} and deploy again: nothing is embedded."
                )
        return best_first(founds)
