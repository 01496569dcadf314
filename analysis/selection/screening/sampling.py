"""Random chunks and queries of a corpus: a larger sample has all that a smaller one of the same draw had.

A random sample of a large corpus hardly ever has the chunks that answer a query, and models that differ in
how they rank these look alike on it. So a sample is drawn query by query: the chunks that stand nearest to
each, by the vectors that the corpus has stored, and then others at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from retriever import payload
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import FloatArray
from retriever.records import Chunk, Combination

NEAR = 5
"""How many chunks near a query are drawn with it."""

NEAR_SHARE = 0.7
"""The most of a sample that stands near queries; the rest is random."""

CHUNKS_PER_QUERY = 4
"""There are never fewer chunks in a sample for each of its queries."""

FEWEST_QUERIES = 8
"""Fewer say nothing of how much another draw would differ."""

FEWEST_CHUNKS = 32
"""Fewer are no sample of a corpus."""

_POOLED = 16  # ids read for each that is drawn
_SMALL = 20_000  # of a corpus of so many, all ids are read
_OWN = 3  # nearest to a chunk is itself, and others that ask may stand near it

Nearest: TypeAlias = Callable[[Sequence[str], int], Sequence[Sequence[str]]]
"""From queries, or ids of chunks that stand in for them, and a number to the ids of so many chunks near each,
nearest first."""


def sample_chunk_ids(corpus: Corpus, n: int, *, rng: np.random.Generator) -> tuple[str, ...]:
    """Return the ids of random chunks in random order: the first m are a random sample as well.

    Ids of chunks are hashes, so the first ones in their order are as good as any others: of a large corpus
    only so many are read that what is drawn is one in sixteen. No text and no vector is read.

    Parameters
    ----------
    corpus
        An open corpus.
    n
        How many, at least 1; all, where the corpus has fewer.
    rng
        Draws them.
    """
    points = (point.point_id for block in corpus.complete_blocks(()) for point in block)
    ids = list(islice(points, max(_POOLED * n, _SMALL)))
    return tuple(ids[place] for place in rng.permutation(len(ids))[:n])


def sample_queries(
    queries: Iterable[str], n: int | None = None, *, rng: np.random.Generator
) -> tuple[str, ...]:
    """Return different queries in random order: the first m are a random sample as well.

    Parameters
    ----------
    queries
        Texts; one that comes twice counts once.
    n
        How many; None, and where there are fewer, for all.
    rng
        Draws them.

    Raises
    ------
    InputError
        If one is blank.
    """
    different = list(dict.fromkeys(queries))
    if not all(query.strip() for query in different):
        raise InputError("queries: expected texts, got a blank one. Leave it out.")
    return tuple(different[place] for place in rng.permutation(len(different))[:n])


def read_chunks(corpus: Corpus, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
    """Return stored chunks by id; one that was deleted meanwhile is missing."""
    points = corpus.points(chunk_ids)
    return {chunk_id: payload.to_chunk(point.payload) for chunk_id, point in points.items()}


def nearest_chunks(corpus: Corpus, vectors: Mapping[str, FloatArray], n: int) -> list[list[str]]:
    """Return the ids of the chunks nearest to each query by stored vectors, nearest first.

    Parameters
    ----------
    corpus
        An open corpus.
    vectors : mapping of float32, shape (n_queries, d)
        Unit rows by model key, at least one model. The first query is searched with the first of them,
        the second with the second, and so on in turns: no model alone says what is near.
    n
        How many for each query.
    """
    keys = list(vectors)
    n_queries = len(vectors[keys[0]])
    found: list[list[str]] = [[] for _ in range(n_queries)]
    for turn, key in enumerate(keys):
        places = range(turn, n_queries, len(keys))
        rankings = corpus.search(vectors[key][turn :: len(keys)], combination=Combination((key,)), k=n)
        for place, ranking in zip(places, rankings, strict=True):
            found[place] = [scored.point.point_id for scored in ranking]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Queries, and chunks to search for them.

    Attributes
    ----------
    queries
        Texts, or ids of chunks that stand in for queries; these are not in `chunk_ids`.
    chunk_ids
        Those near queries first, then the random ones.
    near
        Per query, the places in `chunk_ids` of the chunks that were drawn with it.
    n_near
        How many chunks stand near a query.
    """

    queries: tuple[str, ...]
    chunk_ids: tuple[str, ...]
    near: tuple[tuple[int, ...], ...]
    n_near: int

    def half(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Return the places of half of the queries, and of the chunks near them and half of the others."""
        n_queries, n_others = len(self.queries), len(self.chunk_ids) - self.n_near
        queries = sorted(rng.permutation(n_queries)[: -(-n_queries // 2)].tolist())
        others = self.n_near + rng.permutation(n_others)[: -(-n_others // 2)]
        near = {place for query in queries for place in self.near[query]}
        return queries, sorted({*near, *others.tolist()})


class Sampler:
    """Draws samples of a corpus, each larger one with all that was in the smaller ones.

    Parameters
    ----------
    corpus
        An open corpus.
    queries
        Of the user; None for random chunks in their place, which then stay out of the samples.
    most
        How many chunks the largest sample may have.
    rng
        Draws them.

    Raises
    ------
    InputError
        If there are fewer than 8 different queries, or fewer than 32 chunks to draw.
    """

    def __init__(
        self, corpus: Corpus, queries: Sequence[str] | None, *, most: int, rng: np.random.Generator
    ) -> None:
        n_queries = max(FEWEST_QUERIES, most // CHUNKS_PER_QUERY)
        if queries is None:
            ids = sample_chunk_ids(corpus, most + n_queries, rng=rng)
            sources = ids[: min(n_queries, max(FEWEST_QUERIES, len(ids) // CHUNKS_PER_QUERY))]
            self._queries = sources
        else:
            ids, sources = sample_chunk_ids(corpus, most, rng=rng), ()
            self._queries = sample_queries(queries, n_queries, rng=rng)
        self.asks_chunks = queries is None
        self._sources = frozenset(sources)
        self._others = ids[len(sources) :]
        self.is_whole = len(ids) == corpus.count_chunks()
        self.most = min(most, len(self._others))
        _check_enough(corpus, self._queries, self._others)

    def draw(self, size: int, nearest: Nearest) -> Sample:
        """Return a sample of `size` chunks, or of all where there are fewer.

        Parameters
        ----------
        size
            How many chunks.
        nearest
            Finds the chunks near queries, see `nearest_chunks`.
        """
        whole = self.is_whole and size >= self.most
        asked = self._queries if whole else self._queries[: max(FEWEST_QUERIES, size // CHUNKS_PER_QUERY)]
        places: dict[str, int] = {}
        near: list[tuple[int, ...]] = []
        for found in nearest(asked, NEAR + self.asks_chunks * _OWN):
            ids = [chunk_id for chunk_id in found if chunk_id not in self._sources][:NEAR]
            added = [chunk_id for chunk_id in ids if chunk_id not in places]
            if not whole and len(near) >= FEWEST_QUERIES and len(places) + len(added) > NEAR_SHARE * size:
                break
            places |= {chunk_id: len(places) + place for place, chunk_id in enumerate(added)}
            near.append(tuple(places[chunk_id] for chunk_id in ids))
        n_near = len(places)
        others = (chunk_id for chunk_id in self._others if chunk_id not in places)
        chunk_ids = (*places, *islice(others, max(0, size - n_near)))
        return Sample(queries=asked[: len(near)], chunk_ids=chunk_ids, near=tuple(near), n_near=n_near)


def _check_enough(corpus: Corpus, queries: Sequence[str], others: Sequence[str]) -> None:
    if len(others) < FEWEST_CHUNKS:
        raise InputError(
            f"corpus {corpus.name!r} at {corpus.location}: expected at least {FEWEST_CHUNKS} chunks to draw "
            f"a sample of, besides those that stand in for queries, got {len(others)}. Ingest it with all "
            f"candidates: that is little work."
        )
    if len(queries) < FEWEST_QUERIES:
        raise InputError(
            f"queries: expected at least {FEWEST_QUERIES} different ones, got {len(queries)}. Give more, or "
            f"none, for chunks of the corpus in their place."
        )
