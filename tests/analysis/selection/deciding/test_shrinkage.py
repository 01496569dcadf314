"""Few labels correct what was predicted, and never more than they can."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.deciding.shrinkage import WIDENINGS, shrunk_covariance, updated
from retriever.errors import ShapeError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prior(n_options: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions whose errors share a level, as those of one corpus do."""
    random = rng(seed)
    causes = random.normal(0, 0.05, size=(n_options, n_options))
    return random.uniform(0.3, 0.7, size=n_options), 0.1**2 + causes @ causes.T + 1e-4 * np.eye(n_options)


def coins(n_options: int, n_queries: int, seed: int) -> np.ndarray:
    """Return NDCG that is mostly the same for all options, as in life."""
    shared, own = rng(seed).uniform(size=(1, n_queries)), rng(seed + 1).normal(0, 0.1, (n_options, n_queries))
    return np.clip(shared + own, 0, 1)


def deviations(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.diag(covariance))


def gain(mean: np.ndarray, covariance: np.ndarray, option: int, other: int) -> NormalDist:
    """Return how much better one option is than another."""
    variance = covariance[option, option] + covariance[other, other] - 2 * covariance[option, other]
    return NormalDist(mean[option] - mean[other], np.sqrt(variance))


SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32 - 2)


@given(n_options=SIZES, seed=SEEDS)
def test_with_many_labels_the_measurement_stands(n_options: int, seed: int) -> None:
    mean, covariance = prior(n_options, seed)
    ndcg = coins(n_options, 200, seed)
    found, uncertainty = updated(mean, 1e4 * covariance, ndcg)
    np.testing.assert_allclose(found, ndcg.mean(axis=1), atol=1e-3)
    # what remains is the uncertainty of the measurement
    np.testing.assert_allclose(uncertainty, shrunk_covariance(ndcg) / 200, atol=1e-5)


def test_one_option_by_hand() -> None:
    # prior 0.5 ± 0.1; ten queries with mean 0.6 and variance 0.04·10/9: the mean has a tenth, times 9/7.
    # A tenth off is no surprise, so the prior is not widened
    mean, covariance = updated(np.array([0.5]), np.array([[0.01]]), np.tile([0.4, 0.8], 5)[None, :])
    share = 0.01 / (0.01 + 0.04 / 7)
    assert mean == pytest.approx([0.5 + share * 0.1])
    assert covariance == pytest.approx(np.array([[0.01 * (1 - share)]]))


def test_a_difference_on_the_same_queries_counts_though_the_level_is_uncertain() -> None:
    # queries differ by far more than options: the level stays open, the order does not
    shared = rng(1).uniform(size=12)
    ndcg = np.stack([shared, shared + 0.05])
    mean, covariance = updated(np.array([0.5, 0.5]), 0.04 * np.eye(2), ndcg)
    assert deviations(covariance).min() > 0.05
    assert gain(mean, covariance, 1, 0).cdf(0) < 0.01
    assert mean[1] - mean[0] == pytest.approx(0.05, abs=0.005)


def test_what_errs_together_is_corrected_together() -> None:
    # options 0 and 1 share their error; measuring shows both far above what was predicted of 0
    covariance = 0.01 * np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    ndcg = np.stack([np.full(20, 0.8), np.full(20, 0.5), np.full(20, 0.5)]) + rng(2).normal(0, 0.3, (3, 20))
    ndcg += np.array([0.8, 0.5, 0.5])[:, None] - ndcg.mean(axis=1, keepdims=True)
    found, _ = updated(np.full(3, 0.5), covariance, ndcg)
    assert found[1] > found[2] + 0.05


@given(seed=SEEDS, n_queries=st.integers(4, 30))
def test_the_order_of_queries_does_not_matter(seed: int, n_queries: int) -> None:
    mean, covariance = prior(4, seed)
    ndcg = coins(4, n_queries, seed)
    first = updated(mean, covariance, ndcg)
    second = updated(mean, covariance, ndcg[:, rng(seed).permutation(n_queries)])
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@given(seed=SEEDS, n_queries=st.sampled_from([4, 7, 30]))
def test_the_order_of_options_does_not_matter(seed: int, n_queries: int) -> None:
    mean, covariance = prior(5, seed)
    ndcg = coins(5, n_queries, seed)
    order = rng(seed).permutation(5)
    first = updated(mean, covariance, ndcg)
    second = updated(mean[order], covariance[np.ix_(order, order)], ndcg[order])
    np.testing.assert_allclose(first[0][order], second[0], atol=1e-9)
    np.testing.assert_allclose(first[1][np.ix_(order, order)], second[1], atol=1e-9)


@given(seed=SEEDS, n_options=SIZES, n_queries=st.sampled_from([4, 5, 10]))
def test_labels_never_make_anything_less_certain(seed: int, n_options: int, n_queries: int) -> None:
    mean, covariance = prior(n_options, seed)
    ndcg = coins(n_options, n_queries, seed)
    measured = shrunk_covariance(ndcg) / n_queries * (n_queries - 1) / (n_queries - 3)
    _, found = updated(mean, covariance, ndcg)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    assert np.linalg.eigvalsh(measured - found).min() > -1e-9
    assert np.linalg.eigvalsh(max(WIDENINGS) * covariance - found).min() > -1e-9
    # where predictions come true the prior is not widened
    _, found = updated(ndcg.mean(axis=1), covariance, ndcg)
    assert np.linalg.eigvalsh(covariance - found).min() > -1e-9


def test_options_that_are_the_same_share_everything() -> None:
    mean, covariance = np.full(3, 0.5), 0.01 * np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    ndcg = coins(3, 10, 3)
    ndcg[1] = ndcg[0]
    found, uncertainty = updated(mean, covariance, ndcg)
    assert found[0] == pytest.approx(found[1])
    assert uncertainty[0] == pytest.approx(uncertainty[1])
    assert 0 < gain(found, uncertainty, 2, 0).cdf(0) < 1


def test_a_prior_that_is_contradicted_is_listened_to_less() -> None:
    # eight options predicted within 0.02 of each other, and one of them measured 0.4 above the others
    mean, covariance = np.full(8, 0.5), 0.0004 * np.eye(8)
    ndcg = np.full((8, 20), 0.5) + rng(3).normal(0, 0.1, size=(8, 20))
    _, believed = updated(mean, covariance, ndcg)
    assert deviations(believed).max() < 0.02
    ndcg[5] += 0.4
    found, doubted = updated(mean, covariance, ndcg)
    assert found[5] > 0.75
    assert deviations(doubted).min() > 0.02


def test_a_flat_prior_chooses_as_measuring_does() -> None:
    for seed in range(20):
        ndcg = coins(6, 15, seed)
        found, _ = updated(np.full(6, 0.5), 1e4 * np.eye(6), ndcg)
        assert found.argmax() == ndcg.mean(axis=1).argmax()


def test_a_good_prior_leaves_less_regret_than_measuring_alone() -> None:
    # 200 worlds whose truth is drawn from the prior, ten queries each
    mean, covariance = prior(8, 5)
    shrunk, measured = [], []
    for seed in range(200):
        truth = rng(seed).multivariate_normal(mean, covariance)
        ndcg = truth[:, None] + rng(1000 + seed).normal(0, 0.3, size=(8, 10))
        shrunk.append(truth.max() - truth[updated(mean, covariance, ndcg)[0].argmax()])
        measured.append(truth.max() - truth[ndcg.mean(axis=1).argmax()])
    assert np.mean(shrunk) < 0.8 * np.mean(measured)


def test_chances_come_true_where_the_prior_does() -> None:
    mean, covariance = prior(6, 6)
    said, came = [], []
    for seed in range(300):
        truth = rng(seed).multivariate_normal(mean, covariance)
        ndcg = truth[:, None] + rng(1000 + seed).normal(0, 0.3, size=(6, 20))
        found, uncertainty = updated(mean, covariance, ndcg)
        best, single = int(found.argmax()), int(found[:2].argmax())
        if best != single:
            said.append(1 - gain(found, uncertainty, best, single).cdf(0))
            came.append(truth[best] > truth[single])
    # about 200 worlds: a standard error of about 0.03
    assert np.mean(came) == pytest.approx(np.mean(said), abs=0.08)


def test_the_covariance_of_two_queries_by_hand() -> None:
    # deviations ±0.1 and ±0.3: sample [[0.02, 0.06], [0.06, 0.18]]. Of two queries all products are equal,
    # so nothing speaks against the sample
    found = shrunk_covariance([[0.1, 0.3], [0.2, 0.8]])
    np.testing.assert_allclose(found, [[0.02, 0.06], [0.06, 0.18]])


def test_the_share_of_the_target_follows_schaefer_and_strimmer() -> None:
    # their formulas, entry by entry: w_kij = (x_ki - x̄_i)(x_kj - x̄_j), s = n/(n-1)·w̄,
    # Var(s) = n/(n-1)³·Σ(w_k - w̄)², λ = ΣVar(s_ij)/Σ(s_ij - t_ij)²
    values = rng(7).uniform(size=(4, 9))
    n = 9
    centred = values - values.mean(axis=1, keepdims=True)
    w = centred[:, None, :] * centred[None, :, :]
    sample = n / (n - 1) * w.mean(axis=2)
    variance = n / (n - 1) ** 3 * ((w - w.mean(axis=2, keepdims=True)) ** 2).sum(axis=2)
    target = np.full((4, 4), sample[~np.eye(4, dtype=bool)].mean())
    np.fill_diagonal(target, np.diag(sample).mean())
    share = min(1.0, variance.sum() / ((sample - target) ** 2).sum())
    np.testing.assert_allclose(shrunk_covariance(values), share * target + (1 - share) * sample)


@given(n_options=SIZES, n_queries=st.integers(2, 20), seed=SEEDS)
def test_the_covariance_is_one(n_options: int, n_queries: int, seed: int) -> None:
    values = coins(n_options, n_queries, seed)
    found = shrunk_covariance(values)
    np.testing.assert_allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    # what is drawn in is how it is spread, not how much there is
    assert np.trace(found) == pytest.approx(values.var(axis=1, ddof=1).sum())


def test_with_many_queries_the_covariance_is_that_of_the_sample() -> None:
    values = coins(5, 20_000, 8)
    values[0] *= 0.1
    np.testing.assert_allclose(shrunk_covariance(values), np.cov(values), atol=2e-4)


def test_of_few_queries_many_options_have_no_difference_for_certain() -> None:
    values = coins(12, 6, 9)
    assert np.linalg.matrix_rank(np.cov(values)) == 5
    assert np.linalg.eigvalsh(shrunk_covariance(values)).min() > 1e-4


@pytest.mark.parametrize(
    ("ndcg", "reason"),
    [
        (np.zeros((2, 3)), "expected at least 4 judged queries, got 3"),
        (np.zeros((3, 4)), "ndcg: expected 2 rows, one per option, got 3"),
        (np.full((2, 4), np.nan), "ndcg: expected finite"),
        (np.empty((2, 0)), "ndcg: expected numbers"),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_reason(ndcg: np.ndarray, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        updated(np.array([0.5, 0.5]), np.eye(2), ndcg)


def test_one_query_has_no_covariance() -> None:
    with pytest.raises(ShapeError, match="at least two queries, got 1"):
        shrunk_covariance([[0.1], [0.2]])
