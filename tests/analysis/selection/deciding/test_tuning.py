"""What is tuned is judged on queries it was not tuned on."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.arrays import IntArray
from analysis.selection.deciding.tuning import cross_validate, tune_weights, weight_chooser
from analysis.selection.record import MeasuredOption, Option
from retriever.errors import InputError, ShapeError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def best_seen(ndcg: np.ndarray):  # noqa: ANN201  # a closure
    return lambda queries: int(ndcg[:, queries].mean(axis=1).argmax())


def test_on_pure_noise_out_of_fold_is_unbiased_where_in_sample_is_not() -> None:
    # 21 weights that are all alike: 0.5 on average, by a coin per query
    in_sample, out_of_fold = [], []
    for seed in range(150):
        noise = (rng(seed).uniform(size=(21, 40)) < 0.5).astype(float)
        found = cross_validate(noise, best_seen(noise), rng=rng(seed), n_repeats=2)
        in_sample.append(noise.mean(axis=1).max())
        out_of_fold.append(found.ndcg.mean())
    # a mean of 40 coins has a standard deviation of 0.079; the highest of 21 is about 1.9 of them above
    assert np.mean(in_sample) == pytest.approx(0.5 + 1.9 * 0.079, abs=0.02)
    # 150 experiments: a standard error of 0.0065
    assert np.mean(out_of_fold) == pytest.approx(0.5, abs=0.02)


def test_every_query_is_judged_by_what_was_learned_without_it() -> None:
    # 23 queries in 5 folds; the choice tells which queries it has seen
    told: list[IntArray] = []

    def choose(queries: IntArray) -> int:
        told.append(queries)
        return 0

    cross_validate(np.zeros((1, 23)), choose, rng=rng(), n_folds=5, n_repeats=3)
    assert len(told) == 16
    assert told[-1].tolist() == list(range(23))
    for deal in (told[0:5], told[5:10], told[10:15]):
        left_out = [np.setdiff1d(np.arange(23), queries) for queries in deal]
        assert sorted(np.concatenate(left_out).tolist()) == list(range(23))
        assert {len(fold) for fold in left_out} == {4, 5}
    assert sorted(map(tuple, told[0:5])) != sorted(map(tuple, told[5:10]))


def test_numbers_are_those_of_what_was_chosen_on_the_other_queries() -> None:
    # whoever has seen query 0 chooses row 0, who has not chooses row 1
    ndcg = np.array([[0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6]])
    found = cross_validate(ndcg, lambda queries: int(0 not in queries), rng=rng(), n_folds=4, n_repeats=2)
    assert found.ndcg.tolist() == pytest.approx([0.9, 0.2, 0.3, 0.4])
    assert found.choice == 0


def test_a_clear_best_weight_is_found_and_reached_out_of_fold() -> None:
    quality = np.array([0.3, 0.4, 0.6, 0.5, 0.2])
    ndcg = quality[:, None] + rng(1).normal(0, 0.05, size=(5, 60))
    found = cross_validate(ndcg, weight_chooser(ndcg, home=0), rng=rng())
    assert found.choice == 2
    assert found.ndcg == pytest.approx(ndcg[2])


def test_weights_stay_at_home_without_a_reason_to_leave() -> None:
    ndcg = rng(2).uniform(size=(9, 12))
    ndcg[4] = ndcg.mean(axis=0)
    flat = np.tile(ndcg[4], (9, 1))
    assert weight_chooser(flat, home=4)(np.arange(12)) == 4
    assert weight_chooser(flat, home=7)(np.arange(12)) == 7


def test_weights_go_no_farther_from_home_than_half_a_standard_error_asks() -> None:
    # differences to the best, row 0, have standard deviation 0.1: half a standard error of 25 queries is 0.01
    swing = np.tile([0.1, -0.1], 13)[:25]
    swing = (swing - swing.mean()) / swing.std(ddof=1) * 0.1
    ndcg = np.stack([0.5 - behind + swing * (behind > 0) for behind in (0.0, 0.009, 0.011, 0.2, 0.3)])
    chooser = weight_chooser(ndcg, home=4)
    assert chooser(np.arange(25)) == 1


def test_of_two_weights_as_near_to_home_the_better_is_taken() -> None:
    ndcg = np.array([[0.6, 0.62], [0.1, 0.1], [0.62, 0.6]])
    ndcg[2] += 1e-6
    assert weight_chooser(ndcg, home=1)(np.arange(2)) == 2


def grid(ndcg: np.ndarray) -> list[MeasuredOption]:
    shares = np.linspace(0.1, 0.9, len(ndcg))
    return [
        MeasuredOption(option=Option(weights={"A": w, "B": 1 - w}, weighting="tuned"), ndcg=values)
        for w, values in zip(shares.tolist(), ndcg, strict=True)
    ]


def test_a_tuned_option_has_the_weights_found_on_all_queries_and_the_numbers_of_the_folds() -> None:
    ndcg = rng(3).uniform(size=(3, 12)) + np.array([[0.0], [0.0], [0.3]])
    found = tune_weights(grid(ndcg), home=1, rng=rng(4))
    again = cross_validate(ndcg, weight_chooser(ndcg, home=1), rng=rng(4))
    assert found.label == "A+B (tuned)"
    assert found.option.weights == grid(ndcg)[again.choice].option.weights == grid(ndcg)[2].option.weights
    assert found.ndcg.tolist() == again.ndcg.tolist()


def test_equal_generators_deal_equal_folds_and_others_do_not() -> None:
    noise = rng(3).uniform(size=(3, 12))
    first, again, other = (cross_validate(noise, best_seen(noise), rng=rng(seed)).ndcg for seed in (4, 4, 5))
    assert first.tolist() == again.tolist() != other.tolist()


def test_fewer_queries_than_folds_are_left_out_one_by_one() -> None:
    ndcg = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    assert cross_validate(ndcg, best_seen(ndcg), rng=rng()).ndcg == pytest.approx(ndcg[1])


def test_what_cannot_be_tuned_is_refused_with_the_reason() -> None:
    with pytest.raises(ShapeError, match="at least 2 queries, one to learn from and one to judge by, got 1"):
        cross_validate([[0.1]], lambda _: 0, rng=rng())
    for folds in ({"n_folds": 1}, {"n_repeats": 0}):
        with pytest.raises(ShapeError, match="expected at least 2, dealt at least once"):
            cross_validate([[0.1, 0.2]], lambda _: 0, rng=rng(), **folds)
    with pytest.raises(ShapeError, match="home: expected a row from 0 to 0, got 1"):
        weight_chooser([[0.1, 0.2]], home=1)
    other = MeasuredOption(option=Option(weights={"A": 0.5, "C": 0.5}), ndcg=np.zeros(4))
    for mixed in ([], [*grid(np.zeros((2, 4))), other]):
        with pytest.raises(InputError, match="sums of the same legs"):
            tune_weights(mixed, home=0, rng=rng())
    with pytest.raises(ShapeError, match=r"A\+B \(tuned\): expected 4 rows, one per query, got 3"):
        tune_weights([*grid(np.zeros((2, 4))), *grid(np.zeros((1, 3)))], home=0, rng=rng())
