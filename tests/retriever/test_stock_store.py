"""LlamaIndex's own Qdrant store over a collection that Tandem filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from retriever.combine import concatenate
from retriever.corpus import Corpus
from retriever.records import Chunk, Combination
from retriever.search import Searcher
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

QUERY = "warm soil and basil"
Embedding = Callable[[FakeModel], BaseEmbedding]


@pytest.fixture(scope="module")
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture(scope="module")
def corpus(
    client: QdrantClient,
    make_corpus: Callable[..., Corpus],
    alpha: FakeModel,
    beta: FakeModel,
    gamma: FakeModel,
) -> Iterator[Corpus]:
    store = ServerStore(client, location=":memory:")
    with make_corpus(store, "guide", [alpha, beta, gamma], combine=[("alpha", "beta")]) as corpus:
        yield corpus


def stock(client: QdrantClient, corpus: Corpus, vector: str) -> QdrantVectorStore:
    return QdrantVectorStore(collection_name=corpus.name, client=client, dense_vector_name=vector)


@pytest.mark.parametrize("key", ["alpha", "beta"])
def test_the_stock_index_finds_what_we_find_with_one_model(
    client: QdrantClient,
    corpus: Corpus,
    searcher_for: Callable[..., Searcher],
    llama_embedding: Embedding,
    alpha: FakeModel,
    beta: FakeModel,
    key: str,
) -> None:
    model = {"alpha": alpha, "beta": beta}[key]
    index = VectorStoreIndex.from_vector_store(stock(client, corpus, key), embed_model=llama_embedding(model))
    nodes = index.as_retriever(similarity_top_k=10).retrieve(QUERY)
    (hits,) = searcher_for(corpus, {model: 1.0}).search([QUERY], k=10)
    assert [node.node_id for node in nodes] == [hit.chunk.chunk_id for hit in hits]
    assert [node.score for node in nodes] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_the_stock_store_finds_what_we_find_with_equal_weights_in_the_combined_vector(
    client: QdrantClient,
    corpus: Corpus,
    searcher_for: Callable[..., Searcher],
    alpha: FakeModel,
    beta: FakeModel,
) -> None:
    plain = concatenate([model.embed_queries([QUERY]) for model in (alpha, beta)])[0]
    found = stock(client, corpus, "alpha+beta").query(
        VectorStoreQuery(query_embedding=plain.tolist(), similarity_top_k=10)
    )
    (hits,) = searcher_for(corpus, {alpha: 0.5, beta: 0.5}).search([QUERY], k=10)
    assert found.ids == [hit.chunk.chunk_id for hit in hits]
    assert found.similarities == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_the_stock_store_reads_text_metadata_and_document(
    client: QdrantClient,
    corpus: Corpus,
    chunks: tuple[Chunk, ...],
    llama_embedding: Embedding,
    alpha: FakeModel,
) -> None:
    index = VectorStoreIndex.from_vector_store(
        stock(client, corpus, "alpha"), embed_model=llama_embedding(alpha)
    )
    nodes = index.as_retriever(similarity_top_k=len(chunks)).retrieve(QUERY)
    by_id = {chunk.chunk_id: chunk for chunk in chunks}
    assert {node.node_id for node in nodes} == by_id.keys()
    for node in nodes:
        chunk = by_id[node.node_id]
        assert node.text == chunk.text
        assert node.metadata == chunk.metadata
        assert node.node.ref_doc_id == chunk.doc_id


def test_filters_of_the_stock_store_see_our_metadata(
    client: QdrantClient, corpus: Corpus, llama_embedding: Embedding, alpha: FakeModel
) -> None:
    index = VectorStoreIndex.from_vector_store(
        stock(client, corpus, "alpha"), embed_model=llama_embedding(alpha)
    )
    german = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])
    nodes = index.as_retriever(similarity_top_k=40, filters=german).retrieve(QUERY)
    assert len(nodes) == 13
    assert {node.metadata["lang"] for node in nodes} == {"de"}


def test_the_stock_retriever_writes_its_vector_into_the_query_and_spoils_a_fusion_of_two_models(
    client: QdrantClient,
    corpus: Corpus,
    llama_embedding: Embedding,
    alpha: FakeModel,
    gamma: FakeModel,
) -> None:
    """The reason why ours does not: if LlamaIndex mends it, this test says so."""
    retrievers = [
        VectorStoreIndex.from_vector_store(
            stock(client, corpus, model.spec.key), embed_model=llama_embedding(model)
        ).as_retriever(similarity_top_k=40)
        for model in (alpha, gamma)
    ]
    bundle = QueryBundle(QUERY)
    retrievers[0].retrieve(bundle)
    assert bundle.embedding is not None
    np.testing.assert_allclose(bundle.embedding, alpha.embed_queries([QUERY])[0], atol=1e-7)

    alone = {node.node_id: node.score for node in retrievers[1].retrieve(QUERY)}
    spoilt = {node.node_id: node.score for node in retrievers[1].retrieve(bundle)}
    wrong = corpus.search(alpha.embed_queries([QUERY]), combination=Combination(("gamma",)), k=40)[0]
    assert spoilt == pytest.approx({hit.point.point_id: hit.score for hit in wrong}, abs=1e-6)
    assert spoilt != pytest.approx(alone, abs=0.1)

    fusion = QueryFusionRetriever(
        retrievers,
        llm=MockLLM(),
        mode=FUSION_MODES.SIMPLE,
        similarity_top_k=40,
        num_queries=1,
        use_async=False,
    )
    first = {node.node_id: node.score for node in retrievers[0].retrieve(QUERY)}
    assert _scores(fusion.retrieve(QUERY)) == pytest.approx(_best(first, spoilt), abs=1e-6)
    assert _scores(fusion.retrieve(QUERY)) != pytest.approx(_best(first, alone), abs=1e-2)


def _scores(nodes: list[NodeWithScore]) -> dict[str, float | None]:
    return {node.node_id: node.score for node in nodes}


def _best(one: dict[str, float | None], other: dict[str, float | None]) -> dict[str, float]:
    return {key: max(one[key] or 0.0, other[key] or 0.0) for key in one}
