"""From scores to rankings: chunks to documents, the best k, and the one rule for ties.

Equal scores are ordered by index, ascending. A document score matrix has its columns in
*descending* order of document id, so the same rule is that of trec_eval: score, then document id,
both descending. Insertion order never decides a rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.arrays import AnyFloatArray, IntArray, ScoreArray, check_floats, check_integers, check_rows
from retriever.errors import ShapeError

NO_DOCUMENT = -1
"""Stands in a ranking of documents where a query has fewer than k of them."""

NOTHING = 2**32 - 1
"""Stands among columns where there is none."""

LAST = 2**63 - 1
"""Sorts after all of `order_keys`."""

_COLUMN_BITS = 32
_PLACE_BITS = 31
_MAGNITUDE = np.int32(2**31 - 1)


def check_k(k: int) -> None:
    """Raise ShapeError unless a cutoff `k` is at least 1."""
    if k < 1:
        raise ShapeError(f"k: expected a cutoff of at least 1, got {k}. 10 is usual.")


def top_k(scores: ArrayLike, k: int) -> IntArray:
    """Return the columns of the k highest scores of each row, best first.

    Parameters
    ----------
    scores : float, shape (n_queries, n_chunks)
        Higher is better; finite.
    k
        From 1 to n_chunks.

    Returns
    -------
    int64, shape (n_queries, k)
        Equal scores are ordered by column, ascending, at the cutoff too.

    Raises
    ------
    ShapeError
        If the scores are not a finite matrix, or k is out of range.
    """
    matrix = check_floats(scores, name="scores", ndim=2)
    check_k(k)
    if k > matrix.shape[1]:
        raise ShapeError(f"k: expected at most {matrix.shape[1]}, the number of columns, got {k}. Lower k.")
    return best_columns(matrix, k)


def best_columns(scores: AnyFloatArray, k: int) -> IntArray:
    """Compute `top_k` of trusted scores; -inf is allowed and comes last."""
    n_columns = scores.shape[1]
    cutoff = np.partition(scores, n_columns - k, axis=1)[:, n_columns - k, None]
    kept = scores >= cutoff
    surplus = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)  # rows with a tie across the cutoff
    kept[surplus] = _without_late_ties(scores[surplus], cutoff[surplus], k)
    columns = np.nonzero(kept)[1].reshape(len(scores), k)
    best_first = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, best_first, axis=1)


def order_keys(scores: ScoreArray, columns: IntArray) -> IntArray:
    """Return integers that sort as the one rule says: score descending, then column ascending.

    Sorting integers is several times as fast as sorting places by two criteria. `columns_of` and
    `scores_of` read them again.

    Parameters
    ----------
    scores : float32, any shape
        No NaN.
    columns : int64, of the same shape
        From 0 to 2^32 - 2.

    Returns
    -------
    int64, of the same shape
        Less than `LAST`.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # the sum makes 0 of -0
    ascending = bits ^ ((bits >> 31) & _MAGNITUDE)
    keys: IntArray = (~ascending).astype(np.int64) << _COLUMN_BITS | columns
    return keys


def columns_of(keys: IntArray) -> IntArray:
    """Return the columns that `order_keys` were made of; `NOTHING` of `LAST`."""
    return keys & NOTHING


def scores_of(keys: IntArray) -> ScoreArray:
    """Return the scores that `order_keys` were made of."""
    ascending = (~(keys >> _COLUMN_BITS)).astype(np.int32)
    return (ascending ^ ((ascending >> 31) & _MAGNITUDE)).view(np.float32)


def is_repeated(values: IntArray) -> NDArray[np.bool_]:
    """Return where a row has a number that it had further left already.

    Parameters
    ----------
    values : int64, shape (n_rows, n)
        From 0 to 2^32 - 1.
    """
    n = values.shape[1]
    in_order = np.sort(values << _PLACE_BITS | np.arange(n), axis=1)
    same = in_order[:, 1:] >> _PLACE_BITS == in_order[:, :-1] >> _PLACE_BITS
    repeated = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(repeated, in_order[:, 1:] & ((1 << _PLACE_BITS) - 1), same, axis=1)
    return repeated


def _without_late_ties(scores: AnyFloatArray, cutoff: AnyFloatArray, k: int) -> NDArray[np.bool_]:
    above, tied = scores > cutoff, scores == cutoff
    room = k - np.count_nonzero(above, axis=1, keepdims=True)
    early: NDArray[np.bool_] = tied & (np.cumsum(tied, axis=1) <= room)
    return above | early


def document_scores(chunk_scores: ArrayLike, chunk_document: ArrayLike) -> AnyFloatArray:
    """Score each document by its best chunk.

    Parameters
    ----------
    chunk_scores : float, shape (n_queries, n_chunks)
    chunk_document : int, shape (n_chunks,)
        The document of each chunk, from 0 to n_documents - 1, in any order; no document is left
        without a chunk.

    Returns
    -------
    float, shape (n_queries, n_documents)
        Of the type of `chunk_scores`.

    Raises
    ------
    ShapeError
        If the lengths differ, or a document has no chunk.
    """
    scores = check_floats(chunk_scores, name="chunk_scores", ndim=2)
    groups = ChunkGroups(chunk_document)
    check_rows(name="chunk_document", got=groups.n_chunks, expected=scores.shape[1], of="column of scores")
    return groups.best(scores)


class ChunkGroups:
    """Which chunks belong to which document, laid out once for many score matrices.

    Parameters
    ----------
    chunk_document : int, shape (n_chunks,)
        As in `document_scores`.

    Attributes
    ----------
    document : int64, shape (n_chunks,)
        The same.
    n_chunks, n_documents
        How many there are.
    """

    def __init__(self, chunk_document: ArrayLike) -> None:
        document = check_integers(chunk_document, name="chunk_document", ndim=1)
        order = np.argsort(document, kind="stable")
        found, starts = np.unique(document[order], return_index=True)
        if not np.array_equal(found, np.arange(len(found))):
            raise ShapeError(
                f"chunk_document: expected every document from 0 to {document.max()} to have a chunk, got "
                f"{len(found)} different indices from {document.min()}. Leave out documents without chunks."
            )
        self.document = document
        self.n_chunks = len(document)
        self.n_documents = len(starts)
        self._starts = starts
        self._order = None if np.array_equal(order, np.arange(len(order))) else order

    def best(self, chunk_scores: AnyFloatArray) -> AnyFloatArray:
        """Compute `document_scores` of trusted scores."""
        scores = self._grouped(chunk_scores)
        if self.n_documents == self.n_chunks:
            return scores
        return np.maximum.reduceat(scores, self._starts, axis=1)

    def mean_of_best(self, chunk_scores: AnyFloatArray, m: int) -> AnyFloatArray:
        """Score each document by the mean of its best m chunks, of all where it has fewer.

        Parameters
        ----------
        chunk_scores : float, shape (n_queries, n_chunks)
            Trusted: finite.
        m
            At least 1; 1 is `best`.
        """
        sizes = np.diff(self._starts, append=self.n_chunks)
        totals = self.best(chunk_scores)
        if m == 1 or self.n_documents == self.n_chunks:
            return totals
        left, best, totals = self._grouped(chunk_scores).copy(), totals, totals.copy()
        for rank in range(1, min(m, int(sizes.max()))):
            self._remove(left, best, sizes)
            best = np.maximum.reduceat(left, self._starts, axis=1)
            totals += np.where(sizes > rank, best, 0)
        return totals / np.minimum(sizes, m).astype(totals.dtype)

    def _remove(self, left: AnyFloatArray, best: AnyFloatArray, sizes: IntArray) -> None:
        """Set the first chunk of each document that scores its best to -inf, in grouped scores."""
        places = np.where(left == np.repeat(best, sizes, axis=1), np.arange(self.n_chunks), self.n_chunks)
        np.put_along_axis(left, np.minimum.reduceat(places, self._starts, axis=1), -np.inf, axis=1)

    def _grouped(self, chunk_scores: AnyFloatArray) -> AnyFloatArray:
        return chunk_scores if self._order is None else chunk_scores.take(self._order, axis=1)


def own_documents(query_ids: Sequence[str], document_ids: Sequence[str]) -> IntArray:
    """Return the column of the document that has the query's own id, `NO_DOCUMENT` where none has.

    In some collections (ArguAna) the queries are documents of the corpus and must not find
    themselves.

    Returns
    -------
    int64, shape (n_queries,)
    """
    column = {document: index for index, document in enumerate(document_ids)}
    return np.array([column.get(query, NO_DOCUMENT) for query in query_ids], dtype=np.int64)


def rank_documents(scores: ScoreArray, *, k: int, own: IntArray | None) -> IntArray:
    """Rank documents as trec_eval does: score, then document id, both descending.

    Parameters
    ----------
    scores : float32, shape (n_queries, n_documents)
        Columns in descending order of document id.
    k
        Cutoff, at least 1.
    own : int64, shape (n_queries,)
        The document that each query must not find, see `own_documents`; None to keep all hits.

    Returns
    -------
    int64, shape (n_queries, min(k, n_documents))
        Columns, best first; `NO_DOCUMENT` where a query has fewer documents.
    """
    depth = min(k, scores.shape[1])
    if own is None:
        return best_columns(scores, depth)
    rows = np.flatnonzero(own != NO_DOCUMENT)
    masked = scores.copy()
    masked[rows, own[rows]] = -np.inf
    top = best_columns(masked, depth)
    return np.where(top == own[:, None], NO_DOCUMENT, top)
