"""From vectors and judgements to one NDCG@10 per query for every model and every pair.

The score of a pair is the weighted sum of its models' scores, ``Σ w_i·cos(q_i, x_i)``, which is the
dot product of the concatenated vectors (see `retriever.combine`). So each model's scores are
computed once per block of queries, whatever the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.arrays import AnyFloatArray, FloatArray, IntArray, ScoreArray, check_floats, check_rows
from analysis.evaluation.record import (
    CUTOFF,
    MEASURES,
    Candidate,
    Evaluation,
    ModelVectors,
    Pair,
    PairSimilarity,
    Weighting,
)
from analysis.judgements import Judgements
from analysis.measures import Grades, grades_of_ranking
from analysis.rankings import ChunkGroups, best_columns, check_k, own_documents, rank_documents
from analysis.similarity import overlap, pairwise_cka
from retriever.combine import calibrated_weights, equal_weights
from retriever.errors import InputError, ShapeError
from retriever.records import COMBINED

_BLOCK_BYTES = 256 * 2**20
_UNIT_TOLERANCE = 1e-3  # vectors kept in float16 are that far from unit length


def evaluate(  # noqa: PLR0913  # two inputs by position would be mixed up; all are named
    models: Sequence[ModelVectors],
    *,
    judgements: Judgements,
    chunk_documents: Sequence[str],
    spreads: Mapping[str, float],
    pairs: Sequence[Pair] | None = None,
    k: int = 10,
    drop_own: bool = False,
) -> Evaluation:
    """Measure every model and every pair on the same queries.

    Parameters
    ----------
    models
        At least one; rows of `queries` in the order of `judgements.query_ids`.
    judgements
        Queries and grades. A query scores 0 where nothing relevant is found.
    chunk_documents
        Document id of each chunk.
    spreads
        Spread of each model's cosines by key (`CorpusManifest.spreads`), for calibrated weights.
        Needed for the models of the pairs.
    pairs
        Which pairs to combine, by keys; None for all.
    k
        Cutoff of Jaccard and rank similarity, in chunks; lowered to the number of chunks.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).

    Raises
    ------
    ShapeError
        If an array is not of finite unit rows, or has another number of queries or chunks.
    InputError
        If a pair names an unknown model, one model twice, or a model without spread.
    """
    check_k(k)
    _check_models(models, n_queries=len(judgements.queries), n_chunks=len(chunk_documents))
    chosen = _ordered_pairs([model.key for model in models], pairs)
    corpus = _Corpus.of(chunk_documents)
    plans = _plans(models, chosen, spreads)
    depth = min(k, corpus.chunks.n_chunks)
    own = own_documents(judgements.query_ids, corpus.document_ids) if drop_own else None
    rankings = _rank(models, plans, corpus, depth=depth, own=own)
    candidates = [
        _candidate(plan, top, corpus, judgements) for plan, top in zip(plans, rankings.documents, strict=True)
    ]
    return Evaluation(
        query_ids=judgements.query_ids,
        singles=tuple(candidates[: len(models)]),
        pairs=tuple(candidates[len(models) :]),
        similarities=_similarities(models, chosen, rankings.chunks),
        n_chunks=corpus.chunks.n_chunks,
        n_documents=corpus.chunks.n_documents,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Corpus:
    """Documents in descending order of id, the order in which `rank_documents` wants its columns."""

    document_ids: tuple[str, ...]
    chunks: ChunkGroups

    @classmethod
    def of(cls, chunk_documents: Sequence[str]) -> _Corpus:
        document_ids = tuple(sorted(set(chunk_documents), reverse=True))
        column = {document: index for index, document in enumerate(document_ids)}
        return cls(
            document_ids=document_ids,
            chunks=ChunkGroups(np.array([column[document] for document in chunk_documents])),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """A candidate before it is measured."""

    weighting: Weighting
    weights: Mapping[str, float]

    def scores(self, by_model: Mapping[str, ScoreArray]) -> AnyFloatArray:
        """Return Σ w·score, float32, shape (n_queries, n_chunks)."""
        (first, weight), *others = self.weights.items()
        if not others:
            return by_model[first]
        total = by_model[first] * np.float32(weight)
        for key, other in others:
            total += by_model[key] * np.float32(other)
        return total


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rankings:
    """The first documents of each plan, and the first chunks of each model by key."""

    documents: list[IntArray]
    chunks: dict[str, IntArray]


def _plans(
    models: Sequence[ModelVectors], pairs: Sequence[Pair], spreads: Mapping[str, float]
) -> list[_Plan]:
    plans = [_Plan(weighting="equal", weights=equal_weights([model.key])) for model in models]
    for pair in pairs:
        plans.append(_Plan(weighting="equal", weights=equal_weights(pair)))
        plans.append(_Plan(weighting="calibrated", weights=calibrated_weights(pair, spreads)))
    return plans


def _rank(
    models: Sequence[ModelVectors],
    plans: Sequence[_Plan],
    corpus: _Corpus,
    *,
    depth: int,
    own: IntArray | None,
) -> _Rankings:
    documents: list[list[IntArray]] = [[] for _ in plans]
    chunks: dict[str, list[IntArray]] = {model.key: [] for model in models}
    for rows in _blocks(n_queries=len(models[0].queries), row_bytes=_row_bytes(models)):
        scores = {model.key: model.queries[rows] @ model.chunks.T for model in models}
        for key, top in chunks.items():
            top.append(best_columns(scores[key], depth))
        block_own = None if own is None else own[rows]
        for plan, ranked in zip(plans, documents, strict=True):
            best = corpus.chunks.best(plan.scores(scores))
            ranked.append(rank_documents(best, k=CUTOFF, own=block_own))
    return _Rankings(
        documents=[np.concatenate(blocks) for blocks in documents],
        chunks={key: np.concatenate(blocks) for key, blocks in chunks.items()},
    )


def _row_bytes(models: Sequence[ModelVectors]) -> int:
    working = 4  # the sum, a summand, what sorting needs
    return 4 * len(models[0].chunks) * (len(models) + working)


def _blocks(*, n_queries: int, row_bytes: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, n_queries, size):
        yield slice(start, min(start + size, n_queries))


def _candidate(plan: _Plan, top: IntArray, corpus: _Corpus, judgements: Judgements) -> Candidate:
    grades = grades_of_ranking(
        top,
        query_ids=judgements.query_ids,
        document_ids=corpus.document_ids,
        qrels=judgements.qrels,
        k=CUTOFF,
    )
    return Candidate(
        models=tuple(plan.weights),
        weighting=plan.weighting,
        weights=tuple(plan.weights.values()),
        per_query=_per_query(grades),
    )


def _per_query(grades: Grades) -> dict[str, FloatArray]:
    values = (
        grades.ndcg(),
        grades.recall(),
        grades.precision(),
        grades.reciprocal_rank(),
        grades.average_precision(),
    )
    for column in values:
        column.setflags(write=False)
    return dict(zip(MEASURES, values, strict=True))


def _similarities(
    models: Sequence[ModelVectors], pairs: Sequence[Pair], tops: Mapping[str, IntArray]
) -> tuple[PairSimilarity, ...]:
    paired = [model for model in models if any(model.key in pair for pair in pairs)]
    if not paired:
        return ()
    row = {model.key: index for index, model in enumerate(paired)}
    cka = pairwise_cka([model.chunks for model in paired])
    similarities = []
    for a, b in pairs:
        debiased = float(cka.debiased[row[a], row[b]])
        similarities.append(
            PairSimilarity(
                models=(a, b),
                cka=float(cka.biased[row[a], row[b]]),
                cka_debiased=None if np.isnan(debiased) else debiased,
                overlaps=(overlap(tops[a], tops[b]),),
            )
        )
    return tuple(similarities)


def _ordered_pairs(keys: Sequence[str], pairs: Sequence[Pair] | None) -> list[Pair]:
    """Return the pairs with their models in the order given, so that A+B and B+A are one pair."""
    every = list(combinations(keys, 2))
    if pairs is None:
        return every
    asked = [frozenset(pair) for pair in pairs]
    for pair, models in zip(pairs, asked, strict=True):
        if models not in {frozenset(known) for known in every}:
            raise InputError(
                f"pairs: expected two different models of {', '.join(keys)}, got {COMBINED.join(pair)}. "
                f"Name models that are evaluated."
            )
    return [pair for pair in every if frozenset(pair) in asked]


def _check_models(models: Sequence[ModelVectors], *, n_queries: int, n_chunks: int) -> None:
    keys = [model.key for model in models]
    if not keys or len(set(keys)) != len(keys):
        raise InputError(
            f"models: expected at least one model and each once, got {', '.join(keys) or 'none'}. "
            f"Name different models."
        )
    for model in models:
        _check_unit_rows(model.queries, name=f"queries of {model.key}")
        _check_unit_rows(model.chunks, name=f"chunks of {model.key}")
        check_rows(name=f"queries of {model.key}", got=len(model.queries), expected=n_queries, of="query")
        check_rows(name=f"chunks of {model.key}", got=len(model.chunks), expected=n_chunks, of="chunk")
        if model.queries.shape[1] != model.chunks.shape[1]:
            raise ShapeError(
                f"vectors of {model.key}: expected queries and chunks of equal dimensions, got "
                f"{model.queries.shape[1]} and {model.chunks.shape[1]}. Embed both with the same model."
            )


def _check_unit_rows(vectors: ScoreArray, *, name: str) -> None:
    if check_floats(vectors, name=name, ndim=2).dtype != np.float32:
        raise ShapeError(f"{name}: expected float32, got {vectors.dtype}. Convert them once, when read.")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    worst = int(np.abs(lengths - 1).argmax())
    if abs(lengths[worst] - 1) > _UNIT_TOLERANCE:
        raise ShapeError(
            f"{name}: expected rows of length 1, got {lengths[worst]:.4f} in row {worst}. Normalise them: "
            f"other lengths turn cosines into something else."
        )
