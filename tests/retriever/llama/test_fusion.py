"""Two models in LlamaIndex's fusion: the stock retriever searches one with the other's vector, ours never."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.schema import Document as LlamaDocument

from retriever.llama.retriever import TandemRetriever
from retriever.models.protocol import EmbeddingModel, FloatArray

Serve = Callable[..., TandemRetriever]
Summary = Callable[[Sequence[NodeWithScore]], list[tuple[str, float]]]


@pytest.fixture(scope="module")
def nodes(handbook: list[LlamaDocument]) -> list[BaseNode]:
    return SentenceSplitter(chunk_size=40, chunk_overlap=0).get_nodes_from_documents(handbook)


@pytest.fixture(scope="module")
def each(serve: Serve, nodes: list[BaseNode], models: dict[str, EmbeddingModel]) -> list[TandemRetriever]:
    """Return one retriever per model."""
    return [serve(nodes, {key: model}, chunk_tokens=128, similarity_top_k=5) for key, model in models.items()]


def fused(retrievers: Sequence[BaseRetriever], **options: Any) -> QueryFusionRetriever:
    settings: dict[str, Any] = {"similarity_top_k": 5, "num_queries": 1, "use_async": False, **options}
    return QueryFusionRetriever(list(retrievers), llm=settings.pop("llm", MockLLM()), **settings)


class TestModes:
    """Fusion of what each retriever finds alone, computed here by its definition."""

    @pytest.mark.parametrize("use_async", [False, True])
    @pytest.mark.parametrize("mode", FUSION_MODES)
    def test_every_mode_fuses_what_each_model_finds_alone(
        self,
        each: list[TandemRetriever],
        questions: list[str],
        mode: FUSION_MODES,
        use_async: bool,  # noqa: FBT001  # LlamaIndex's own flag
        ask: Callable[..., Any],
    ) -> None:
        fusion = fused(each, mode=mode, use_async=use_async, similarity_top_k=10)
        for question in questions[:3]:
            alone = [retriever.retrieve(question) for retriever in each]
            found = {node.node_id: node.score for node in ask(fusion, "retrieve", question)}
            assert found == pytest.approx(_BY_MODE[mode](alone), abs=1e-6)

    def test_generated_questions_are_asked_of_every_retriever(
        self, each: list[TandemRetriever], ask: Callable[..., Any]
    ) -> None:
        class Rewriter(MockLLM):
            def _answer(self, prompt: str) -> str:
                return "How are invoices paid?\nWho may delete a project?"

            def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
                return (
                    super()
                    .complete(prompt, formatted, **kwargs)
                    .model_copy(update={"text": self._answer(prompt)})
                )

        fusion = fused(each, num_queries=3, similarity_top_k=100, llm=Rewriter())
        texts = ["Where are backups kept?", "How are invoices paid?", "Who may delete a project?"]
        alone = [retriever.retrieve(text) for text in texts for retriever in each]
        found = {node.node_id: node.score for node in ask(fusion, "retrieve", texts[0])}
        assert found == pytest.approx(_simple(alone), abs=1e-6)

    def test_weights_of_retrievers_count(self, each: list[TandemRetriever], questions: list[str]) -> None:
        first, second = (retriever.retrieve(questions[0]) for retriever in each)
        only = fused(each, mode=FUSION_MODES.RELATIVE_SCORE, retriever_weights=[1.0, 0.0], similarity_top_k=5)
        found = [node.node_id for node in only.retrieve(questions[0]) if node.score]
        assert found == [node.node_id for node in first][: len(found)]
        assert len(found) == len(first) - 1  # the last one scores 0 by definition
        assert second != first

    def test_a_combination_is_one_of_several_retrievers(
        self, retriever: TandemRetriever, each: list[TandemRetriever], questions: list[str], summary: Summary
    ) -> None:
        fusion = fused([retriever, *each], mode=FUSION_MODES.SIMPLE, similarity_top_k=100)
        lists = [one.retrieve(questions[0]) for one in (retriever, *each)]
        assert {node.node_id for node in fusion.retrieve(questions[0])} == {
            node.node_id for one in lists for node in one
        }


@pytest.fixture(scope="module")
def pair(models: dict[str, EmbeddingModel]) -> dict[str, EmbeddingModel]:
    """Return the two models with as many dimensions, so that no error tells of a mistake."""
    fewest = min(model.spec.dimensions for model in models.values())
    equal = [
        model if model.spec.dimensions == fewest else _Shortened(model, fewest) for model in models.values()
    ]
    return {model.spec.key: model for model in equal}


@pytest.fixture(scope="module")
def stock(nodes: list[BaseNode], pair: dict[str, EmbeddingModel]) -> list[BaseRetriever]:
    indices = [VectorStoreIndex(nodes, embed_model=_embedding(model)) for model in pair.values()]
    return [index.as_retriever(similarity_top_k=5) for index in indices]


@pytest.fixture(scope="module")
def ours(serve: Serve, nodes: list[BaseNode], pair: dict[str, EmbeddingModel]) -> list[TandemRetriever]:
    return [serve(nodes, {key: model}, chunk_tokens=128, similarity_top_k=5) for key, model in pair.items()]


class TestTheDefectOfTheStockRetriever:
    """It writes its vector into the query; the next one in a fusion searches with that, of another model."""

    def test_two_stock_retrievers_spoil_each_other_and_ours_do_not(
        self, stock: list[BaseRetriever], ours: list[TandemRetriever], questions: list[str]
    ) -> None:
        assert _spoilt(stock, questions) > 0
        assert _spoilt(ours, questions) == 0

    def test_alone_ours_find_what_the_stock_ones_find(
        self, stock: list[BaseRetriever], ours: list[TandemRetriever], questions: list[str], summary: Summary
    ) -> None:
        for theirs, own in zip(stock, ours, strict=True):
            for question in questions:
                expected = {node.node_id: node.score for node in theirs.retrieve(question)}
                found = {node.node_id: node.score for node in own.retrieve(question)}
                assert found == pytest.approx(expected, abs=1e-5)

    def test_the_vector_of_a_query_is_neither_read_nor_written(self, ours: list[TandemRetriever]) -> None:
        query = _Guarded("Where are backups kept?")
        plain = QueryBundle(query.query_str)
        for own in ours:
            assert own.retrieve(query) == own.retrieve(plain)
            assert asyncio.run(own.aretrieve(query)) == own.retrieve(plain)
        assert query.touched == []
        assert plain.embedding is None

    def test_the_guard_of_that_test_sees_the_stock_retriever(self, stock: list[BaseRetriever]) -> None:
        query = _Guarded("Where are backups kept?")
        stock[0].retrieve(query)
        assert {"read", "written"} <= set(query.touched)


class _Guarded(QueryBundle):
    """A query that notes who touches its vector."""

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "touched", [])
        super().__init__(text)
        self.touched.clear()  # making it writes None

    touched: list[str]

    def __getattribute__(self, name: str) -> Any:
        if name == "embedding":
            object.__getattribute__(self, "touched").append("read")
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "embedding":
            self.touched.append("written")
        super().__setattr__(name, value)


class _Shortened:
    """The first dimensions of a real model, as unit vectors again."""

    def __init__(self, model: EmbeddingModel, dimensions: int) -> None:
        self._model = model
        self.spec = replace(model.spec, name="shortened", dimensions=dimensions)
        self.tokenizer = model.tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._shortened(self._model.embed_queries(texts))

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        return self._shortened(self._model.embed_chunks(texts))

    def _shortened(self, rows: FloatArray) -> FloatArray:
        kept = rows[:, : self.spec.dimensions]
        return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def _embedding(model: EmbeddingModel) -> BaseEmbedding:
    class Embedding(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return model.embed_queries([query])[0].tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

        def _get_text_embedding(self, text: str) -> list[float]:
            return model.embed_chunks([text])[0].tolist()

    return Embedding()


def _spoilt(retrievers: Sequence[BaseRetriever], questions: Sequence[str]) -> int:
    """Return for how many questions the second's first hit in a fusion is not the one it finds alone."""
    seen: list[list[NodeWithScore]] = []

    class Watched(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            seen.append(retrievers[1].retrieve(query_bundle))
            return [node.model_copy() for node in seen[-1]]

    fusion = fused([retrievers[0], Watched()], use_async=False)
    differing = 0
    for question in questions:
        fusion.retrieve(question)
        differing += seen[-1][0].node_id != retrievers[1].retrieve(question)[0].node_id
    return differing


Lists = Sequence[Sequence[NodeWithScore]]


def _simple(lists: Lists) -> dict[str, float]:
    best: dict[str, float] = {}
    for nodes in lists:
        for node in nodes:
            best[node.node_id] = max(best.get(node.node_id, -1.0), node.score or 0.0)
    return best


def _reciprocal(lists: Lists) -> dict[str, float]:
    total: dict[str, float] = {}
    for nodes in lists:
        for rank, node in enumerate(nodes):  # from 0: 60 is what LlamaIndex adds
            total[node.node_id] = total.get(node.node_id, 0.0) + 1 / (60 + rank)
    return total


def _relative(lists: Lists, bounds: Callable[[Sequence[float]], tuple[float, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for nodes in lists:
        low, high = bounds([node.score or 0.0 for node in nodes])
        for node in nodes:
            share = ((node.score or 0.0) - low) / (high - low) / len(lists)
            total[node.node_id] = total.get(node.node_id, 0.0) + share
    return total


def _three_deviations(scores: Sequence[float]) -> tuple[float, float]:
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    return mean - 3 * deviation, mean + 3 * deviation


_BY_MODE: dict[FUSION_MODES, Callable[[Lists], dict[str, float]]] = {
    FUSION_MODES.SIMPLE: _simple,
    FUSION_MODES.RECIPROCAL_RANK: _reciprocal,
    FUSION_MODES.RELATIVE_SCORE: lambda lists: _relative(lists, lambda scores: (min(scores), max(scores))),
    FUSION_MODES.DIST_BASED_SCORE: lambda lists: _relative(lists, _three_deviations),
}
