"""Scores to rankings: exact about ties, exact about which chunk belongs to which document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.rankings import (
    LAST,
    NO_DOCUMENT,
    NOTHING,
    ChunkGroups,
    best_columns,
    columns_of,
    document_scores,
    is_repeated,
    order_keys,
    own_documents,
    rank_documents,
    scores_of,
    top_k,
)
from retriever.errors import ShapeError

# Few different values, so that most cutoffs cut through a tie.
tied_scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0]),
)


@given(scores=tied_scores, data=st.data())
def test_top_k_is_a_full_stable_sort_cut_at_k(scores: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, scores.shape[1]))
    expected = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in scores.tolist()]
    assert top_k(scores, k).tolist() == expected


def test_top_k_of_distinct_scores_is_best_first() -> None:
    assert top_k([[0.1, 0.9, 0.5], [3, 1, 2]], 2).tolist() == [[1, 2], [0, 2]]


def test_top_k_leaves_its_input_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 50))
    before = scores.copy()
    top_k(scores, 7)
    assert np.array_equal(scores, before)


@pytest.mark.parametrize(
    ("scores", "k", "reason"),
    [
        ([[1.0, 2.0]], 3, "at most 2"),
        ([[1.0, 2.0]], 0, "at least 1"),
        ([[1.0, float("nan")]], 1, "1 NaN or infinite of 2"),
        ([1.0, 2.0], 1, r"2 dimension.*\(2,\)"),
        ([[1.0], [1.0, 2.0]], 1, "ragged"),
        ([["a"]], 1, "expected numbers"),
        (np.empty((0, 3)), 1, "at least one"),
    ],
)
def test_top_k_refuses_with_the_reason(scores: object, k: int, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        top_k(scores, k)  # type: ignore[arg-type]


@given(scores=tied_scores, data=st.data())
def test_a_document_scores_as_its_best_chunk(scores: np.ndarray, data: st.DataObject) -> None:
    n_chunks = scores.shape[1]
    n_documents = data.draw(st.integers(1, n_chunks))
    rest = data.draw(st.lists(st.integers(0, n_documents - 1), min_size=n_chunks, max_size=n_chunks))
    documents = data.draw(st.permutations([*range(n_documents), *rest][:n_chunks]))
    expected = [
        [
            max(row[chunk] for chunk in range(n_chunks) if documents[chunk] == document)
            for document in range(n_documents)
        ]
        for row in scores
    ]
    found = document_scores(scores, documents)
    assert found.dtype == np.float32
    assert found.tolist() == expected


def test_document_scores_refuse_a_document_without_chunks_and_a_wrong_length() -> None:
    for documents in ([0, 2, 2], [1, 2, 2], [-1, 0, 1], [0.0, 1.0, 2.0], [0, 1]):
        with pytest.raises(ShapeError, match="expected"):
            document_scores([[0.1, 0.2, 0.3]], documents)


def test_one_chunk_per_document_keeps_the_scores_in_document_order() -> None:
    assert ChunkGroups([2, 0, 1]).best(np.array([[0.1, 0.2, 0.3]])).tolist() == [[0.2, 0.3, 0.1]]


def test_a_query_never_finds_its_own_document_and_the_ranking_may_be_short() -> None:
    own = own_documents(["b", "q"], ["c", "b", "a"])
    assert own.tolist() == [1, NO_DOCUMENT]
    scores = np.array([[0.1, 0.9, 0.2], [0.1, 0.9, 0.2]], dtype=np.float32)
    assert rank_documents(scores, k=3, own=own).tolist() == [[2, 0, NO_DOCUMENT], [1, 2, 0]]
    assert rank_documents(scores, k=1, own=None).tolist() == [[1], [1]]
    assert scores[0, 1] == np.float32(0.9)


def test_minus_infinity_comes_last() -> None:
    scores = np.array([[-np.inf, 0.0, -1.0, -np.inf]], dtype=np.float32)
    assert best_columns(scores, 3).tolist() == [[1, 2, 0]]


@given(
    scores=hnp.arrays(
        np.float32,
        st.integers(1, 30),
        elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-45, 0.5, 3e38])
        | st.floats(width=32, allow_nan=False),
    ),
    data=st.data(),
)
def test_keys_sort_by_score_descending_then_by_column_and_can_be_read_again(
    scores: np.ndarray, data: st.DataObject
) -> None:
    n = len(scores)
    columns = np.array(data.draw(st.lists(st.integers(0, NOTHING - 1), min_size=n, max_size=n)))
    keys = order_keys(scores, columns)
    expected = sorted(zip((-scores).tolist(), columns.tolist(), strict=True))
    in_order = np.sort(keys)
    assert list(zip((-scores_of(in_order)).tolist(), columns_of(in_order).tolist(), strict=True)) == expected
    assert (keys < LAST).all()
    assert columns_of(np.array([LAST])).tolist() == [NOTHING]


@given(
    values=hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(0, 5))
)
def test_repeats_are_those_seen_further_left(values: np.ndarray) -> None:
    values[values == 5] = NOTHING
    expected = [[value in row[:place] for place, value in enumerate(row)] for row in values.tolist()]
    assert is_repeated(values).tolist() == expected


@given(scores=tied_scores, m=st.integers(1, 5), data=st.data())
def test_the_mean_of_the_best_chunks_is_of_those_a_document_has(
    scores: np.ndarray, m: int, data: st.DataObject
) -> None:
    n_chunks = scores.shape[1]
    n_documents = data.draw(st.integers(1, n_chunks))
    rest = data.draw(st.lists(st.integers(0, n_documents - 1), min_size=n_chunks, max_size=n_chunks))
    documents = data.draw(st.permutations([*range(n_documents), *rest][:n_chunks]))
    before = scores.copy()
    found = ChunkGroups(documents).mean_of_best(scores, m)
    assert np.array_equal(scores, before)
    assert found.dtype == np.float32
    for row, means in zip(scores, found, strict=True):
        for document in range(n_documents):
            of_document = sorted(row[[other == document for other in documents]])[-m:]
            assert means[document] == pytest.approx(np.mean(of_document), abs=1e-6)
