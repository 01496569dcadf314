"""Pearson's ρ where it is defined, per model and overall, with its interval."""

from __future__ import annotations

import doctest
import importlib
import json
import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis import PairFigures, bootstrap_pearson, correlate, fitted_line, pearson
from retriever.errors import ShapeError

seeds = st.integers(0, 2**32 - 1)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(n=st.integers(3, 40), seed=seeds, scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100))
def test_pearson_equals_scipy_and_does_not_see_scale_or_shift(
    n: int, seed: int, scale: float, shift: float
) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    expected = scipy.stats.pearsonr(x, y).statistic
    assert pearson(x, y) == pytest.approx(expected, abs=1e-9)
    assert pearson(y, scale * x + shift) == pytest.approx(expected, abs=1e-6)
    assert pearson(x, -y) == pytest.approx(-expected, abs=1e-9)


def test_pearson_by_hand() -> None:
    # deviations (-1, 0, 1) and (-4/3, -1/3, 5/3): 3 / sqrt(2 · 42/9)
    assert pearson([1, 2, 3], [1, 2, 4]) == pytest.approx(3 / math.sqrt(2 * 42 / 9))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([1, 2, 3], [5, 5, 5]),
        ([0.1 + 0.2, 0.3, 0.3], [1, 2, 3]),
        ([1, 2, 3, np.nan], [1, np.nan, 2, 3]),
        ([0, 0, 0], [1, 2, 3]),
    ],
    ids=["none", "two", "constant", "constant but for rounding", "two defined", "zeros"],
)
def test_pearson_is_undefined_rather_than_zero(x: list[float], y: list[float]) -> None:
    assert math.isnan(pearson(x, y))
    assert fitted_line(x, y) is None


def test_undefined_pairs_are_left_out() -> None:
    assert pearson([1, 2, 3, np.nan, 9], [1, 2, 4, 7, np.nan]) == pearson([1, 2, 3], [1, 2, 4])


def test_tiny_numbers_have_a_correlation() -> None:
    assert pearson([1e-200, 2e-200, 3e-200], [1, 2, 4]) == pytest.approx(pearson([1, 2, 3], [1, 2, 4]))


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"two vectors of equal length, got shapes \(3,\) and \(2,\)"):
        pearson([1, 2, 3], [1, 2])


@given(n=st.integers(3, 20), seed=seeds)
def test_the_fitted_line_is_that_of_least_squares(n: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    assume(np.ptp(x) > 1e-3)
    line = fitted_line(x, y)
    assert line is not None
    assert [line.slope, line.intercept] == pytest.approx(np.polyfit(x, y, 1).tolist(), rel=1e-6, abs=1e-9)


def complete(n_models: int, seed: int = 0, noise: float = 0.3) -> PairFigures:
    """Gains that go with similarity, of all pairs of some models."""
    generator = np.random.default_rng(seed)
    pairs = tuple(combinations([f"m{index}" for index in range(n_models)], 2))
    similarity, gap = generator.random((2, len(pairs)))
    gain = 0.1 * (1 - similarity) - 0.05 * gap + noise * 0.1 * generator.normal(size=len(pairs))
    return PairFigures(
        measure="jaccard", weighting="equal", pairs=pairs, similarity=similarity, gap=gap, gain=gain
    )


def test_correlations_per_model_are_over_its_own_pairs() -> None:
    figures = complete(6)
    found = correlate(figures, alpha=0.7, rng=rng())
    adjusted = figures.adjusted(0.7)
    expected = {
        model: scipy.stats.pearsonr(
            *(
                [values[i] for i, pair in enumerate(figures.pairs) if model in pair]
                for values in (adjusted, figures.gain)
            )
        ).statistic
        for model in figures.models
    }
    assert found.by_model == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(list(expected.values())))
    assert found.overall == pytest.approx(scipy.stats.pearsonr(adjusted, figures.gain).statistic)
    assert (found.n_pairs, found.n_undefined) == (15, 0)
    assert found.interval is not None
    assert found.interval.low < found.overall < found.interval.high


def test_models_with_too_few_pairs_are_undefined_counted_and_left_out_of_the_mean() -> None:
    # a star: m0 is in three pairs, the others in one each
    pairs = (("m0", "m1"), ("m0", "m2"), ("m3", "m0"))
    figures = PairFigures(
        measure="cka",
        weighting="equal",
        pairs=pairs,
        similarity=np.array([0.1, 0.5, 0.9]),
        gap=np.zeros(3),
        gain=np.array([0.3, 0.2, 0.1]),
    )
    found = correlate(figures, alpha=1.0, rng=rng())
    assert found.by_model["m0"] == found.overall == pytest.approx(1.0)
    assert found.n_undefined == 3
    assert found.mean == found.by_model["m0"]
    shown = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert shown["by_model"] == {"m0": pytest.approx(1.0), "m1": None, "m2": None, "m3": None}
    assert (shown["undefined_models"], shown["interval"], shown["pairs"]) == (3, None, 3)


def test_the_baseline_of_equally_good_models_is_undefined_everywhere() -> None:
    figures = complete(5)
    level = PairFigures(
        measure="jaccard",
        weighting="equal",
        pairs=figures.pairs,
        similarity=figures.similarity,
        gap=np.zeros(10),
        gain=figures.gain,
    )
    found = correlate(level, alpha=0.0, rng=rng())
    assert math.isnan(found.overall)
    assert math.isnan(found.mean)
    assert found.interval is None
    assert found.n_undefined == 5
    json.dumps(found.to_json(), allow_nan=False)


def test_equal_generators_give_equal_intervals_and_blocks_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = complete(7)
    once = correlate(figures, alpha=0.5, rng=rng(), n_resamples=500)
    assert once == correlate(figures, alpha=0.5, rng=rng(), n_resamples=500)
    monkeypatch.setattr(importlib.import_module("analysis.framework.pearson"), "_BLOCK_WEIGHTS", 100)
    assert once == correlate(figures, alpha=0.5, rng=rng(), n_resamples=500)


def literal_draw(pairs: tuple, x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> float:
    """One draw, with the pairs of drawn models written out as often as they occur."""
    index = {frozenset(pair): number for number, pair in enumerate(pairs)}
    chosen = [index[frozenset((f"m{i}", f"m{j}"))] for i, j in combinations(drawn, 2) if i != j]
    if len(set(chosen)) < 3:
        return math.nan
    return pearson(x[chosen], y[chosen])


def test_the_interval_is_that_of_drawing_models() -> None:
    figures = complete(6)
    found = bootstrap_pearson(
        figures.pairs, figures.similarity, figures.gain, rng=rng(), n_resamples=400, confidence=0.9
    )
    draws = rng().integers(6, size=(400, 6))
    drawn = [literal_draw(figures.pairs, figures.similarity, figures.gain, draw) for draw in draws]
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.nanquantile(drawn, [0.05, 0.95]).tolist())
    assert found.confidence == 0.9
    assert found.estimate == pearson(figures.similarity, figures.gain)


def test_gains_that_belong_to_models_have_a_wider_interval_than_pairs_drawn_alone_give() -> None:
    # what a model adds to each of its pairs makes pairs depend on each other
    generator = rng()
    x_of, y_of = generator.normal(size=(2, 12))
    pairs = tuple(combinations(range(12), 2))
    x, y = (np.array([of[i] + of[j] for i, j in pairs]) for of in (x_of, y_of))
    found = bootstrap_pearson([(f"m{i}", f"m{j}") for i, j in pairs], x, y, rng=rng())
    alone = scipy.stats.bootstrap((x, y), pearson, paired=True, vectorized=False, n_resamples=999, rng=0)
    assert found is not None
    assert found.high - found.low > 1.3 * np.ptp(alone.confidence_interval)


@pytest.mark.parametrize("n_models", [3, 4])
def test_few_models_have_no_interval(n_models: int) -> None:
    figures = complete(n_models)
    assert bootstrap_pearson(figures.pairs, figures.similarity, figures.gain, rng=rng()) is None


def test_options_out_of_range_are_refused() -> None:
    figures = complete(5)
    with pytest.raises(ShapeError, match="confidence: expected a number between 0 and 1"):
        correlate(figures, alpha=0.5, rng=rng(), confidence=1)
    with pytest.raises(ShapeError, match="n_resamples: expected at least 1"):
        correlate(figures, alpha=0.5, rng=rng(), n_resamples=0)
    with pytest.raises(ShapeError, match="x: expected 2 rows, one per pair, got 3"):
        bootstrap_pearson([("a", "b"), ("a", "c")], [1, 2, 3], [1, 2, 4], rng=rng())


@pytest.mark.parametrize("module", ["pearson", "printed"])
def test_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"analysis.framework.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
