"""Intervals, p-values and sample sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis.resampling as module
from analysis.resampling import (
    bootstrap_gain,
    bootstrap_gains,
    bootstrap_mean,
    holm,
    queries_needed,
    resampled_means,
)
from retriever.errors import ShapeError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def naive_gains(combined: np.ndarray, singles: np.ndarray, n_resamples: int) -> np.ndarray:
    """The definition, one resample at a time: draw queries, take the maximum anew, subtract."""
    random, n = rng(99), len(combined)
    drawn = (random.integers(n, size=n) for _ in range(n_resamples))
    return np.array([combined[rows].mean() - singles[:, rows].mean(axis=1).max() for rows in drawn])


def test_a_mean_has_the_percentile_interval_of_scipy() -> None:
    from scipy.stats import bootstrap

    values = rng(1).beta(0.5, 0.5, size=80)
    found = bootstrap_mean(values, rng=rng(), n_resamples=20_000, confidence=0.9)
    reference = bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=rng(2)
    ).confidence_interval
    assert found.estimate == pytest.approx(values.mean())
    assert found.confidence == 0.9
    assert [found.low, found.high] == pytest.approx([reference.low, reference.high], abs=0.003)


def test_resamples_are_paired_and_the_maximum_is_taken_anew_in_each() -> None:
    base = rng(3).uniform(size=60)
    singles = np.stack([base, base + rng(4).normal(0, 0.2, size=60)])
    combined = base + rng(5).normal(0.05, 0.2, size=60)
    found = bootstrap_gain(combined, singles, rng=rng(), n_resamples=10_000)
    reference = naive_gains(combined, singles, 10_000)
    assert found.interval.estimate == pytest.approx(combined.mean() - singles.mean(axis=1).max())
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.quantile(reference, [0.025, 0.975]), abs=0.003
    )
    assert found.p_value == pytest.approx((reference <= 0).mean(), abs=0.01)


def test_a_constant_gain_has_an_interval_of_no_width_however_much_queries_differ() -> None:
    single = rng(6).uniform(size=40)
    found = bootstrap_gain(single + 0.1, single[None, :], rng=rng())
    assert [found.interval.low, found.interval.high] == pytest.approx([0.1, 0.1])
    assert found.p_value == pytest.approx(1 / 10_001)


def test_no_gain_is_never_proven() -> None:
    single = rng(6).uniform(size=40)
    assert bootstrap_gain(single, single[None, :], rng=rng()).p_value == 1.0


def test_what_must_be_exceeded_is_the_minimum_gain() -> None:
    single = rng(6).uniform(size=40)
    gains = [
        bootstrap_gain(single + 0.1, single[None, :], rng=rng(), minimum_gain=minimum).p_value
        for minimum in (0.05, 0.1, 0.2)
    ]
    assert gains == pytest.approx([1 / 10_001, 1.0, 1.0])


def test_few_queries_that_differ_prove_nothing_however_large_their_gain() -> None:
    # 3 of 40 queries gain: the bootstrap alone says (37/40)^40 = 0.044, three equal signs say 2^-3
    single = np.zeros(40)
    combined = single.copy()
    combined[:3] = 1.0
    assert bootstrap_gain(combined, single[None, :], rng=rng()).p_value == 0.125


def test_equal_generators_give_equal_results_and_others_differ() -> None:
    values = rng(7).uniform(size=30)
    assert bootstrap_mean(values, rng=rng(1)) == bootstrap_mean(values, rng=rng(1))
    assert bootstrap_mean(values, rng=rng(1)) != bootstrap_mean(values, rng=rng(2))


def test_candidates_share_their_resamples() -> None:
    singles = rng(8).uniform(size=(2, 30))
    combined = rng(9).uniform(size=30)
    together = bootstrap_gains([combined, combined], singles, rng=rng())
    alone = bootstrap_gain(combined, singles, rng=rng())
    assert together[0] == together[1]
    assert together[0].p_value == alone.p_value
    # another shape of the matrix product may round otherwise
    assert together[0].interval.low == pytest.approx(alone.interval.low, abs=1e-12)


def test_memory_blocks_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng(10).uniform(size=(2, 13))
    whole = resampled_means(values, rng=rng(), n_resamples=100)
    monkeypatch.setattr(module, "_BLOCK_DRAWS", 50)
    np.testing.assert_allclose(resampled_means(values, rng=rng(), n_resamples=100), whole, rtol=1e-12)


def test_resampled_means_have_the_moments_of_a_mean() -> None:
    values = rng(11).uniform(size=(1, 50))
    means = resampled_means(values, rng=rng(), n_resamples=20_000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.002)
    assert means.std() == pytest.approx(values.std() / np.sqrt(50), rel=0.03)


@pytest.mark.parametrize(
    ("combined", "singles", "options", "reason"),
    [
        ([0.1, 0.2], [[0.1]], {}, "singles: expected 2 rows, one per query of combined, got 1"),
        ([0.1, np.nan], [[0.1, 0.2]], {}, "combined: expected finite"),
        ([], [[0.1]], {}, "combined: expected numbers"),
        ([0.1], [0.1], {}, "singles: expected numbers in 2"),
        ([0.1], [[0.1]], {"confidence": 1.0}, "between 0 and 1, got 1.0"),
        ([0.1], [[0.1]], {"n_resamples": 0}, "n_resamples: expected at least 1, got 0"),
    ],
)
def test_bootstrap_refuses_with_the_reason(combined: list, singles: list, options: dict, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        bootstrap_gain(combined, singles, rng=rng(), **options)


def test_holm_by_hand() -> None:
    # sorted 0.01·4, 0.02·3, 0.03·2, 0.9·1; the third, 0.06, is not below the second, 0.06
    assert holm([0.03, 0.9, 0.01, 0.02]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([0.04]).tolist() == [0.04]


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), level=st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], level: float) -> None:
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected: set[int] = set()
    for step, index in enumerate(order):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert {i for i, p_value in enumerate(adjusted) if p_value <= level} == rejected
    assert (adjusted >= np.asarray(p_values)).all()


@pytest.mark.parametrize("p_values", [[], [1.5], [-0.1], [np.nan]])
def test_holm_refuses_what_is_no_p_value(p_values: list[float]) -> None:
    with pytest.raises(ShapeError, match="p_values"):
        holm(p_values)


def differences(mean: float, spread: float, n: int = 50) -> np.ndarray:
    values = rng(12).normal(size=n)
    return (values - values.mean()) / values.std(ddof=1) * spread + mean


def test_queries_needed_by_hand() -> None:
    # ((z(0.95) + z(0.8))·0.2/0.02)² = ((1.644854 + 0.841621)·10)² = 618.26
    assert queries_needed(differences(0.02, 0.2)) == 619
    # ten candidates: z(0.995) = 2.575829, (3.417450·10)² = 1167.9
    assert queries_needed(differences(0.02, 0.2), n_candidates=10) == 1168
    # half of the gain is required: four times as many
    assert queries_needed(differences(0.02, 0.2), minimum_gain=0.01) == 2474


def test_queries_needed_are_always_more_than_there_are_and_none_without_gain() -> None:
    assert queries_needed(differences(0.5, 0.01)) == 51
    assert queries_needed([0.3]) == 5  # 2^-5 is the first power below 0.05
    assert queries_needed(differences(0.0, 0.2)[:1] * 0) is None
    assert queries_needed(differences(-0.1, 0.2)) is None


def test_the_sample_size_reaches_its_power() -> None:
    # 2000 experiments with the number of queries it asks for: about 80 % find the gain
    needed = queries_needed(differences(0.05, 0.2))
    assert needed is not None
    draws = rng(13).normal(0.05, 0.2, size=(2000, needed))
    found = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(draws.shape[1])) > 1.645
    assert 0.7 < found.mean() < 0.9
