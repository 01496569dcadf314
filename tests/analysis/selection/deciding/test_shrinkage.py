"""Few labels correct what was predicted, and never more than they can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.deciding.shrinkage import Posterior, prior_covariance, shrink, shrunk_covariance
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


def posterior(mean: np.ndarray, covariance: np.ndarray, ndcg: np.ndarray, **asked: object) -> Posterior:
    given_ = {"singles": [0], "rng": rng(9), "n_draws": 4000, **asked}
    return shrink(mean, covariance, ndcg, **given_)  # type: ignore[arg-type]


SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32 - 2)


@given(n_options=SIZES, seed=SEEDS)
def test_without_labels_the_prior_stands(n_options: int, seed: int) -> None:
    mean, covariance = prior(n_options, seed)
    found = posterior(mean, covariance, np.empty((n_options, 0)), n_draws=100)
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)


@given(n_options=SIZES, seed=SEEDS)
def test_with_many_labels_the_measurement_stands(n_options: int, seed: int) -> None:
    mean, covariance = prior(n_options, seed)
    ndcg = coins(n_options, 200, seed)
    far = posterior(mean, 1e4 * covariance, ndcg, n_draws=100)
    np.testing.assert_allclose(far.mean, ndcg.mean(axis=1), atol=1e-3)
    # what remains is the uncertainty of the measurement
    np.testing.assert_allclose(far.covariance, shrunk_covariance(ndcg) / 200, atol=1e-5)


def test_one_option_by_hand() -> None:
    # prior 0.5 ± 0.1; ten queries with mean 0.6 and variance 0.04·10/9: the mean has a tenth, times 9/7
    ndcg = np.tile([0.4, 0.8], 5)[None, :]
    found = posterior(np.array([0.5]), np.array([[0.01]]), ndcg)
    share = 0.01 / (0.01 + 0.04 / 7)
    assert found.widening == 1
    assert found.mean == pytest.approx([0.5 + share * 0.1])
    assert found.deviation == pytest.approx([np.sqrt(0.01 * (1 - share))])


def test_a_difference_on_the_same_queries_counts_though_the_level_is_uncertain() -> None:
    # queries differ by far more than options: the level stays open, the order does not
    shared = rng(1).uniform(size=12)
    ndcg = np.stack([shared, shared + 0.05])
    covariance = prior_covariance([0.2, 0.2])
    found = posterior(np.array([0.5, 0.5]), covariance, ndcg, singles=[0])
    assert found.deviation.min() > 0.05
    assert found.best[1] > 0.99
    assert found.mean[1] - found.mean[0] == pytest.approx(0.05, abs=0.005)


def test_what_errs_together_is_corrected_together() -> None:
    # options 0 and 1 share their error; measuring shows both far above what was predicted of 0
    correlation = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    covariance = prior_covariance([0.1, 0.1, 0.1], correlation)
    assert covariance[0, 1] == pytest.approx(0.009)
    ndcg = np.stack([np.full(20, 0.8), np.full(20, 0.5), np.full(20, 0.5)]) + rng(2).normal(0, 0.3, (3, 20))
    ndcg += np.array([0.8, 0.5, 0.5])[:, None] - ndcg.mean(axis=1, keepdims=True)
    found = posterior(np.full(3, 0.5), covariance, ndcg)
    assert found.mean[1] > found.mean[2] + 0.05


@given(seed=SEEDS, n_queries=st.integers(4, 30))
def test_the_order_of_queries_does_not_matter(seed: int, n_queries: int) -> None:
    mean, covariance = prior(4, seed)
    ndcg = coins(4, n_queries, seed)
    first = posterior(mean, covariance, ndcg, n_draws=10)
    second = posterior(mean, covariance, ndcg[:, rng(seed).permutation(n_queries)], n_draws=10)
    np.testing.assert_allclose(first.mean, second.mean, atol=1e-9)
    np.testing.assert_allclose(first.covariance, second.covariance, atol=1e-9)


@given(seed=SEEDS, n_queries=st.sampled_from([0, 4, 7, 30]))
def test_the_order_of_options_does_not_matter(seed: int, n_queries: int) -> None:
    mean, covariance = prior(5, seed)
    ndcg = coins(5, n_queries, seed)
    order = rng(seed).permutation(5)
    first = posterior(mean, covariance, ndcg, singles=[0, 1])
    second = posterior(
        mean[order],
        covariance[np.ix_(order, order)],
        ndcg[order],
        singles=np.flatnonzero(np.isin(order, [0, 1])).tolist(),
    )
    np.testing.assert_allclose(first.mean[order], second.mean, atol=1e-9)
    np.testing.assert_allclose(first.covariance[np.ix_(order, order)], second.covariance, atol=1e-9)
    # 4000 draws: a standard error of at most 0.008
    np.testing.assert_allclose(first.best[order], second.best, atol=0.05)
    np.testing.assert_allclose(first.real[order], second.real, atol=0.05)
    np.testing.assert_allclose(first.regret[order], second.regret, atol=0.01)


@given(seed=SEEDS, n_options=SIZES, n_queries=st.sampled_from([0, 4, 5, 10]))
def test_labels_never_make_anything_less_certain_and_probabilities_are_some(
    seed: int, n_options: int, n_queries: int
) -> None:
    mean, covariance = prior(n_options, seed)
    found = posterior(mean, covariance, coins(n_options, n_queries, seed), n_draws=500)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12
    assert np.linalg.eigvalsh(found.widening * covariance - found.covariance).min() > -1e-9
    assert found.best.sum() == pytest.approx(1)
    assert ((found.best >= 0) & (found.real >= 0) & (found.real <= 1)).all()
    assert found.regret.min() >= -1e-12
    assert found.regret.argmin() == found.choice
    assert found.real[0] == 0  # the only single model gains nothing over itself
    assert found.deviation.shape == found.regret.shape == (n_options,)


def test_probabilities_are_those_of_the_normal_distribution() -> None:
    # difference 0.1 ± √2·0.1: one model and one pair
    covariance = prior_covariance([0.1, 0.1])
    found = posterior(np.array([0.4, 0.5]), covariance, np.empty((2, 0)), n_draws=100_000)
    # Φ(0.1/0.1414) = 0.7602, and Φ(0.05/0.1414) = 0.6382 for a gain above 0.05
    assert found.best == pytest.approx([0.2398, 0.7602], abs=0.006)
    assert found.real[1] == pytest.approx(0.7602, abs=0.006)
    demanding = posterior(
        np.array([0.4, 0.5]), covariance, np.empty((2, 0)), n_draws=100_000, minimum_gain=0.05
    )
    assert demanding.real[1] == pytest.approx(0.6382, abs=0.006)
    # E max(0, -x) of x = 0.1 ± 0.1414: 0.1414·φ(0.7071) - 0.1·Φ(-0.7071) = 0.04393 - 0.02398
    assert found.regret[1] == pytest.approx(0.01995, abs=0.001)
    assert found.choice == 1
    assert found.regret[0] - found.regret[1] == pytest.approx(0.1, abs=0.002)


def test_options_that_are_the_same_share_everything() -> None:
    mean, covariance = np.full(3, 0.5), 0.01 * np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    ndcg = coins(3, 10, 3)
    ndcg[1] = ndcg[0]
    for measured in (np.empty((3, 0)), ndcg):
        found = posterior(mean, covariance, measured)
        assert found.best[0] == pytest.approx(found.best[1], abs=1e-9)
        assert 0 < found.best[2] < 1
        assert found.mean[0] == pytest.approx(found.mean[1])
        assert found.real[1] == 0


def test_a_gain_is_over_the_best_of_all_single_models() -> None:
    mean, covariance = np.array([0.3, 0.6, 0.5]), prior_covariance([0.001] * 3)
    assert posterior(mean, covariance, np.empty((3, 0)), singles=[0]).real[2] == 1
    assert posterior(mean, covariance, np.empty((3, 0)), singles=[0, 1]).real[2] == 0


def test_a_prior_that_is_contradicted_is_listened_to_less() -> None:
    # eight options predicted within 0.02 of each other, and one of them measured 0.4 above the others
    mean, covariance = np.full(8, 0.5), prior_covariance(np.full(8, 0.02))
    ndcg = np.full((8, 20), 0.5) + rng(3).normal(0, 0.1, size=(8, 20))
    assert posterior(mean, covariance, ndcg).widening == 1
    ndcg[5] += 0.4
    found = posterior(mean, covariance, ndcg)
    assert found.widening > 4
    assert found.mean[5] > 0.75


def test_a_flat_prior_chooses_as_measuring_does() -> None:
    for seed in range(20):
        ndcg = coins(6, 15, seed)
        found = posterior(np.full(6, 0.5), prior_covariance(np.full(6, 100.0)), ndcg, n_draws=10)
        assert found.choice == ndcg.mean(axis=1).argmax()


def test_a_good_prior_leaves_less_regret_than_measuring_alone() -> None:
    # 200 worlds whose truth is drawn from the prior, ten queries each
    mean, covariance = prior(8, 5)
    shrunk, measured = [], []
    for seed in range(200):
        truth = rng(seed).multivariate_normal(mean, covariance)
        ndcg = truth[:, None] + rng(1000 + seed).normal(0, 0.3, size=(8, 10))
        shrunk.append(truth.max() - truth[posterior(mean, covariance, ndcg, n_draws=10).choice])
        measured.append(truth.max() - truth[ndcg.mean(axis=1).argmax()])
    assert np.mean(shrunk) < 0.8 * np.mean(measured)


def test_probabilities_come_true_where_the_prior_does() -> None:
    mean, covariance = prior(6, 6)
    said, came = [], []
    for seed in range(300):
        truth = rng(seed).multivariate_normal(mean, covariance)
        ndcg = truth[:, None] + rng(1000 + seed).normal(0, 0.3, size=(6, 20))
        found = posterior(mean, covariance, ndcg, n_draws=500, singles=[0, 1])
        said.append(found.real[found.choice])
        came.append(truth[found.choice] > truth[:2].max())
    # 300 worlds: a standard error of about 0.02
    assert np.mean(came) == pytest.approx(np.mean(said), abs=0.06)


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
    ("change", "reason"),
    [
        ({"ndcg": np.zeros((2, 3))}, "no judged query or at least 4, got 3"),
        ({"ndcg": np.zeros((3, 4))}, "ndcg: expected 2 rows, one per option, got 3"),
        ({"ndcg": np.full((2, 4), np.nan)}, "ndcg: expected finite"),
        ({"prior_covariance": np.eye(3)}, r"prior_covariance: expected shape \(2, 2\)"),
        ({"prior_covariance": np.array([[1.0, 2], [2, 1]])}, "without negative eigenvalues"),
        ({"prior_covariance": np.array([[1.0, 0.5], [0, 1]])}, "symmetric"),
        ({"prior_mean": np.array([np.inf, 0])}, "prior_mean: expected finite"),
        ({"singles": []}, "singles: expected rows of single models, from 0 to 1, got none"),
        ({"singles": [2]}, r"got \[2\]"),
        ({"n_draws": 0}, "n_draws: expected an even number from 2, got 0"),
        ({"n_draws": 7}, "n_draws: expected an even number from 2, got 7"),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_reason(change: dict, reason: str) -> None:
    asked = {
        "prior_mean": np.array([0.5, 0.5]),
        "prior_covariance": np.eye(2),
        "ndcg": np.zeros((2, 4)),
        "singles": [0],
        "rng": rng(),
        **change,
    }
    with pytest.raises(ShapeError, match=reason):
        shrink(**asked)  # type: ignore[arg-type]


def test_deviations_and_correlations_that_are_none_are_refused() -> None:
    with pytest.raises(ShapeError, match="above 0, got 0"):
        prior_covariance([0.1, 0.0])
    with pytest.raises(ShapeError, match=r"correlation: expected shape \(2, 2\)"):
        prior_covariance([0.1, 0.1], np.eye(3))
    with pytest.raises(ShapeError, match="at least two queries, got 1"):
        shrunk_covariance([[0.1], [0.2]])
