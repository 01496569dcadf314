"""Documents ranked by options, and what the rankings are worth on judged queries.

The scores of each leg are computed once per block of queries, whatever the number of options. A sum is
formed as `analysis.evaluation.search` forms it, in float32 and in the order of the option's legs. Where
ranks or distributions are fused, the first chunks of each leg count, as many as the retriever takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import IntArray, ScoreArray, check_rows
from analysis.evaluation.plans import Plan
from analysis.evaluation.pruning import PrunedSearch, first_chunks, is_worthwhile, n_candidates
from analysis.evaluation.record import CUTOFF
from analysis.evaluation.search import Documents
from analysis.judgements import Judgements, check_documents
from analysis.measures import JudgedDocuments
from analysis.rankings import NO_DOCUMENT, ChunkGroups, check_k, own_documents, rank_documents
from analysis.selection.record import MeasuredOption, Option
from analysis.selection.scoring.fusing import FusedSearch
from analysis.selection.scoring.legs import Leg
from retriever.errors import InputError
from retriever.records import LEXICAL

_BLOCK_BYTES = 2**28
_BATCH_BYTES = 2**22


def measure(
    legs: Sequence[Leg],
    options: Sequence[Option],
    documents: Documents,
    judgements: Judgements,
    *,
    drop_own: bool = False,
) -> tuple[MeasuredOption, ...]:
    """Measure NDCG@10 of options on judged queries.

    Parameters
    ----------
    legs
        Of the queries, in the order of `judgements.query_ids`.
    options
        Of these legs.
    documents
        Of the chunks.
    judgements
        Queries and grades. A query scores 0 where nothing relevant is found.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).

    Raises
    ------
    InputError
        If an option has a leg that is not there, or a weight below 0.
    ShapeError
        If a leg has another number of queries or chunks.
    JudgementsError
        If not one judged document is in the corpus.
    """
    check_documents(judgements, documents.ids)
    own = own_documents(judgements.query_ids, documents.ids) if drop_own else None
    tops = rank(legs, options, documents, own=own, k=CUTOFF)
    if options:
        check_rows(name="queries", got=tops.shape[1], expected=len(judgements.queries), of="judged query")
    judged = JudgedDocuments(
        judgements.qrels, query_ids=judgements.query_ids, document_ids=documents.ids, k=CUTOFF
    )
    return tuple(
        MeasuredOption(option=option, ndcg=judged.grades(top).ndcg())
        for option, top in zip(options, tops, strict=True)
    )


def rank(
    legs: Sequence[Leg],
    options: Sequence[Option],
    documents: Documents,
    *,
    own: IntArray | None = None,
    k: int = CUTOFF,
) -> IntArray:
    """Return the first documents of every option for every query.

    A document scores as its best chunk. Equal scores of sums are ordered as in `rank_documents`; equal
    worths of fused ranks, which are frequent, as the retriever does: by the chunk, in the order of
    columns, which is that of the ids of chunks. BM25 alone finds no document without a token of the query.

    Parameters
    ----------
    legs
        All of the same queries.
    options
        Of these legs.
    documents
        Of the chunks.
    own : int64, shape (n_queries,)
        The document that each query must not find, see `own_documents`; None to keep all hits.
    k
        How many documents.

    Returns
    -------
    int64, shape (n_options, n_queries, min(k, n_documents))
        Columns of ``documents.ids``, best first; `NO_DOCUMENT` where there are fewer.

    Raises
    ------
    InputError
        If an option has a leg that is not there, or a weight below 0.
    ShapeError
        If a leg has another number of queries or chunks, or k is below 1.
    """
    check_k(k)
    _check_weights(options)
    used = _used(legs, options)
    board = _Scoreboard([leg.key for leg in used], options, documents, k=k)
    found = [np.empty((len(options), 0, board.k), dtype=np.int64)]
    for start, scores in _blocks(used, n_chunks=documents.chunks.n_chunks):
        rows = slice(start, start + scores.shape[1])
        found.append(board.block(scores, None if own is None else own[rows]))
    ranked = np.concatenate(found, axis=1)
    if own is not None and options:
        check_rows(name="own", got=len(own), expected=ranked.shape[1], of="query")
    return ranked


def _used(legs: Sequence[Leg], options: Sequence[Option]) -> list[Leg]:
    """Return the legs that some option has."""
    known = {leg.key for leg in legs}
    wanted = dict.fromkeys(key for option in options for key in option.legs)
    unknown = [key for key in wanted if key not in known]
    if unknown or len(known) < len(legs):
        raise InputError(
            f"options: expected legs among {', '.join(leg.key for leg in legs)}, each once, got "
            f"{', '.join(unknown) or 'one twice'}. Give the scores of every leg that an option has."
        )
    return [leg for leg in legs if leg.key in wanted]


def _check_weights(options: Sequence[Option]) -> None:
    for option in options:
        if not option.weights or not all(0 <= weight < math.inf for weight in option.weights.values()):
            raise InputError(
                f"options: expected at least one leg and weights of at least 0, got {dict(option.weights)}. "
                f"Leave out legs that do not count."
            )


def _blocks(legs: Sequence[Leg], *, n_chunks: int) -> Iterator[tuple[int, ScoreArray]]:
    """Yield blocks of queries: where they start and their scores, shape (n_legs, n_queries, n_chunks)."""
    size = max(1, _BLOCK_BYTES // (4 * n_chunks * max(1, len(legs))))
    start = 0
    while legs:
        first, *others = (leg.scores(slice(start, start + size)) for leg in legs)
        if not len(first):
            return
        scores = np.empty((len(legs), len(first), n_chunks), dtype=np.float32)
        for row, (leg, found) in enumerate(zip(legs, (first, *others), strict=True)):
            check_rows(name=f"scores of {leg.key}", got=len(found), expected=len(first), of="query")
            check_rows(name=f"scores of {leg.key}", got=found.shape[1], expected=n_chunks, of="chunk")
            scores[row] = found
        yield start, scores
        start += len(first)


class _Scoreboard:
    """Ranks documents by all options, one block of queries at a time.

    `k`: how many documents a ranking has.
    """

    def __init__(
        self, keys: Sequence[str], options: Sequence[Option], documents: Documents, *, k: int
    ) -> None:
        chunks = documents.chunks
        self.k = min(k, chunks.n_documents)
        self._n_options = len(options)
        self._fused = [place for place, option in enumerate(options) if option.fusion != "sum"]
        self._fusing = FusedSearch([options[place] for place in self._fused], keys, chunks.document, k=k)
        few = [place for place, option in enumerate(options) if _is_few(option)]
        self._m = n_candidates(chunks.n_chunks, k)
        is_pruned = is_worthwhile(self._m, chunks.n_chunks) and chunks.n_documents > k
        self._few = few if is_pruned else []
        self._pruned = PrunedSearch([_plan(options[place]) for place in self._few], keys, chunks, k=k)
        self._full = _FullSearch(keys, options, chunks, k=k)

    def block(self, scores: ScoreArray, own: IntArray | None) -> IntArray:
        """Return the first documents of every option, shape (n_options, n_queries, k)."""
        n_queries = scores.shape[1]
        found = np.empty((self._n_options, n_queries, self.k), dtype=np.int64)
        missing = np.ones((self._n_options, n_queries), dtype=bool)
        if self._fused:
            found[self._fused] = self._fusing.first_documents(scores, own)[:, :, : self.k]
            missing[self._fused] = False
        for query in range(n_queries) if self._few else ():
            of_query = np.ascontiguousarray(scores[:, query])
            found[self._few, query], proven = self._pruned.first_documents(
                of_query,
                first_chunks(of_query, self._m),
                own=NO_DOCUMENT if own is None else int(own[query]),
            )
            missing[self._few, query] = ~proven
        self._full.fill(found, missing, scores, own)
        return found


def _is_few(option: Option) -> bool:
    """Return whether its first documents can be searched among the first chunks of its legs."""
    return option.fusion == "sum" and not _is_lexical(option)


def _is_lexical(option: Option) -> bool:
    return option.legs == (LEXICAL,)


def _plan(option: Option) -> Plan:
    return Plan(weighting="explicit", weights=option.weights)


class _FullSearch:
    """Sums the scores of all chunks."""

    def __init__(
        self, keys: Sequence[str], options: Sequence[Option], chunks: ChunkGroups, *, k: int
    ) -> None:
        row = {key: place for place, key in enumerate(keys)}
        self._parts = [
            [(row[leg], np.float32(weight)) for leg, weight in option.weights.items()] for option in options
        ]
        self._is_lexical = [_is_lexical(option) for option in options]
        # Chunks of a document side by side, once for all options.
        self._order = np.argsort(chunks.document, kind="stable")
        self._chunks = ChunkGroups(chunks.document[self._order])
        self._k = k

    def fill(
        self, found: IntArray, missing: NDArray[np.bool_], scores: ScoreArray, own: IntArray | None
    ) -> None:
        """Write the first documents of the queries that an option misses, shape (n_options, n_queries, k)."""
        queries = np.flatnonzero(missing.any(axis=0))
        size = max(1, _BATCH_BYTES // (4 * scores.shape[2]))
        for start in range(0, len(queries), size):
            batch = queries[start : start + size]
            grouped = scores[:, batch].take(self._order, axis=2)
            for option in np.flatnonzero(missing[:, batch].any(axis=1)).tolist():
                those = np.flatnonzero(missing[option, batch])
                of_those = None if own is None else own[batch[those]]
                found[option, batch[those]] = self._first(option, grouped, those, of_those)

    def _first(self, option: int, scores: ScoreArray, queries: IntArray, own: IntArray | None) -> IntArray:
        best = self._chunks.best(self._sum(option, scores, queries))
        top = rank_documents(best, k=self._k, own=own)
        if self._is_lexical[option]:
            top[np.take_along_axis(best, top, axis=1) <= 0] = NO_DOCUMENT
        return top

    def _sum(self, option: int, scores: ScoreArray, queries: IntArray) -> ScoreArray:
        """Return Σ w·score of some queries, float32, rounded as in `PrunedSearch`."""
        every = len(queries) == scores.shape[1]  # whose scores need no copy
        parts: list[tuple[ScoreArray, np.float32]] = [
            (scores[row] if every else scores[row, queries], weight) for row, weight in self._parts[option]
        ]
        (first, weight), *others = parts
        if not others:
            return first
        total: ScoreArray = first * weight
        for part, other in others:
            total += part * other
        return total
