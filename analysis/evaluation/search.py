"""The first documents of every candidate, and the first chunks of every model, exactly.

The score of a pair is the weighted sum of its models' scores, ``Σ w_i·cos(q_i, x_i)``, which is the
dot product of the concatenated vectors (see `retriever.combine`). So each model's scores are
computed once per block of queries, whatever the number of pairs, and sums are formed of the few
chunks that can matter (see `analysis.evaluation.pruning`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import AnyFloatArray, IntArray, ScoreArray
from analysis.evaluation.plans import Plan
from analysis.evaluation.pruning import FirstChunks, PrunedSearch, first_chunks, is_worthwhile, n_candidates
from analysis.evaluation.record import CUTOFF, ModelVectors
from analysis.rankings import NO_DOCUMENT, ChunkGroups, best_columns, rank_documents
from retriever.models.threads import available_cores

_BLOCK_BYTES = 2**30
_FULL_BYTES = 2**26
_CONVERTED_ROWS = 8192
_UNFINDABLE = np.float32(-2)  # less than any cosine, and so is its weighted sum with itself


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Documents:
    """Documents in descending order of id, the order in which `rank_documents` wants its columns."""

    ids: tuple[str, ...]
    chunks: ChunkGroups

    @classmethod
    def of(cls, chunk_documents: Sequence[str]) -> Documents:
        """Take the document id of each chunk."""
        ids = tuple(sorted(set(chunk_documents), reverse=True))
        column = {document: index for index, document in enumerate(ids)}
        return cls(ids=ids, chunks=ChunkGroups([column[document] for document in chunk_documents]))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rankings:
    """What was found.

    Attributes
    ----------
    documents : int64, shape (n_plans, n_queries, at most `CUTOFF`)
        The first documents of each plan, columns of `Documents.ids`; `NO_DOCUMENT` where there are
        fewer.
    chunks : mapping of int64, shape (n_queries, depth)
        The first chunks of each model, by key.
    proven
        The share of rankings of documents that was proven from the first chunks alone; the others
        were searched in full.
    """

    documents: IntArray
    chunks: Mapping[str, IntArray]
    proven: float


def search(  # noqa: PLR0913  # all but the first three by name
    models: Sequence[ModelVectors],
    plans: Sequence[Plan],
    documents: Documents,
    *,
    depth: int,
    own: IntArray | None = None,
    aggregate: int = 1,
) -> Rankings:
    """Search all queries under all plans.

    Parameters
    ----------
    models
        Checked vectors, at least one query.
    plans
        Of one or two of these models each.
    documents
        Of the chunks.
    depth
        How many chunks of each model, at most as many as every query may find.
    own : int64, shape (n_queries,)
        The document that each query must find neither whole nor by its chunks, see `own_documents`;
        None to keep all hits.
    aggregate
        How many of its best chunks a document is scored by.
    """
    blocks = list(_blocks(models))
    searcher = _Searcher(models, plans, documents, depth=depth, aggregate=aggregate)
    found = [searcher.block(rows, None if own is None else own[rows]) for rows in blocks]
    return Rankings(
        documents=np.concatenate([block.documents for block in found], axis=1),
        chunks={
            model.key: np.concatenate([block.chunks[index] for block in found])
            for index, model in enumerate(models)
        },
        proven=float(np.concatenate([block.proven for block in found], axis=1).mean()) if plans else 1.0,
    )


def _blocks(models: Sequence[ModelVectors]) -> Iterator[slice]:
    """Yield slices of queries of about one size: the scores of all models fit in `_BLOCK_BYTES`."""
    n_queries, row_bytes = len(models[0].queries), 4 * len(models[0].chunks) * len(models)
    at_most = max(1, _BLOCK_BYTES // row_bytes)
    size = math.ceil(n_queries / math.ceil(n_queries / at_most))
    for start in range(0, n_queries, size):
        yield slice(start, min(start + size, n_queries))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Block:
    """What was found for a block of queries: `chunks` has shape (n_models, n_queries, depth)."""

    documents: IntArray
    chunks: IntArray
    proven: NDArray[np.bool_]


class _Searcher:
    """Searches blocks of queries; the scores of each overwrite those of the one before."""

    def __init__(
        self,
        models: Sequence[ModelVectors],
        plans: Sequence[Plan],
        documents: Documents,
        *,
        depth: int,
        aggregate: int,
    ) -> None:
        self._models = models
        self._plans = plans
        self._chunks = documents.chunks
        self._depth = depth
        self._aggregate = aggregate
        self._k = min(CUTOFF, documents.chunks.n_documents)
        self._m = max(depth, n_candidates(self._chunks.n_chunks, CUTOFF))
        self._scores = np.empty(0, dtype=np.float32)
        self._pruned = self._pruned_search()

    def block(self, rows: slice, own: IntArray | None) -> _Block:
        scores = self._score(rows)
        if own is not None:
            self._hide(scores, own)
        n_queries, n_models, _ = scores.shape
        documents = np.empty((len(self._plans), n_queries, self._k), dtype=np.int64)
        chunks = np.empty((n_models, n_queries, self._depth), dtype=np.int64)
        proven = np.zeros((len(self._plans), n_queries), dtype=bool)
        if self._pruned is None:
            for model in range(n_models):
                chunks[model] = best_columns(scores[:, model], self._depth)
        else:
            pruned = self._pruned

            def search_one(query: int) -> None:
                of_query = scores[query]
                first = first_chunks(of_query, self._m)
                chunks[:, query] = self._first(of_query, first)
                if self._plans:
                    documents[:, query], proven[:, query] = pruned.first_documents(
                        of_query, first, own=NO_DOCUMENT if own is None else int(own[query])
                    )

            with ThreadPoolExecutor(available_cores()) as threads:  # numpy works outside the lock
                list(threads.map(search_one, range(n_queries)))
        for plan, missing in enumerate(~proven):
            for queries in self._batches(np.flatnonzero(missing)):
                of_queries = None if own is None else own[queries]
                documents[plan, queries] = self._in_full(self._plans[plan], scores, queries, of_queries)
        return _Block(documents=documents, chunks=chunks, proven=proven)

    def _pruned_search(self) -> PrunedSearch | None:
        chunks = self._chunks
        # A mean of several chunks may hang on some that are not among the first.
        worthwhile = self._aggregate == 1 and is_worthwhile(self._m, chunks.n_chunks)
        if not worthwhile or chunks.n_documents <= CUTOFF:
            return None
        return PrunedSearch(self._plans, [model.key for model in self._models], chunks, k=CUTOFF)

    def _score(self, rows: slice) -> ScoreArray:
        """Return the scores of a block of queries, shape (n_queries, n_models, n_chunks)."""
        n_queries, n_chunks = rows.stop - rows.start, self._chunks.n_chunks
        size = len(self._models) * n_queries * n_chunks
        if self._scores.size < size:
            self._scores = np.empty(size, dtype=np.float32)
        scores = self._scores[:size].reshape(n_queries, len(self._models), n_chunks)
        for place, model in enumerate(self._models):
            _products(model.queries[rows], model.chunks, scores[:, place])
        return scores

    def _hide(self, scores: ScoreArray, own: IntArray) -> None:
        """Put the chunks of each query's own document behind all others, for every model."""
        for query in np.flatnonzero(own != NO_DOCUMENT):
            scores[query, :, self._chunks.document == own[query]] = _UNFINDABLE

    def _first(self, scores: ScoreArray, first: FirstChunks) -> IntArray:
        top = first.columns[:, : self._depth].copy()
        for model in np.flatnonzero(first.found < self._depth):
            top[model] = best_columns(scores[model : model + 1], self._depth)[0]
        return top

    def _batches(self, queries: IntArray) -> Iterator[IntArray]:
        size = max(1, _FULL_BYTES // (4 * self._chunks.n_chunks))
        for start in range(0, len(queries), size):
            yield queries[start : start + size]

    def _in_full(self, plan: Plan, scores: ScoreArray, queries: IntArray, own: IntArray | None) -> IntArray:
        total = self._sum(plan, scores, queries)
        best = self._chunks.mean_of_best(total, self._aggregate)
        return rank_documents(best, k=CUTOFF, own=own)

    def _sum(self, plan: Plan, scores: ScoreArray, queries: IntArray) -> ScoreArray:
        """Return Σ w·score, float32, rounded as in `PrunedSearch`."""
        by_model = {model.key: scores[:, place] for place, model in enumerate(self._models)}
        (first, weight), *others = plan.weights.items()
        total: ScoreArray = by_model[first][queries]
        if others:
            total *= np.float32(weight)
        for key, other in others:
            total += by_model[key][queries] * np.float32(other)
        return total


def _products(queries: ScoreArray, chunks: AnyFloatArray, out: ScoreArray) -> None:
    if chunks.dtype == np.float32:
        np.matmul(queries, chunks.T, out=out)
        return
    for start in range(0, len(chunks), _CONVERTED_ROWS):
        rows = slice(start, start + _CONVERTED_ROWS)
        np.matmul(queries, chunks[rows].astype(np.float32).T, out=out[:, rows])
