"""Costs of options follow from those of their legs, and these from what was timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.costs import cost as module
from analysis.selection.costs.cost import Costs, EmbeddingCost, SearchCost, embedding_cost, measure_costs
from analysis.selection.record import Option
from analysis.selection.scoring.bm25 import LexicalLeg
from analysis.selection.scoring.candidates import fused, singles, weighted
from analysis.selection.scoring.legs import corpus_legs
from ingest import ingest
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import LEXICAL, ChunkerSpec, Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

MODELS: dict[str, EmbeddingModel] = {
    name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 24), ("b", 16), ("c", 12))
}
QUERIES = [f"word{i} word{i + 1}" for i in range(5)]
SPREADS = {"a": 0.1, "b": 0.05, "bm25": 0.5}
COSTS = Costs(
    embedding={
        "a": EmbeddingCost(seconds_per_1000_chunks=20, milliseconds_per_query=8),
        "b": EmbeddingCost(seconds_per_1000_chunks=2, milliseconds_per_query=4),
        LEXICAL: EmbeddingCost(seconds_per_1000_chunks=0.5, milliseconds_per_query=0.25),
    },
    bytes_per_chunk={"a": 1600.0, "b": 400.0, LEXICAL: 100.0},
    shared=0.75,
    search=SearchCost(fixed=1, per_byte=0.01, deeper=2, lexical=0.5),
)


class Counted(FakeModel):
    """Keeps how many texts each call had."""

    def __init__(self, name: str) -> None:
        super().__init__(name, dimensions=8)
        self.calls: list[tuple[str, int]] = []

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        self.calls.append(("queries", len(texts)))
        return super().embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.calls.append(("chunks", len(texts)))
        return super().embed_chunks(texts)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    documents = [Document(doc_id=f"d{i}", text=f"word{i} word{i + 1} word{i + 2}") for i in range(30)]
    ingest(documents, store, "c", models=list(MODELS.values()))
    with Corpus.open(store, "c") as corpus:
        yield corpus


def some(*keys: str) -> dict[str, EmbeddingModel]:
    return {key: MODELS[key] for key in keys}


def milliseconds(option: Option) -> float:
    found = COSTS.of(option).milliseconds_per_query
    assert found is not None
    return found


def test_options_cost_what_their_legs_do_together() -> None:
    single, pair = COSTS.of(singles(("a",))[0]), COSTS.of(weighted(("a", "b"), "calibrated", SPREADS))
    three = COSTS.of(weighted(("a", "b", LEXICAL), "calibrated", SPREADS))
    assert (single.seconds_per_1000_chunks, single.bytes_per_chunk) == (20, 1600)
    assert (pair.seconds_per_1000_chunks, pair.bytes_per_chunk) == (22, 2000)
    assert (three.seconds_per_1000_chunks, three.bytes_per_chunk) == (22.5, 2100)


def test_a_query_waits_for_the_slowest_model_part_of_the_others_and_the_search() -> None:
    # embedding, then what is fixed and scanned
    assert milliseconds(singles(("a",))[0]) == pytest.approx(8 + 1 + 16)
    assert milliseconds(weighted(("a", "b"), "equal", SPREADS)) == pytest.approx(8 + 0.75 * 4 + 1 + 20)
    # beside BM25 the first hundred chunks are searched
    with_words = weighted(("a", "b", LEXICAL), "calibrated", SPREADS)
    assert milliseconds(with_words) == pytest.approx(8 + 0.75 * 4 + 0.25 + 1 + 2 + 20 + 0.5)
    # a fusion searches each leg by itself, and its first hundred chunks
    for option in fused(("a", "b")):
        assert milliseconds(option) == pytest.approx(8 + 0.75 * 4 + 2 * (1 + 2) + 20)
    assert milliseconds(Option(weights={LEXICAL: 1.0})) == pytest.approx(0.25 + 0.5)


def test_a_leg_that_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match="expected legs among a, b, bm25, got c"):
        COSTS.of(singles(("c",))[0])


def test_chunks_are_embedded_in_one_go_and_queries_one_by_one_after_a_few() -> None:
    model = Counted("acme/counted")
    embedding_cost(model, ["text"] * 64, QUERIES)
    assert model.calls == [("chunks", 2), ("queries", 1), ("chunks", 64), *[("queries", 1)] * 5]


def test_what_is_timed_is_what_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))  # every reading of the clock is a second later
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    found = embedding_cost(MODELS["a"], ["text"] * 50, QUERIES)
    assert found == EmbeddingCost(seconds_per_1000_chunks=20.0, milliseconds_per_query=1000.0)


def test_costs_of_a_corpus_are_of_all_legs_and_bytes_are_those_of_the_vectors(corpus: Corpus) -> None:
    with corpus_legs(corpus, ("a", "b"), QUERIES, with_lexical=True, models=some("a", "b")) as legs:
        leg = legs.legs[-1]
        assert isinstance(leg, LexicalLeg)
        costs = measure_costs(corpus, ("b", "a"), QUERIES, lexical_leg=leg, models=MODELS)
    assert tuple(costs.embedding) == ("a", "b", LEXICAL)
    # three words in every chunk, each a place and a value of four bytes
    assert costs.bytes_per_chunk == {"a": 4 * 24, "b": 4 * 16, LEXICAL: 3 * 8}
    assert 0 <= costs.shared <= 1
    for option in (*singles(("a", "b")), *fused(("a", "b")), Option(weights={"a": 0.5, LEXICAL: 0.5})):
        assert all(value > 0 for value in costs.of(option).to_json().values())


def test_nothing_is_written_while_costs_are_measured(corpus: Corpus) -> None:
    before = corpus.manifest, corpus.deployments
    costs = measure_costs(corpus, ("c",), (), models=MODELS)
    corpus.refresh()
    assert (corpus.manifest, corpus.deployments) == before
    assert costs.shared == 1.0
    assert set(costs.embedding) == {"c"}


def test_bm25_that_is_stored_is_searched_in_the_store(corpus: Corpus) -> None:
    deploy(corpus, ["a", LEXICAL])
    with corpus_legs(corpus, ("a",), QUERIES, with_lexical=True, models=some("a")) as legs:
        leg = legs.legs[-1]
        assert isinstance(leg, LexicalLeg)
        costs = measure_costs(corpus, ("a",), QUERIES, lexical_leg=leg, models=MODELS)
    assert costs.search.lexical >= 0


class Waiting(FakeModel):
    """Waits as for a model of another machine, and keeps how many did so at the same time."""

    waiting = 0
    most = 0

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        Waiting.waiting += 1
        Waiting.most = max(Waiting.most, Waiting.waiting)
        time.sleep(0.05)
        Waiting.waiting -= 1
        return super().embed_queries(texts)


def test_what_two_models_share_is_measured_on_queries_that_both_embed_at_the_same_time(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair: dict[str, EmbeddingModel] = {
        "a": Waiting("acme/a", dimensions=24),
        "b": Waiting("acme/b", dimensions=16),
    }
    assert 0 <= measure_costs(corpus, ("a", "b"), QUERIES, models=pair).shared <= 1
    assert Waiting.most == 2
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))

    def shared(a: float, b: float) -> float:
        return module._shared({"a": (MODELS["a"], a), "b": (MODELS["b"], b)}, QUERIES)

    # a second together, where the slower takes 0.8 alone and the faster 0.4: half of that is added
    assert shared(800, 400) == shared(400, 800) == pytest.approx(0.5)
    assert shared(1100, 400) == 0
    assert shared(500, 400) == 1


def test_a_corpus_without_chunks_has_no_costs(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = EmbeddedStore(tmp_path_factory.mktemp("empty"))
    with (
        Corpus.create(store, "c", chunker=ChunkerSpec(), models=[MODELS["a"].spec]) as empty,
        pytest.raises(InputError, match="expected chunks to measure costs on, got none"),
    ):
        measure_costs(empty, ("a",), QUERIES, models=MODELS)


@given(
    few=st.floats(100, 1000),
    more=st.floats(0, 4000),
    short=st.floats(0.01, 50),
    long=st.floats(0.01, 50),
)
def test_the_line_through_two_searches_never_goes_below_zero(
    few: float, more: float, short: float, long: float
) -> None:
    fixed, per_byte = module._line((few, short), (few + more, long))
    assert fixed >= -1e-9
    assert per_byte >= 0
    assert fixed + per_byte * (few + more) == pytest.approx(long)
    if more and 0 <= (long - short) / more <= long / (few + more):
        assert fixed + per_byte * few == pytest.approx(short)


def test_the_line_goes_through_both_searches() -> None:
    # (1000 bytes, 5 ms) and (3000 bytes, 9 ms): 3 ms and 0.002 ms per byte
    assert module._line((1000, 5), (3000, 9)) == pytest.approx((3, 0.002))
    assert module._line((1000, 5), (1000, 5)) == pytest.approx((0, 0.005))
    assert np.isclose(module._line((1000, 6), (3000, 5)), (5, 0)).all()
