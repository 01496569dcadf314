"""The rank of a hit under each leg alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from retriever.corpus import Corpus
from retriever.records import LEXICAL, Combination
from retriever.search.dense import DenseLegs
from retriever.search.lexical_leg import lexical_above, lexical_ranking
from retriever.search.wish import EmbeddedQuery, Found
from retriever.store.filters import Condition, HasId

_CLOSE = 1e-6
"""Cosines that differ by less are one: engines add up in float32."""


def with_ranks(
    corpus: Corpus,
    combination: Combination,
    query: EmbeddedQuery,
    found: Sequence[Found],
    *,
    where: Condition | None,
) -> list[Found]:
    """Return hits with their rank under each leg alone, among the chunks for which `where` holds.

    The rank of a chunk is one more than the number of chunks with a higher score.
    """
    ranks: list[dict[str, int]] = [{} for _ in found]
    points = corpus.points([one.point_id for one in found], with_vectors=combination.keys)
    for part in combination.parts:
        # A whole model has a vector of its own; the first dimensions of one are searched in the combination.
        own = Combination((part,))
        searched = own if own.is_stored_anyway else combination
        alone = DenseLegs(corpus, searched, [float(one == part) for one in searched.parts])
        row = alone.row(query)
        scored = alone.founds(query, [points[one.point_id] for one in found])
        for place, one in enumerate(scored):
            higher = corpus.count_above(row, combination=searched, score=one.score + _CLOSE, where=where)
            ranks[place][part] = higher + 1
    for place, rank in enumerate(_lexical_ranks(corpus, query, found, where=where)):
        ranks[place][LEXICAL] = rank
    return [replace(one, ranks=rank) for one, rank in zip(found, ranks, strict=True)]


def _lexical_ranks(
    corpus: Corpus, query: EmbeddedQuery, found: Sequence[Found], *, where: Condition | None
) -> list[int]:
    """Return ranks by BM25, none without that leg; chunks without a token of the query share the last."""
    if query.tokens is None:
        return []
    these = HasId(ids=tuple(one.point_id for one in found))
    ranking = lexical_ranking(corpus, query.tokens, k=max(1, len(found)), where=these)
    scores = {scored.point.point_id: scored.score for scored in ranking}
    return [
        1 + lexical_above(corpus, query.tokens, scores.get(one.point_id, 0.0), where=where) for one in found
    ]
