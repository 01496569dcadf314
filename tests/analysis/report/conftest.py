"""Made-up results of any size, with every number drawn from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pytest

from analysis.evaluation import MEASURES, Candidate, Evaluation, PairSimilarity, Weighting
from analysis.results.record import CollectionFacts, CollectionResults, ModelFacts, Results, Settings
from analysis.similarity import Overlap

MadeUp: TypeAlias = Callable[..., Results]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def candidate(
    models: tuple[str, ...], weighting: Weighting, weights: tuple[float, ...], ndcg: np.ndarray
) -> Candidate:
    values = {measure: np.round(ndcg * (1 - 0.1 * i), 6) for i, measure in enumerate(MEASURES)}
    return Candidate(models=models, weighting=weighting, weights=weights, per_query=values)


def overlap(rng: np.random.Generator, k: int, n_queries: int) -> Overlap:
    tau = rng.uniform(-1, 1, n_queries)
    tau[: n_queries // 3] = np.nan
    return Overlap(
        k=k,
        jaccard=rng.random(n_queries),
        rank_similarity=rng.random(n_queries),
        rank_biased_overlap=rng.random(n_queries),
        kendall_tau=tau,
    )


def similarity(
    rng: np.random.Generator, models: tuple[str, str], ks: Sequence[int], n_queries: int
) -> PairSimilarity:
    return PairSimilarity(
        models=models,
        cka=float(rng.uniform(0.3, 1)),
        cka_debiased=float(rng.uniform(-0.1, 0.9)),
        overlaps=tuple(overlap(rng, k, n_queries) for k in ks),
    )


def evaluation(
    keys: Sequence[str],
    *,
    n_queries: int,
    rng: np.random.Generator,
    ks: Sequence[int],
    grid: int,
    effect: float,
) -> Evaluation:
    hardness = rng.random(n_queries)

    def scores() -> np.ndarray:
        return np.clip(hardness + rng.normal(rng.normal(0, 0.05), 0.15, n_queries), 0, 1)

    alone = {key: candidate((key,), "equal", (1.0,), scores()) for key in keys}
    plans: list[tuple[Weighting, float]] = [("equal", 0.5), ("calibrated", 0.375)]
    plans += [("explicit", (i + 1) / (grid + 1)) for i in range(grid)]
    pairs = []
    for a, b in combinations(keys, 2):
        middle = (alone[a].ndcg + alone[b].ndcg) / 2
        for weighting, weight in plans:
            gained = np.clip(middle + effect + rng.normal(0, 0.05, n_queries), 0, 1)
            gained[::5] = middle[::5]
            pairs.append(candidate((a, b), weighting, (weight, 1 - weight), gained))
    return Evaluation(
        query_ids=tuple(f"q{i}" for i in range(n_queries)),
        singles=tuple(alone.values()),
        pairs=tuple(pairs),
        similarities=tuple(similarity(rng, pair, ks, n_queries) for pair in combinations(keys, 2)),
        n_chunks=1234,
        n_documents=1000,
    )


@pytest.fixture
def made_up() -> MadeUp:
    """Return a function that makes results up."""

    def make(
        keys: Sequence[str] = ("minilm", "bge", "e5", "gte"),
        collections: Sequence[str] = ("first",),
        *,
        n_queries: int = 40,
        ks: tuple[int, ...] = (10,),
        grid: int = 0,
        effect: float = 0.0,
        settings: Settings | None = None,
        seed: int = 3,
    ) -> Results:
        rng = np.random.default_rng(seed)
        return Results(
            models=tuple(
                ModelFacts(
                    key=key,
                    name=f"maker/{key}",
                    fingerprint=digest(key),
                    dimensions=384 + 128 * i,
                    max_tokens=512 if i else None,
                    backend="onnx",
                    dtype="float32",
                    seconds_per_1000_chunks=10.25 + i,
                    milliseconds_per_query=None if i == 1 else 5.5 + i,
                )
                for i, key in enumerate(keys)
            ),
            collections=tuple(
                CollectionResults(
                    facts=CollectionFacts(
                        name=name,
                        corpus_hash=digest(name),
                        queries_hash=digest(f"{name} queries"),
                        qrels_hash=digest(f"{name} qrels"),
                        documents=1000,
                        chunks=1234,
                        queries=n_queries,
                        chunker={"name": "sentences", "max_tokens": 256},
                        spreads=dict.fromkeys(keys, 0.0625),
                    ),
                    evaluation=evaluation(
                        keys, n_queries=n_queries, rng=rng, ks=ks, grid=grid, effect=effect
                    ),
                    query_texts={f"q{i}": f"What is asked by query number {i}?" for i in range(n_queries)},
                )
                for name in collections
            ),
            settings=settings or Settings(ks=ks),
            versions={"python": "3.11.7", "numpy": "2.4.6"},
            machine={"cores": "2"},
        )

    return make
