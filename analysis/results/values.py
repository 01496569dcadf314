"""Results as JSON values and back: every number of every query, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from analysis.arrays import FloatArray
from analysis.evaluation import Candidate, Evaluation, PairSimilarity
from analysis.results.record import CollectionFacts, CollectionResults, ModelFacts, Settings
from analysis.similarity import Overlap

_PER_QUERY = ("jaccard", "rank_similarity", "rank_biased_overlap", "kendall_tau")


def collection_values(collection: CollectionResults) -> dict[str, Any]:
    """Return what was measured on a collection, without what it is; numbers that are not defined are None."""
    evaluation = collection.evaluation
    return {
        "query_ids": list(evaluation.query_ids),
        "query_texts": dict(collection.query_texts),
        "n_chunks": evaluation.n_chunks,
        "n_documents": evaluation.n_documents,
        "singles": [_candidate_values(candidate) for candidate in evaluation.singles],
        "pairs": [_candidate_values(candidate) for candidate in evaluation.pairs],
        "similarities": [_similarity_values(similarity) for similarity in evaluation.similarities],
    }


def collection_of(facts: CollectionFacts, values: Mapping[str, Any]) -> CollectionResults:
    """Read what `collection_values` returned.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    query_ids = tuple(values["query_ids"])
    n_queries = len(query_ids)
    return CollectionResults(
        facts=facts,
        query_texts=dict(values["query_texts"]),
        evaluation=Evaluation(
            query_ids=query_ids,
            singles=tuple(_candidate(one, n_queries) for one in values["singles"]),
            pairs=tuple(_candidate(one, n_queries) for one in values["pairs"]),
            similarities=tuple(_similarity(one, n_queries) for one in values["similarities"]),
            n_chunks=int(values["n_chunks"]),
            n_documents=int(values["n_documents"]),
        ),
    )


def model_of(values: Mapping[str, Any]) -> ModelFacts:
    """Read what `ModelFacts.to_json` returned; errors as in `collection_of`."""
    return ModelFacts(**{one.name: values[one.name] for one in fields(ModelFacts)})


def facts_of(values: Mapping[str, Any]) -> CollectionFacts:
    """Read what `CollectionFacts.to_json` returned; errors as in `collection_of`."""
    return CollectionFacts(**{one.name: values[one.name] for one in fields(CollectionFacts)})


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Read what `Settings.to_json` returned; errors as in `collection_of`."""
    given = {one.name: values[one.name] for one in fields(Settings)}
    return Settings(**{**given, "ks": tuple(given["ks"])})


def _candidate_values(candidate: Candidate) -> dict[str, Any]:
    return {
        "models": list(candidate.models),
        "weighting": candidate.weighting,
        "weights": list(candidate.weights),
        "per_query": {measure: _numbers(values) for measure, values in candidate.per_query.items()},
    }


def _candidate(values: Mapping[str, Any], n_queries: int) -> Candidate:
    return Candidate(
        models=tuple(values["models"]),
        weighting=values["weighting"],
        weights=tuple(values["weights"]),
        per_query={measure: _array(row, n_queries) for measure, row in values["per_query"].items()},
    )


def _similarity_values(similarity: PairSimilarity) -> dict[str, Any]:
    return {
        "models": list(similarity.models),
        "cka": similarity.cka,
        "cka_debiased": similarity.cka_debiased,
        "overlaps": [
            {"k": overlap.k, **{name: _numbers(getattr(overlap, name)) for name in _PER_QUERY}}
            for overlap in similarity.overlaps
        ],
    }


def _similarity(values: Mapping[str, Any], n_queries: int) -> PairSimilarity:
    first, second = values["models"]
    return PairSimilarity(
        models=(first, second),
        cka=values["cka"],
        cka_debiased=values["cka_debiased"],
        overlaps=tuple(
            Overlap(k=one["k"], **{name: _array(one[name], n_queries) for name in _PER_QUERY})
            for one in values["overlaps"]
        ),
    )


def _numbers(values: FloatArray) -> list[float | None]:
    """Return numbers as JSON knows them: it has no NaN."""
    return [None if number != number else number for number in values.tolist()]  # noqa: PLR0124  # NaN


def _array(numbers: Sequence[float | None], n_queries: int) -> FloatArray:
    array = np.array(numbers, dtype=np.float64)  # None becomes NaN
    if array.shape != (n_queries,):
        raise ValueError(f"expected one number for each of {n_queries} queries, got {array.shape}")
    array.setflags(write=False)
    return array
