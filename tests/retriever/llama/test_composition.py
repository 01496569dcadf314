"""The retriever inside LlamaIndex's engines, routers, agents, evaluators and before its postprocessors."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.evaluation.retrieval.metrics import METRIC_REGISTRY
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser
from llama_index.core.postprocessor import (
    FixedRecencyPostprocessor,
    LongContextReorder,
    MetadataReplacementPostProcessor,
    SentenceTransformerRerank,
    SimilarityPostprocessor,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import RouterRetriever, TransformRetriever
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.tools import RetrieverTool

from retriever.llama.retriever import TandemRetriever
from retriever.models.protocol import EmbeddingModel

QUESTION = "How do I rotate an API credential without downtime?"

Ask = Callable[..., Any]
Serve = Callable[..., TandemRetriever]
Summary = Callable[[Sequence[NodeWithScore]], list[tuple[str, float]]]


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect the chat memories that LlamaIndex never closes, before another test would fail of it."""
    yield
    gc.collect()


class TestQueryEngines:
    @pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
    def test_they_answer_from_its_nodes(
        self, retriever: TandemRetriever, llm: MockLLM, ask: Ask, summary: Summary, mode: ResponseMode
    ) -> None:
        engine = RetrieverQueryEngine.from_args(retriever, llm=llm, response_mode=mode)
        nodes = retriever.retrieve(QUESTION)
        response = ask(engine, "query", QUESTION)
        assert summary(response.source_nodes) == summary(nodes)
        assert nodes[0].text in str(response)  # the mock repeats its prompt

    def test_a_hypothetical_answer_is_searched_beside_the_question(
        self, retriever: TandemRetriever, summary: Summary
    ) -> None:
        """HyDE gives two texts to embed and the question to answer."""
        answer = "Create the new key, deploy it, then revoke the old one."

        class Inventive(MockLLM):
            def _generate_text(self, length: int) -> str:
                return answer

        transform = HyDEQueryTransform(llm=Inventive(max_tokens=1))
        texts = transform.run(QUESTION)
        assert texts.embedding_strs == [answer, QUESTION]
        engine = TransformQueryEngine(RetrieverQueryEngine.from_args(retriever, llm=MockLLM()), transform)
        response = engine.query(QUESTION)
        assert summary(response.source_nodes) == summary(retriever.retrieve(texts))
        found = TransformRetriever(retriever, transform).retrieve(QUESTION)
        assert summary(found) == summary(retriever.retrieve(texts))

    @pytest.mark.filterwarnings("ignore:<aiosqlite:ResourceWarning")
    @pytest.mark.usefixtures("collected")
    def test_a_chat_engine_has_its_nodes_as_context(
        self, retriever: TandemRetriever, ask: Ask, summary: Summary
    ) -> None:
        nodes = retriever.retrieve(QUESTION)
        for engine in (
            ContextChatEngine.from_defaults(retriever=retriever, llm=MockLLM(is_chat_model=True)),
            CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=MockLLM(is_chat_model=True)),
        ):
            response = ask(engine, "chat", QUESTION)
            assert summary(response.source_nodes) == summary(nodes)
            assert nodes[-1].text in str(response)
            assert [message.role for message in engine.chat_history] == [
                MessageRole.USER,
                MessageRole.ASSISTANT,
            ]


class TestRouting:
    @pytest.fixture
    def tools(self, retriever: TandemRetriever) -> list[RetrieverTool]:
        keys = retriever.using(doc_ids=["access-keys.md"])
        money = retriever.using(doc_ids=["billing.md"])
        return [
            RetrieverTool.from_defaults(keys, name="keys", description="About keys."),
            RetrieverTool.from_defaults(money, name="money", description="About money."),
        ]

    @staticmethod
    def selecting(choices: str) -> MockLLM:
        class Selecting(MockLLM):
            def _generate_text(self, length: int) -> str:
                return choices

        return Selecting(max_tokens=1)

    def test_the_one_that_is_selected_answers(
        self, tools: list[RetrieverTool], ask: Ask, summary: Summary
    ) -> None:
        llm = self.selecting('[{"choice": 2, "reason": "money"}]')
        router = RouterRetriever(LLMSingleSelector.from_defaults(llm=llm), tools, llm=llm)
        found = ask(router, "retrieve", "What does it cost?")
        assert {node.node.ref_doc_id for node in found} == {"billing.md"}
        assert summary(found) == summary(tools[1].retriever.retrieve("What does it cost?"))

    def test_several_that_are_selected_answer_together(self, tools: list[RetrieverTool], ask: Ask) -> None:
        llm = self.selecting('[{"choice": 1, "reason": "keys"}, {"choice": 2, "reason": "money"}]')
        router = RouterRetriever(LLMMultiSelector.from_defaults(llm=llm), tools, llm=llm)
        found = {node.node_id for node in ask(router, "retrieve", QUESTION)}
        assert found == {node.node_id for tool in tools for node in tool.retriever.retrieve(QUESTION)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # agents use what their libraries give up
@pytest.mark.filterwarnings("ignore:<aiosqlite:ResourceWarning")
@pytest.mark.usefixtures("collected")
class TestTools:
    """A tool writes what it is called with into a question of its own."""

    CALLED = f"{QUESTION}\n\n"

    def test_a_tool_gives_the_text_and_the_nodes(self, retriever: TandemRetriever, ask: Ask) -> None:
        output = ask(RetrieverTool.from_defaults(retriever), "call", QUESTION)
        assert [node.node_id for node in output.raw_output] == [
            node.node_id for node in retriever.retrieve(self.CALLED)
        ]
        assert output.raw_output[0].node.get_content(MetadataMode.LLM) in output.content

    def test_postprocessors_of_a_tool_are_applied(self, retriever: TandemRetriever, ask: Ask) -> None:
        tool = RetrieverTool.from_defaults(retriever, node_postprocessors=[_Longest(top_n=1)])
        (node,) = ask(tool, "call", QUESTION).raw_output
        assert len(node.text) == max(len(other.text) for other in retriever.retrieve(self.CALLED))

    @staticmethod
    def used(agent: Any, question: str) -> tuple[str, list[ToolCallResult]]:
        async def run() -> tuple[str, list[ToolCallResult]]:
            handler = agent.run(question)
            results = [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
            return str(await handler), results

        return asyncio.run(run())

    def test_an_agent_that_calls_functions_reads_what_it_finds(
        self, retriever: TandemRetriever, summary: Summary
    ) -> None:
        def speak(messages: Sequence[ChatMessage], **_: Any) -> Any:
            last = messages[-1]
            if last.role != MessageRole.TOOL:
                call = ToolCallBlock(
                    tool_call_id="1", tool_name="handbook", tool_kwargs={"input": last.content}
                )
                return _streamed(ChatMessage(role="assistant", blocks=[call]))
            return _streamed(ChatMessage(role="assistant", content=f"It says: {last.content}"))

        tool = RetrieverTool.from_defaults(retriever, name="handbook", description="The handbook.")
        llm = MockFunctionCallingLLM(response_generator=speak, is_chat_model=True)
        answer, (result,) = self.used(FunctionAgent(tools=[tool], llm=llm), QUESTION)
        expected = retriever.retrieve(f"\ninput is {QUESTION}\n")
        assert summary(result.tool_output.raw_output) == summary(expected)
        assert expected[0].text in answer

    def test_an_agent_that_reasons_in_words_reads_what_it_finds(
        self, retriever: TandemRetriever, summary: Summary
    ) -> None:
        def speak(messages: Sequence[ChatMessage], **_: Any) -> Any:
            last = str(messages[-1].content)
            if not last.startswith("Observation:"):
                words = 'Thought: I look it up.\nAction: handbook\nAction Input: {"input": "rotate a key"}'
            else:
                words = f"Thought: I can answer without using any more tools.\nAnswer: {last}"
            return _streamed(ChatMessage(role="assistant", content=words))

        tool = RetrieverTool.from_defaults(retriever, name="handbook", description="The handbook.")
        llm = MockFunctionCallingLLM(response_generator=speak, is_chat_model=True)
        answer, (result,) = self.used(ReActAgent(tools=[tool], llm=llm), QUESTION)
        expected = retriever.retrieve("\ninput is rotate a key\n")
        assert summary(result.tool_output.raw_output) == summary(expected)
        assert expected[0].text.split("\n")[0] in answer


async def _streamed(message: ChatMessage) -> Any:
    yield message


class TestEvaluation:
    METRICS = ("hit_rate", "mrr", "precision", "recall", "ap", "ndcg")

    def test_every_metric_reads_the_ids_that_the_program_gave(
        self, serve: Serve, handbook: list[LlamaDocument], models: dict[str, EmbeddingModel]
    ) -> None:
        nodes = SentenceSplitter(chunk_size=60, chunk_overlap=0).get_nodes_from_documents(handbook)
        retriever = serve(nodes, models, chunk_tokens=128, similarity_top_k=4)
        ranked = [node.node_id for node in retriever.retrieve(QUESTION)]
        assert set(ranked) <= {node.node_id for node in nodes}
        evaluator = RetrieverEvaluator.from_metric_names(list(self.METRICS), retriever=retriever)
        result = evaluator.evaluate(QUESTION, expected_ids=[ranked[1], ranked[3], "not found"])
        # By hand: of three, two are found among four, at ranks 2 and 4.
        discounts = [1 / math.log2(1 + rank) for rank in (1, 2, 3)]
        assert result.metric_vals_dict == pytest.approx(
            {
                "hit_rate": 1.0,
                "mrr": 1 / 2,
                "precision": 2 / 4,
                "recall": 2 / 3,
                "ap": (1 / 2 + 2 / 4) / 3,
                "ndcg": (1 / math.log2(3) + 1 / math.log2(5)) / sum(discounts),
            }
        )
        assert result.retrieved_ids == ranked

    def test_no_metric_of_llama_index_that_runs_alone_is_left_out(self) -> None:
        assert set(METRIC_REGISTRY) - set(self.METRICS) == {"cohere_rerank_relevancy"}  # a service

    def test_chunks_of_documents_are_evaluated_by_their_ids(
        self, retriever: TandemRetriever, questions: list[str]
    ) -> None:
        evaluator = RetrieverEvaluator.from_metric_names(["mrr"], retriever=retriever)
        expected = [(question, [retriever.retrieve(question)[0].node_id]) for question in questions[:3]]

        async def evaluate() -> list[Any]:
            return [await evaluator.aevaluate(question, ids) for question, ids in expected]

        results = asyncio.run(evaluate())
        assert [result.metric_vals_dict for result in results] == [{"mrr": 1.0}] * 3


class _Longest(BaseNodePostprocessor):
    """Prefers long texts."""

    top_n: int

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return sorted(nodes, key=lambda node: -len(node.text))[: self.top_n]


class TestPostprocessors:
    def test_those_by_score_read_it(self, retriever: TandemRetriever, ask: Ask) -> None:
        nodes = retriever.retrieve(QUESTION)
        cutoff = nodes[1].score or 0.0
        engine = RetrieverQueryEngine.from_args(
            retriever,
            llm=MockLLM(),
            node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=cutoff)],
        )
        assert [node.node_id for node in ask(engine, "query", QUESTION).source_nodes] == [
            node.node_id for node in nodes[:2]
        ]

    def test_those_that_reorder_keep_all(self, retriever: TandemRetriever) -> None:
        one, two, three, four = retriever.retrieve(QUESTION)
        reordered = LongContextReorder().postprocess_nodes([one, two, three, four])
        assert [node.node_id for node in reordered] == [
            node.node_id for node in (two, four, three, one)
        ]  # worst in the middle

    def test_explanations_pass_through_them(self, retriever: TandemRetriever) -> None:
        nodes = retriever.retrieve(QUESTION)
        kept = SimilarityPostprocessor(similarity_cutoff=-1).postprocess_nodes(nodes)
        assert [node.contributions for node in kept] == [node.contributions for node in nodes]  # type: ignore[attr-defined]

    def test_one_that_replaces_a_sentence_by_its_window_finds_it(
        self, serve: Serve, handbook: list[LlamaDocument], models: dict[str, EmbeddingModel]
    ) -> None:
        nodes = SentenceWindowNodeParser(window_size=1).get_nodes_from_documents(handbook)
        retriever = serve(nodes, models, similarity_top_k=2)
        replace = MetadataReplacementPostProcessor(target_metadata_key="window")
        for node in retriever.retrieve(QUESTION):
            sentence, window = node.text, node.metadata["window"]
            assert window not in node.node.get_content(MetadataMode.LLM)
            (replaced,) = replace.postprocess_nodes([node])
            assert replaced.text == window
            assert sentence.strip() in window

    def test_one_by_date_reads_the_metadata(self, serve: Serve, models: dict[str, EmbeddingModel]) -> None:
        documents = [
            LlamaDocument(id_=f"d{i}", text=f"Rotate the key number {i}.", metadata={"date": f"2026-01-0{i}"})
            for i in range(1, 5)
        ]
        retriever = serve(documents, models, similarity_top_k=4)
        newest = FixedRecencyPostprocessor(top_k=1, date_key="date")
        (node,) = newest.postprocess_nodes(retriever.retrieve(QUESTION), QueryBundle(QUESTION))
        assert node.node.ref_doc_id == "d4"

    def test_a_cross_encoder_of_llama_index_reranks(
        self, retriever: TandemRetriever, cross_encoder: str, ask: Ask
    ) -> None:
        rerank = SentenceTransformerRerank(top_n=2, model=cross_encoder, keep_retrieval_score=True)
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[rerank])
        found = ask(engine, "query", QUESTION).source_nodes
        before = {node.node_id: node.score for node in retriever.retrieve(QUESTION)}
        assert len(found) == 2
        assert (found[0].score or 0.0) >= (found[1].score or 0.0)
        for node in found:
            assert node.metadata["retrieval_score"] == pytest.approx(before[node.node_id], abs=1e-6)

    def test_what_they_write_into_nodes_is_not_seen_by_the_next_question(
        self, retriever: TandemRetriever
    ) -> None:
        for node in retriever.retrieve(QUESTION):
            node.score = -1.0
            node.node.metadata["mark"] = True
        for node in retriever.retrieve(QUESTION):
            assert node.score != -1.0
            assert "mark" not in node.metadata
