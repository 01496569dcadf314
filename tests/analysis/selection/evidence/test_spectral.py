"""Effective rank counts directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.evidence import effective_rank, spectral
from retriever.errors import ShapeError


def test_equal_directions_count_fully_and_one_line_counts_once() -> None:
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.outer([1.0, -2.0, 3.0], [1.0, 1.0, 0.0, 2.0])) == pytest.approx(1)
    # by hand: singular values 3 and 1, shares 3/4 and 1/4
    expected = np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert effective_rank(np.array([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(expected)


@given(n=st.integers(1, 40), d=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_it_is_that_of_the_singular_values_and_no_rotation_or_scale_changes_it(
    n: int, d: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d))
    values = np.linalg.svd(vectors, compute_uv=False)
    shares = values[values > 1e-12] / values.sum()
    found = effective_rank(vectors)
    assert found == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert 1 - 1e-9 <= found <= min(n, d) + 1e-6
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    assert effective_rank(7 * vectors @ turn) == pytest.approx(found, rel=1e-5)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = effective_rank(vectors)
    monkeypatch.setattr(spectral, "_BLOCK_ROWS", 7)
    assert effective_rank(vectors) == pytest.approx(whole, rel=1e-9)


def test_what_has_no_rank_is_refused() -> None:
    with pytest.raises(ShapeError, match="only zeros"):
        effective_rank(np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="NaN or infinite"):
        effective_rank(np.array([[1.0, np.nan]]))
    for shape in ((0, 3), (4,)):
        with pytest.raises(ShapeError, match="expected rows of numbers"):
            effective_rank(np.zeros(shape))
