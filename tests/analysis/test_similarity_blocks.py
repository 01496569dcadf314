"""CKA from blocks of chunks: that blocks, memory maps and the products' precision change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import PairwiseCka, cka_of_blocks, pairwise_cka
from retriever.errors import ShapeError

N = 400
seeds = st.integers(0, 2**32 - 1)
module = import_module("analysis.similarity.cka")  # whose name is that of a function, too


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def kernel_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 1 as it is written: HSIC of n-by-n linear kernels, in float64."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, m = (centring @ (a @ a.T) @ centring for a in (x.astype(np.float64), y.astype(np.float64)))
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def kernel_debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The same with Song et al. 2012, Eq. 5, as it is written."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        ones = np.ones(n)
        total = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return np.trace(k @ m) + total - 2 / (n - 2) * ones @ k @ m @ ones

    k, m = (a.astype(np.float64) @ a.astype(np.float64).T for a in (x, y))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def cut(vectors: Sequence[np.ndarray], size: int) -> Callable[[], Iterator[list[np.ndarray]]]:
    return lambda: ([a[at : at + size] for a in vectors] for at in range(0, len(vectors[0]), size))


BASE = normal(0, N, 12)
CASES = {
    "independent": (unit(BASE), unit(normal(1, N, 20))),
    "related": (unit(BASE), unit(BASE @ normal(2, 12, 20) + normal(1, N, 20))),
    "identical": (unit(BASE), unit(BASE)),
    "near-identical": (unit(BASE), unit(BASE + 1e-4 * normal(1, N, 12))),
    "nearly constant": (unit(1 + 1e-3 * BASE), unit(1 + 1e-3 * (BASE + normal(1, N, 12)))),
    "nearly constant, to the last digits": (unit(1 + 1e-6 * BASE), unit(1 + 1e-6 * normal(1, N, 12))),
    "one direction": (unit(BASE[:, :1] + 1e-3 * BASE), unit(BASE[:, :1] + 1e-3 * normal(1, N, 12))),
    "more dimensions than chunks": (unit(normal(1, N, 500)), unit(normal(2, N, 600))),
    "one far away": (
        np.vstack([BASE[1:], 1e3 * BASE[:1]]).astype(np.float32),
        np.vstack([BASE[1:] + normal(1, N - 1, 12), 1e3 * BASE[:1]]).astype(np.float32),
    ),
    "very small numbers": (unit(BASE) * np.float32(1e-30), unit(BASE + normal(1, N, 12))),
    "very large numbers": (unit(BASE) * np.float32(1e30), unit(BASE + normal(1, N, 12))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("exact_chunks", [N, 0], ids=["float64 products", "float32 products"])
def test_any_precision_equals_the_kernel_form_to_a_millionth(
    monkeypatch: pytest.MonkeyPatch, name: str, exact_chunks: int
) -> None:
    monkeypatch.setattr(module, "_EXACT_CHUNKS", exact_chunks)
    x, y = CASES[name]
    found = cka_of_blocks(cut([x, y], 97))
    # the kernel form loses digits on its own where vectors are nearly constant: centre and scale before
    x, y = ((a := v.astype(np.float64) - v.mean(axis=0, dtype=np.float64)) / np.abs(a).max() for v in (x, y))
    assert found.biased[0, 1] == pytest.approx(kernel_cka(x, y), abs=1e-6)
    assert found.debiased[0, 1] == pytest.approx(kernel_debiased_cka(x, y), abs=1e-6)


def precisions(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """Return where the precisions of the products will be written, call by call."""
    used: list[type] = []
    whole = module.alignments

    def watched(*arguments: object, dtype: type) -> object:
        used.append(dtype)
        return whole(*arguments, dtype=dtype)

    monkeypatch.setattr(module, "alignments", watched)
    return used


def test_float32_products_are_for_many_chunks_and_for_numbers_that_bear_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = precisions(monkeypatch)
    pairwise_cka(CASES["related"])
    assert used == [np.float64]
    monkeypatch.setattr(module, "_EXACT_CHUNKS", N - 1)
    pairwise_cka(CASES["related"])
    assert used == [np.float64, np.float32]
    pairwise_cka(CASES["one far away"])
    assert used == [np.float64, np.float32, np.float32, np.float64]


def assert_equal(found: PairwiseCka, expected: PairwiseCka) -> None:
    np.testing.assert_allclose(found.biased, expected.biased, rtol=1e-9)
    np.testing.assert_allclose(found.debiased, expected.debiased, rtol=1e-7, atol=1e-9)


@given(n=st.integers(5, 40), size=st.integers(1, 45), seed=seeds)
def test_how_chunks_are_cut_into_blocks_has_no_effect(n: int, size: int, seed: int) -> None:
    vectors = [normal(seed + d, n, d) + 2 for d in (2, 3, 5)]
    assert_equal(cka_of_blocks(cut(vectors, size)), pairwise_cka(vectors))


def test_memory_maps_lists_and_half_precision_are_read(tmp_path: Path) -> None:
    vectors = [unit(normal(d, 30, d)) for d in (3, 4)]
    expected = pairwise_cka(vectors)
    np.save(tmp_path / "a.npy", vectors[0])
    assert_equal(pairwise_cka([np.load(tmp_path / "a.npy", mmap_mode="r"), vectors[1].tolist()]), expected)
    halves = [vector.astype(np.float16) for vector in vectors]
    assert_equal(pairwise_cka(halves), pairwise_cka([half.astype(np.float64) for half in halves]))


def test_a_model_that_is_equal_up_to_rotation_and_scale_stays_at_one_in_all_pairs() -> None:
    x = normal(0, 50, 6)
    rotated = 7 * x @ np.linalg.qr(normal(1, 6, 6))[0]
    found = pairwise_cka([x, rotated, normal(2, 50, 3)])
    assert found.biased[0, 1] == pytest.approx(1)
    assert found.debiased[0, 1] == pytest.approx(1)
    np.testing.assert_allclose(found.biased[0], found.biased[1])
    np.testing.assert_array_equal(found.biased, found.biased.T)
    np.testing.assert_array_equal(np.diag(found.debiased), np.ones(3))


ROWS = normal(0, 6, 2)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ([], "blocks: expected at least one, got none"),
        ([[]], "at least one model.*got 0 in block 0"),
        ([[ROWS, ROWS], [ROWS]], r"vectors of 2 model\(s\) in each, got 1 in block 1"),
        ([[ROWS, ROWS[:5]]], "model 1: expected 6 rows, one per chunk, got 5"),
        ([[ROWS], [ROWS[:, :1]]], "model 0: expected 2 dimensions in each block, got 1"),
        ([[ROWS], [[[1.0, np.inf]]]], "model 0: expected finite numbers, got 1 NaN or infinite of 2"),
        ([[ROWS], [ROWS[:0]]], "model 0: expected numbers in 2 dimension"),
        ([[np.ones((3, 2))], [np.ones((4, 2))]], "model 0: expected chunks with different vectors, got 7"),
    ],
)
def test_blocks_are_refused_with_the_reason(blocks: list, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        cka_of_blocks(lambda: blocks)


def test_an_iterator_that_is_used_up_is_refused() -> None:
    blocks = iter([[ROWS, ROWS]])
    with pytest.raises(
        ShapeError, match=r"expected 6 chunks at each call, got 0 at a later one.*starts over"
    ):
        cka_of_blocks(lambda: blocks)


def test_no_models_and_no_chunks_are_refused() -> None:
    for vectors in ([], [np.empty((0, 2)), np.empty((0, 3))]):
        with pytest.raises(ShapeError, match="expected at least one, got none"):
            pairwise_cka(vectors)
