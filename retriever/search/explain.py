"""The rank of a hit under each leg alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from retriever.corpus import Corpus
from retriever.records import FULL_STORAGE, LEXICAL, Combination
from retriever.search.dense import DenseLegs
from retriever.search.lexical_leg import lexical_above, lexical_ranking
from retriever.search.wish import EmbeddedQuery, Found
from retriever.store.filters import AllOf, Condition, HasId
from retriever.store.protocol import Point

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

    The rank of a chunk is one more than the number of chunks with a higher score. Hits that have been
    deleted since they were found are left out.
    """
    points = corpus.points([one.point_id for one in found], with_vectors=combination.keys)
    found = [one for one in found if one.point_id in points]
    stored = [points[one.point_id] for one in found]
    ranks: list[dict[str, int]] = [{} for _ in found]
    for part in combination.parts:
        for place, higher in enumerate(_higher(corpus, combination, part, query, stored, where=where)):
            ranks[place][part] = higher + 1
    for place, rank in enumerate(_lexical_ranks(corpus, query, found, where=where)):
        ranks[place][LEXICAL] = rank
    return [replace(one, ranks=rank) for one, rank in zip(found, ranks, strict=True)]


def _higher(  # noqa: PLR0913  # what is counted
    corpus: Corpus,
    combination: Combination,
    part: str,
    query: EmbeddedQuery,
    points: Sequence[Point],
    *,
    where: Condition | None,
) -> list[int]:
    """Return, for each of these points, how many chunks score higher under a part alone."""
    own = Combination((part,))
    scores = [one.score + _CLOSE for one in DenseLegs(corpus, own, [1.0]).founds(query, points)]
    # A whole model has a vector of its own; the first dimensions of one are searched in the combination.
    searched = own if own.is_stored_anyway else combination
    if searched.storage != FULL_STORAGE:
        return _read_higher(corpus, own, query, scores, where=where)
    row = DenseLegs(corpus, searched, [float(one == part) for one in searched.parts]).row(query)
    return [corpus.count_above(row, combination=searched, score=score, where=where) for score in scores]


def _read_higher(
    corpus: Corpus,
    own: Combination,
    query: EmbeddedQuery,
    scores: Sequence[float],
    *,
    where: Condition | None,
) -> list[int]:
    """Count from the stored vectors of the model: scores of fewer bits are not as near as ranks need."""
    alone = DenseLegs(corpus, own, [1.0])
    counts, lowest = [0] * len(scores), min(scores, default=math.inf)
    for points in corpus.vector_blocks(own.keys):
        above = [one for one in alone.founds(query, points) if one.score > lowest]
        others = _holding(corpus, above, where)
        counts = [
            count + sum(one.score > score for one in others)
            for count, score in zip(counts, scores, strict=True)
        ]
    return counts


def _holding(corpus: Corpus, found: Sequence[Found], where: Condition | None) -> list[Found]:
    """Return those for which a condition holds."""
    if where is None or not found:
        return list(found)
    these = AllOf(parts=(HasId(ids=tuple(one.point_id for one in found)), where))
    holding = {chunk.chunk_id for chunks in corpus.chunks(these) for chunk in chunks}
    return [one for one in found if one.point_id in holding]


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
