"""The sum of the dense legs and BM25, exact.

Two rankings, by the dense score and by BM25, are read from their tops until no chunk further down in
both can reach the best `k` of those already met: what is further down scores at most as high as the last
of each (the threshold algorithm of Fagin, Lotem and Naor 2001).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from retriever.corpus import Corpus
from retriever.records import LEXICAL
from retriever.search.dense import DenseLegs
from retriever.search.wish import EmbeddedQuery, Found, best_first
from retriever.store.filters import Condition, HasId
from retriever.store.protocol import ScoredPoint, SparseVector

_FEWEST = 100
_STEP = 4


class SummedLegs:
    """Searches by the dense legs and BM25 together.

    Parameters
    ----------
    corpus
        An open corpus.
    dense
        The dense legs at their weights.
    keys
        Of the models of the dense legs.
    weight
        Of a BM25 score as the engine gives it: the weight of the leg over its scale.
    """

    def __init__(self, corpus: Corpus, dense: DenseLegs, keys: Sequence[str], weight: float) -> None:
        self._corpus = corpus
        self._dense = dense
        self._keys = tuple(keys)
        self._weight = weight

    def search(
        self, queries: Sequence[EmbeddedQuery], *, k: int, where: Condition | None = None
    ) -> list[list[Found]]:
        """Return the best `k` chunks per query, best first, ties by id."""
        return [self._one(query, k=k, where=where) for query in queries]

    def _one(self, query: EmbeddedQuery, *, k: int, where: Condition | None) -> list[Found]:
        depth = max(_STEP * k, _FEWEST)
        while True:
            (dense,) = self._dense.search([query], k=depth, where=where)
            lexical = self._lexical(query, k=depth, where=where)
            found = best_first(self._met(query, dense, lexical, is_all=len(lexical) < depth))[:k]
            unmet = self._most_elsewhere(dense, lexical, depth=depth)
            if len(dense) < depth or (len(found) == k and found[-1].score >= unmet):
                is_approximate = any(one.approximate for one in dense)  # for then any chunk may be missing
                return [replace(one, approximate=is_approximate) for one in found]
            depth *= _STEP

    def _most_elsewhere(self, dense: list[Found], lexical: list[ScoredPoint], *, depth: int) -> float:
        """Return the highest score that a chunk can have which neither ranking has shown."""
        further = lexical[-1].score if len(lexical) == depth else 0.0
        return (dense[-1].score if dense else -math.inf) + self._weight * further

    def _met(
        self, query: EmbeddedQuery, dense: list[Found], lexical: list[ScoredPoint], *, is_all: bool
    ) -> list[Found]:
        """Return all chunks of both rankings with their whole scores."""
        scores = {scored.point.point_id: scored.score for scored in lexical}
        lacking = [one.point_id for one in dense if one.point_id not in scores]
        if lacking and not is_all:
            scores.update(self._scores_of(query, lacking))
        known = {one.point_id for one in dense}
        others = [scored.point for scored in lexical if scored.point.point_id not in known]
        return [self._with_lexical(one, scores) for one in (*dense, *self._dense.founds(query, others))]

    def _with_lexical(self, found: Found, scores: Mapping[str, float]) -> Found:
        share = self._weight * scores.get(found.point_id, 0.0)
        return replace(
            found, score=found.score + share, contributions={**found.contributions, LEXICAL: share}
        )

    def _scores_of(self, query: EmbeddedQuery, chunk_ids: Sequence[str]) -> dict[str, float]:
        these = HasId(ids=tuple(chunk_ids))
        found = self._lexical(query, k=len(chunk_ids), where=these, with_vectors=())
        return {scored.point.point_id: scored.score for scored in found}

    def _lexical(
        self,
        query: EmbeddedQuery,
        *,
        k: int,
        where: Condition | None,
        with_vectors: Sequence[str] | None = None,
    ) -> list[ScoredPoint]:
        keys = self._keys if with_vectors is None else with_vectors
        return lexical_ranking(self._corpus, query.tokens, k=k, where=where, with_vectors=keys)


def lexical_ranking(
    corpus: Corpus,
    tokens: SparseVector | None,
    *,
    k: int,
    where: Condition | None = None,
    with_vectors: Sequence[str] = (),
) -> list[ScoredPoint]:
    """Return the best `k` chunks by BM25 alone; a query without tokens finds none."""
    if tokens is None or not tokens.size:
        return []
    return corpus.search_lexical(tokens, k=k, where=where, with_vectors=with_vectors)


def lexical_above(
    corpus: Corpus, tokens: SparseVector, score: float, *, where: Condition | None = None
) -> int:
    """Return how many chunks score higher by BM25."""
    if not tokens.size:
        return 0
    return corpus.count_lexical_above(tokens, score=score, where=where)
