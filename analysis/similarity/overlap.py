"""How alike two models are in what they retrieve: overlaps of the first k chunks, per query.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), Eqs. 2 and 3.
.. [2] W. Webber, A. Moffat, J. Zobel: A similarity measure for indefinite rankings, ACM TOIS 28
   (2010), Eq. 32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, IntArray, check_integers
from retriever.errors import InputError, ShapeError

PERSISTENCE = 0.9
"""Of rank-biased overlap: the first ten ranks have 86 % of the weight."""

_LARGEST = 2**61  # times twice the depth, still an int64


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


def overlaps(
    tops: Mapping[str, ArrayLike], *, pairs: Sequence[tuple[str, str]], ks: Sequence[int]
) -> dict[tuple[str, str], tuple[Overlap, ...]]:
    """Compare the rankings of pairs of models in every way and at every cutoff, from one set of rankings.

    What two models share is looked up once per pair; a ranking at k is the first k of the deeper one.

    Parameters
    ----------
    tops : mapping of int, shape (n_queries, depth)
        By model, chunk indices, best first, no repeats within a row.
    pairs
        Of models in `tops`.
    ks
        Cutoffs, at least one, from 1 to depth.

    Returns
    -------
    dict
        By pair, one `Overlap` per cutoff, in the order of `ks`.

    Raises
    ------
    InputError
        If a pair names a model that has no rankings.
    ShapeError
        If the shapes differ, a row has a chunk twice, or a cutoff is out of range.
    """
    rankings = _check_rankings(tops)
    _check_known(pairs, rankings)
    for top in rankings.values():
        _check_cutoffs(ks, depth=top.shape[1])
    found = {}
    for a, b in pairs:
        ranks = _ranks_of_shared(rankings[a], rankings[b])
        found[a, b] = tuple(_overlap(_cut(ranks, k)) for k in ks)
    return found


def overlap(top_a: ArrayLike, top_b: ArrayLike) -> Overlap:
    """Compare two models' rankings in every way at once; parameters and errors as in `jaccard`."""
    return _overlap(_ranks(top_a, top_b))


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
    return _jaccard(_ranks(top_a, top_b))


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
    return _rank_similarity(_ranks(top_a, top_b))


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
    if not 0 < p < 1:
        raise ShapeError(f"p: expected a number between 0 and 1, got {p}. {PERSISTENCE} is usual.")
    return _rank_biased_overlap(_ranks(top_a, top_b), p)


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
    return _kendall_tau(_ranks(top_a, top_b))


# The kernels below take one form of two rankings, int64 of shape (n_queries, k): column r - 1 has the rank
# in the second ranking of the chunk at rank r of the first, or k + 1 if the second lacks it.


def _ranks(top_a: ArrayLike, top_b: ArrayLike) -> IntArray:
    checked = _check_rankings({"top_a": top_a, "top_b": top_b})
    return _ranks_of_shared(checked["top_a"], checked["top_b"])


def _ranks_of_shared(a: IntArray, b: IntArray) -> IntArray:
    """Sort both rankings together: a shared chunk stands twice in a row, first as of `a`."""
    k = a.shape[1]
    # chunk and place in one number: sorting numbers is ten times faster than sorting places
    chunk, place = np.divmod(np.sort(np.concatenate([a, b], axis=1) * (2 * k) + np.arange(2 * k)), 2 * k)
    rows, columns = np.nonzero(chunk[:, 1:] == chunk[:, :-1])
    ranks = np.full_like(a, k + 1)
    ranks[rows, place[rows, columns]] = place[rows, columns + 1] - k + 1
    return ranks


def _cut(ranks: IntArray, k: int) -> IntArray:
    """Return what `_ranks` gives for the first k of both rankings."""
    cut: IntArray = np.minimum(ranks[:, :k], k + 1)
    return cut


def _overlap(ranks: IntArray) -> Overlap:
    return Overlap(
        k=ranks.shape[1],
        jaccard=_jaccard(ranks),
        rank_similarity=_rank_similarity(ranks),
        rank_biased_overlap=_rank_biased_overlap(ranks, PERSISTENCE),
        kendall_tau=_kendall_tau(ranks),
    )


def _n_shared(ranks: IntArray) -> IntArray:
    shared: IntArray = np.count_nonzero(ranks <= ranks.shape[1], axis=1)
    return shared


def _jaccard(ranks: IntArray) -> FloatArray:
    shared = _n_shared(ranks)
    similarity: FloatArray = shared / (2 * ranks.shape[1] - shared)
    return similarity


def _rank_similarity(ranks: IntArray) -> FloatArray:
    k = ranks.shape[1]
    first = np.arange(1, k + 1)
    terms = np.where(ranks <= k, 2 / ((1 + np.abs(first - ranks)) * (first + ranks)), 0.0)
    harmonic = np.concatenate([[1.0], np.cumsum(1 / first)])  # 1 stands in for H(0)
    similarity: FloatArray = terms.sum(axis=1) / harmonic[_n_shared(ranks)]
    return similarity


def _rank_biased_overlap(ranks: IntArray, p: float) -> FloatArray:
    n_queries, k = ranks.shape
    depths = np.arange(1, k + 1)
    shared_from = np.maximum(depths, ranks)  # the depth from which a chunk is shared; k + 1 for never
    cells = shared_from + (k + 2) * np.arange(n_queries)[:, None]
    added = np.bincount(cells.ravel(), minlength=n_queries * (k + 2)).reshape(n_queries, k + 2)
    agreement = added[:, 1 : k + 1].cumsum(axis=1) / depths
    extrapolated: FloatArray = agreement[:, -1] * p**k + (1 - p) / p * (agreement @ p**depths)
    return extrapolated


def _kendall_tau(ranks: IntArray) -> FloatArray:
    n_queries, k = ranks.shape
    by_rank = np.ascontiguousarray(ranks.T, dtype=np.int32)
    earlier = np.where(by_rank <= k, by_rank, 0)  # 0 is above no rank, and no rank is above k + 1
    discordant = np.zeros(n_queries, dtype=np.int64)
    for rank in range(1, k):
        discordant += (earlier[:rank] > by_rank[rank]).sum(axis=0)
    n_shared = _n_shared(ranks)
    pairs = n_shared * (n_shared - 1)
    tau: FloatArray = np.divide(
        pairs - 4 * discordant, pairs, out=np.full(n_queries, np.nan), where=pairs > 0
    )
    return tau


def _check_rankings(tops: Mapping[str, ArrayLike]) -> dict[str, IntArray]:
    rankings = {name: check_integers(top, name=name, ndim=2) for name, top in tops.items()}
    shapes = {top.shape for top in rankings.values()}
    if len(shapes) > 1:
        raise ShapeError(
            f"{', '.join(rankings)}: expected equal shapes, got "
            f"{' and '.join(str(top.shape) for top in rankings.values())}. Use one k."
        )
    for name, top in rankings.items():
        repeated = np.flatnonzero((np.diff(np.sort(top, axis=1), axis=1) == 0).any(axis=1))
        if repeated.size:
            raise ShapeError(
                f"{name}: expected different chunks in each row, got one twice in row {repeated[0]}. "
                f"Rank each chunk once."
            )
        if np.abs(top).max() > _LARGEST // top.shape[1]:
            raise ShapeError(
                f"{name}: expected indices of chunks, got {np.abs(top).max()}, with which no more can be "
                f"calculated. Number the chunks from 0."
            )
    return rankings


def _check_known(pairs: Sequence[tuple[str, str]], rankings: Mapping[str, IntArray]) -> None:
    unknown = {model for pair in pairs for model in pair} - rankings.keys()
    if unknown:
        raise InputError(
            f"pairs: expected models of {', '.join(rankings) or 'no rankings'}, got "
            f"{', '.join(sorted(unknown))}. Give the rankings of each model that a pair names."
        )


def _check_cutoffs(ks: Sequence[int], *, depth: int) -> None:
    if not ks or min(ks) < 1 or max(ks) > depth:
        raise ShapeError(
            f"ks: expected at least one cutoff, from 1 to {depth}, how deep the rankings are, got "
            f"{', '.join(map(str, ks)) or 'none'}. Rank deeper, or cut earlier."
        )
