"""Measures agree with trec_eval, ir_measures and ranx to 1e-9, ties, grades and gaps included."""

from __future__ import annotations

import json
import math
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from analysis.measures import (
    JudgedDocuments,
    average_precision,
    grades_of_run,
    ndcg,
    ndcg_of_scores,
    precision,
    recall,
    reciprocal_rank,
)
from analysis.rankings import NO_DOCUMENT
from retriever.errors import ShapeError

TOLERANCE = 1e-9
DATA = Path(__file__).parents[1] / "data"

MEASURES = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
}
"""Ours, by the names of ranx."""

OF_IR_MEASURES = {
    "ndcg": ir_measures.nDCG,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "mrr": ir_measures.RR,
    "map": ir_measures.AP,
}

# Ids whose order by text differs from any numeric order, and one outside ASCII: trec_eval compares bytes.
documents = st.sampled_from(["1", "10", "2", "D", "d", "d-1", "é", "z", "\U0001f600", "d1", "d10", "d2"])
queries = st.sampled_from(["q1", "q2", "q3", "d"])
# Values that are equal in float32 only, and ordinary ones.
scores = st.sampled_from([0.0, 0.5, 0.5 + 1e-10, 0.75, 0.1, 0.1 + 1e-12, -1.0]) | st.floats(-2, 2)
runs = st.dictionaries(queries, st.dictionaries(documents, scores, max_size=12))
# pytrec_eval 0.5.11 writes outside its memory, and crashes, when all grades of a query are below -1.
grades = st.dictionaries(documents, st.integers(-2, 4), min_size=1).filter(lambda of: max(of.values()) >= -1)
judged = st.dictionaries(queries, grades, min_size=1, max_size=4)
cutoffs = st.sampled_from([1, 2, 3, 10])


def trec_eval(run: dict, qrels: dict, measure: str, k: int) -> dict[str, float]:
    """Per-query numbers of pytrec_eval; queries without hits, which it leaves out, as 0."""
    hits = {query: found for query, found in run.items() if found}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {f"{measure}.{k}" if k else measure})
    results = evaluator.evaluate(hits)
    name = f"{measure}_{k}" if k else measure
    return {query: results.get(query, {}).get(name, 0.0) for query in sorted(qrels)}


@given(run=runs, qrels=judged, k=cutoffs)
def test_ndcg_is_that_of_trec_eval(run: dict, qrels: dict, k: int) -> None:
    expected = trec_eval(run, qrels, "ndcg_cut", k)
    found = ndcg(run, qrels, k=k)
    assert list(found) == sorted(qrels)
    assert found == pytest.approx(expected, abs=TOLERANCE)


@given(run=runs, qrels=judged, k=cutoffs)
def test_recall_is_that_of_trec_eval(run: dict, qrels: dict, k: int) -> None:
    assert recall(run, qrels, k=k) == pytest.approx(trec_eval(run, qrels, "recall", k), abs=TOLERANCE)


@given(run=runs, qrels=judged, k=cutoffs)
def test_reciprocal_rank_is_that_of_trec_eval_cut_at_k(run: dict, qrels: dict, k: int) -> None:
    uncut = trec_eval(run, qrels, "recip_rank", 0)
    expected = {query: value if value >= 1 / k - TOLERANCE else 0.0 for query, value in uncut.items()}
    assert reciprocal_rank(run, qrels, k=k) == pytest.approx(expected, abs=TOLERANCE)


@given(run=runs, qrels=judged, k=cutoffs)
def test_precision_is_that_of_trec_eval(run: dict, qrels: dict, k: int) -> None:
    assert precision(run, qrels, k=k) == pytest.approx(trec_eval(run, qrels, "P", k), abs=TOLERANCE)


@given(run=runs, qrels=judged, k=cutoffs)
def test_average_precision_is_that_of_trec_eval(run: dict, qrels: dict, k: int) -> None:
    expected = trec_eval(run, qrels, "map_cut", k)
    assert average_precision(run, qrels, k=k) == pytest.approx(expected, abs=TOLERANCE)


def without_ties(run: dict) -> dict[str, dict[str, float]]:
    """Give the hits of each query scores that count down in the order of trec_eval."""
    ranked: dict[str, dict[str, float]] = {}
    for query, hits in run.items():
        ascending = sorted(hits, key=lambda document: (np.float32(hits[document]), document))
        ranked[query] = {document: float(place) for place, document in enumerate(ascending)}
    return ranked


@given(run=runs, qrels=judged, k=cutoffs)
def test_every_measure_is_that_of_ir_measures(run: dict, qrels: dict, k: int) -> None:
    hits = {query: found for query, found in run.items() if found}
    for name, measure in OF_IR_MEASURES.items():
        # Its reciprocal rank with a cutoff is that of the MS MARCO script, which leaves equal scores in the
        # order of the run: where trec_eval's order is not given to it, the two differ by definition.
        given_hits = without_ties(hits) if name == "mrr" else hits
        expected = {
            metric.query_id: metric.value
            for metric in ir_measures.iter_calc([measure @ k], qrels, given_hits)
        }
        assert MEASURES[name](run, qrels, k=k) == pytest.approx(expected, abs=TOLERANCE), name


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("k", [1, 5, 10])
def test_every_measure_is_that_of_ranx(name: str, k: int) -> None:
    """Of ties, negative and graded judgements, a query without relevant documents, one without hits."""
    kept = json.loads((DATA / "ranx-measures.json").read_text(encoding="utf-8"))
    found = MEASURES[name](kept["run"], kept["qrels"], k=k)
    assert list(found) == kept["queries"]
    assert list(found.values()) == pytest.approx(kept["expected"][f"{name}@{k}"], abs=TOLERANCE)


@given(run=runs, qrels=judged, k=cutoffs)
def test_rankings_by_column_are_worth_what_those_by_name_are(run: dict, qrels: dict, k: int) -> None:
    expected = grades_of_run(run, qrels, k=k)
    names = sorted({document for hits in run.values() for document in hits})
    top = np.full((len(qrels), k), NO_DOCUMENT)
    for row, query in zip(top, sorted(qrels), strict=True):
        hits = run.get(query, {})
        best = sorted(hits, key=lambda name: (np.float32(hits[name]), name), reverse=True)[:k]
        row[: len(best)] = [names.index(name) for name in best]
    found = JudgedDocuments(qrels, query_ids=sorted(qrels), document_ids=names, k=k).grades(top)
    assert found.retrieved.tolist() == expected.retrieved.tolist()
    assert found.ideal.tolist() == expected.ideal.tolist()
    assert found.relevant.tolist() == expected.relevant.tolist()


@given(qrels=judged, k=cutoffs, drop_own=st.booleans(), data=st.data())
def test_the_score_matrix_gives_the_numbers_of_the_run(
    qrels: dict,
    k: int,
    drop_own: bool,  # noqa: FBT001  # drawn
    data: st.DataObject,
) -> None:
    query_ids = sorted(qrels)
    document_ids = data.draw(st.lists(documents, min_size=1, unique=True))
    row = st.lists(scores, min_size=len(document_ids), max_size=len(document_ids))
    matrix = [data.draw(row) for _ in query_ids]
    run = {
        query: dict(zip(document_ids, values, strict=True))
        for query, values in zip(query_ids, matrix, strict=True)
    }
    found = ndcg_of_scores(
        matrix, query_ids=query_ids, document_ids=document_ids, qrels=qrels, k=k, drop_own=drop_own
    )
    assert found.tolist() == list(ndcg(run, qrels, k=k, drop_own=drop_own).values())


def test_ndcg_by_hand() -> None:
    # ranks 1..3 have grades 0, 2, 1: DCG = 2/log2(3) + 1/log2(4); ideal 2, 1, 1: 2 + 1/log2(3) + 1/log2(4)
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    qrels = {"q": {"b": 2, "c": 1, "never stored": 1}}
    expected = (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3) + 1 / 2)
    assert ndcg(run, qrels) == {"q": pytest.approx(expected, abs=1e-12)}
    assert recall(run, qrels) == {"q": pytest.approx(2 / 3)}
    assert reciprocal_rank(run, qrels) == {"q": 0.5}


def test_equal_scores_go_by_document_id_descending_whatever_the_insertion_order() -> None:
    qrels = {"q": {"a": 1}}
    for run in ({"q": {"a": 1.0, "b": 1.0}}, {"q": {"b": 1.0, "a": 1.0}}):
        assert reciprocal_rank(run, qrels) == {"q": 0.5}


def test_queries_without_hits_or_relevant_documents_count_as_zero() -> None:
    qrels = {"no hits": {"a": 1}, "nothing relevant": {"a": -3, "b": -2}}
    assert ndcg({"nothing relevant": {"a": 1.0}, "unjudged": {"a": 1.0}}, qrels) == {
        "no hits": 0.0,
        "nothing relevant": 0.0,
    }


def test_dropping_the_own_document_moves_the_others_up() -> None:
    run = {"a": {"a": 1.0, "b": 0.5}}
    assert reciprocal_rank(run, {"a": {"b": 1}}) == {"a": 0.5}
    assert reciprocal_rank(run, {"a": {"b": 1}}, drop_own=True) == {"a": 1.0}
    # the own document earns nothing, even when it is judged relevant and nothing else is left
    assert ndcg({"a": {"a": 1.0}}, {"a": {"a": 1}}, drop_own=True) == {"a": 0.0}
    assert ndcg_of_scores(
        [[1.0]], query_ids=["a"], document_ids=["a"], qrels={"a": {"a": 1}}, drop_own=True
    ).tolist() == [0.0]


def test_scores_beyond_float32_are_tied_as_in_trec_eval() -> None:
    run, qrels = {"q": {"a": 1e300, "b": 1e200}}, {"q": {"a": 1}}
    assert ndcg(run, qrels) == pytest.approx(trec_eval(run, qrels, "ndcg_cut", 10))


@pytest.mark.parametrize(
    ("run", "k", "reason"),
    [
        ({"q": {"a": float("nan")}}, 10, "run of query 'q': expected finite"),
        ({"q": {"a": 1.0}}, 0, "cutoff of at least 1, got 0"),
    ],
)
def test_ndcg_refuses_with_the_reason(run: dict, k: int, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        ndcg(run, {"q": {"a": 1}}, k=k)


@pytest.mark.parametrize(
    ("query_ids", "document_ids", "reason"),
    [
        (["q", "r"], ["a", "b"], "query_ids: expected 1 rows"),
        (["q"], ["a"], "document_ids: expected 2 rows"),
        (["q"], ["a", "a"], "expected different ids"),
    ],
)
def test_a_score_matrix_needs_one_name_per_row_and_column(
    query_ids: list[str], document_ids: list[str], reason: str
) -> None:
    with pytest.raises(ShapeError, match=reason):
        ndcg_of_scores(np.ones((1, 2)), query_ids=query_ids, document_ids=document_ids, qrels={"q": {"a": 1}})
