from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from retriever.corpus import Corpus
from retriever.errors import EmbeddingError, InputError, ModelMismatchError
from retriever.models.protocol import FloatArray
from retriever.records import Chunk
from retriever.search import Searcher, stored_models
from retriever.store.filters import equals
from retriever.testing import FakeModel

QUERIES = ("warm soil and basil", "the ferry", "Interest of a bank account!", "music", "nothing known here")
DEPLOYMENTS = [
    {"alpha": 1.0},
    {"beta": 1.0},
    {"alpha": 0.5, "beta": 0.5},
    {"alpha": 0.9, "beta": 0.1},
    {"alpha": 0.0, "beta": 1.0},
    {"alpha": 1.0, "beta": 0.0},
]


class Spoilt(FakeModel):
    """A model that does not keep its promise for queries."""

    def __init__(self, name: str, factor: float) -> None:
        super().__init__(name, dimensions=24)
        self._factor = factor

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return super().embed_queries(texts) * np.float32(self._factor)


@pytest.fixture
def searcher(
    shared_corpus: Corpus, searcher_for: Callable[..., Searcher], alpha: FakeModel, beta: FakeModel
) -> Searcher:
    return searcher_for(shared_corpus, {alpha: 0.7, beta: 0.3})


@pytest.mark.parametrize("weights", DEPLOYMENTS, ids=str)
def test_hits_are_those_of_brute_force_over_the_stored_vectors(
    shared_corpus: Corpus,
    searcher_for: Callable[..., Searcher],
    alpha: FakeModel,
    beta: FakeModel,
    weights: dict[str, float],
) -> None:
    models = {model.spec.key: model for model in (alpha, beta)}
    searcher = searcher_for(shared_corpus, {models[key]: weight for key, weight in weights.items()})
    stored = shared_corpus.read_vectors(list(weights))
    cosines = {
        key: models[key].embed_queries(QUERIES).astype(np.float64) @ stored.by_model[key].T for key in weights
    }
    scores = sum(weight * cosines[key] for key, weight in weights.items())
    assert isinstance(scores, np.ndarray)
    assert (np.diff(np.sort(scores)) > 1e-6).all()  # no ties, so there is one right order
    for k in (1, 7, 40, 100):
        for hits, row, q in zip(searcher.search(QUERIES, k=k), scores, range(len(QUERIES)), strict=True):
            best = np.argsort(-row)[:k]
            assert [hit.chunk.chunk_id for hit in hits] == [stored.chunk_ids[i] for i in best]
            assert [hit.rank for hit in hits] == list(range(1, len(best) + 1))
            np.testing.assert_allclose([hit.score for hit in hits], row[best], atol=1e-6)
            for hit, i in zip(hits, best, strict=True):
                shares = {key: weight * cosines[key][q, i] for key, weight in weights.items()}
                assert hit.contributions == pytest.approx(shares, abs=1e-6)
                assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-6)


def test_a_hit_carries_its_chunk(searcher: Searcher, chunks: tuple[Chunk, ...]) -> None:
    by_id = {chunk.chunk_id: chunk for chunk in chunks}
    (hits,) = searcher.search([chunks[5].text], k=40)
    assert hits[0].chunk == chunks[5]
    assert {hit.chunk.chunk_id: hit.chunk for hit in hits} == by_id


def test_queries_asked_together_are_answered_as_alone(searcher: Searcher) -> None:
    together = searcher.search(QUERIES, k=5)
    for query, hits in zip(QUERIES, together, strict=True):
        (alone,) = searcher.search([query], k=5)
        assert [hit.chunk for hit in alone] == [hit.chunk for hit in hits]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_no_hits_are_asked_for_and_none_come(searcher: Searcher) -> None:
    assert searcher.search(QUERIES, k=0) == [[]] * len(QUERIES)
    assert searcher.search([], k=3) == []


def test_a_negative_number_of_hits_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InputError, match=r"k: expected 0 or more, got -1"):
        searcher.search(QUERIES, k=-1)


def test_one_string_is_not_a_list_of_queries(searcher: Searcher) -> None:
    with pytest.raises(InputError, match="one string"):
        searcher.search("basil", k=1)


def test_a_condition_leaves_the_order_of_the_rest(searcher: Searcher) -> None:
    (every,) = searcher.search(["basil soil"], k=40)
    (some,) = searcher.search(["basil soil"], k=40, where=equals("lang", "de"))
    expected = [hit.chunk for hit in every if hit.chunk.metadata["lang"] == "de"]
    assert [hit.chunk for hit in some] == expected
    assert searcher.search(["basil"], k=3, where=equals("lang", "es")) == [[]]


def test_a_model_under_the_name_of_another_is_refused(
    shared_corpus: Corpus, searcher_for: Callable[..., Searcher], alpha: FakeModel, gamma: FakeModel
) -> None:
    served = searcher_for(shared_corpus, {alpha: 1.0}).deployment
    with pytest.raises(InputError, match=r"model 'alpha', got 'gamma'"):
        Searcher(shared_corpus, served, models={"alpha": gamma})
    with pytest.raises(ModelMismatchError, match=r"'acme/alpha', got 'evil/alpha'"):
        Searcher(shared_corpus, served, models={"alpha": FakeModel("evil/alpha", dimensions=24)})
    with pytest.raises(InputError, match=r"among alpha, got beta"):
        Searcher(shared_corpus, served, models={"alpha": alpha, "beta": gamma})


@pytest.mark.parametrize("factor", [2.0, 0.0, float("nan")])
def test_a_model_that_does_not_keep_its_promise_is_caught_at_the_query(
    shared_corpus: Corpus, searcher_for: Callable[..., Searcher], factor: float
) -> None:
    searcher = searcher_for(shared_corpus, {Spoilt("acme/alpha", factor): 1.0})
    with pytest.raises(EmbeddingError, match="acme/alpha"):
        searcher.search(["basil"], k=1)


def test_stored_models_are_those_given_in_the_order_asked_for(
    shared_corpus: Corpus, alpha: FakeModel, beta: FakeModel
) -> None:
    models = stored_models(shared_corpus, ["beta", "alpha"], given={"alpha": alpha, "beta": beta})
    assert [(key, model.spec) for key, model in models.items()] == [
        ("beta", beta.spec),
        ("alpha", alpha.spec),
    ]
