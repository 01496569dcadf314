"""Eqs. 4 to 6 of the paper, and how they are read from an evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import (
    Candidate,
    Evaluation,
    PairFigures,
    PairSimilarity,
    adjusted_dissimilarity,
    dissimilarity,
    overlap,
    pair_figures,
    performance_gaps,
    similarities_by_pair,
)
from analysis.evaluation import NDCG
from retriever.errors import InputError, ShapeError

shares = st.floats(0, 1)


def test_dissimilarity_by_hand() -> None:
    np.testing.assert_allclose(dissimilarity([0.0, 0.25, 1.0]), [1.0, 0.75, 0.0])  # Eq. 4


def test_performance_gaps_by_hand() -> None:
    # Eq. 5: the largest gap, of a and d, is 0.4, though no pair has it
    performance = {"a": 0.5, "b": 0.6, "c": 0.8, "d": 0.9}
    found = performance_gaps(performance, [("a", "b"), ("c", "a"), ("b", "c")])
    np.testing.assert_allclose(found, [0.25, 0.75, 0.5])


def test_equally_good_models_have_no_gap() -> None:
    assert performance_gaps({"a": 0.5, "b": 0.5, "c": 0.5}, [("a", "b"), ("b", "c")]).tolist() == [0, 0]


def test_gaps_of_unknown_models_are_refused() -> None:
    with pytest.raises(InputError, match="expected models of a, b, got c"):
        performance_gaps({"a": 0.5, "b": 0.6}, [("a", "c")])


def test_adjusted_dissimilarity_by_hand() -> None:
    # Eq. 6 with D = 0.6, PG = 0.25: 0.7·0.6 + 0.3·0.75
    assert adjusted_dissimilarity([0.6], [0.25], alpha=0.7).tolist() == pytest.approx([0.645])


@given(d=shares, gap=shares, alpha=shares)
def test_adjusted_dissimilarity_is_closeness_at_0_dissimilarity_at_1_and_between_them(
    d: float, gap: float, alpha: float
) -> None:
    (found,) = adjusted_dissimilarity([d], [gap], alpha=alpha)
    assert adjusted_dissimilarity([d], [gap], alpha=0).item() == 1 - gap
    assert adjusted_dissimilarity([d], [gap], alpha=1).item() == d
    assert min(d, 1 - gap) - 1e-12 <= found <= max(d, 1 - gap) + 1e-12


def test_the_baseline_needs_no_similarity() -> None:
    assert adjusted_dissimilarity([np.nan], [0.25], alpha=0).tolist() == [0.75]
    assert np.isnan(adjusted_dissimilarity([np.nan], [0.25], alpha=0.1)).all()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ShapeError, match="alpha: expected a number from 0 to 1"):
        adjusted_dissimilarity([0.5], [0.5], alpha=alpha)


def figures(**changes: object) -> PairFigures:
    numbers = {name: np.array([0.1, 0.2]) for name in ("similarity", "gap", "gain")}
    given = {"measure": "cka", "weighting": "equal", "pairs": (("a", "b"), ("a", "c")), **numbers}
    return PairFigures(**given | changes)


def test_pair_figures_know_their_models_and_their_json() -> None:
    found = figures(similarity=np.array([np.nan, 0.2]))
    assert found.models == ("a", "b", "c")
    assert found.to_json() == [
        {"models": ["a", "b"], "similarity": None, "gap": 0.1, "gain": 0.1},
        {"models": ["a", "c"], "similarity": 0.2, "gap": 0.2, "gain": 0.2},
    ]


@pytest.mark.parametrize("pairs", [(("a", "b"), ("b", "a")), (("a", "b"), ("c", "c"))])
def test_a_pair_twice_and_a_model_with_itself_are_refused(pairs: tuple) -> None:
    with pytest.raises(InputError, match="two different models in each and each pair once"):
        figures(pairs=pairs)


def test_figures_of_another_number_of_pairs_are_refused() -> None:
    with pytest.raises(ShapeError, match="gain: expected 2 rows, one per pair, got 3"):
        figures(gain=np.zeros(3))


def candidate(*models: str, weighting: str = "equal", ndcg: tuple[float, float]) -> Candidate:
    weights = (1 / len(models),) * len(models)
    return Candidate(
        models=models, weighting=weighting, weights=weights, per_query={NDCG: np.array(ndcg, dtype=float)}
    )


def similar(a: str, b: str, *, cka: float, debiased: float | None) -> PairSimilarity:
    # Jaccard at 2: one of three shared; at 1: nothing
    overlaps = (overlap([[1, 2]], [[3, 1]]), overlap([[1]], [[3]]))
    return PairSimilarity(models=(a, b), cka=cka, cka_debiased=debiased, overlaps=overlaps)


EVALUATION = Evaluation(
    query_ids=("1", "2"),
    singles=(
        candidate("a", ndcg=(0.2, 0.4)),
        candidate("b", ndcg=(0.5, 0.7)),
        candidate("c", ndcg=(0.8, 1.0)),
    ),
    pairs=(
        candidate("a", "b", ndcg=(0.6, 0.8)),
        candidate("a", "b", weighting="calibrated", ndcg=(0.7, 0.9)),
        candidate("a", "b", weighting="explicit", ndcg=(0.0, 0.0)),
        candidate("a", "c", ndcg=(0.7, 0.9)),
        candidate("a", "c", weighting="calibrated", ndcg=(0.9, 1.0)),
    ),
    similarities=(
        similar("a", "b", cka=0.9, debiased=None),
        similar("a", "c", cka=0.6, debiased=0.5),
        similar("b", "c", cka=0.7, debiased=0.6),
    ),
    n_chunks=3,
    n_documents=3,
)


def test_figures_are_read_from_an_evaluation_by_weighting() -> None:
    # means a 0.3, b 0.6, c 0.9: gaps 0.3 and 0.6 of 0.6; gains over 0.6 and 0.9
    equal = pair_figures(EVALUATION, measure="cka", weighting="equal")
    assert equal.pairs == (("a", "b"), ("a", "c"))  # b+c was not measured
    assert equal.similarity.tolist() == [0.9, 0.6]
    np.testing.assert_allclose(equal.gap, [0.5, 1.0])
    np.testing.assert_allclose(equal.gain, [0.1, -0.1])
    calibrated = pair_figures(EVALUATION, measure="cka", weighting="calibrated")
    np.testing.assert_allclose(calibrated.gain, [0.2, 0.05])
    np.testing.assert_allclose(calibrated.gap, equal.gap)
    np.testing.assert_allclose(calibrated.adjusted(0.5), [(0.1 + 0.5) / 2, (0.4 + 0.0) / 2])


def test_each_measure_is_read_at_its_cutoff_and_undefined_stays_undefined() -> None:
    read = {measure: similarities_by_pair(EVALUATION, measure=measure) for measure in ("jaccard", "cka")}
    assert list(read["jaccard"].values()) == pytest.approx([1 / 3] * 3)
    assert list(read["cka"].values()) == [0.9, 0.6, 0.7]
    assert set(similarities_by_pair(EVALUATION, measure="jaccard", k=1).values()) == {0.0}
    # shared at ranks 1 and 2: 2/(2·3)
    ranked = similarities_by_pair(EVALUATION, measure="rank_similarity", k=2)
    assert list(ranked.values()) == pytest.approx([1 / 3] * 3)
    debiased = list(similarities_by_pair(EVALUATION, measure="cka_debiased").values())
    assert debiased == pytest.approx([np.nan, 0.5, 0.6], nan_ok=True)


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"k: expected a cutoff that was measured \(2, 1\), got 10"):
        similarities_by_pair(EVALUATION, measure="jaccard", k=10)
    with pytest.raises(InputError, match=r"measure: expected one of jaccard, .*got 'cosine'"):
        similarities_by_pair(EVALUATION, measure="cosine")
    for evaluation, weighting in ((EVALUATION, "explicit"), (replace(EVALUATION, pairs=()), "equal")):
        with pytest.raises(InputError, match=f"weighting: .*got '{weighting}'.*judged queries"):
            pair_figures(evaluation, measure="cka", weighting=weighting)
