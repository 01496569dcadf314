"""What is kept of a query: from its answer, and from what each leg alone would have found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.similarity.overlap import jaccard as rows_jaccard
from analysis.similarity.overlap import rank_similarity as rows_rank_similarity
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import planned
from retriever.models.protocol import FloatArray
from retriever.records import LEXICAL
from retriever.search import Searcher, Wish
from retriever.serving import Answered
from retriever.store.filters import Matches
from retriever.testing import FakeModel
from retriever.watch.measuring import (
    first_by_leg,
    jaccard,
    measured,
    measured_queries,
    rank_similarity,
)
from retriever.watch.observation import K, deployment_id

QUERIES = ["basil and warm soil", "the ferry leaves at noon", "interest of the quarter"]

Models = dict[str, FakeModel]
rankings = st.lists(st.integers(0, 30).map(str), min_size=K, max_size=K, unique=True)


@pytest.fixture
def models(alpha: FakeModel, beta: FakeModel) -> Models:
    return {"alpha": alpha, "beta": beta}


def answered(searcher: Searcher, text: str, wish: Wish) -> Answered:
    (query,) = searcher.embed([text])
    (found,) = searcher.find([query], wish)
    return Answered(texts=(text,), wish=wish, query=query, found=tuple(found), searcher=searcher)


def by_brute_force(corpus: Corpus, key: str, query: FloatArray) -> list[str]:
    stored = corpus.read_vectors([key])
    scores = stored.by_model[key].astype(np.float64) @ query
    return [stored.chunk_ids[i] for i in sorted(range(len(scores)), key=lambda i: -scores[i])[:K]]


def test_overlaps_are_those_of_the_equations() -> None:
    # Eq. 2 by hand: two of four chunks are shared
    assert jaccard(["a", "b", "c"], ["c", "b", "d"]) == 0.5
    # Eq. 3 by hand: b at ranks 2 and 2, c at 3 and 1: (2/(1·4) + 2/(3·4)) / (1 + 1/2)
    assert rank_similarity(["a", "b", "c"], ["c", "b", "d"]) == pytest.approx((0.5 + 1 / 6) / 1.5)
    assert (jaccard([], []), jaccard(["a"], []), rank_similarity(["a"], ["b"])) == (0.0, 0.0, 0.0)


@given(one=rankings, other=rankings)
def test_overlaps_are_those_of_the_analysis(one: list[str], other: list[str]) -> None:
    rows = [[list(map(int, ranking))] for ranking in (one, other)]
    assert jaccard(one, other) == pytest.approx(rows_jaccard(*rows)[0])
    assert rank_similarity(one, other) == pytest.approx(rows_rank_similarity(*rows)[0])


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_the_first_chunks_of_a_leg_are_those_of_brute_force_over_its_model(
    corpus: Corpus, models: Models, storage: str
) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta"], storage=storage), models=models)
    tops = first_by_leg(searcher, searcher.embed(QUERIES))
    for key, model in models.items():
        for ranking, row in zip(tops[key], model.embed_queries(QUERIES), strict=True):
            assert ranking == by_brute_force(corpus, key, row)


def test_words_are_a_leg_too_and_find_only_what_has_them(corpus: Corpus, models: Models) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta", LEXICAL]), models=models)
    tops = first_by_leg(searcher, searcher.embed(["basil", "zzz"]))
    texts = {chunk.chunk_id: chunk.text for chunks in corpus.chunks() for chunk in chunks}
    assert list(tops) == ["alpha", "beta", LEXICAL]
    assert all("basil" in texts[chunk_id].lower() for chunk_id in tops[LEXICAL][0])
    assert tops[LEXICAL][1] == []
    (known,) = measured_queries(searcher, ["basil"])
    assert set(known.contributions) == {"alpha", "beta", LEXICAL}


def test_an_observation_follows_from_the_answer_and_the_legs(corpus: Corpus, models: Models) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta"]), models=models)
    one = answered(searcher, QUERIES[0], Wish(k=K + 2))
    (found,) = measured([one])
    scores = [hit.score for hit in one.found[:K]]
    tops = [by_brute_force(corpus, key, model.embed_queries(QUERIES[:1])[0]) for key, model in models.items()]
    assert found.first == scores[0]
    assert found.mean == pytest.approx(np.mean(scores))
    assert found.gap == pytest.approx(scores[0] - scores[-1])
    assert sum(found.contributions.values()) == pytest.approx(found.mean)
    assert found.jaccard == pytest.approx(len(set(tops[0]) & set(tops[1])) / len(set(tops[0]) | set(tops[1])))
    assert found.disjoint == (not set(tops[0]) & set(tops[1]))
    assert (found.time, found.serves, found.texts) == (one.time, "alpha+beta", ())
    assert measured([one], keep_text=True)[0].texts == (QUERIES[0],)


@pytest.mark.parametrize(
    "wish",
    [
        Wish(k=2),
        Wish(k=K, weights={"alpha": 1.0, "beta": 0.0}),
        Wish(k=K, fusion="rrf"),
        Wish(k=K, per_document=True),
    ],
    ids=["few", "other weights", "fused", "per document"],
)
def test_whatever_was_asked_the_numbers_are_those_of_the_deployment(
    corpus: Corpus, models: Models, wish: Wish
) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta"]), models=models)
    plain = answered(searcher, QUERIES[1], Wish(k=K))
    (found,) = measured([answered(searcher, QUERIES[1], wish)])
    (expected,) = measured([plain])
    assert found.to_json() == {**expected.to_json(), "time": found.to_json()["time"]}


def test_only_chunks_that_were_asked_for_count(corpus: Corpus, models: Models) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta"]), models=models)
    german, nothing = Matches(key="lang", values=("de",)), Matches(key="lang", values=("none",))
    allowed = {chunk.chunk_id for chunks in corpus.chunks(german) for chunk in chunks}
    tops = first_by_leg(searcher, searcher.embed(QUERIES), where=german)
    assert {chunk_id for ranking in tops["alpha"] for chunk_id in ranking} <= allowed
    wishes = (Wish(k=K), Wish(k=K, where=german), Wish(k=K, where=nothing), Wish(k=K, where=german))
    several = [answered(searcher, QUERIES[0], wish) for wish in wishes]
    found = measured(several)
    assert [one.time for one in found] == [several[place].time for place in (0, 1, 3)]
    assert found[0].first == several[0].found[0].score
    assert found[1].first == found[2].first == several[1].found[0].score


def test_one_model_alone_has_no_legs_that_could_agree(corpus: Corpus, models: Models) -> None:
    searcher = Searcher(corpus, deploy(corpus, ["beta"]), models={"beta": models["beta"]})
    (found,) = measured_queries(searcher, QUERIES[:1])
    assert (found.jaccard, found.rank_similarity, found.disjoint) == (None, None, None)
    assert found.contributions == {"beta": pytest.approx(found.mean)}


class Counting(FakeModel):
    """A model that counts how often it embeds queries."""

    calls = 0

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        self.calls += 1
        return super().embed_queries(texts)


def test_nothing_is_embedded_to_measure_an_answer(corpus: Corpus, beta: FakeModel) -> None:
    model = Counting("acme/alpha", dimensions=24)
    searcher = Searcher(corpus, deploy(corpus, ["alpha", "beta"]), models={"alpha": model, "beta": beta})
    answers = [answered(searcher, query, Wish(k=2)) for query in QUERIES]
    before = model.calls
    assert len(measured(answers)) == 3
    assert model.calls == before > 0


def test_a_deployment_is_another_one_when_it_is_made_again_but_not_when_it_is_only_planned(
    corpus: Corpus,
) -> None:
    first = deploy(corpus, ["alpha", "beta"])
    again = deploy(corpus, ["alpha", "beta"], evidence={"chosen": "again"})
    other = deploy(corpus, ["alpha", "beta"], weighting="equal")
    recorded = corpus.deployments
    ids = [deployment_id(one, recorded) for one in (first, again, other)]
    assert len(set(ids)) == 3
    assert deployment_id(first, [first]) == ids[0]
    plans = [planned(corpus, ["alpha", "beta"], evidence={"n": n}) for n in range(2)]
    assert len({deployment_id(plan, []) for plan in plans}) == 1
