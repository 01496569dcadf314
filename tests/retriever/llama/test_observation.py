"""What LlamaIndex's callbacks, instrumentation and verbosity tell of a retrieval, and what steers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, TextNode

from retriever.errors import InputError
from retriever.llama.retriever import TandemRetriever
from retriever.models.protocol import EmbeddingModel

QUESTION = "How do I rotate an API credential without downtime?"

Ask = Callable[..., Any]
Serve = Callable[..., TandemRetriever]
Summary = Callable[[Sequence[NodeWithScore]], list[tuple[str, float]]]


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


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


class TestCallbacks:
    def test_they_see_start_and_end_with_the_nodes(
        self, retriever: TandemRetriever, ask: Ask, summary: Summary
    ) -> None:
        debug = LlamaDebugHandler(print_trace_on_end=False)
        watched = retriever.using(callback_manager=CallbackManager([debug]))
        nodes = ask(watched, "retrieve", QUESTION)
        ((start, end),) = debug.get_event_pairs(CBEventType.RETRIEVE)
        assert start.payload == {EventPayload.QUERY_STR: QUESTION}
        assert end.payload is not None
        assert summary(end.payload[EventPayload.NODES]) == summary(nodes)

    def test_in_a_query_engine_they_see_every_step(self, retriever: TandemRetriever, ask: Ask) -> None:
        debug = LlamaDebugHandler(print_trace_on_end=False)
        manager = CallbackManager([debug])
        watched = retriever.using(callback_manager=manager)
        engine = RetrieverQueryEngine.from_args(
            watched, llm=MockLLM(callback_manager=manager), callback_manager=manager
        )
        ask(engine, "query", QUESTION)
        for kind in (CBEventType.QUERY, CBEventType.RETRIEVE):
            assert len(debug.get_event_pairs(kind)) == 1

    def test_an_error_ends_the_event(self, retriever: TandemRetriever, ask: Ask) -> None:
        debug = LlamaDebugHandler(print_trace_on_end=False)
        watched = retriever.using(callback_manager=CallbackManager([debug]))
        with pytest.raises(InputError, match="a text to search for"):
            ask(watched, "retrieve", "")
        assert len(debug.get_event_pairs(CBEventType.RETRIEVE)) == 1


class TestInstrumentation:
    def test_events_tell_the_start_and_the_end(
        self, retriever: TandemRetriever, recorder: Recorder, ask: Ask, summary: Summary
    ) -> None:
        nodes = ask(retriever, "retrieve", QUESTION)
        start, end = recorder.events
        assert (type(start), type(end)) == (RetrievalStartEvent, RetrievalEndEvent)
        assert start.str_or_query_bundle == end.str_or_query_bundle == QUESTION
        assert summary(end.nodes) == summary(nodes)
        assert start.span_id == end.span_id is not None

    def test_spans_are_nested_and_closed(
        self, retriever: TandemRetriever, spans: SimpleSpanHandler, ask: Ask
    ) -> None:
        ask(retriever, "retrieve", QUESTION)
        names = {span.id_: span for span in spans.completed_spans}
        inner = [span for span in names.values() if "_retrieve" in span.id_ or "_aretrieve" in span.id_]
        assert len(inner) == 1
        assert inner[0].id_.startswith("TandemRetriever.")
        assert inner[0].parent_id in names
        assert not spans.open_spans

    def test_an_error_drops_the_span(
        self, retriever: TandemRetriever, spans: SimpleSpanHandler, ask: Ask
    ) -> None:
        with pytest.raises(InputError):
            ask(retriever, "retrieve", "")
        assert spans.dropped_spans
        assert not spans.open_spans

    def test_many_questions_at_once_keep_their_events_apart(
        self, retriever: TandemRetriever, recorder: Recorder, questions: list[str]
    ) -> None:
        async def every() -> None:
            await asyncio.gather(*(retriever.aretrieve(question) for question in questions))

        asyncio.run(every())
        starts = [event for event in recorder.events if isinstance(event, RetrievalStartEvent)]
        ends = [event for event in recorder.events if isinstance(event, RetrievalEndEvent)]
        assert sorted(str(event.str_or_query_bundle) for event in starts) == sorted(questions)
        by_span = {event.span_id: event.str_or_query_bundle for event in starts}
        assert len(by_span) == len(questions)
        assert {event.span_id: event.str_or_query_bundle for event in ends} == by_span


class TestObjects:
    """`object_map`: what nodes point to, by `index_id`."""

    def served(self, serve: Serve, models: dict[str, EmbeddingModel], **options: Any) -> TandemRetriever:
        nodes = [
            IndexNode(id_="about", text="A table of zebras.", index_id="zebras"),
            TextNode(id_="ferry", text="The ferry leaves at noon."),
            TextNode(id_="salt", text="Salt."),
        ]
        return serve(nodes, models, similarity_top_k=1, **options)

    def test_without_an_object_the_node_itself_comes(
        self, serve: Serve, models: dict[str, EmbeddingModel], ask: Ask
    ) -> None:
        (found,) = ask(self.served(serve, models), "retrieve", "A table of zebras.")
        assert found.node == IndexNode(id_="about", text="A table of zebras.", index_id="zebras")

    def test_nodes_retrievers_and_engines_stand_in_for_it(
        self,
        serve: Serve,
        models: dict[str, EmbeddingModel],
        retriever: TandemRetriever,
        ask: Ask,
        summary: Summary,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        question = "A table of zebras."
        whole = TextNode(text="The table itself.")
        scored = NodeWithScore(node=whole, score=0.25)
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
        root = self.served(serve, models)

        def found(object_: Any, **options: Any) -> list[NodeWithScore]:
            return ask(root.using(object_map={"zebras": object_}, **options), "retrieve", question)

        (plain,) = root.retrieve(question)
        assert [(one.node, one.score) for one in found(whole)] == [(whole, plain.score)]
        assert found(scored) == [scored]
        assert summary(found(retriever)) == summary(retriever.retrieve(question))
        assert [one.text for one in found(engine)] == [str(engine.query(question))]
        assert capsys.readouterr().out == ""
        found(whole, verbose=True)
        assert "Retrieval entering zebras: TextNode" in capsys.readouterr().out


class TestTexts:
    """`QueryBundle.embedding_strs`: what is embedded of a question."""

    def test_other_texts_than_the_question_are_embedded(
        self, retriever: TandemRetriever, ask: Ask, summary: Summary
    ) -> None:
        question = QueryBundle("not embedded", custom_embedding_strs=[QUESTION])
        assert summary(ask(retriever, "retrieve", question)) == summary(retriever.retrieve(QUESTION))

    def test_several_texts_score_with_their_mean(self, retriever: TandemRetriever, ask: Ask) -> None:
        every = retriever.using(similarity_top_k=1000)
        texts = ["warm soil", "rotate a key", "invoices"]
        each = [{node.node_id: node.score or 0.0 for node in every.retrieve(text)} for text in texts]
        for node in ask(every, "retrieve", QueryBundle("not embedded", custom_embedding_strs=texts)):
            assert node.score == pytest.approx(sum(one[node.node_id] for one in each) / 3, abs=1e-5)

    @pytest.mark.parametrize("query", ["", QueryBundle("x", custom_embedding_strs=[])], ids=["empty", "none"])
    def test_without_a_text_there_is_an_error(self, retriever: TandemRetriever, query: Any, ask: Ask) -> None:
        with pytest.raises(InputError, match="a text to search for"):
            ask(retriever, "retrieve", query)
