from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.combine import (
    calibrated_weights,
    checked_weights,
    concatenate,
    equal_weights,
    lift,
    parts_of,
    shares,
    spread,
    weigh,
)
from retriever.errors import InputError, ShapeError
from retriever.models.protocol import FloatArray

SIZES = st.lists(st.integers(1, 64), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**32 - 1)


def unit_rows(rows: int, size: int, rng: np.random.Generator) -> FloatArray:
    values = rng.normal(size=(rows, size))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def exact(part: FloatArray) -> np.ndarray:
    return part.astype(np.float64)


@given(sizes=SIZES, seed=SEEDS, chunks=st.integers(1, 9), queries=st.integers(1, 5))
def test_the_dot_product_is_the_weighted_sum_of_the_cosines(
    sizes: list[int], seed: int, chunks: int, queries: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(len(sizes)))
    chunk_parts = [unit_rows(chunks, size, rng) for size in sizes]
    query_parts = [unit_rows(queries, size, rng) for size in sizes]
    expected = sum(
        weight * exact(query) @ exact(chunk).T
        for weight, query, chunk in zip(weights, query_parts, chunk_parts, strict=True)
    )
    stored, asked = concatenate(chunk_parts), weigh(query_parts, weights)
    assert stored.dtype == asked.dtype == np.float32
    assert stored.shape == (chunks, sum(sizes))
    assert asked.shape == (queries, sum(sizes))
    np.testing.assert_allclose(asked @ stored.T, expected, atol=1e-6)


@given(sizes=SIZES, seed=SEEDS)
def test_contributions_are_the_summands_of_the_score(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(len(sizes)))
    chunk_parts = [unit_rows(1, size, rng) for size in sizes]
    query_parts = [unit_rows(1, size, rng) for size in sizes]
    query, stored = weigh(query_parts, weights)[0], concatenate(chunk_parts)[0]
    (summands,) = shares([part[0] for part in query_parts], chunk_parts, weights)
    cosines = [
        float(exact(query)[0] @ exact(chunk)[0])
        for query, chunk in zip(query_parts, chunk_parts, strict=True)
    ]
    np.testing.assert_allclose(summands, weights * cosines, atol=1e-6)
    assert summands.sum() == pytest.approx(float(query @ stored), abs=1e-6)


@given(sizes=SIZES, seed=SEEDS, rows=st.integers(1, 6))
def test_stored_rows_are_unit_vectors(sizes: list[int], seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    stored = concatenate([unit_rows(rows, size, rng) for size in sizes])
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)


@given(size=st.integers(1, 64), other=st.integers(1, 64), seed=SEEDS)
def test_all_the_weight_on_one_model_is_that_model_alone(size: int, other: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chunk, query = unit_rows(3, size, rng), unit_rows(2, size, rng)
    stored = concatenate([chunk, unit_rows(3, other, rng)])
    asked = weigh([query, unit_rows(2, other, rng)], (1.0, 0.0))
    np.testing.assert_allclose(asked @ stored.T, query @ chunk.T, atol=1e-6)


@given(sizes=SIZES, seed=SEEDS)
def test_a_stock_client_that_sends_the_plain_concatenation_gets_the_mean_cosine(
    sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    chunks = [unit_rows(4, size, rng) for size in sizes]
    queries = [unit_rows(2, size, rng) for size in sizes]
    expected = np.mean([query @ chunk.T for query, chunk in zip(queries, chunks, strict=True)], axis=0)
    np.testing.assert_allclose(concatenate(queries) @ concatenate(chunks).T, expected, atol=1e-6)


def test_the_parts_are_left_as_they_are() -> None:
    part = unit_rows(2, 3, np.random.default_rng(0))
    before = part.copy()
    concatenate([part, part])
    weigh([part, part], (0.5, 0.5))
    np.testing.assert_array_equal(part, before)


def test_weights_and_models_must_be_as_many() -> None:
    part = unit_rows(2, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="zip"):
        weigh([part, part], (1.0,))


def test_equal_weights_sum_to_one() -> None:
    assert equal_weights(["a", "b", "c", "d"]) == {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}


def test_calibrated_weights_are_one_over_the_spread() -> None:
    # By hand: 1/0.1 = 10 and 1/0.025 = 40, of 50 together.
    weights = calibrated_weights(["wide", "narrow"], {"wide": 0.1, "narrow": 0.025, "unused": 3.0})
    assert weights == pytest.approx({"wide": 0.2, "narrow": 0.8})


@pytest.mark.parametrize("spreads", [{}, {"a": 0.1}, {"a": 0.1, "b": 0.0}])
def test_calibration_without_a_measured_spread_is_refused_by_the_name_of_the_model(
    spreads: dict[str, float],
) -> None:
    with pytest.raises(InputError, match=r"none of .*b\. .*equal weights"):
        calibrated_weights(["a", "b"], spreads)


def test_explicit_weights_are_put_into_the_order_of_the_models() -> None:
    assert list(checked_weights(["a", "b"], {"b": 0.75, "a": 0.25}).items()) == [("a", 0.25), ("b", 0.75)]


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"a": 1.0},
        {"a": 0.5, "b": 0.3, "c": 0.2},
        {"a": 0.5, "c": 0.5},
        {"a": 0.5, "b": 0.6},
        {"a": 1.5, "b": -0.5},
        {"a": math.nan, "b": 1.0},
        {"a": math.inf, "b": 0.0},
        {"a": 0.0, "b": 0.0},
    ],
)
def test_weights_that_are_not_shares_of_one_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InputError, match="weights"):
        checked_weights(["a", "b"], weights)


def test_spread_is_the_standard_deviation_over_the_pairs() -> None:
    # By hand: of the three vectors the pairs have the cosines 0, 1 and 0: mean 1/3, variance 2/9.
    vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    assert spread(vectors) == pytest.approx(math.sqrt(2 / 9))


@given(seed=SEEDS, rows=st.integers(2, 12), size=st.integers(1, 32))
def test_spread_ignores_the_order_of_rows_and_a_rotation(seed: int, rows: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_rows(rows, size, rng)
    rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
    assert 0 <= spread(vectors) <= 1
    assert spread(vectors[rng.permutation(rows)]) == pytest.approx(spread(vectors), abs=1e-6)
    assert spread((vectors @ rotation).astype(np.float32)) == pytest.approx(spread(vectors), abs=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_one_vector_has_no_spread(rows: int) -> None:
    with pytest.raises(ShapeError, match=f"at least 2 vectors, got {rows}"):
        spread(np.ones((rows, 1), dtype=np.float32))


@given(size=st.integers(2, 64), seed=SEEDS)
def test_a_part_is_the_first_dimensions_as_a_unit_vector(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = {"a": unit_rows(4, size, rng), "b": unit_rows(4, 3, rng)}
    kept, whole = parts_of(rows, [f"a@{size - 1}", "b"])
    assert kept.shape == (4, size - 1)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)
    cosines = np.sum(exact(kept) * exact(rows["a"])[:, :-1], axis=1)
    np.testing.assert_allclose(cosines, np.linalg.norm(exact(rows["a"])[:, :-1], axis=1), atol=1e-6)
    assert whole is rows["b"]


def test_a_part_without_a_direction_is_refused() -> None:
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ShapeError, match="one that is zero there"):
        parts_of({"a": rows}, ["a@2"])


def test_the_lift_is_how_far_the_nearest_other_row_stands_out() -> None:
    # Cosines 1 (the two first rows), 0, 0: their mean is 1/3, their standard deviation √2/3; the nearest
    # other row of each has 1, 1, 0.
    rows = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert lift(rows) == pytest.approx((2 / 3 - 1 / 3) / (2**0.5 / 3))
    assert lift(rows[:2]) == 0.0
