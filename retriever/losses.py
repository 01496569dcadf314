"""What fewer bits or dimensions cost: how much of the exact top is still found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retriever.combine import parts_of
from retriever.corpus import Corpus
from retriever.models.protocol import FloatArray
from retriever.records import Combination, Deployment
from retriever.search.dense import DenseLegs
from retriever.search.wish import EmbeddedQuery

_K = 10
_QUERIES = 50
_TIE = 1e-6
_BITS = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What a deployment loses against the whole vectors of its models at the same weights.

    Attributes
    ----------
    kept
        Share of the exact top `k` that it finds, ties counted as found, mean over `queries` stored chunks
        taken as queries, each but for itself.
    k, queries
        Of that measurement.
    bytes_per_chunk, bytes_whole
        What a search reads of a chunk, and what it would read of its whole float32 vectors.
    """

    kept: float
    k: int
    queries: int
    bytes_per_chunk: int
    bytes_whole: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def measured_loss(corpus: Corpus, combination: Combination, weights: Sequence[float]) -> Loss:
    """Measure what a combination loses, on a sample of stored chunks; nothing is embedded.

    All vectors of its models are read once.
    """
    whole = Combination(combination.keys)
    queries = _sample(corpus, combination)
    thresholds = _exact_thresholds(corpus, whole, weights, [query for _, query in queries])
    searched, exact = DenseLegs(corpus, combination, weights), DenseLegs(corpus, whole, weights)
    shares = []
    for (chunk_id, query), threshold in zip(queries, thresholds, strict=True):
        (found,) = searched.search([query], k=_K + 1)
        ids = [one.point_id for one in found if one.point_id != chunk_id][:_K]
        # Those that are deleted meanwhile do not count.
        points = list(corpus.points(ids, with_vectors=whole.keys).values())
        scores = [one.score for one in exact.founds(query, points)]
        shares.append(sum(score >= threshold - _TIE for score in scores) / max(1, len(scores)))
    sizes = [corpus.manifest.size(part) for part in combination.parts]
    return Loss(
        kept=round(float(np.mean(shares)), 4) if shares else 1.0,
        k=_K,
        queries=len(queries),
        bytes_per_chunk=-(-sum(sizes) * _BITS[combination.storage] // 8),
        bytes_whole=sum(corpus.manifest.size(key) for key in whole.parts) * _BITS["float32"] // 8,
    )


def is_spared(deployment: Deployment) -> bool:
    """Return whether a deployment searches fewer bits or dimensions than its models have."""
    return deployment.combination != Combination(deployment.combination.keys)


def _sample(corpus: Corpus, combination: Combination) -> list[tuple[str, EmbeddedQuery]]:
    queries: list[tuple[str, EmbeddedQuery]] = []
    for ids, vectors in _blocks(corpus, combination.keys):
        cut = parts_of(vectors, combination.parts)
        both = {**vectors, **dict(zip(combination.parts, cut, strict=True))}
        for place in range(min(len(ids), _QUERIES - len(queries))):
            query = EmbeddedQuery(vectors={name: rows[place] for name, rows in both.items()})
            queries.append((ids[place], query))
        if len(queries) == _QUERIES:
            break
    return queries


def _exact_thresholds(
    corpus: Corpus, whole: Combination, weights: Sequence[float], queries: Sequence[EmbeddedQuery]
) -> list[float]:
    """Return the exact score of the last of the top, per query, the query itself left out."""
    if not queries:
        return []
    legs = DenseLegs(corpus, whole, weights)
    rows = np.array([legs.row(query) for query in queries])
    root = np.float32(np.sqrt(len(whole.parts)))
    best = np.full((len(queries), _K + 1), -np.inf, dtype=np.float32)
    for _, vectors in _blocks(corpus, whole.keys):
        stored = np.hstack([vectors[key] for key in whole.keys]) / root
        both = np.hstack([best, rows @ stored.T])
        best = -np.partition(-both, _K, axis=1)[:, : _K + 1]
    found: list[float] = np.where(np.isfinite(best), best, np.inf).min(axis=1).tolist()
    return found


def _blocks(corpus: Corpus, keys: Sequence[str]) -> Iterator[tuple[list[str], dict[str, FloatArray]]]:
    for points in corpus.vector_blocks(keys):
        yield (
            [point.point_id for point in points],
            {key: np.array([point.dense[key] for point in points]) for key in keys},
        )
