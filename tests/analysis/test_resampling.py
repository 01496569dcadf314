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
    enough_resamples,
    holm,
    lower_bound,
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
    assert queries_needed([0.3, -0.3, 1e-16]) is None  # the mean is a rounding error


def test_the_sample_size_reaches_its_power() -> None:
    # 2000 experiments with the number of queries it asks for: about 80 % find the gain
    needed = queries_needed(differences(0.05, 0.2))
    assert needed is not None
    draws = rng(13).normal(0.05, 0.2, size=(2000, needed))
    found = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(draws.shape[1])) > 1.645
    assert 0.7 < found.mean() < 0.9


def t_p_value(differences: np.ndarray) -> float:
    """One-sided paired t-test by scipy."""
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0, alternative="greater").pvalue)


def test_a_gain_is_no_surer_than_the_t_test_against_each_single_model() -> None:
    singles = rng(14).uniform(size=(3, 12)) * 0.1
    combined = singles[0] + rng(15).normal(0.1, 0.1, size=12)
    found = bootstrap_gain(combined, singles, rng=rng(), n_resamples=100_000).p_value
    # far out in the tail twelve queries tell less than their resamples claim
    assert found == pytest.approx(max(t_p_value(combined - single) for single in singles))
    assert found > 1e-4


def test_to_beat_the_best_is_to_beat_all_though_one_looks_best_by_luck() -> None:
    # the second single model is as good but for one query, and far noisier
    single, noisy = np.full(20, 0.5), np.tile([0.1, 0.9], 10)
    noisy[0] = 0.0
    combined = single + 0.1 + rng(16).normal(0, 0.05, size=20)
    assert bootstrap_gain(combined, single[None, :], rng=rng()).p_value < 0.001
    both = bootstrap_gain(combined, np.stack([single, noisy]), rng=rng()).p_value
    assert both >= t_p_value(combined - noisy) > 0.05


def test_what_does_not_differ_is_no_evidence_for_a_gain_above_zero() -> None:
    # 3 of 40 queries differ, by 1: that the 37 others fall short of a minimum shall not count for it
    single = np.zeros(40)
    combined = np.repeat([1.0, 0.0], [3, 37])
    assert bootstrap_gain(combined, single[None, :], rng=rng(), minimum_gain=0.001).p_value == 0.125
    # but that nothing was lost anywhere is evidence against a loss of 0.05
    assert bootstrap_gain(single, single[None, :], rng=rng(), minimum_gain=-0.05).p_value < 0.001


def test_a_lower_bound_by_hand() -> None:
    # Student's t with 49 degrees of freedom: 0.05 - 1.6766·0.2/√50
    values = differences(0.05, 0.2)
    found = lower_bound(values, np.zeros((1, 50)), rng=rng())
    assert found == pytest.approx(0.05 - 1.6766 * 0.2 / np.sqrt(50), abs=0.003)
    # ten looks: 2.6800 at a level of 0.005
    ten = lower_bound(values, np.zeros((1, 50)), rng=rng(), n_looks=10)
    assert ten == pytest.approx(0.05 - 2.6800 * 0.2 / np.sqrt(50), abs=0.008)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), confidence=st.sampled_from([0.8, 0.9, 0.95]))
def test_a_lower_bound_above_a_minimum_is_a_gain_proven_to_exceed_it(
    seed: int, n: int, confidence: float
) -> None:
    random = rng(seed)
    singles = random.uniform(size=(2, n))
    combined = singles[0] + random.normal(0.1, 0.2, size=n)
    bound = lower_bound(combined, singles, rng=rng(1), confidence=confidence, n_resamples=2000)
    for minimum, is_proven in ((bound - 0.01, True), (bound + 0.01, False)):
        if minimum > 0:
            gain = bootstrap_gain(combined, singles, rng=rng(1), n_resamples=2000, minimum_gain=minimum)
            assert (gain.p_value < 1 - confidence) == is_proven


def test_too_few_queries_that_differ_bound_no_gain_above_zero() -> None:
    single = np.zeros(40)
    combined = np.repeat([1.0, 0.0], [4, 36])
    assert lower_bound(combined, single[None, :], rng=rng(), confidence=0.9) > 0
    assert lower_bound(combined, single[None, :], rng=rng(), confidence=0.9, n_looks=2) <= 0
    assert lower_bound([0.5], [[0.1]], rng=rng()) == 0.0


def test_many_looks_ask_for_more_resamples() -> None:
    assert enough_resamples(1, confidence=0.95) == 10_000
    # one of them must be able to pass: 300·1/(n + 1) is below 0.01 from 30,000 on
    assert enough_resamples(300, confidence=0.99) == 120_000
    with pytest.raises(ShapeError, match="n_looks"):
        enough_resamples(0, confidence=0.95)
    with pytest.raises(ShapeError, match="confidence"):
        enough_resamples(3, confidence=1.0)


@pytest.mark.parametrize("n", [10, 20])
def test_few_queries_prove_what_is_not_there_no_more_often_than_stated(n: int) -> None:
    # thirty candidates that gain nothing over two single models, zeros and ones as NDCG often is; at 5 %
    random, wrong = rng(17), 0
    for _ in range(200):
        drawn = (random.uniform(size=(32, n)) < 0.5).astype(float)
        p_values = [
            gain.p_value for gain in bootstrap_gains(drawn[2:], drawn[:2], rng=random, n_resamples=1000)
        ]
        wrong += holm(p_values).min() < 0.05
    assert wrong <= 10
