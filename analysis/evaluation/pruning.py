"""The first documents of all pairs without summing the scores of all chunks, exactly.

A chunk that is among the first m of neither model scores at most ``w_a·cut_a + w_b·cut_b`` with the
pair, where a cut is what no chunk outside the first m exceeds. So the pair is summed over the first
m of both alone, and where its tenth document scores higher than that bound, no other chunk can
change the ranking: it is the one of a full search, bit for bit. Where not, it is not proven, and
the caller searches in full. This is the threshold algorithm [1]_ with lists of fixed length.

References
----------
.. [1] R. Fagin, A. Lotem, M. Naor: Optimal aggregation algorithms for middleware, JCSS 66 (2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import IntArray, ScoreArray
from analysis.evaluation.plans import Plan
from analysis.rankings import (
    LAST,
    NO_DOCUMENT,
    NOTHING,
    ChunkGroups,
    columns_of,
    is_repeated,
    order_keys,
    scores_of,
)

_FEW = 8
_SAMPLE = 2048
_SURPLUS = 1.2  # a sample finds a threshold for about m chunks; few queries shall find fewer
_PREFIX = 64
_ENOUGH = 4  # times as many candidates as documents: a chunk may come twice, a document have several
_PLANS_AT_ONCE = 256  # sums of so many stay in the cache


def n_candidates(n_chunks: int, k: int) -> int:
    """Return how many first chunks of each model to look at.

    √(k·n) is how deep two independent rankings have to be read for the first k of both; rankings of
    the same queries agree more than that.
    """
    return math.ceil(math.sqrt(k * n_chunks))


def is_worthwhile(m: int, n_chunks: int) -> bool:
    """Return whether the first m chunks are few of all."""
    return _FEW * m <= n_chunks


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FirstChunks:
    """The first m chunks of each model for one query.

    Attributes
    ----------
    columns : int64, shape (n_models, m)
        Best first, ties by column; a list that is shorter repeats its last.
    found : int64, shape (n_models,)
        How long each list is.
    cuts : float32, shape (n_models, 1)
        No chunk outside scores higher.
    """

    columns: IntArray
    found: IntArray
    cuts: ScoreArray


def first_chunks(scores: ScoreArray, m: int) -> FirstChunks:
    """Find the first m chunks of each model for one query, or somewhat fewer.

    Parameters
    ----------
    scores : float32, shape (n_models, n_chunks)
        Contiguous, or it is copied.
    m
        At most n_chunks.
    """
    n_models, n_chunks = scores.shape
    sample = np.linspace(0, n_chunks - 1, min(_SAMPLE, n_chunks)).astype(np.int64)
    rank = min(len(sample), math.ceil(_SURPLUS * m * len(sample) / n_chunks))
    thresholds = np.partition(scores.take(sample, axis=1), -rank, axis=1)[:, -rank, None]
    above = np.flatnonzero(scores >= thresholds)
    ends = np.searchsorted(above, np.arange(n_models + 1) * n_chunks)
    counts = np.diff(ends)
    row = np.repeat(np.arange(n_models), counts)
    keys = np.full((n_models, max(m, counts.max())), LAST)
    keys[row, np.arange(len(above)) - ends[row]] = order_keys(
        scores.ravel().take(above), above - row * n_chunks
    )
    keys.sort(axis=1)
    found = np.minimum(counts, m)
    last = keys[np.arange(n_models), found - 1, None]
    columns = columns_of(np.minimum(keys[:, :m], last))
    cuts = np.where(found[:, None] == m, scores_of(last), thresholds)
    return FirstChunks(columns=columns, found=found, cuts=cuts)


class PrunedSearch:
    """Ranks the first documents of many plans, one query at a time.

    Parameters
    ----------
    plans
        Of any number of models, equally many of which are searched together; weights are at least 0.
    keys
        Of the models, in the order of the rows of scores.
    chunks
        Which chunks belong to which document, documents in descending order of id.
    k
        How many documents; the corpus has at least one more.
    """

    def __init__(self, plans: Sequence[Plan], keys: Sequence[str], chunks: ChunkGroups, *, k: int) -> None:
        row = {key: index for index, key in enumerate(keys)}
        sizes = [len(plan.weights) for plan in plans]
        self._groups = [
            _Group.of(plans, np.array(members[start : start + _PLANS_AT_ONCE]), row)
            for members in ([i for i, size in enumerate(sizes) if size == n] for n in sorted(set(sizes)))
            for start in range(0, len(members), _PLANS_AT_ONCE)
        ]
        self._n_plans = len(plans)
        self._chunks = chunks
        self._k = k

    def first_documents(
        self, scores: ScoreArray, first: FirstChunks, *, own: int
    ) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return the first k documents of each plan, and for which plans they are proven to be.

        Parameters
        ----------
        scores : float32, shape (n_models, n_chunks)
            Of one query.
        first
            Its first chunks.
        own
            The document that the query must not find; `NO_DOCUMENT` for none.

        Returns
        -------
        int64, shape (n_plans, k)
            Meaningless where not proven.
        bool, shape (n_plans,)
        """
        candidates = _Candidates.of(scores, first, self._chunks)
        documents = np.empty((self._n_plans, self._k), dtype=np.int64)
        proven = np.empty(self._n_plans, dtype=bool)
        for group in self._groups:
            values = group.combined(candidates.scores)
            keys = _contenders(values, group, candidates, k=self._k, own=own)
            best = _first_of_each_document(keys, k=self._k)
            documents[group.places] = columns_of(best)
            last = best[:, -1]
            proven[group.places] = (last < LAST) & (scores_of(last) > group.bounds(first.cuts))
        return documents, proven


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Candidates:
    """The candidates of one query.

    `scores`: float32, shape (n_models, n_models, m), ``[i, j]`` those of model i for the candidates of j.
    `documents`: int64, shape (n_models, m), of the candidates of each model. `repeats`: bool, shape
    (n_models, at most m), whether an earlier candidate of the model has the same document.
    """

    scores: ScoreArray
    documents: IntArray
    repeats: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: ScoreArray, first: FirstChunks, chunks: ChunkGroups) -> _Candidates:
        documents = chunks.document.take(first.columns)
        return cls(
            scores=scores.take(first.columns, axis=1),
            documents=documents,
            repeats=is_repeated(documents[:, :_PREFIX]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Group:
    """Plans of equally many models.

    `places`: where they are among all plans, shape (n,). `members`: rows of their models, shape
    (n, n_members). `weights`: float32, shape (n_members, n, 1, 1).
    """

    places: IntArray
    members: IntArray
    weights: ScoreArray

    @classmethod
    def of(cls, plans: Sequence[Plan], places: IntArray, row: dict[str, int]) -> _Group:
        chosen = [plans[place] for place in places]
        weights = np.array([list(plan.weights.values()) for plan in chosen], dtype=np.float32)
        return cls(
            places=places,
            members=np.array([[row[key] for key in plan.weights] for plan in chosen]),
            weights=np.ascontiguousarray(weights.T)[:, :, None, None],
        )

    def combined(self, scores: ScoreArray) -> ScoreArray:
        """Return the plans' scores of the candidates of their models, shape (n, n_members, m)."""
        n_models, _, m = scores.shape
        rows = scores.reshape(n_models * n_models, m)
        return self._sum([rows.take(member * n_models + self.members, axis=0) for member in self._columns()])

    def bounds(self, cuts: ScoreArray) -> ScoreArray:
        """Return what no other chunk exceeds: rounded as in `combined`, so that it holds to the bit."""
        return self._sum([cuts.take(member)[:, :, None] for member in self._columns()]).ravel()

    def _columns(self) -> list[IntArray]:
        return [self.members[:, place, None] for place in range(self.members.shape[1])]

    def _sum(self, parts: list[ScoreArray]) -> ScoreArray:
        """Return Σ w·part, in place of the first; of a single model its part as it is."""
        if len(parts) == 1:
            return parts[0]
        total, *others = parts
        total *= self.weights[0]
        for other, weight in zip(others, self.weights[1:], strict=True):
            total += np.multiply(other, weight, out=other)
        return total


def _contenders(values: ScoreArray, group: _Group, candidates: _Candidates, *, k: int, own: int) -> IntArray:
    """Return keys of score and document of the candidates that may be among the first k documents.

    int64, shape (n, the most of any plan), ascending, `LAST` where there is none.
    """
    n, lists, m = values.shape
    kept = np.flatnonzero(values >= _least(values, group, candidates, k=k, own=own))
    plan, place = np.divmod(kept, lists * m)
    which, rank = np.divmod(place, m)
    documents = candidates.documents.ravel().take(group.members[plan, which] * m + rank)
    keys = order_keys(values.ravel().take(kept), documents)
    keys[documents == own] = LAST
    counts = np.bincount(plan, minlength=n)
    padded = np.full((n, counts.max()), LAST)
    padded[plan, np.arange(len(kept)) - (np.cumsum(counts) - counts)[plan]] = keys
    padded.sort(axis=1)
    return padded


def _least(values: ScoreArray, group: _Group, candidates: _Candidates, *, k: int, own: int) -> ScoreArray:
    """Return a score that k documents reach, other than its own, shape (n, 1, 1).

    Among the first candidates of one model, each document counted once, k have to reach it. Among
    those of two, a document may come twice: 2·k have to, and so on.
    """
    n, lists, _ = values.shape
    prefix = candidates.repeats.shape[1]
    heads = np.where(candidates.repeats[group.members], -np.inf, values[:, :, :prefix]).reshape(n, -1)
    needed = lists * (k if own == NO_DOCUMENT else k + 1)
    if needed > heads.shape[1]:
        return np.full((n, 1, 1), -np.inf, dtype=np.float32)
    return np.partition(heads, -needed, axis=1)[:, -needed, None, None].astype(np.float32, copy=False)


def _first_of_each_document(keys: IntArray, *, k: int) -> IntArray:
    """Return the first k keys of different documents of each row; `LAST` where there are fewer."""
    head = keys[:, : _ENOUGH * k]
    new = _is_new(head)
    if head.shape < keys.shape and np.count_nonzero(new, axis=1).min() < k:
        head, new = keys, _is_new(keys)
    rank = np.cumsum(new, axis=1)
    row, place = np.nonzero(new & (rank <= k))
    first = np.full((len(keys), k), LAST)
    first[row, rank[row, place] - 1] = head[row, place]
    return first


def _is_new(keys: IntArray) -> NDArray[np.bool_]:
    """Return where a row has the first key of a document."""
    documents = columns_of(keys)
    new: NDArray[np.bool_] = ~is_repeated(documents) & (documents != NOTHING)
    return new
