"""Options ranked from the scores of their legs are ranked as evaluations and searches rank them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.arrays import IntArray, ScoreArray
from analysis.evaluation import ModelVectors, evaluate
from analysis.evaluation.search import Documents
from analysis.judgements import Judgements
from analysis.rankings import NO_DOCUMENT, own_documents
from analysis.selection.record import Option
from analysis.selection.scoring import scoreboard as module
from analysis.selection.scoring.candidates import enumerate_options, fused, grid_options, pairs, singles
from analysis.selection.scoring.fusing import _sum_of_equals
from analysis.selection.scoring.legs import DenseLeg
from analysis.selection.scoring.scoreboard import measure, rank
from retriever.errors import InputError, JudgementsError, ShapeError
from retriever.search.fusion import METHODS

KEYS = ("A", "B", "C")
SPREADS = {"A": 0.1, "B": 0.05, "C": 0.2, "bm25": 0.5}
N_QUERIES = 7


class Scores:
    """A leg whose scores are given."""

    def __init__(self, key: str, values: ScoreArray) -> None:
        self.key = key
        self.values = values

    def scores(self, rows: slice) -> ScoreArray:
        return self.values[rows].copy()


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors(*, n_chunks: int, n_queries: int = N_QUERIES) -> list[ModelVectors]:
    rng = np.random.default_rng(5)
    return [
        ModelVectors(key=key, queries=unit(rng, n_queries, 6 + i), chunks=unit(rng, n_chunks, 6 + i))
        for i, key in enumerate(KEYS)
    ]


def dense(models: list[ModelVectors]) -> list[DenseLeg]:
    return [DenseLeg(key=model.key, queries=model.queries, chunks=model.chunks) for model in models]


def chunk_documents(n_chunks: int, n_documents: int) -> list[str]:
    every = [*range(n_documents), *np.random.default_rng(6).integers(n_documents, size=n_chunks)][:n_chunks]
    return [f"d{document}" for document in np.random.default_rng(7).permutation(every)]


def judgements(n_documents: int, *, n_queries: int = N_QUERIES) -> Judgements:
    rng = np.random.default_rng(8)
    queries = [f"q{i}" for i in range(n_queries - 1)] + ["d3"]  # one query is a document of the corpus
    return Judgements(
        queries=dict.fromkeys(queries, "text"),
        qrels={
            query: {
                f"d{document}": int(rng.integers(0, 3)) for document in rng.integers(n_documents, size=30)
            }
            for query in queries
        },
    )


def worth(scores: list[float], method: str, depth: int, *, is_lexical: bool) -> dict[int, float]:
    """What the first chunks of a leg are worth, as `retriever.search.fusion.fuse` has it."""
    first = sorted(range(len(scores)), key=lambda chunk: (-scores[chunk], chunk))[:depth]
    found = [chunk for chunk in first if not is_lexical or scores[chunk] > 0]
    return dict(zip(found, METHODS[method]([scores[chunk] for chunk in found]), strict=True))


def by_hand(option: Option, legs: Mapping[str, list[float]], documents: list[str], *, k: int) -> list[str]:
    """Rank the documents of one query with plain Python."""
    if option.fusion == "sum":
        totals = np.zeros(len(documents), dtype=np.float32)
        for leg, weight in option.weights.items():
            totals += np.float32(weight) * np.array(legs[leg], dtype=np.float32)
        best: dict[str, float] = {}
        for document, score in zip(documents, totals.tolist(), strict=True):
            best[document] = max(score, best.get(document, -math.inf))
        found = [one for one in best if option.legs != ("bm25",) or best[one] > 0]
        return sorted(found, key=lambda one: (best[one], one), reverse=True)[:k]
    wanted = 4 * k
    while True:
        depth = max(wanted, 100)
        parts = [worth(legs[leg], option.fusion, depth, is_lexical=leg == "bm25") for leg in option.legs]
        sums = {chunk: math.fsum(part.get(chunk, 0.0) for part in parts) for part in parts for chunk in part}
        first = sorted(sums, key=lambda chunk: (-sums[chunk], chunk))[:wanted]
        ranked = list(dict.fromkeys(documents[chunk] for chunk in first))
        if len(ranked) >= k or len(first) < wanted:
            return ranked[:k]
        wanted *= 4


def names(top: IntArray, documents: Documents) -> list[str]:
    return [documents.ids[column] for column in top if column != NO_DOCUMENT]


@pytest.mark.parametrize("n_chunks", [90, 1500])
@pytest.mark.parametrize("drop_own", [False, True])
def test_singles_and_pairs_are_measured_to_the_bit_as_in_an_evaluation(
    n_chunks: int, *, drop_own: bool
) -> None:
    models, ids = vectors(n_chunks=n_chunks), chunk_documents(n_chunks, 40)
    judged = judgements(40)
    expected = evaluate(
        models, judgements=judged, chunk_documents=ids, spreads=SPREADS, grid=(0.3,), drop_own=drop_own
    )
    options = [*singles(KEYS), *pairs(KEYS, SPREADS)]
    options += [Option(weights={a: 0.3, b: 1 - 0.3}, weighting="tuned") for a, b in combinations(KEYS, 2)]
    found = {
        one.label: one.ndcg.tolist()
        for one in measure(dense(models), options, Documents.of(ids), judged, drop_own=drop_own)
    }
    for candidate in (*expected.singles, *expected.pairs):
        assert found[candidate.label.replace("0.30", "tuned")] == candidate.ndcg.tolist()
    assert 0 < found["A"][0] < 1


@settings(max_examples=25, deadline=None)
@given(
    n_chunks=st.sampled_from([1, 30, 130, 700]),
    n_documents=st.integers(1, 700),
    levels=st.sampled_from([2, 5, 1000]),
    k=st.sampled_from([1, 3, 10]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_option_ranks_as_plain_python_does_ties_included(
    n_chunks: int, n_documents: int, levels: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = chunk_documents(n_chunks, min(n_documents, n_chunks))
    # Halves and quarters of such numbers are exact, so that sums are tied wherever they are equal.
    values = {
        key: (rng.integers(0, levels, size=(3, n_chunks)) / 1024).astype(np.float32)
        for key in (*KEYS, "bm25")
    }
    options = [
        *enumerate_options(KEYS[:2], dict.fromkeys([*KEYS, "bm25"], 1.0), lexical=True),
        Option(weights={"A": 0.25, "B": 0.25, "C": 0.5}),
        Option(weights={"A": 0.25, "B": 0.25, "C": 0.25, "bm25": 0.25}),
        Option(weights={"A": 1 / 3, "B": 1 / 3, "C": 1 / 3}, fusion="rrf"),
        Option(weights={"A": 1 / 3, "B": 1 / 3, "bm25": 1 / 3}, fusion="dbsf"),
    ]
    documents = Documents.of(ids)
    found = rank([Scores(key, rows) for key, rows in values.items()], options, documents, k=k)
    for option, tops in zip(options, found, strict=True):
        if len(option.legs) == 3 and "bm25" in option.legs and option.fusion == "sum":
            continue  # thirds round
        for query, top in enumerate(tops):
            legs = {key: rows[query].tolist() for key, rows in values.items()}
            assert names(top, documents) == by_hand(option, legs, ids, k=k), option.label


def test_blocks_of_queries_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = chunk_documents(1500, 400)
    legs, documents = dense(vectors(n_chunks=1500)), Documents.of(ids)
    options = enumerate_options(KEYS, SPREADS)
    own = own_documents(judgements(400).query_ids, documents.ids)
    whole = rank(legs, options, documents, own=own)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 1500 * len(KEYS) * 2)  # two queries
    monkeypatch.setattr(module, "_BATCH_BYTES", 4 * 1500)
    assert np.array_equal(rank(legs, options, documents, own=own), whole)


@pytest.mark.parametrize("n_chunks", [130, 1500])
def test_a_query_does_not_find_its_own_document(n_chunks: int) -> None:
    ids = chunk_documents(n_chunks, 40)
    legs, documents = dense(vectors(n_chunks=n_chunks)), Documents.of(ids)
    options = enumerate_options(KEYS, SPREADS)
    with_own = rank(legs, options, documents, k=40)
    own = with_own[0, :, 0]  # what the first model finds first
    without = rank(legs, options, documents, own=own)
    for place, option in enumerate(options):
        for query, document in enumerate(own):
            assert document in with_own[place, query]
            found = without[place, query]
            assert document not in found, option.label
            assert NO_DOCUMENT not in found
            if option.fusion == "sum":  # other depths of the legs make other distributions
                expected = with_own[place, query][with_own[place, query] != document]
                assert found.tolist() == expected[:10].tolist(), option.label


def test_fused_rankings_go_deeper_where_few_documents_hold_the_first_chunks() -> None:
    rng = np.random.default_rng(4)
    ids = ["d0"] * 600 + [f"d{i}" for i in range(1, 101)]
    values = {key: rng.random((3, 700)).astype(np.float32) for key in ("A", "B")}
    for rows in values.values():
        rows[:, :600] += [[0.9], [0.6], [0.0]]  # the first hundreds, many, some
    options = fused(("A", "B"))
    documents = Documents.of(ids)
    found = rank([Scores(key, rows) for key, rows in values.items()], options, documents, k=10)
    for option, tops in zip(options, found, strict=True):
        for query, top in enumerate(tops):
            legs = {key: rows[query].tolist() for key, rows in values.items()}
            assert names(top, documents) == by_hand(option, legs, ids, k=10), (option.label, query)


def test_the_same_ranks_are_worth_the_same_whatever_leg_has_them() -> None:
    # 1/61 + 1/63 + 1/70 in float64 depends on the order, by its last bit
    ranks = list(permutations((1 / 61, 1 / 63, 1 / 70)))
    assert len({a + b + c for a, b, c in ranks}) > 1
    worths = np.array([worth for order in ranks for worth in order])[None]
    chunks = np.repeat(np.arange(len(ranks)), 3)[None]
    totals = _sum_of_equals(chunks, worths, at_most=3)[0, ::3]
    assert set(totals.tolist()) == {math.fsum(ranks[0])}


def test_bm25_alone_finds_no_document_without_a_token_of_the_query() -> None:
    scores = np.zeros((2, 20), dtype=np.float32)
    scores[0, [3, 5]] = 1, 2
    documents = Documents.of([f"d{i:02}" for i in range(20)])
    (top,) = rank([Scores("bm25", scores)], [Option(weights={"bm25": 1.0})], documents)
    assert names(top[0], documents) == ["d05", "d03"]
    assert names(top[1], documents) == []


def test_the_middle_of_a_grid_is_the_calibrated_pair_and_its_ends_near_the_halves() -> None:
    models, ids = vectors(n_chunks=1500), chunk_documents(1500, 400)
    grid = grid_options(("A", "B"), SPREADS, steps=999)
    options = [*grid, *pairs(("A", "B"), SPREADS), *singles(("A", "B"))]
    tops = rank(dense(models), options, Documents.of(ids))
    calibrated, first, second = tops[-3], tops[-2], tops[-1]
    assert np.array_equal(tops[499], calibrated)
    assert (tops[998] == first).mean() > 0.9 > (calibrated == first).mean()
    assert (tops[0] == second).mean() > 0.9


def test_no_options_are_no_rankings() -> None:
    documents = Documents.of(chunk_documents(90, 40))
    assert rank(dense(vectors(n_chunks=90)), [], documents).shape[0] == 0
    assert measure(dense(vectors(n_chunks=90)), [], documents, judgements(40)) == ()


def test_what_does_not_fit_together_is_refused() -> None:
    documents, legs = Documents.of(chunk_documents(90, 40)), dense(vectors(n_chunks=90))
    options = singles(KEYS)
    with pytest.raises(InputError, match=r"legs among A, B, C, each once, got D"):
        rank(legs, singles(("A", "D")), documents)
    with pytest.raises(InputError, match="got one twice"):
        rank([*legs, legs[0]], options, documents)
    for weights in ({"A": 1.5, "B": -0.5}, {"A": float("nan")}, {}):
        with pytest.raises(InputError, match="at least one leg and weights of at least 0, got"):
            rank(legs, [Option(weights=weights)], documents)
    with pytest.raises(ShapeError, match="cutoff of at least 1"):
        rank(legs, options, documents, k=0)
    with pytest.raises(ShapeError, match="expected 89 rows, one per chunk"):
        rank(legs, options, Documents.of(chunk_documents(89, 40)))
    fewer = dense(vectors(n_chunks=90, n_queries=3))[:1]
    with pytest.raises(ShapeError, match=r"scores of B: expected 3 rows, one per query, got 7"):
        rank([*fewer, *legs[1:]], options, documents)
    with pytest.raises(ShapeError, match=r"own: expected 7 rows, one per query"):
        rank(legs, options, documents, own=np.zeros(9, dtype=np.int64))
    with pytest.raises(ShapeError, match=r"queries: expected 9 rows, one per judged query, got 7"):
        measure(legs, options, documents, judgements(40, n_queries=9))
    strangers = Judgements(queries={"q": "text"}, qrels={"q": {"x": 1}})
    with pytest.raises(JudgementsError, match="got only others"):
        measure(legs, options, documents, strangers)
