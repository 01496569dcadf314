"""From vectors to numbers per query: candidates where there are judgements, similarities of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.arrays import FloatArray, IntArray
from analysis.evaluation.checks import check_different, check_models, check_pairing, checked_ks
from analysis.evaluation.plans import Plan, checked_grid, ordered_pairs, plan_pairs, plan_singles
from analysis.evaluation.record import (
    CUTOFF,
    MEASURES,
    Candidate,
    Evaluation,
    ModelVectors,
    Pair,
    PairSimilarity,
)
from analysis.evaluation.search import Documents, Rankings, search
from analysis.judgements import Judgements, check_documents
from analysis.measures import Grades, JudgedDocuments
from analysis.rankings import NO_DOCUMENT, own_documents
from analysis.similarity import overlaps, pairwise_cka
from retriever.errors import InputError


def evaluate(  # noqa: PLR0913  # two inputs by position would be mixed up; all are named
    models: Sequence[ModelVectors],
    *,
    judgements: Judgements,
    chunk_documents: Sequence[str],
    spreads: Mapping[str, float],
    pairs: Sequence[Pair] | None = None,
    ks: Sequence[int] | None = None,
    grid: Sequence[float] = (),
    aggregate: int = 1,
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
    ks
        Cutoffs of the overlaps, in chunks, at most as many as every query may find; the first stands
        for a pair. None for 10, or that number where it is smaller.
    grid
        Further weights of the first model of each pair, in [0, 1], that differ in two decimals.
    aggregate
        A document scores as the mean of so many of its best chunks, or of all where it has fewer;
        1, its best chunk, is the paper's.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna), from rankings and
        overlaps.

    Raises
    ------
    ShapeError
        If an array is not of finite unit rows, or has another number of queries or chunks; if a
        model of a pair gives every chunk the same vector; if a cutoff is out of range.
    InputError
        If a pair names an unknown model, one model twice, or a model without spread; if pairs or a
        grid are given for one model; if weights are out of range.
    JudgementsError
        If not one judged document is in the corpus.
    """
    check_models(models, n_queries=len(judgements.queries), n_chunks=len(chunk_documents))
    keys = [model.key for model in models]
    if pairs or grid:
        check_pairing(keys)
    chosen = ordered_pairs(keys, pairs)
    plans = plan_singles(keys) + plan_pairs(chosen, spreads=spreads, grid=checked_grid(grid))
    _check_aggregate(aggregate)
    check_documents(judgements, set(chunk_documents))
    documents = Documents.of(chunk_documents)
    own = own_documents(judgements.query_ids, documents.ids) if drop_own else None
    cutoffs = checked_ks(ks, n_chunks=_n_findable(documents, own))
    _check_different(models, chosen)
    rankings = search(models, plans, documents, depth=max(cutoffs), own=own, aggregate=aggregate)
    candidates = measure(plans, rankings, documents, judgements)
    return Evaluation(
        query_ids=judgements.query_ids,
        singles=tuple(candidates[: len(models)]),
        pairs=tuple(candidates[len(models) :]),
        similarities=_similarities(models, chosen, rankings.chunks, cutoffs),
        n_chunks=documents.chunks.n_chunks,
        n_documents=documents.chunks.n_documents,
    )


def compare(  # noqa: PLR0913  # all but the first by name
    models: Sequence[ModelVectors],
    *,
    query_ids: Sequence[str],
    chunk_documents: Sequence[str],
    pairs: Sequence[Pair] | None = None,
    ks: Sequence[int] | None = None,
    drop_own: bool = False,
) -> Evaluation:
    """Measure how alike models are, without judgements.

    Parameters
    ----------
    models
        At least two; rows of `queries` in the order of `query_ids`.
    query_ids
        Names of the queries; none for the similarity of the vectors alone.
    chunk_documents, pairs, ks, drop_own
        As in `evaluate`.

    Returns
    -------
    Evaluation
        Without candidates.

    Raises
    ------
    ShapeError, InputError
        As in `evaluate`; also if cutoffs are given without queries, or a query id comes twice.
    """
    check_models(models, n_queries=len(query_ids), n_chunks=len(chunk_documents))
    keys = [model.key for model in models]
    check_pairing(keys)
    chosen = ordered_pairs(keys, pairs)
    documents = Documents.of(chunk_documents)
    own = own_documents(query_ids, documents.ids) if drop_own else None
    cutoffs = _cutoffs_of_queries(query_ids, ks, n_chunks=_n_findable(documents, own))
    _check_different(models, chosen)
    tops = search(models, [], documents, depth=max(cutoffs), own=own).chunks if cutoffs else {}
    return Evaluation(
        query_ids=tuple(query_ids),
        singles=(),
        pairs=(),
        similarities=_similarities(models, chosen, tops, cutoffs),
        n_chunks=documents.chunks.n_chunks,
        n_documents=documents.chunks.n_documents,
    )


def measure(
    plans: Sequence[Plan], rankings: Rankings, documents: Documents, judgements: Judgements
) -> list[Candidate]:
    """Look up what the first documents of each plan are worth."""
    judged = JudgedDocuments(
        judgements.qrels, query_ids=judgements.query_ids, document_ids=documents.ids, k=CUTOFF
    )
    return [
        Candidate(
            models=tuple(plan.weights),
            weighting=plan.weighting,
            weights=tuple(plan.weights.values()),
            per_query=_per_query(judged.grades(top)),
        )
        for plan, top in zip(plans, rankings.documents, strict=True)
    ]


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
    models: Sequence[ModelVectors],
    pairs: Sequence[Pair],
    tops: Mapping[str, IntArray],
    ks: Sequence[int],
) -> tuple[PairSimilarity, ...]:
    paired = _paired(models, pairs)
    if not paired:
        return ()
    row = {model.key: index for index, model in enumerate(paired)}
    cka = pairwise_cka([model.chunks for model in paired])
    by_pair = overlaps({model.key: tops[model.key] for model in paired}, pairs=pairs, ks=ks) if ks else {}
    similarities = []
    for a, b in pairs:
        debiased = float(cka.debiased[row[a], row[b]])
        similarities.append(
            PairSimilarity(
                models=(a, b),
                cka=float(cka.biased[row[a], row[b]]),
                cka_debiased=None if np.isnan(debiased) else debiased,
                overlaps=by_pair.get((a, b), ()),
            )
        )
    return tuple(similarities)


def _n_findable(documents: Documents, own: IntArray | None) -> int:
    """Return how many chunks every query may find: all but those of its own document."""
    chunks = documents.chunks
    if own is None or not len(own):
        return chunks.n_chunks
    sizes = np.bincount(chunks.document)
    largest = int(np.where(own == NO_DOCUMENT, 0, sizes[own]).max())
    if largest == chunks.n_chunks:
        raise InputError(
            f"drop_own: expected documents beside the query's own, got {documents.ids[0]} alone. Keep own "
            f"hits, or add documents."
        )
    return chunks.n_chunks - largest


def _paired(models: Sequence[ModelVectors], pairs: Sequence[Pair]) -> list[ModelVectors]:
    return [model for model in models if any(model.key in pair for pair in pairs)]


def _check_different(models: Sequence[ModelVectors], pairs: Sequence[Pair]) -> None:
    for model in _paired(models, pairs):
        check_different(model)


def _check_aggregate(aggregate: int) -> None:
    if aggregate < 1:
        raise InputError(
            f"aggregate: expected at least 1, the best chunk of a document, got {aggregate}. Give a number "
            f"of chunks."
        )


def _cutoffs_of_queries(
    query_ids: Sequence[str], ks: Sequence[int] | None, *, n_chunks: int
) -> tuple[int, ...]:
    if len(set(query_ids)) < len(query_ids):
        raise InputError("query_ids: expected each query once, got one twice. Name queries differently.")
    if query_ids:
        return checked_ks(ks, n_chunks=n_chunks)
    if ks:
        raise InputError(
            f"ks: expected no cutoffs without queries, got {', '.join(map(str, ks))}. Give queries, or leave "
            f"the cutoffs out: vectors alone are compared by CKA."
        )
    return ()
