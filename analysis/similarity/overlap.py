"""How alike two models are in what they retrieve: overlaps of the first k chunks, per query.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), Eqs. 2 and 3.
.. [2] W. Webber, A. Moffat, J. Zobel: A similarity measure for indefinite rankings, ACM TOIS 28
   (2010), Eq. 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.arrays import FloatArray, IntArray, check_integers
from retriever.errors import ShapeError

PERSISTENCE = 0.9
"""Of rank-biased overlap: the first ten ranks have 86 % of the weight."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Overlap:
    """How alike the first `k` chunks of two models are, per query.

    Attributes
    ----------
    k
        What was asked for, or the number of chunks where that is smaller.
    jaccard, rank_similarity, rank_biased_overlap : float64, shape (n_queries,)
        In [0, 1], see the functions of these names.
    kendall_tau : float64, shape (n_queries,)
        In [-1, 1]; NaN where fewer than two chunks are shared.
    """

    k: int
    jaccard: FloatArray
    rank_similarity: FloatArray
    rank_biased_overlap: FloatArray
    kendall_tau: FloatArray

    @property
    def means(self) -> dict[str, float | None]:
        """Means over queries, by name; of `kendall_tau` over those where it is defined, None if nowhere."""
        defined = self.kendall_tau[~np.isnan(self.kendall_tau)]
        return {
            f"jaccard@{self.k}": float(self.jaccard.mean()),
            f"rank_similarity@{self.k}": float(self.rank_similarity.mean()),
            f"rank_biased_overlap@{self.k}": float(self.rank_biased_overlap.mean()),
            f"kendall_tau@{self.k}": float(defined.mean()) if len(defined) else None,
        }


def overlap(top_a: ArrayLike, top_b: ArrayLike) -> Overlap:
    """Compare two models' rankings in every way at once; parameters and errors as in `jaccard`."""
    return Overlap(
        k=np.asarray(top_a).shape[1],
        jaccard=jaccard(top_a, top_b),
        rank_similarity=rank_similarity(top_a, top_b),
        rank_biased_overlap=rank_biased_overlap(top_a, top_b),
        kendall_tau=kendall_tau(top_a, top_b),
    )


def jaccard(top_a: ArrayLike, top_b: ArrayLike) -> FloatArray:
    """Overlap of two models' retrieved chunks, per query ([1]_, Eq. 2).

    Parameters
    ----------
    top_a, top_b : int, shape (n_queries, k)
        Chunk indices, best first, no repeats within a row, see `analysis.rankings.top_k`.

    Returns
    -------
    float64, shape (n_queries,)
        In [0, 1]; 1 means the same chunks, in any order.

    Raises
    ------
    ShapeError
        If the shapes differ or a row has a chunk twice.
    """
    a, b = _check_rankings(top_a, top_b)
    shared = _shared(a, b).count
    overlap: FloatArray = shared / (2 * a.shape[1] - shared)
    return overlap


def rank_similarity(top_a: ArrayLike, top_b: ArrayLike) -> FloatArray:
    """Agreement of the ranks of the chunks that both models retrieved, per query ([1]_, Eq. 3).

    The sum over shared chunks of ``2 / ((1 + |r_a - r_b|) (r_a + r_b))``, over the harmonic number
    of how many are shared. Ranks count from 1.

    Parameters
    ----------
    top_a, top_b : int, shape (n_queries, k)
        As in `jaccard`.

    Returns
    -------
    float64, shape (n_queries,)
        In [0, 1]; 1 means the same chunks in the same order, 0 no shared chunk.

    Raises
    ------
    ShapeError
        If the shapes differ or a row has a chunk twice.
    """
    a, b = _check_rankings(top_a, top_b)
    shared = _shared(a, b)
    terms = 2 / ((1 + np.abs(shared.rank_a - shared.rank_b)) * (shared.rank_a + shared.rank_b))
    sums = np.where(shared.is_shared, terms, 0.0).sum(axis=1)
    harmonic = np.concatenate([[1.0], np.cumsum(1 / np.arange(1, a.shape[1] + 1))])  # 1 stands in for H(0)
    agreement: FloatArray = sums / harmonic[shared.count]
    return agreement


def rank_biased_overlap(top_a: ArrayLike, top_b: ArrayLike, *, p: float = PERSISTENCE) -> FloatArray:
    """Overlap of two models' rankings, weighted towards the top and extrapolated, per query ([2]_, Eq. 32).

    ``X_k/k·p^k + (1-p)/p · Σ X_d/d·p^d``, d from 1 to k, with X_d the chunks shared by the first d.

    Parameters
    ----------
    top_a, top_b : int, shape (n_queries, k)
        As in `jaccard`.
    p
        How likely a reader goes on to the next rank, in (0, 1).

    Returns
    -------
    float64, shape (n_queries,)
        In [0, 1]; 1 means the same chunks in the same order, 0 no shared chunk.

    Raises
    ------
    ShapeError
        If the shapes differ, a row has a chunk twice, or p is out of range.
    """
    a, b = _check_rankings(top_a, top_b)
    if not 0 < p < 1:
        raise ShapeError(f"p: expected a number between 0 and 1, got {p}. {PERSISTENCE} is usual.")
    k, shared = a.shape[1], _shared(a, b)
    complete_at = np.maximum(shared.rank_a, shared.rank_b)  # the depth from which a chunk is shared
    depths = np.arange(1, k + 1)
    counts = (shared.is_shared[:, :, None] & (complete_at[:, :, None] <= depths)).sum(axis=1)
    agreement = counts / depths
    extrapolated: FloatArray = agreement[:, -1] * p**k + (1 - p) / p * (agreement @ p**depths)
    return extrapolated


def kendall_tau(top_a: ArrayLike, top_b: ArrayLike) -> FloatArray:
    """Agreement in order of the chunks that both models retrieved, per query: Kendall's tau.

    Parameters
    ----------
    top_a, top_b : int, shape (n_queries, k)
        As in `jaccard`.

    Returns
    -------
    float64, shape (n_queries,)
        In [-1, 1]; 1 the same order, -1 the reverse, NaN where fewer than two chunks are shared.

    Raises
    ------
    ShapeError
        If the shapes differ or a row has a chunk twice.
    """
    a, b = _check_rankings(top_a, top_b)
    shared = _shared(a, b)
    rank_a, rank_b = (np.where(shared.is_shared, rank, 0) for rank in (shared.rank_a, shared.rank_b))
    orders = np.sign(rank_a[:, :, None] - rank_a[:, None, :]) * np.sign(
        rank_b[:, :, None] - rank_b[:, None, :]
    )
    both = shared.is_shared[:, :, None] & shared.is_shared[:, None, :]
    pairs = shared.count * (shared.count - 1)
    sums = np.where(both, orders, 0).sum(axis=(1, 2))
    tau: FloatArray = np.divide(sums, pairs, out=np.full(len(a), np.nan), where=pairs > 0)
    return tau


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shared:
    """The chunks that two rankings share; ranks hold where `is_shared`, shape (n_queries, 2k - 1)."""

    is_shared: NDArray[np.bool_]
    rank_a: IntArray
    rank_b: IntArray
    count: IntArray


def _shared(a: IntArray, b: IntArray) -> _Shared:
    """Sort both rankings together: a shared chunk stands twice in a row, first as of `a`."""
    both = np.concatenate([a, b], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    in_order = np.take_along_axis(both, order, axis=1)
    is_shared = in_order[:, 1:] == in_order[:, :-1]
    return _Shared(
        is_shared=is_shared,
        rank_a=np.where(is_shared, order[:, :-1] + 1, 1),
        rank_b=np.where(is_shared, order[:, 1:] - a.shape[1] + 1, 1),
        count=np.count_nonzero(is_shared, axis=1),
    )


def _check_rankings(top_a: ArrayLike, top_b: ArrayLike) -> tuple[IntArray, IntArray]:
    a = check_integers(top_a, name="top_a", ndim=2)
    b = check_integers(top_b, name="top_b", ndim=2)
    if a.shape != b.shape:
        raise ShapeError(f"top_a, top_b: expected equal shapes, got {a.shape} and {b.shape}. Use one k.")
    for name, top in (("top_a", a), ("top_b", b)):
        repeated = np.flatnonzero((np.diff(np.sort(top, axis=1), axis=1) == 0).any(axis=1))
        if repeated.size:
            raise ShapeError(
                f"{name}: expected different chunks in each row, got one twice in row {repeated[0]}. "
                f"Rank each chunk once."
            )
    return a, b
