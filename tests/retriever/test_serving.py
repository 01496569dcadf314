"""Many who ask at once, and a deployment that changes under them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from retriever import serving as module
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import rollback
from retriever.errors import EmbeddingError, InputError, ModelMismatchError, StoreError, TandemError
from retriever.models.protocol import FloatArray
from retriever.records import Chunk
from retriever.search import Searcher, Wish
from retriever.serving import Serving
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

WISH = Wish(k=3)


class Counting(FakeModel):
    """A model that notes what it embeds, waits where it is told to, and cannot read one word."""

    def __init__(self, name: str, dimensions: int) -> None:
        super().__init__(name, dimensions=dimensions)
        self.calls: list[list[str]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        self.calls.append(list(texts))
        assert self.go_on.wait(timeout=30)
        if any("unreadable" in text for text in texts):
            raise EmbeddingError("expected a text that can be read")
        return super().embed_queries(texts)


@pytest.fixture
def models() -> dict[str, Counting]:
    return {"alpha": Counting("acme/alpha", 24), "beta": Counting("acme/beta", 16)}


@pytest.fixture
def serving(corpus: Corpus, models: dict[str, Counting], monkeypatch: pytest.MonkeyPatch) -> Serving:
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.0)
    deploy(corpus, ["alpha", "beta"])
    return Serving(corpus, models=models)


def ids(found: Sequence[Any]) -> list[str]:
    return [one.point_id for one in found]


def test_questions_that_wait_are_embedded_together_and_answered_each_by_its_own(
    serving: Serving, models: dict[str, Counting], chunks: tuple[Chunk, ...]
) -> None:
    models["alpha"].go_on.clear()
    first = serving.ask(["the ferry"], WISH)
    while not models["alpha"].calls:
        pass
    texts = [chunk.text for chunk in chunks[:20]]
    others = [serving.ask([text], Wish(k=1 + place % 2)) for place, text in enumerate(texts)]
    models["alpha"].go_on.set()
    assert len(first.result(30)) == 3
    for place, (chunk, answer) in enumerate(zip(chunks, others, strict=False)):
        found = answer.result(30)
        assert len(found) == 1 + place % 2
        assert found[0].point_id == chunk.chunk_id
    assert models["beta"].calls == [["the ferry"], texts]


def test_an_error_is_that_of_its_own_question_alone(serving: Serving, models: dict[str, Counting]) -> None:
    models["alpha"].go_on.clear()
    first = serving.ask(["the ferry"], WISH)
    while not models["alpha"].calls:
        pass
    good, bad = serving.ask(["warm soil"], WISH), serving.ask(["unreadable"], WISH)
    wrong = serving.ask(["music"], Wish(k=1, weights={"alpha": 2.0, "beta": 0.0}))
    models["alpha"].go_on.set()
    assert len(first.result(30)) == len(good.result(30)) == 3
    with pytest.raises(EmbeddingError, match="can be read"):
        bad.result(30)
    with pytest.raises(InputError, match="sum to 1"):
        wrong.result(30)
    assert len(serving.ask(["again"], WISH).result(30)) == 3


@pytest.mark.parametrize("raised", [asyncio.CancelledError, SystemExit, KeyboardInterrupt, StopIteration])
def test_what_ends_a_model_ends_no_one_who_waits(
    corpus: Corpus, beta: FakeModel, raised: type[BaseException]
) -> None:
    class Ending(Counting):
        def embed_queries(self, texts: Sequence[str]) -> FloatArray:
            found = super().embed_queries(texts)
            if any("the end" in text for text in texts):
                raise raised
            return found

    alpha = Ending("acme/alpha", 24)
    deploy(corpus, ["alpha", "beta"])
    serving = Serving(corpus, models={"alpha": alpha, "beta": beta})
    alpha.go_on.clear()
    first = serving.ask(["the ferry"], WISH)
    while not alpha.calls:
        pass
    good, bad = serving.ask(["warm soil"], WISH), serving.ask(["the end"], WISH)
    alpha.go_on.set()
    assert len(first.result(30)) == len(good.result(30)) == 3
    with pytest.raises(TandemError, match=f"ended with {raised.__name__}") as told:
        bad.result(30)
    assert isinstance(told.value.__cause__, raised)

    async def ask() -> None:
        await asyncio.wait_for(asyncio.wrap_future(serving.ask(["the end"], WISH)), 30)

    with pytest.raises(TandemError, match="ended with"):
        asyncio.run(ask())
    assert len(serving.ask(["again"], WISH).result(30)) == 3
    serving.close()


def test_a_question_that_is_given_up_costs_nothing(serving: Serving, models: dict[str, Counting]) -> None:
    models["alpha"].go_on.clear()
    first = serving.ask(["the ferry"], WISH)
    while not models["alpha"].calls:
        pass
    given_up = serving.ask(["warm soil"], WISH)
    assert given_up.cancel()
    models["alpha"].go_on.set()
    first.result(30)
    serving.ask(["music"], WISH).result(30)
    assert [text for call in models["alpha"].calls for text in call] == ["the ferry", "music"]


def test_many_threads_are_answered_as_one_is(serving: Serving, chunks: tuple[Chunk, ...]) -> None:
    texts = [chunk.text for chunk in chunks]
    alone = [ids(serving.ask([text], WISH).result(30)) for text in texts]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda text: ids(serving.ask([text], WISH).result(30)), texts * 5))
    assert together == alone * 5


def test_what_is_deployed_and_rolled_back_elsewhere_is_served(
    serving: Serving, any_store: VectorStore
) -> None:
    legs = [set(serving.ask(["basil"], WISH).result(30)[0].contributions)]
    with Corpus.open(any_store, serving.corpus.name) as writer:
        deploy(writer, ["beta"])
        legs.append(set(serving.ask(["basil"], WISH).result(30)[0].contributions))
        rollback(writer)
        legs.append(set(serving.ask(["basil"], WISH).result(30)[0].contributions))
    assert legs == [{"alpha", "beta"}, {"beta"}, {"alpha", "beta"}]
    assert serving.deployment.models == ("alpha", "beta")


def test_the_first_question_is_answered_by_what_is_deployed_by_then(
    corpus: Corpus, models: dict[str, Counting], any_store: VectorStore
) -> None:
    deploy(corpus, ["alpha"])
    serving = Serving(corpus, models=models)
    with Corpus.open(any_store, corpus.name) as writer:
        deploy(writer, ["beta"])
    assert serving.deployment.models == ("beta",)
    assert set(serving.ask(["basil"], WISH).result(30)[0].contributions) == {"beta"}


def test_what_is_deployed_again_between_two_looks_is_another_deployment(
    serving: Serving, models: dict[str, Counting], any_store: VectorStore
) -> None:
    serving.warm_up()
    before = serving.deployment
    with Corpus.open(any_store, serving.corpus.name) as writer:
        deploy(writer, ["beta"])
        again = deploy(writer, ["alpha", "beta"])
    assert again.created != before.created
    assert serving.deployment == again
    chosen = Serving.choosing(serving.corpus, "alpha", models={"alpha": models["alpha"]})
    searcher = chosen.searcher
    searcher.deployment = replace(searcher.deployment, created="2026-01-01T00:00:00+00:00")
    assert chosen.searcher is searcher  # what nobody deployed is the same at any time


def test_a_vector_that_is_dropped_before_the_next_look_is_no_error(
    serving: Serving, any_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.warm_up()
    monkeypatch.setattr(module, "_CHECK_SECONDS", 3600.0)
    with Corpus.open(any_store, serving.corpus.name) as writer:
        deploy(writer, ["beta"])
        writer.drop_derived("alpha+beta")
    assert set(serving.ask(["basil"], WISH).result(30)[0].contributions) == {"beta"}


def test_answers_while_deployments_switch_are_of_one_of_them(
    serving: Serving, any_store: VectorStore
) -> None:
    stop = threading.Event()

    def switch() -> None:
        with Corpus.open(any_store, serving.corpus.name) as writer:
            deploy(writer, ["beta"])
            while not stop.is_set():
                rollback(writer, to=1)
                rollback(writer, to=2)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        for _ in range(60):
            (found, *_) = serving.ask(["basil"], WISH).result(30)
            assert set(found.contributions) in ({"alpha", "beta"}, {"beta"})
            assert sum(found.contributions.values()) == pytest.approx(found.score, abs=1e-9)
    finally:
        stop.set()
        thread.join()


def test_a_fixed_choice_stays_whatever_is_deployed(
    corpus: Corpus, models: dict[str, Counting], any_store: VectorStore
) -> None:
    deploy(corpus, ["alpha", "beta"])
    alone = Serving.choosing(corpus, "beta", models=models)
    assert set(alone.ask(["basil"], WISH).result(30)[0].contributions) == {"beta"}
    pair = Serving.choosing(corpus, "beta+alpha", models=models)
    assert set(pair.ask(["basil"], WISH).result(30)[0].contributions) == {"alpha", "beta"}
    with Corpus.open(any_store, corpus.name) as writer:
        deploy(writer, ["alpha"])
    assert alone.deployment.models == ("beta",)
    assert Serving.of(Searcher(corpus, pair.deployment, models=models)).serve == "alpha+beta"


def test_models_that_are_none_of_the_corpus_are_refused_before_anything_is_asked(
    corpus: Corpus, gamma: FakeModel
) -> None:
    with pytest.raises(InputError, match="among alpha, beta, got gamma"):
        Serving(corpus, models={"gamma": gamma})
    with pytest.raises(ModelMismatchError, match="evil/alpha"):
        Serving(corpus, models={"alpha": FakeModel("evil/alpha", dimensions=24)})


def test_the_thread_ends_when_nobody_asks_and_comes_back(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.05)
    for _ in range(3):
        assert len(serving.ask(["basil"], WISH).result(30)) == 3
        thread = serving._thread
        if thread is not None:
            thread.join(30)
        assert serving._thread is None


def test_what_waits_is_answered_before_it_is_closed(serving: Serving, models: dict[str, Counting]) -> None:
    models["alpha"].go_on.clear()
    answers = [serving.ask(["basil"], WISH) for _ in range(100)]
    closing = threading.Thread(target=serving.close)
    closing.start()
    models["alpha"].go_on.set()
    closing.join(30)
    assert all(len(answer.result(0)) == 3 for answer in answers)
    with pytest.raises(StoreError, match="it was closed"):
        serving.ask(["basil"], WISH)
    serving.close()


def test_it_is_closed_while_its_thread_ends(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.warm_up()
    ended = threading.Thread(target=lambda: None)
    ended.start()

    def forgotten(*_: object) -> None:  # by the thread itself, between two looks at it
        serving._thread = None

    monkeypatch.setattr(ended, "join", forgotten)
    monkeypatch.setattr(module.threading, "current_thread", forgotten)
    serving._thread = ended
    serving.close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="it was closed"):
        serving.ask(["basil"], WISH)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_serves_whatever_was_locked_when_it_was_forked(
    serving: Serving, in_child: Callable[[Callable[[], object]], str]
) -> None:
    serving.warm_up()
    with serving._turn, serving._arrival:
        said = in_child(lambda: serving.ask(["basil"], WISH).result(15))
    # An engine in this process serves no other one; what stands in for a server has no such rule.
    embedded = serving.corpus.location != ":memory:" and "://" not in serving.corpus.location
    assert said.startswith("StoreLockedError" if embedded else "[Found(")
    assert len(serving.ask(["basil"], WISH).result(30)) == 3


def test_models_are_loaded_once_by_all_that_use_them(
    make_corpus: Callable[..., Corpus], any_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    def load(spec: Any) -> FakeModel:
        loads.append(spec.key)
        return FakeModel(spec.name, dimensions=spec.dimensions)

    monkeypatch.setattr("retriever.search.models.load_stored", load)
    model = FakeModel("acme/once", dimensions=8)
    with make_corpus(any_store, "once", [model]) as corpus:
        deployment = deploy(corpus, ["once"])
        several = [Serving(corpus) for _ in range(4)]
        assert loads == []  # nobody has asked
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Serving.warm_up, several))
        searcher = Searcher(corpus, deployment)
        assert loads == ["once"]
        del several, searcher
