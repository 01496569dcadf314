"""α: the grid, the exact optimum, and what is undefined."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import PairFigures, pearson, tune_alpha


def figures(gain: np.ndarray, similarity: np.ndarray, gap: np.ndarray) -> PairFigures:
    pairs = tuple(combinations(range(20), 2))[: len(gain)]
    named = tuple((f"m{i}", f"m{j}") for i, j in pairs)
    return PairFigures(
        measure="jaccard", weighting="equal", pairs=named, similarity=similarity, gap=gap, gain=gain
    )


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 30))
def test_the_exact_alpha_is_where_a_fine_grid_finds_the_highest_correlation(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    given_figures = figures(generator.normal(size=n), *generator.random((2, n)))
    found = tune_alpha(given_figures)
    fine = max(
        pearson(given_figures.adjusted(alpha), given_figures.gain)
        for alpha in np.linspace(0, 1, 201).tolist()
    )
    assert 0 <= found.exact <= 1
    assert found.exact_overall >= fine - 1e-9
    assert found.exact_overall == pytest.approx(fine, abs=2e-2)
    assert max(found.overall) <= found.exact_overall + 1e-9
    assert found.overall[found.alphas.index(found.best)] == max(found.overall)
    assert found.mean[found.alphas.index(found.best_mean)] == pytest.approx(max(found.mean))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0])
def test_gains_that_are_an_adjusted_dissimilarity_give_its_alpha_back(alpha: float) -> None:
    similarity, gap = np.random.default_rng(0).random((2, 20))
    gain = 0.2 * figures(similarity, similarity, gap).adjusted(alpha) - 0.1
    found = tune_alpha(figures(gain, similarity, gap))
    assert found.exact == pytest.approx(alpha)
    assert found.best == pytest.approx(alpha)
    assert found.exact_overall == pytest.approx(1.0)


def test_gains_that_go_against_dissimilarity_have_the_best_end() -> None:
    similarity, gap = np.random.default_rng(0).random((2, 20))
    found = tune_alpha(figures(2 * similarity + gap, similarity, gap))
    assert found.exact in {0.0, 1.0}
    assert found.exact_overall == max(found.overall) < 0


def test_equal_similarities_leave_the_baseline() -> None:
    gap = np.random.default_rng(0).random(10)
    found = tune_alpha(figures(1 - gap, np.full(10, 0.4), gap))
    assert found.exact == found.best == 0.0
    assert math.isnan(found.overall[-1])


def test_undefined_similarities_are_left_out_above_the_baseline() -> None:
    similarity, gap = np.random.default_rng(0).random((2, 12))
    gain = figures(similarity, similarity, gap).adjusted(0.6)
    similarity[3] = np.nan
    assert tune_alpha(figures(gain, similarity, gap)).exact == pytest.approx(0.6)


def test_equal_gains_have_no_alpha() -> None:
    similarity, gap = np.random.default_rng(0).random((2, 10))
    found = tune_alpha(figures(np.full(10, 0.1), similarity, gap))
    assert math.isnan(found.exact)
    assert math.isnan(found.best)
    assert math.isnan(found.best_mean)
    shown = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert shown["exact"] is None
    assert shown["overall"] == [None] * 11
