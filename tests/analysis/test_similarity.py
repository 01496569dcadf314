"""Similarity of models: hand-worked numbers, an independent n-by-n form, and what holds for all inputs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.similarity import cka, debiased_cka, jaccard, pairwise_cka, rank_similarity
from retriever.errors import ShapeError

seeds = st.integers(0, 2**32 - 1)
module = import_module("analysis.similarity.cka")  # whose name is that of a function, too


def vectors(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def rotation(seed: int, d: int) -> np.ndarray:
    return np.linalg.qr(vectors(seed, d, d))[0]


def kernel_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 1 as it is written: HSIC of n-by-n linear kernels, tr(KHLH)."""
    n = len(x)
    centring = np.eye(n) - np.full((n, n), 1 / n)
    k, m = x @ x.T @ centring, y @ y.T @ centring
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


def kernel_unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, Eq. 5, as it is written, up to its factor 1/(n(n-3))."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()


def kernel_debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_unbiased_hsic(x, y) / np.sqrt(kernel_unbiased_hsic(x, x) * kernel_unbiased_hsic(y, y))


@given(n=st.integers(5, 40), d_x=st.integers(1, 8), d_y=st.integers(1, 8), seed=seeds)
def test_both_estimators_equal_their_kernel_forms(n: int, d_x: int, d_y: int, seed: int) -> None:
    x, noise = vectors(seed, n, d_x) + 3, vectors(seed + 1, n, d_y)
    y = x[:, :1] + noise
    assert cka(x, y) == pytest.approx(kernel_cka(x, y), abs=1e-9)
    assert debiased_cka(x, y) == pytest.approx(kernel_debiased_cka(x, y), abs=1e-7)


def test_cka_by_hand() -> None:
    # centred columns (-1, 0, 1) and (1, -2, 1): XᵀY = 0; with y = (0, 0, 3) centred (-1, -1, 2): XᵀY = 3,
    # XᵀX = 2, YᵀY = 6, so CKA = 9 / 12
    x = [[0.0], [1.0], [2.0]]
    assert cka(x, [[1.0], [-2.0], [1.0]]) == pytest.approx(0.0, abs=1e-15)
    assert cka(x, [[0.0], [0.0], [3.0]]) == pytest.approx(9 / 12)


@pytest.mark.parametrize("measure", [cka, debiased_cka])
@given(n=st.integers(5, 30), d=st.integers(2, 8), seed=seeds, scale=st.floats(0.01, 100))
def test_cka_does_not_see_rotation_scale_shift_or_order(
    measure: Callable[..., float], n: int, d: int, seed: int, scale: float
) -> None:
    x, y = vectors(seed, n, d), vectors(seed + 1, n, 3)
    order = np.random.default_rng(seed).permutation(n)
    value = measure(x, y)
    assert measure(y, x) == pytest.approx(value, abs=1e-9)
    assert measure(scale * x @ rotation(seed + 2, d) + 1, y) == pytest.approx(value, abs=1e-6)
    assert measure(x[order], y[order]) == pytest.approx(value, abs=1e-9)
    assert measure(x, x) == pytest.approx(1)
    assert measure(x, scale * x @ rotation(seed + 3, d)) == pytest.approx(1)
    assert (0 if measure is cka else -1) <= value <= 1


def test_independent_vectors_look_alike_to_the_biased_estimator_only() -> None:
    x, y = vectors(0, 300, 384), vectors(1, 300, 384)
    assert cka(x, y) > 0.5
    assert abs(debiased_cka(x, y)) < 0.05


def test_sums_are_in_float64_and_blocks_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    # a narrow cone far from the origin, as some models have: float32 sums lose the differences
    x, y = (vectors(seed, 50, 6) * 1e-3 + 1 for seed in (0, 1))
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    expected = kernel_cka(*(a.astype(np.float64) - a.astype(np.float64).mean(axis=0) for a in (x32, y32)))
    assert cka(x32, y32) == pytest.approx(expected, rel=1e-9)
    whole = pairwise_cka([x32, y32])
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    blocks = pairwise_cka([x32, y32])
    np.testing.assert_allclose(blocks.biased, whole.biased, rtol=1e-9)
    np.testing.assert_allclose(blocks.debiased, whole.debiased, rtol=1e-6)


def test_all_pairs_at_once_are_the_single_pairs() -> None:
    models = [vectors(seed, 20, 2 + seed) for seed in range(3)]
    found = pairwise_cka(models)
    for i, x in enumerate(models):
        for j, y in enumerate(models):
            assert found.biased[i, j] == pytest.approx(cka(x, y))
            assert found.debiased[i, j] == pytest.approx(debiased_cka(x, y))


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.ones((5, 3)), vectors(0, 5, 2), "model 0: expected chunks with different vectors, got 5 equal"),
        (vectors(0, 5, 2), np.full((5, 3), 0.1, np.float32), "model 1: expected chunks with different"),
        (vectors(0, 5, 2), np.zeros((5, 2)), "model 1: expected chunks with different"),
        (vectors(0, 1, 2), vectors(0, 1, 2), "got 1 equal"),
        (vectors(0, 5, 2), vectors(0, 6, 2), "model 1: expected 5 rows, one per chunk, got 6"),
        (vectors(0, 5, 2), [[np.nan, 0.0]] * 5, "model 1: expected finite numbers, got 5 NaN"),
        (np.ones(5), np.ones(5), "2 dimension"),
    ],
)
def test_cka_refuses_with_the_reason(x: np.ndarray, y: np.ndarray, reason: str) -> None:
    for measure in (cka, debiased_cka):
        with pytest.raises(ShapeError, match=reason):
            measure(x, y)


def test_the_debiased_estimator_says_where_it_is_not_defined() -> None:
    for x in (vectors(0, 3, 2), np.eye(6)):  # three chunks; six chunks all equally far apart
        with pytest.raises(ShapeError, match=f"debiased estimator, got {len(x)} chunks"):
            debiased_cka(x, vectors(1, len(x), 2))
    found = pairwise_cka([np.eye(6), vectors(1, 6, 2)]).debiased
    assert np.isnan(found).tolist() == [[True, True], [True, False]]


def test_jaccard_by_hand() -> None:
    # Eq. 2: {1, 2, 3} and {3, 2, 9} share 2 of 4; nothing shared; the same in another order
    assert jaccard([[1, 2, 3], [1, 2, 3], [1, 2, 3]], [[3, 2, 9], [7, 8, 9], [3, 1, 2]]).tolist() == [
        0.5,
        0,
        1,
    ]


def test_rank_similarity_by_hand() -> None:
    # Eq. 3, two shared, ranks swapped: (2/(2·3) + 2/(2·3)) / H(2) = (2/3) / 1.5
    assert rank_similarity([[7, 9]], [[9, 7]]) == pytest.approx([4 / 9])
    # one shared at ranks 1 and 3: 2/((1+2)·4) / H(1) = 1/6
    assert rank_similarity([[5, 6, 7]], [[1, 2, 5]]) == pytest.approx([1 / 6])
    # one shared at rank 2 in both: 2/(1·4) / H(1) = 1/2
    assert rank_similarity([[5, 6]], [[1, 6]]) == pytest.approx([1 / 2])


def test_rank_similarity_of_disjoint_results_is_zero() -> None:
    assert rank_similarity([[1, 2]], [[3, 4]]).tolist() == [0.0]


def literal_rank_similarity(a: list[int], b: list[int]) -> float:
    """Eq. 3, written as a loop."""
    shared = set(a) & set(b)
    ranks = [(a.index(chunk) + 1, b.index(chunk) + 1) for chunk in shared]
    total = sum(2 / ((1 + abs(i - j)) * (i + j)) for i, j in ranks)
    return total / sum(1 / m for m in range(1, len(shared) + 1)) if shared else 0.0


@given(k=st.integers(1, 8), spare=st.integers(0, 8), rows=st.integers(1, 4), seed=seeds)
def test_functional_similarities_equal_their_definitions(k: int, spare: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.stack([rng.permutation(k + spare)[:k] for _ in range(rows)]) for _ in range(2))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    expected = [len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in pairs]
    assert jaccard(a, b).tolist() == pytest.approx(expected)
    assert rank_similarity(a, b).tolist() == pytest.approx([literal_rank_similarity(x, y) for x, y in pairs])


@pytest.mark.parametrize("measure", [jaccard, rank_similarity])
@given(k=st.integers(1, 8), spare=st.integers(0, 8), seed=seeds)
def test_functional_similarities_are_symmetric_bounded_and_one_for_equals(
    measure: Callable[..., np.ndarray], k: int, spare: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.permutation(k + spare)[None, :k] for _ in range(2))
    renamed = rng.permutation(k + spare)
    value = measure(a, b)
    assert measure(b, a) == pytest.approx(value)
    assert measure(renamed[a], renamed[b]) == pytest.approx(value)
    assert measure(a, a) == pytest.approx([1.0])
    assert 0 <= value[0] <= 1 + 1e-12


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([[1, 2]], [[1]], r"equal shapes, got \(1, 2\) and \(1, 1\)"),
        ([[1, 2], [3, 3]], [[1, 2], [3, 4]], "top_a: expected different chunks.*row 1"),
        ([[1, 2]], [[1.0, 2.0]], "top_b: expected integers"),
        ([[]], [[]], "expected integers"),
    ],
)
def test_functional_similarities_refuse_with_the_reason(a: list, b: list, reason: str) -> None:
    for measure in (jaccard, rank_similarity):
        with pytest.raises(ShapeError, match=reason):
            measure(a, b)
