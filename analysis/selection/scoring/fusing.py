"""Documents ranked by fused ranks or distributions, as the retriever serves them.

See `retriever.search.fusion` and `retriever.search.context.best_per_document`: of the first chunks of
each leg, 100 or more, the first four per document that is wanted are taken; where these are of too few
documents, four times as many.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray, IntArray, ScoreArray
from analysis.rankings import NO_DOCUMENT, NOTHING, best_columns, is_repeated
from analysis.selection.record import Option
from retriever.records import LEXICAL
from retriever.search.fusion import DEPTH, METHODS

_STEP = 4
"""How many chunks to take per document at first, and how many times as many where they do not suffice."""


class FusedSearch:
    """Ranks documents by options whose legs are fused, one block of queries at a time.

    Parameters
    ----------
    options
        None of them a sum.
    keys
        Of the legs, in the order of the scores.
    document : int64, shape (n_chunks,)
        The document of each chunk.
    k
        How many documents.
    """

    def __init__(self, options: Sequence[Option], keys: Sequence[str], document: IntArray, *, k: int) -> None:
        row = {key: place for place, key in enumerate(keys)}
        self._options = options
        self._keys = keys
        self._rows = [[row[leg] for leg in option.legs] for option in options]
        self._document = document
        self._k = k

    def first_documents(self, scores: ScoreArray, own: IntArray | None) -> IntArray:
        """Return the first documents of every option.

        Parameters
        ----------
        scores : float32, shape (n_legs, n_queries, n_chunks)
        own : int64, shape (n_queries,)
            As in `analysis.rankings.rank_documents`.

        Returns
        -------
        int64, shape (n_options, n_queries, k)
            Best first; `NO_DOCUMENT` where there are fewer.
        """
        n_queries = scores.shape[1]
        hidden = np.full(n_queries, NO_DOCUMENT) if own is None else own
        found = np.full((len(self._options), n_queries, self._k), NO_DOCUMENT)
        is_open = np.ones(found.shape[:2], dtype=bool)
        wanted = _STEP * self._k
        while is_open.any():
            asked = np.flatnonzero(is_open.any(axis=0))
            rankings = self._rankings(scores[:, asked], depth=max(wanted, DEPTH))
            for place, rows in enumerate(self._rows):
                those = np.flatnonzero(is_open[place, asked])
                if not len(those):
                    continue
                chunks = _fused([rankings[row] for row in rows], self._options[place].fusion, those)
                top, is_full = self._first(chunks[:, :wanted], hidden[asked[those]])
                found[place, asked[those]] = top
                more = np.count_nonzero(chunks != NOTHING, axis=1) >= wanted
                is_open[place, asked[those]] = more & ~is_full
            wanted *= _STEP
        return found

    def _rankings(self, scores: ScoreArray, *, depth: int) -> dict[int, _Ranking]:
        used = dict.fromkeys(row for rows in self._rows for row in rows)
        methods = {option.fusion for option in self._options}
        return {
            row: _Ranking.of(scores[row], depth, methods, is_lexical=self._keys[row] == LEXICAL)
            for row in used
        }

    def _first(self, chunks: IntArray, hidden: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return the first documents of rankings of chunks, and whether these are as many as are wanted."""
        documents = np.where(chunks != NOTHING, self._document.take(chunks, mode="clip"), NOTHING)
        documents[documents == hidden[:, None]] = NOTHING
        new = ~is_repeated(documents) & (documents != NOTHING)
        rank = np.cumsum(new, axis=1)
        row, place = np.nonzero(new & (rank <= self._k))
        top = np.full((len(chunks), self._k), NO_DOCUMENT)
        top[row, rank[row, place] - 1] = documents[row, place]
        return top, rank[:, -1] >= self._k


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Ranking:
    """The first chunks of one leg.

    `columns`: int64, shape (n_queries, depth), `NOTHING` behind the last; `worths`: by method, float64, of
    the same shape, 0 there.
    """

    columns: IntArray
    worths: dict[str, FloatArray]

    @classmethod
    def of(cls, scores: ScoreArray, depth: int, methods: Collection[str], *, is_lexical: bool) -> _Ranking:
        columns = best_columns(scores, min(depth, scores.shape[1]))
        values = np.take_along_axis(scores, columns, axis=1)
        lengths = (
            np.count_nonzero(values > 0, axis=1) if is_lexical else np.full(len(values), values.shape[1])
        )
        worths = {method: np.zeros(values.shape) for method in methods}
        for method, of_method in worths.items():
            for row, length in enumerate(lengths):
                of_method[row, :length] = METHODS[method](values[row, :length].tolist())
        beyond = np.arange(values.shape[1]) >= lengths[:, None]
        return cls(columns=np.where(beyond, NOTHING, columns), worths=worths)


def _fused(rankings: Sequence[_Ranking], method: str, queries: IntArray) -> IntArray:
    """Return all chunks of some rankings, best first, ties by column, `NOTHING` behind the last."""
    columns = np.concatenate([ranking.columns[queries] for ranking in rankings], axis=1)
    worths = np.concatenate([ranking.worths[method][queries] for ranking in rankings], axis=1)
    by_column = np.argsort(columns, axis=1, kind="stable")
    columns = np.take_along_axis(columns, by_column, axis=1)
    totals = _sum_of_equals(columns, np.take_along_axis(worths, by_column, axis=1), at_most=len(rankings))
    again = np.zeros(columns.shape, dtype=bool)
    again[:, 1:] = columns[:, 1:] == columns[:, :-1]
    columns[again] = NOTHING
    totals[columns == NOTHING] = -np.inf
    best_first = np.argsort(-totals, axis=1, kind="stable")
    return np.take_along_axis(columns, best_first, axis=1)


def _sum_of_equals(columns: IntArray, worths: FloatArray, *, at_most: int) -> FloatArray:
    """Return, where a row has a column for the first time, the sum of its worths.

    Sums of three and more carry their rounding errors along [1]_, so that the same ranks in another order
    are worth the same, as they are to `math.fsum`.

    References
    ----------
    .. [1] T. Ogita, S. Rump, S. Oishi: Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005).
    """
    totals, errors = worths.copy(), np.zeros(worths.shape)
    for step in range(1, at_most):
        same = columns[:, step:] == columns[:, :-step]
        addends = np.where(same, worths[:, step:], 0.0)
        before = totals[:, :-step].copy()
        after = before + addends
        part = after - before
        errors[:, :-step] += (before - (after - part)) + (addends - part)
        totals[:, :-step] = after
    return totals + errors
