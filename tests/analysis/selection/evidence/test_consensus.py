"""Agreement with the others needs no judgement, and copies of a model gain nothing by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.arrays import FloatArray, ScoreArray
from analysis.evaluation.search import Documents
from analysis.rankings import NO_DOCUMENT
from analysis.selection.evidence import agreement_quality, consensus_ndcg
from analysis.selection.evidence.consensus import look_alikes, vote_shares
from analysis.selection.scoring.legs import DenseLeg
from retriever.errors import InputError, ShapeError

N_QUERIES, N_DOCUMENTS = 40, 60


class Leg:
    """Scores as they are given."""

    def __init__(self, key: str, scores: FloatArray) -> None:
        self.key = key
        self._scores = scores.astype(np.float32)

    def scores(self, rows: slice) -> ScoreArray:
        return self._scores[rows].copy()


def documents(n_chunks: int, per_document: int = 1) -> Documents:
    return Documents.of([f"d{chunk // per_document:03}" for chunk in range(n_chunks)])


def crowd(noises: Mapping[str, float], *, seed: int = 0) -> list[Leg]:
    """Legs that see the same truth, each with errors of its own."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(N_QUERIES, N_DOCUMENTS))
    return [Leg(key, truth + noise * rng.normal(size=truth.shape)) for key, noise in noises.items()]


def with_copies(legs: Sequence[Leg], key: str, n: int) -> list[Leg]:
    rng = np.random.default_rng(9)
    (original,) = (leg.scores(slice(None)) for leg in legs if leg.key == key)
    copies = [Leg(f"{key}~{i}", original + 0.3 * rng.normal(size=original.shape)) for i in range(n)]
    return [*legs, *copies]


def ones(legs: Sequence[Leg]) -> dict[str, float]:
    return {leg.key: 1.0 for leg in legs}


NOISES = {"best": 0.4, "good": 0.8, "fair": 1.2, "poor": 1.8, "worst": 2.6}


def test_quality_follows_the_errors_of_the_models() -> None:
    legs = crowd(NOISES)
    found = agreement_quality(legs, documents(N_DOCUMENTS), spreads=ones(legs))
    assert sorted(found, key=found.__getitem__, reverse=True) == list(NOISES)


def test_copies_of_the_worst_model_do_not_win() -> None:
    legs = with_copies(crowd(NOISES), "worst", 8)
    found = agreement_quality(legs, documents(N_DOCUMENTS), spreads=ones(legs))
    assert max(found, key=found.__getitem__) == "best"
    assert sorted(NOISES, key=found.__getitem__, reverse=True) == list(NOISES)
    # were votes not shared, the copies would win: their ensemble is that of the worst model
    total = np.sum([leg.scores(slice(None)) for leg in legs], axis=0)
    plain = {leg.key: dcg(leg.scores(slice(None)), total - leg.scores(slice(None))).mean() for leg in legs}
    assert max(plain, key=plain.__getitem__).startswith("worst~")


def dcg(scores: FloatArray, ensemble: FloatArray) -> FloatArray:
    """NDCG@10 where rank r of the ensemble is worth 1/r, by loops; columns are in descending order of id."""
    values = []
    for row, of_ensemble in zip(scores[:, ::-1], ensemble[:, ::-1], strict=True):
        worth = {int(place): 1 / rank for rank, place in enumerate(np.argsort(-of_ensemble)[:10], start=1)}
        gained = sum(
            worth.get(int(place), 0.0) / np.log2(rank + 1)
            for rank, place in enumerate(np.argsort(-row)[:10], start=1)
        )
        values.append(gained / sum(1 / rank / np.log2(rank + 1) for rank in range(1, 11)))
    return np.array(values)


def test_two_legs_judge_each_other_by_the_rank_of_documents() -> None:
    # worked by loops: each is the other's ensemble, whatever the weights
    a, b = crowd({"a": 0.5, "b": 1.0})
    found = consensus_ndcg([a, b], documents(N_DOCUMENTS), spreads={"a": 3.0, "b": 0.1})
    expected = dcg(a.scores(slice(None)), b.scores(slice(None)))
    np.testing.assert_allclose(found["a"], expected, atol=1e-12)
    np.testing.assert_allclose(found["b"], dcg(b.scores(slice(None)), a.scores(slice(None))), atol=1e-12)


def test_the_second_round_is_the_ensemble_of_shared_votes() -> None:
    legs = crowd({"a": 0.5, "b": 1.0, "c": 1.5, "d": 2.0})
    spreads = {"a": 0.5, "b": 2.0, "c": 1.0, "d": 0.25}
    scores = [leg.scores(slice(None)).astype(np.float64) for leg in legs]
    tops = np.array([np.argsort(-one[:, ::-1])[:, :10] for one in scores])
    alike = look_alikes(tops)
    votes = np.ones(4)
    for _ in range(2):  # by hand: everybody votes alike, then as their agreement to the fourth power
        shares = [vote_shares(alike, judged, votes) for judged in range(4)]
        ensembles = [
            sum(w / spreads[leg.key] * one for w, leg, one in zip(share, legs, scores, strict=True))
            for share in shares
        ]
        values = [dcg(one, np.asarray(other)) for one, other in zip(scores, ensembles, strict=True)]
        votes = np.array([value.mean() for value in values]) ** 4
    found = consensus_ndcg(legs, documents(N_DOCUMENTS), spreads=spreads)
    for leg, value in zip(legs, values, strict=True):
        np.testing.assert_allclose(found[leg.key], value, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 5), depth=st.integers(1, 12))
def test_agreement_is_a_share_whatever_the_order_of_the_legs(seed: int, n: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    legs = [Leg(f"m{i}", rng.normal(size=(6, 20))) for i in range(n)]
    found = consensus_ndcg(legs, documents(20, 2), spreads=ones(legs), depth=depth)
    turned = consensus_ndcg(legs[::-1], documents(20, 2), spreads=ones(legs), depth=depth)
    for key, values in found.items():
        assert (values >= 0).all()
        assert (values <= 1 + 1e-12).all()
        np.testing.assert_allclose(turned[key], values, atol=1e-9)


def test_the_document_of_the_query_itself_is_nobodys_hit() -> None:
    legs = crowd({"a": 0.5, "b": 1.0, "c": 1.0})
    given_documents = documents(N_DOCUMENTS)
    top = legs[0].scores(slice(None))[:, ::-1].argmax(axis=1)
    found = consensus_ndcg(legs, given_documents, spreads=ones(legs), own=top)
    hidden = [leg.scores(slice(None)) for leg in legs]
    for one in hidden:
        one[np.arange(N_QUERIES), N_DOCUMENTS - 1 - top] = -99
    without = [Leg(leg.key, one) for leg, one in zip(legs, hidden, strict=True)]
    expected = consensus_ndcg(without, given_documents, spreads=ones(legs))
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key], atol=1e-9)


def test_bm25_that_finds_nothing_neither_scores_nor_is_alike() -> None:
    rng = np.random.default_rng(1)
    empty = Leg("bm25", np.zeros((5, 20)))
    legs = [Leg("a", rng.normal(size=(5, 20))), empty, Leg("b", rng.normal(size=(5, 20)))]
    found = consensus_ndcg(legs, documents(20), spreads=ones(legs))
    assert (found["bm25"] == 0).all()


def test_bm25_is_heard_twice_as_loud_as_models_whatever_its_scale() -> None:
    a, b, c = crowd({"a": 0.5, "b": 1.0, "c": 1.0})
    found = []
    for scale in (0.001, 1.0, 1000.0):
        lexical = Leg("bm25", scale * np.maximum(c.scores(slice(None)), 0))
        found.append(consensus_ndcg([a, b, lexical], documents(N_DOCUMENTS), spreads=ones([a, b, lexical])))
    for key in ("a", "b", "bm25"):
        np.testing.assert_allclose(found[0][key], found[1][key], atol=1e-6)
        np.testing.assert_allclose(found[2][key], found[1][key], atol=1e-6)
    # by loops: a is judged by b and by bm25 over half its lift, each with its share
    values = [leg.scores(slice(None)) for leg in (a, b, lexical)]
    lifts = [float((one.max(axis=1) - one.mean(axis=1)).mean()) for one in values]
    calibrated = [values[0], values[1], values[2] * (lifts[0] + lifts[1]) / lifts[2]]
    tops = np.array([np.argsort(-one[:, ::-1], kind="stable")[:, :10] for one in calibrated])
    votes = np.ones(3)
    for _ in range(2):
        shares = [vote_shares(look_alikes(tops), judged, votes) for judged in range(3)]
        ensembles = [sum(w * one for w, one in zip(share, calibrated, strict=True)) for share in shares]
        judged = [dcg(one, np.asarray(other)) for one, other in zip(calibrated, ensembles, strict=True)]
        votes = np.array([value.mean() for value in judged]) ** 4
    np.testing.assert_allclose(found[1]["a"], judged[0], atol=1e-6)


def test_fewer_documents_than_the_depth_can_agree_wholly() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(5, 4))
    legs = [Leg("a", scores), Leg("b", scores)]
    found = consensus_ndcg(legs, documents(4), spreads=ones(legs))
    np.testing.assert_allclose(found["a"], 1.0)


def test_how_alike_legs_are_counts_from_what_is_usual() -> None:
    # Jaccard of the pairs by hand: 0-1 is 2/2 = 1, 0-2 and 1-2 are 0/4; their lower quartile is 0
    rankings = np.array([[[0, 1]], [[1, 0]], [[2, 3]]])
    assert look_alikes(rankings).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    # 0-1: 1, 0-2: 1/3, 1-2: 1/3; a third is usual, so only the first are alike
    rankings = np.array([[[0, 1]], [[1, 0]], [[0, 3]]])
    assert look_alikes(rankings).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    nothing = np.full((2, 3, 4), NO_DOCUMENT)
    assert look_alikes(nothing).tolist() == [[1, 0], [0, 1]]


def test_copies_share_a_vote_and_have_none_on_each_other() -> None:
    alike = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    votes = np.ones(4)
    assert vote_shares(alike, 3, votes).tolist() == [0.25, 0.25, 0.5, 0.0]
    assert vote_shares(alike, 0, votes) == pytest.approx([0, 0, 0.5, 0.5], abs=1e-5)
    assert vote_shares(alike, 2, np.array([2.0, 2.0, 9.0, 6.0])).tolist() == [0.125, 0.125, 0, 0.75]


def test_legs_that_cannot_be_judged_are_refused() -> None:
    a, b = crowd({"a": 0.5, "b": 1.0})
    with pytest.raises(InputError, match=r"expected at least two, .* got a"):
        consensus_ndcg([a], documents(N_DOCUMENTS), spreads={"a": 1.0})
    with pytest.raises(InputError, match="got none of b"):
        consensus_ndcg([a, b], documents(N_DOCUMENTS), spreads={"a": 1.0, "b": 0.0})
    with pytest.raises(ShapeError, match="cutoff of at least 1"):
        consensus_ndcg([a, b], documents(N_DOCUMENTS), spreads={"a": 1.0, "b": 1.0}, depth=0)


def test_models_are_judged_by_their_vectors() -> None:
    rng = np.random.default_rng(5)
    queries, chunks = rng.normal(size=(8, 16)), rng.normal(size=(30, 16))
    legs = [
        DenseLeg(
            key=f"m{size}",
            queries=queries[:, :size].astype(np.float32),
            chunks=chunks[:, :size].astype(np.float32),
        )
        for size in (16, 12, 4)
    ]
    spreads = {leg.key: 1.0 for leg in legs}
    found = agreement_quality(legs, documents(30), spreads=spreads)
    assert found["m4"] < min(found["m16"], found["m12"])
