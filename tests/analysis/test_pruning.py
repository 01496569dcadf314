"""The first documents from the first chunks alone are those of a full search, or are not called proven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.evaluation import ModelVectors
from analysis.evaluation import search as module
from analysis.evaluation.plans import Plan, plan_pairs, plan_singles
from analysis.evaluation.pruning import first_chunks, is_worthwhile, n_candidates
from analysis.evaluation.search import Documents, Rankings, search
from analysis.rankings import own_documents, top_k

KEYS = ("A", "B", "C", "D")
SPREADS = {"A": 0.1, "B": 0.03, "C": 0.2, "D": 0.11}
N_QUERIES = 4


def plans(keys: tuple[str, ...] = KEYS) -> list[Plan]:
    pairs = plan_pairs(list(combinations(keys, 2)), spreads=SPREADS, grid=(0.0, 0.3, 1.0))
    return plan_singles(keys) + pairs


def unit(rows: np.ndarray) -> np.ndarray:
    rows[~rows.any(axis=1)] = 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


KINDS = ("independent", "alike", "signs", "repeated", "opposite")


def models(kind: str, *, n_chunks: int, seed: int) -> list[ModelVectors]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N_QUERIES + n_chunks, 6))
    made = []
    for key, dimensions in zip(KEYS, (6, 9, 12, 16), strict=True):
        rows = rng.normal(size=(N_QUERIES + n_chunks, dimensions))
        if kind == "alike":
            rows[:, :6] += 3 * shared
        elif kind == "signs":  # very many equal scores
            rows = np.sign(rows)
        elif kind == "repeated":
            rows[rng.integers(N_QUERIES, len(rows), size=n_chunks // 2)] = rows[-1]
        elif kind == "opposite":
            rows = np.abs(rows)
            rows[:N_QUERIES] *= -1
        rows = unit(rows)
        made.append(ModelVectors(key=key, queries=rows[:N_QUERIES], chunks=rows[N_QUERIES:]))
    return made


def documents_of(n_chunks: int, n_documents: int, *, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    every = [*range(n_documents), *rng.integers(n_documents, size=n_chunks)][:n_chunks]
    return [f"d{document}" for document in rng.permutation(every)]


@contextmanager
def everything_in_full() -> Iterator[None]:
    with patch.object(module, "is_worthwhile", lambda *_: False):
        yield


def same(found: Rankings, expected: Rankings) -> bool:
    return np.array_equal(found.documents, expected.documents) and all(
        np.array_equal(found.chunks[key], top) for key, top in expected.chunks.items()
    )


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n_chunks=st.integers(640, 1500),
    depth=st.sampled_from([1, 20, 80, 400]),
    share=st.floats(0.02, 1),
    seed=st.integers(0, 2**32 - 1),
    drop_own=st.booleans(),
)
def test_rankings_are_those_of_a_full_search_to_the_last_tie(
    kind: str,
    n_chunks: int,
    depth: int,
    share: float,
    seed: int,
    drop_own: bool,  # noqa: FBT001  # drawn
) -> None:
    documents = Documents.of(documents_of(n_chunks, max(11, int(share * n_chunks)), seed=seed))
    own = own_documents([f"d{query}" for query in range(N_QUERIES)], documents.ids) if drop_own else None
    given_models = models(kind, n_chunks=n_chunks, seed=seed)
    found = search(given_models, plans(), documents, depth=depth, own=own)
    with everything_in_full():
        expected = search(given_models, plans(), documents, depth=depth, own=own)
    assert same(found, expected)
    assert expected.proven == 0


def test_most_rankings_are_proven_even_where_models_have_nothing_in_common() -> None:
    documents = Documents.of(documents_of(4000, 2500, seed=1))
    assert search(models("independent", n_chunks=4000, seed=1), plans(), documents, depth=10).proven > 0.95


def test_a_document_at_the_bound_is_not_proven() -> None:
    """All chunks score the same with both models: any of them could be first, only a full search knows."""
    axis = np.array([[1.0, 0.0]], dtype=np.float32)
    both = [ModelVectors(key=key, queries=axis, chunks=np.repeat(axis, 1000, axis=0)) for key in ("A", "B")]
    documents = Documents.of([f"{number:04}" for number in range(1000)])
    found = search(both, plans(("A", "B")), documents, depth=10)
    assert found.proven == 0
    assert [documents.ids[column] for column in found.documents[0, 0]] == [
        f"{number:04}" for number in range(999, 989, -1)
    ]
    assert found.chunks["A"].tolist() == [list(range(10))]


def test_a_chunk_far_down_in_both_rankings_is_found_where_it_wins_in_sum() -> None:
    """It is past the candidates of each model, and yet the best of the pair."""
    n = 1000
    m = n_candidates(n, 10)
    scores = np.full((2, n), -0.9, dtype=np.float32)
    scores[0, : m + 50] = 0.8
    scores[1, -(m + 50) :] = 0.8
    scores[:, 500] = 0.7
    both = [
        ModelVectors(
            key=key,
            queries=np.array([[1.0, 0.0]], dtype=np.float32),
            chunks=np.stack([row, np.sqrt(1 - row**2)], axis=1),
        )
        for key, row in zip("AB", scores, strict=True)
    ]
    documents = Documents.of([f"{number:04}" for number in range(n)])
    found = search(both, plan_pairs([("A", "B")], spreads=SPREADS, grid=()), documents, depth=10)
    assert documents.ids[found.documents[0, 0, 0]] == "0500"
    assert found.proven < 1


@pytest.mark.parametrize("kind", KINDS)
def test_first_chunks_are_the_best_in_order_and_no_other_exceeds_the_cut(kind: str) -> None:
    made = models(kind, n_chunks=3000, seed=3)
    scores = np.stack([model.queries[0] @ model.chunks.T for model in made])
    first = first_chunks(scores, 150)
    for row, columns, found, (cut,) in zip(scores, first.columns, first.found, first.cuts, strict=True):
        assert columns[:found].tolist() == top_k(row[None], int(found))[0].tolist()
        assert set(columns[found:]) <= {columns[found - 1]}
        assert np.delete(row, columns).max() <= cut


def test_a_chunk_list_that_is_shorter_than_the_depth_is_completed() -> None:
    made = models("independent", n_chunks=1000, seed=4)
    documents = Documents.of(documents_of(1000, 900, seed=4))
    with patch("analysis.evaluation.pruning._SURPLUS", 0.1):  # thresholds that leave far too few
        found = search(made, plans(), documents, depth=60)
    with everything_in_full():
        assert same(found, search(made, plans(), documents, depth=60))


def test_more_plans_than_fit_at_once_are_ranked_alike() -> None:
    made, documents = models("alike", n_chunks=900, seed=5), Documents.of(documents_of(900, 700, seed=5))
    whole = search(made, plans(), documents, depth=10)
    with patch("analysis.evaluation.pruning._PLANS_AT_ONCE", 3):
        assert same(search(made, plans(), documents, depth=10), whole)


def test_few_chunks_are_searched_in_full() -> None:
    assert not is_worthwhile(n_candidates(500, 10), 500)
    assert is_worthwhile(n_candidates(60_000, 10), 60_000)
