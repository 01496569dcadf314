"""From answered queries to observations: by the vectors they were embedded to, nothing is embedded again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from retriever.corpus import Corpus
from retriever.records import FULL_STORAGE, LEXICAL, Combination, Deployment
from retriever.search import Found, Searcher, Wish
from retriever.search.dense import DenseLegs
from retriever.search.lexical_leg import lexical_ranking
from retriever.search.wish import EmbeddedQuery
from retriever.serving import Answered
from retriever.store.filters import Condition
from retriever.watch.observation import K, Observation, deployment_id

_AT_ONCE = 8
"""Queries that are asked at once: in the engine a search of many holds the interpreter as long as many."""

_EXACT = (FULL_STORAGE, "float16")
"""Storages in which each leg alone is found exactly, too."""


def measured(answers: Sequence[Answered], *, keep_text: bool = False) -> list[Observation]:
    """Return what there is to keep of answered queries; of one that found nothing there is nothing.

    Each query is searched with by each leg alone, among the chunks that it was asked for, in one pass for
    all that were asked alike. Where its answer is not that of the deployment at its own weights and at least
    `K` chunks deep, it is searched for that as well.
    """
    observations: dict[int, Observation] = {}
    for places in _alike(answers):
        group = [answers[place] for place in places]
        searcher, where = group[0].searcher, group[0].wish.where
        queries = [one.query for one in group]
        tops = _tops(searcher, queries, where=where)
        identity = deployment_id(searcher.deployment, searcher.corpus.deployments)
        for i, (place, hits) in enumerate(zip(places, _hits(searcher, group), strict=True)):
            if hits:
                observations[place] = _observation(group[i], hits, tops[i], identity, keep_text=keep_text)
    return [observations[place] for place in sorted(observations)]


def measured_queries(
    searcher: Searcher, queries: Sequence[str], *, keep_text: bool = False
) -> list[Observation]:
    """Ask these queries, and return what there is to keep of them; see `measured`."""
    wish = Wish(k=K)
    observations: list[Observation] = []
    for start in range(0, len(queries), _AT_ONCE):
        texts = queries[start : start + _AT_ONCE]
        embedded = searcher.embed(texts)
        answers = [
            Answered(texts=(text,), wish=wish, query=query, found=tuple(found), searcher=searcher)
            for text, query, found in zip(texts, embedded, searcher.find(embedded, wish), strict=True)
        ]
        observations += measured(answers, keep_text=keep_text)
    return observations


def first_by_leg(
    searcher: Searcher, queries: Sequence[EmbeddedQuery], *, where: Condition | None = None
) -> dict[str, list[list[str]]]:
    """Return the ids of the first `K` chunks of each query by each leg of a deployment alone.

    A model is searched in the combined vector that is deployed: the store keeps what makes that fast anyway.
    """
    corpus, deployment = searcher.corpus, searcher.deployment
    where = corpus.resolved(where)
    tops = {part: _first_by_part(corpus, deployment, part, queries, where) for part in deployment.models}
    if LEXICAL in deployment.legs:
        tops[LEXICAL] = [
            [scored.point.point_id for scored in lexical_ranking(corpus, query.tokens, k=K, where=where)]
            for query in queries
        ]
    return tops


def _tops(
    searcher: Searcher, queries: Sequence[EmbeddedQuery], *, where: Condition | None
) -> list[list[list[str]]]:
    """Return, per query, the rankings by each leg alone; none where one leg is all there is."""
    if len(searcher.deployment.legs) == 1:
        return [[] for _ in queries]
    legs = first_by_leg(searcher, queries, where=where)
    return [[rankings[i] for rankings in legs.values()] for i in range(len(queries))]


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """Return how many chunks two rankings share over how many both have; 0 where neither has any."""
    union = set(one) | set(other)
    return len(set(one) & set(other)) / len(union) if union else 0.0


def rank_similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """Return how alike two rankings put the chunks that both have; in [0, 1], 0 where they share none.

    The sum over these of ``2 / ((1 + |r - s|) (r + s))``, r and s the ranks from 1, over the harmonic number
    of how many they are (Ghosh Dastidar et al. 2025, Eq. 3).
    """
    ranks = {chunk_id: rank for rank, chunk_id in enumerate(other, start=1)}
    shared = [(rank, ranks[chunk_id]) for rank, chunk_id in enumerate(one, start=1) if chunk_id in ranks]
    total = math.fsum(2 / ((1 + abs(r - s)) * (r + s)) for r, s in shared)
    return total / math.fsum(1 / n for n in range(1, len(shared) + 1)) if shared else 0.0


def _first_by_part(
    corpus: Corpus,
    deployment: Deployment,
    part: str,
    queries: Sequence[EmbeddedQuery],
    where: Condition | None,
) -> list[list[str]]:
    own = Combination((part,))
    is_exact = deployment.storage in _EXACT or not own.is_stored_anyway
    searched = deployment.combination if is_exact else own
    alone = DenseLegs(corpus, searched, [float(one == part) for one in searched.parts])
    return [[found.point_id for found in ranking] for ranking in alone.search(queries, k=K, where=where)]


def _hits(searcher: Searcher, group: Sequence[Answered]) -> list[Sequence[Found]]:
    """Return the first `K` chunks of each query: those of its answer where these are as they should be."""
    hits: list[Sequence[Found]] = [one.found[:K] for one in group]
    others = [place for place, one in enumerate(group) if not _is_plain(one.wish)]
    if others:
        wish = Wish(k=K, where=group[0].wish.where)
        rankings = searcher.find([group[place].query for place in others], wish)
        for place, ranking in zip(others, rankings, strict=True):
            hits[place] = ranking
    return hits


def _is_plain(wish: Wish) -> bool:
    return wish == replace(wish, k=max(wish.k, K), weights=None, fusion="sum", per_document=False)


def _observation(
    answered: Answered,
    hits: Sequence[Found],
    tops: Sequence[Sequence[str]],
    identity: str,
    *,
    keep_text: bool,
) -> Observation:
    """Return the observation of a query from its hits, at least one, and the rankings by each leg alone."""
    pairs = list(combinations(tops, 2))
    return Observation(
        time=answered.time,
        deployment=identity,
        serves=answered.searcher.deployment.name,
        first=hits[0].score,
        mean=_mean([hit.score for hit in hits]),
        gap=hits[0].score - hits[-1].score,
        contributions=_contributions(hits),
        jaccard=_mean([jaccard(*pair) for pair in pairs]) if pairs else None,
        rank_similarity=_mean([rank_similarity(*pair) for pair in pairs]) if pairs else None,
        disjoint=all(set(one).isdisjoint(other) for one, other in pairs) if pairs else None,
        texts=answered.texts if keep_text else (),
    )


def _contributions(hits: Sequence[Found]) -> Mapping[str, float]:
    return {leg: _mean([hit.contributions[leg] for hit in hits]) for leg in hits[0].contributions}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _alike(answers: Sequence[Answered]) -> list[list[int]]:
    """Return the places of queries together that one searcher answered among the same chunks."""
    groups: list[list[int]] = []
    for place, one in enumerate(answers):
        for group in groups:
            first = answers[group[0]]
            if first.searcher is one.searcher and first.wish.where == one.wish.where:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups
