"""Overlaps of rankings: all measures of all pairs at several cutoffs, against definitions and scipy."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis import jaccard, kendall_tau, overlap, overlaps, rank_biased_overlap, rank_similarity
from retriever.errors import InputError, ShapeError

MEASURES = {
    "jaccard": jaccard,
    "rank_similarity": rank_similarity,
    "rank_biased_overlap": rank_biased_overlap,
    "kendall_tau": kendall_tau,
}

# of five chunks each: equal, reversed, nothing shared, one shared at ranks 2 and 5
CASES = {
    "identical": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
    "reversed": ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]),
    "disjoint": ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]),
    "single": ([1, 2, 3, 4, 5], [6, 7, 8, 9, 2]),
}

# Worked by hand. Rank similarity, reversed: ranks (1,5) twice: 2/(5·6), (2,4) twice: 2/(3·6), (3,3): 2/6, in
# all 2/15 + 2/9 + 1/3 = 31/45, over H(5) = 137/60; single: 2/((1+3)·7) over H(1) = 1. Rank-biased overlap at
# p = 1/2 is X_5/5·(1/2)^5 + Σ X_d/d·(1/2)^d: reversed X = 0, 0, 1, 3, 5: 1/32 + 1/24 + 3/64 + 1/32 = 29/192;
# single X_5 = 1 alone: 1/160 + 1/160.
BY_HAND = {
    "identical": (1.0, 1.0, 1.0, 1.0),
    "reversed": (1.0, 31 / 45 / (137 / 60), 29 / 192, -1.0),
    "disjoint": (0.0, 0.0, 0.0, math.nan),
    "single": (1 / 9, 1 / 14, 1 / 80, math.nan),
}


@pytest.mark.parametrize("name", CASES)
def test_every_measure_by_hand(name: str) -> None:
    a, b = ([row] for row in CASES[name])
    found = [jaccard(a, b), rank_similarity(a, b), rank_biased_overlap(a, b, p=0.5), kendall_tau(a, b)]
    assert [value.item() for value in found] == pytest.approx(BY_HAND[name], nan_ok=True)


def literal_rank_biased_overlap(a: list[int], b: list[int], p: float) -> float:
    """Webber et al. 2010, Eq. 32, at the depth of both rankings, written as a loop."""
    k = len(a)
    total = 0.0
    for d in range(1, k + 1):
        total += len(set(a[:d]) & set(b[:d])) / d * p**d
    return len(set(a) & set(b)) / k * p**k + (1 - p) / p * total


def scipy_kendall_tau(a: list[int], b: list[int]) -> float:
    shared = [chunk for chunk in a if chunk in b]
    if len(shared) < 2:
        return math.nan
    return float(scipy.stats.kendalltau(range(len(shared)), [b.index(chunk) for chunk in shared]).statistic)


def rankings(seed: int, *, rows: int, k: int, spare: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(k + spare)[:k] for _ in range(rows)])


seeds = st.integers(0, 2**32 - 1)


@given(k=st.integers(1, 12), spare=st.integers(0, 12), p=st.floats(0.05, 0.95), seed=seeds)
def test_rank_biased_overlap_and_kendalls_tau_equal_independent_ones(
    k: int, spare: int, p: float, seed: int
) -> None:
    a, b = (rankings(seed + i, rows=3, k=k, spare=spare) for i in range(2))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    expected = [literal_rank_biased_overlap(x, y, p) for x, y in pairs]
    assert rank_biased_overlap(a, b, p=p).tolist() == pytest.approx(expected)
    expected = [scipy_kendall_tau(x, y) for x, y in pairs]
    assert kendall_tau(a, b).tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@given(k=st.integers(1, 10), spare=st.integers(0, 10), seed=seeds)
def test_every_measure_is_symmetric_bounded_blind_to_names_and_one_for_equals(
    measure: object, k: int, spare: int, seed: int
) -> None:
    a, b = (rankings(seed + i, rows=4, k=k, spare=spare) for i in range(2))
    renamed = np.random.default_rng(seed).permutation(k + spare) * 10**9
    order = np.random.default_rng(seed).permutation(4)
    value = measure(a, b)
    np.testing.assert_allclose(measure(b, a), value)
    np.testing.assert_allclose(measure(renamed[a], renamed[b]), value)
    np.testing.assert_allclose(measure(a[order], b[order]), value[order])
    lowest = -1 if measure is kendall_tau else 0
    assert ((value >= lowest) & (value <= 1 + 1e-12) | np.isnan(value)).all()
    if k > 1 or measure is not kendall_tau:
        np.testing.assert_allclose(measure(a, a), 1)


@given(depth=st.integers(1, 12), spare=st.integers(0, 12), seed=seeds, data=st.data())
def test_all_pairs_at_several_cutoffs_are_the_single_overlaps_of_the_first_k(
    depth: int, spare: int, seed: int, data: st.DataObject
) -> None:
    tops = {name: rankings(seed + i, rows=3, k=depth, spare=spare) for i, name in enumerate("abc")}
    ks = data.draw(st.lists(st.integers(1, depth), min_size=1, max_size=3))
    pairs = list(combinations(tops, 2))
    found = overlaps(tops, pairs=pairs, ks=ks)
    assert list(found) == pairs
    for (a, b), at_each_cutoff in found.items():
        for k, one in zip(ks, at_each_cutoff, strict=True):
            assert one.k == k
            for name, measure in MEASURES.items():
                np.testing.assert_allclose(getattr(one, name), measure(tops[a][:, :k], tops[b][:, :k]))


def test_deep_rankings_equal_scipy() -> None:
    a, b = (rankings(seed, rows=2, k=1500, spare=700) for seed in range(2))
    expected = [scipy_kendall_tau(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert kendall_tau(a, b).tolist() == pytest.approx(expected)


def test_one_pair_alone_is_the_measures_at_the_depth_of_its_rankings() -> None:
    a, b = (rankings(seed, rows=4, k=6, spare=2) for seed in range(2))
    found = overlap(a, b)
    assert found.k == 6
    for name, measure in MEASURES.items():
        np.testing.assert_array_equal(getattr(found, name), measure(a, b))


def test_means_say_where_kendalls_tau_is_defined_nowhere() -> None:
    one = overlap([[1, 2], [1, 2]], [[3, 4], [2, 1]])
    assert one.means["kendall_tau@2"] == -1.0
    assert overlap([[1, 2]], [[3, 4]]).means["kendall_tau@2"] is None


A, B = [[1, 2, 3]], [[3, 4, 5]]


@pytest.mark.parametrize(
    ("ks", "got"), [([], "none"), ([0], "0"), ([1, 4], "1, 4")], ids=["none", "zero", "too deep"]
)
def test_cutoffs_out_of_range_are_refused(ks: list[int], got: str) -> None:
    with pytest.raises(ShapeError, match=f"ks: expected at least one cutoff, from 1 to 3.*got {got}"):
        overlaps({"a": A, "b": B}, pairs=[("a", "b")], ks=ks)


def test_pairs_without_rankings_are_refused() -> None:
    with pytest.raises(InputError, match="pairs: expected models of a, b, got c, d"):
        overlaps({"a": A, "b": B}, pairs=[("a", "b"), ("d", "c")], ks=[1])


def test_no_pairs_have_no_overlaps() -> None:
    assert overlaps({}, pairs=[], ks=[10]) == {}


@pytest.mark.parametrize(
    ("b", "reason"),
    [
        ([[1, 2]], r"a, b: expected equal shapes, got \(1, 3\) and \(1, 2\)"),
        ([[1, 2, 1]], "b: expected different chunks in each row, got one twice in row 0"),
        ([[1, 2, 2**62]], "b: expected indices of chunks, got 4611686018427387904"),
    ],
)
def test_rankings_are_refused_with_the_reason(b: list, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        overlaps({"a": A, "b": b}, pairs=[("a", "b")], ks=[1])


@pytest.mark.parametrize("p", [0, 1, -0.5, math.nan])
def test_a_persistence_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ShapeError, match="p: expected a number between 0 and 1"):
        rank_biased_overlap(A, B, p=p)
