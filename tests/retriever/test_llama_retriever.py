from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import (
    CorpusNotFoundError,
    DeploymentNotFoundError,
    InputError,
    ModelMismatchError,
    ModelNotFoundError,
    StoreError,
)
from retriever.llama.retriever import ExplainedNode, TandemRetriever
from retriever.models.protocol import FloatArray
from retriever.records import Chunk
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import Point, VectorStore
from retriever.testing import FakeModel

QUERY = "warm soil and basil"
SearcherFor = Callable[..., Searcher]


def summary(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float]]:
    return [(node.node_id, round(node.score or 0.0, 6)) for node in nodes]


@pytest.fixture
def searcher(shared_corpus: Corpus, searcher_for: SearcherFor, alpha: FakeModel, beta: FakeModel) -> Searcher:
    return searcher_for(shared_corpus, {alpha: 0.7, beta: 0.3})


@pytest.fixture
def retriever(searcher: Searcher) -> TandemRetriever:
    return TandemRetriever(searcher, similarity_top_k=5)


def test_nodes_are_the_hits_of_the_searcher_with_their_explanation(
    retriever: TandemRetriever, searcher: Searcher
) -> None:
    nodes = retriever.retrieve(QUERY)
    (hits,) = searcher.search([QUERY], k=5)
    assert [node.node_id for node in nodes] == [hit.chunk.chunk_id for hit in hits]
    for node, hit in zip(nodes, hits, strict=True):
        assert isinstance(node, ExplainedNode)
        assert node.score == hit.score
        assert node.contributions == hit.contributions
        assert sum(node.contributions.values()) == pytest.approx(node.score, abs=1e-6)
        assert node.text == hit.chunk.text
        assert node.metadata == hit.chunk.metadata
        assert node.node.ref_doc_id == hit.chunk.doc_id


def test_the_asynchronous_way_gives_the_same(retriever: TandemRetriever) -> None:
    assert asyncio.run(retriever.aretrieve(QUERY)) == retriever.retrieve(QUERY)


def test_the_event_loop_stays_free_while_a_model_embeds(
    shared_corpus: Corpus, searcher_for: SearcherFor
) -> None:
    loop_went_on = threading.Event()

    class Waiting(FakeModel):
        def embed_queries(self, texts: Sequence[str]) -> FloatArray:
            assert loop_went_on.wait(timeout=10), "the event loop was blocked"
            return super().embed_queries(texts)

    waiting = searcher_for(shared_corpus, {Waiting("acme/alpha", dimensions=24): 1.0})

    async def ask() -> list[NodeWithScore]:
        task = asyncio.create_task(TandemRetriever(waiting).aretrieve(QUERY))
        await asyncio.sleep(0.01)
        loop_went_on.set()
        return await task

    assert len(asyncio.run(ask())) == DEFAULT_SIMILARITY_TOP_K


def test_a_hundred_questions_at_once_are_answered_each_by_its_own(
    retriever: TandemRetriever, chunks: tuple[Chunk, ...]
) -> None:
    texts = [chunks[i % len(chunks)].text for i in range(100)]

    async def ask() -> list[list[NodeWithScore]]:
        return await asyncio.gather(*(retriever.aretrieve(text) for text in texts))

    answers = asyncio.run(ask())
    assert [answer[0].text for answer in answers] == texts
    alone = {text: summary(retriever.retrieve(text)) for text in set(texts)}
    assert [summary(answer) for answer in answers] == [alone[text] for text in texts]


def test_the_default_number_of_nodes_is_that_of_llama_index(searcher: Searcher) -> None:
    retriever = TandemRetriever(searcher)
    assert retriever.similarity_top_k == DEFAULT_SIMILARITY_TOP_K
    assert len(retriever.retrieve(QUERY)) == DEFAULT_SIMILARITY_TOP_K


def test_none_are_asked_for_and_none_come(searcher: Searcher) -> None:
    retriever = TandemRetriever(searcher, similarity_top_k=0)
    assert retriever.retrieve(QUERY) == []
    assert asyncio.run(retriever.aretrieve(QUERY)) == []
    retriever.similarity_top_k = 2
    assert len(retriever.retrieve(QUERY)) == 2


def test_a_negative_number_of_nodes_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InputError, match="got -1"):
        TandemRetriever(searcher, similarity_top_k=-1).retrieve(QUERY)


@pytest.mark.parametrize("query", ["", QueryBundle("x", custom_embedding_strs=[])], ids=["empty", "no texts"])
def test_an_empty_question_is_refused(retriever: TandemRetriever, query: Any) -> None:
    with pytest.raises(InputError, match="a text to search for"):
        retriever.retrieve(query)


def test_restrictions_hold_together(searcher: Searcher, chunks: tuple[Chunk, ...]) -> None:
    german = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])
    ids = [chunk.chunk_id for chunk in chunks[:30]]
    documents = ["doc-1", "doc-4", "doc-5"]
    every = TandemRetriever(searcher, similarity_top_k=40)
    some = TandemRetriever(searcher, similarity_top_k=40, filters=german, node_ids=ids, doc_ids=documents)
    expected = [
        node.node_id
        for node in every.retrieve(QUERY)
        if node.metadata["lang"] == "de" and node.node_id in ids and node.node.ref_doc_id in documents
    ]
    assert [node.node_id for node in some.retrieve(QUERY)] == expected
    assert len(expected) == 6
    assert TandemRetriever(searcher, doc_ids=["never"]).retrieve(QUERY) == []


def test_the_embedding_of_the_query_is_neither_read_nor_written(retriever: TandemRetriever) -> None:
    poison = [float("nan")] * 24
    plain, poisoned = QueryBundle(QUERY), QueryBundle(QUERY, embedding=poison)
    expected = retriever.retrieve(QUERY)
    assert retriever.retrieve(plain) == retriever.retrieve(poisoned) == expected
    assert asyncio.run(retriever.aretrieve(poisoned)) == expected
    assert plain.embedding is None
    assert poisoned.embedding is poison
    assert all(value != value for value in poison)  # noqa: PLR0124  # NaN is not itself


def test_several_texts_for_one_question_score_with_the_mean(searcher: Searcher) -> None:
    retriever = TandemRetriever(searcher, similarity_top_k=40)
    texts = ["warm soil", "ferry at noon", "music"]
    nodes = retriever.retrieve(QueryBundle("not embedded", custom_embedding_strs=texts))
    each = [{hit.chunk.chunk_id: hit for hit in hits} for hits in searcher.search(texts, k=40)]
    assert len(nodes) == 40
    for node in nodes:
        hits = [by_id[node.node_id] for by_id in each]
        assert node.score == pytest.approx(sum(hit.score for hit in hits) / 3, abs=1e-6)
        assert isinstance(node, ExplainedNode)
        for key, share in node.contributions.items():
            assert share == pytest.approx(sum(hit.contributions[key] for hit in hits) / 3, abs=1e-6)


@pytest.fixture
def with_index_node(corpus: Corpus, alpha: FakeModel, searcher_for: SearcherFor) -> Searcher:
    """Return a searcher of a corpus in which one chunk points to something else, as LlamaIndex writes it."""
    node = IndexNode(id_=str(uuid.uuid4()), text="a table of zebras", index_id="zebras")
    payload = node_to_metadata_dict(node, remove_text=False, flat_metadata=False)
    vectors = {"alpha": alpha.embed_chunks([node.text])[0]}
    corpus._collection.upsert([Point(point_id=node.node_id, payload=payload, vectors=vectors)])
    return searcher_for(corpus, {alpha: 1.0})


def test_a_node_that_points_elsewhere_is_followed(with_index_node: Searcher) -> None:
    query = "a table of zebras"
    plain = TandemRetriever(with_index_node, similarity_top_k=1)
    assert isinstance(plain.retrieve(query)[0].node, IndexNode)
    node = TextNode(text="the table itself")
    to_node = TandemRetriever(with_index_node, similarity_top_k=1, object_map={"zebras": node})
    assert to_node.retrieve(query)[0].text == "the table itself"
    other = TandemRetriever(with_index_node, doc_ids=["doc-3"])
    to_retriever = TandemRetriever(with_index_node, similarity_top_k=1, object_map={"zebras": other})
    assert to_retriever.retrieve(query) == other.retrieve(query)
    assert asyncio.run(to_retriever.aretrieve(query)) == other.retrieve(query)


class Recorder(BaseEventHandler):
    """Keeps the events of LlamaIndex's instrumentation."""

    events: list[Any] = []  # noqa: RUF012  # a field of a pydantic model

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    root, recorder = get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    yield recorder
    root.event_handlers.remove(recorder)


def test_instrumentation_sees_the_start_and_the_end(retriever: TandemRetriever, recorder: Recorder) -> None:
    nodes = retriever.retrieve(QUERY)
    asyncio.run(retriever.aretrieve(QUERY))
    start, end, *_ = recorder.events
    assert [type(event) for event in recorder.events] == 2 * [RetrievalStartEvent, RetrievalEndEvent]
    assert start.str_or_query_bundle == end.str_or_query_bundle == QUERY
    assert summary(end.nodes) == summary(nodes)
    assert start.span_id is not None


def test_callbacks_see_a_retrieval_with_its_nodes(searcher: Searcher) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    nodes = TandemRetriever(searcher, callback_manager=CallbackManager([debug])).retrieve(QUERY)
    ((start, end),) = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert start.payload == {EventPayload.QUERY_STR: QUERY}
    assert end.payload == {EventPayload.NODES: nodes}


def test_a_query_engine_answers_from_the_nodes(retriever: TandemRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    nodes = retriever.retrieve(QUERY)
    for response in (engine.query(QUERY), asyncio.run(engine.aquery(QUERY))):
        assert summary(response.source_nodes) == summary(nodes)
        assert nodes[0].text in str(response)  # the mock repeats its prompt


@pytest.mark.parametrize("use_async", [False, True])
def test_two_models_in_a_fusion_are_each_searched_with_their_own_vectors(
    shared_store: VectorStore,
    make_corpus: Callable[..., Corpus],
    searcher_for: SearcherFor,
    alpha: FakeModel,
    gamma: FakeModel,
    use_async: bool,  # noqa: FBT001  # LlamaIndex's own flag
) -> None:
    name = f"fused-{use_async}"
    with make_corpus(shared_store, name, [alpha, gamma]) as corpus:
        searchers = [searcher_for(corpus, {model: 1.0}) for model in (alpha, gamma)]
        fusion = QueryFusionRetriever(
            [TandemRetriever(searcher, similarity_top_k=40) for searcher in searchers],
            llm=MockLLM(),
            mode=FUSION_MODES.SIMPLE,
            similarity_top_k=40,
            num_queries=1,
            use_async=use_async,
        )
        expected: dict[str, float] = {}
        for searcher in searchers:
            for hit in searcher.search([QUERY], k=40)[0]:
                best = expected.get(hit.chunk.chunk_id, -1.0)
                expected[hit.chunk.chunk_id] = max(best, hit.score)
        for nodes in (fusion.retrieve(QUERY), asyncio.run(fusion.aretrieve(QUERY))):
            assert {node.node_id: node.score for node in nodes} == pytest.approx(expected, abs=1e-6)


def test_a_deployment_is_served_from_its_folder(
    tmp_path: Path, make_corpus: Callable[..., Corpus], alpha: FakeModel, beta: FakeModel
) -> None:
    with make_corpus(EmbeddedStore(tmp_path), "guide", [alpha, beta]) as corpus:
        deployed = deploy(corpus, ["alpha", "beta"])
    retriever = TandemRetriever.from_deployment(
        "guide", store=tmp_path, models={"alpha": alpha, "beta": beta}, similarity_top_k=3, doc_ids=["doc-3"]
    )
    assert retriever.deployment == deployed
    assert retriever.similarity_top_k == 3
    nodes = retriever.retrieve(QUERY)
    assert {node.node.ref_doc_id for node in nodes} == {"doc-3"}
    retriever.close()
    retriever.close()
    with pytest.raises(StoreError):
        retriever.retrieve(QUERY)


def test_what_cannot_be_served_is_refused_and_leaves_nothing_open(
    tmp_path: Path, make_corpus: Callable[..., Corpus]
) -> None:
    store, solo = EmbeddedStore(tmp_path), FakeModel("solo", dimensions=24)

    def serve(corpus: str = "guide", **options: Any) -> TandemRetriever:
        return TandemRetriever.from_deployment(corpus, store=tmp_path, **options)

    def serve_once() -> None:
        with closing(serve()) as retriever:  # which loads its models when it is used
            retriever.warm_up()

    with make_corpus(store, "guide", [solo]):
        pass
    with pytest.raises(CorpusNotFoundError, match=r"'other'.*found guide"):
        serve("other")
    with pytest.raises(DeploymentNotFoundError, match="tandem deploy"):
        serve()
    with Corpus.open(store, "guide") as corpus:
        deploy(corpus, ["solo"])
    with pytest.raises(ModelMismatchError, match="'evil/solo'"):
        serve(models={"solo": FakeModel("evil/solo", dimensions=24)})
    with pytest.raises(ModelNotFoundError, match="fake:solo"):
        serve_once()  # a fake cannot be loaded from what its spec names
    with pytest.raises(InputError, match="node_ids"):
        serve(models={"solo": solo}, node_ids=[""])
    store.drop("guide")  # which an open corpus would not allow
