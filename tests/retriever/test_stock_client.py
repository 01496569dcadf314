"""LlamaIndex's own Qdrant store over a corpus in a folder finds what it finds over a Qdrant client."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from retriever.combine import concatenate
from retriever.corpus import Corpus
from retriever.errors import CorpusNotFoundError, InputError, ShapeError
from retriever.lexical import encode_query, measured
from retriever.llama.stock_client import AsyncStockClient, StockClient
from retriever.llama.stock_filters import as_condition
from retriever.records import Chunk
from retriever.store.embedded import EmbeddedStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

QUERY = "warm soil and basil"
Embedding = Callable[[FakeModel], BaseEmbedding]


@pytest.fixture(scope="module")
def models_of_it(alpha: FakeModel, beta: FakeModel) -> list[FakeModel]:
    return [alpha, beta]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    make_corpus: Callable[..., Corpus],
    models_of_it: list[FakeModel],
) -> EmbeddedStore:
    store = EmbeddedStore(tmp_path_factory.mktemp("folder"))
    make_corpus(store, "guide", models_of_it, combine=[("alpha", "beta")]).close()
    return store


@pytest.fixture(scope="module")
def client(folder: EmbeddedStore) -> Iterator[StockClient]:
    client = StockClient(folder, "guide")
    yield client
    client.close()


@pytest.fixture(scope="module")
def aclient(folder: EmbeddedStore) -> Iterator[AsyncStockClient]:
    client = AsyncStockClient(folder, "guide")
    yield client
    asyncio.run(client.close())


@pytest.fixture(scope="module")
def reference(make_corpus: Callable[..., Corpus], models_of_it: list[FakeModel]) -> QdrantClient:
    """Return Qdrant's own client over the same corpus."""
    client = QdrantClient(":memory:")
    store = ServerStore(client, location=":memory:")
    make_corpus(store, "guide", models_of_it, combine=[("alpha", "beta")]).close()
    return client


def stock(client: Any, vector: str = "alpha", **options: Any) -> QdrantVectorStore:
    return QdrantVectorStore(collection_name="guide", client=client, dense_vector_name=vector, **options)


def found(nodes: Any) -> list[tuple[str, float]]:
    return [(node.node_id, node.score) for node in nodes]


def assert_same(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> None:
    assert [one[0] for one in ours] == [one[0] for one in theirs]
    assert [one[1] for one in ours] == pytest.approx([one[1] for one in theirs], abs=1e-6)


@pytest.mark.parametrize("key", ["alpha", "beta"])
def test_an_index_over_a_folder_finds_what_one_over_qdrants_client_does(
    client: StockClient,
    aclient: AsyncStockClient,
    reference: QdrantClient,
    llama_embedding: Embedding,
    models_of_it: list[FakeModel],
    key: str,
) -> None:
    model = next(model for model in models_of_it if model.spec.key == key)
    retrievers = [
        VectorStoreIndex.from_vector_store(store, embed_model=llama_embedding(model)).as_retriever(
            similarity_top_k=7
        )
        for store in (stock(client, key, aclient=aclient), stock(reference, key))
    ]
    ours, theirs = (retriever.retrieve(QUERY) for retriever in retrievers)
    assert_same(found(ours), found(theirs))
    assert len(ours) == 7
    assert_same(found(asyncio.run(retrievers[0].aretrieve(QUERY))), found(theirs))
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one.node, TextNode)
        assert one.node.to_dict() == other.node.to_dict()


def test_the_combined_vector_is_searched_too(
    client: StockClient, reference: QdrantClient, models_of_it: list[FakeModel]
) -> None:
    plain = concatenate([model.embed_queries([QUERY]) for model in models_of_it])[0]
    query = VectorStoreQuery(query_embedding=plain.tolist(), similarity_top_k=40)
    ours, theirs = (stock(one, "alpha+beta").query(query) for one in (client, reference))
    assert ours.ids == theirs.ids
    assert len(ours.ids or []) == 40
    assert ours.similarities == pytest.approx(theirs.similarities, abs=1e-6)


def filter_(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


OPERATORS = FilterOperator
FILTERS = [
    filter_("lang", "de"),
    filter_("page", 5),
    filter_("weight", 2.5),
    filter_("page", 20, OPERATORS.LT),
    filter_("page", 20, OPERATORS.LTE),
    filter_("weight", 5.5, OPERATORS.GT),
    filter_("weight", 5.5, OPERATORS.GTE),
    filter_("lang", "de", OPERATORS.NE),
    filter_("page", 3, OPERATORS.NE),
    filter_("tags", "t1", OPERATORS.NE),  # holds where another element of the list differs
    filter_("remark", "seen", OPERATORS.NE),  # absent, null and empty lists differ from nothing
    filter_("lang", ["de", "fr"], OPERATORS.IN),
    filter_("lang", "de,fr", OPERATORS.IN),
    filter_("page", [1, 2, 99], OPERATORS.IN),
    filter_("lang", ["de", "de", "fr"], OPERATORS.NIN),
    filter_("page", [1, 2], OPERATORS.NIN),
    filter_("title", "basil", OPERATORS.TEXT_MATCH),
    filter_("title", "GLASS winter", OPERATORS.TEXT_MATCH),
    filter_("title", "sun", OPERATORS.TEXT_MATCH_INSENSITIVE),
    filter_("remark", None, OPERATORS.IS_EMPTY),
    filter_("author.name", "Bo"),
    MetadataFilters(
        filters=[MetadataFilter(key="lang", value="de"), MetadataFilter(key="page", value=4)],
        condition=FilterCondition.OR,
    ),
    MetadataFilters(
        filters=[MetadataFilter(key="lang", value="de"), filter_("page", 30, OPERATORS.LT)],
        condition=FilterCondition.NOT,
    ),
    MetadataFilters(
        filters=[
            MetadataFilters(
                filters=[filter_("lang", "en"), MetadataFilter(key="tags", value="t2")],
                condition=FilterCondition.OR,
            ),
            MetadataFilter(key="page", value=9, operator=OPERATORS.GT),
            MetadataFilters(filters=[]),
        ]
    ),
]


@pytest.mark.parametrize("filters", FILTERS)
def test_a_filter_selects_what_it_selects_in_qdrants_client(
    client: StockClient,
    reference: QdrantClient,
    alpha: FakeModel,
    filters: MetadataFilters,
) -> None:
    query = VectorStoreQuery(
        query_embedding=alpha.embed_queries([QUERY])[0].tolist(), similarity_top_k=40, filters=filters
    )
    ours, theirs = (stock(one).query(query) for one in (client, reference))
    assert ours.ids == theirs.ids
    assert ours.ids
    nodes = [stock(one).get_nodes(filters=filters) for one in (client, reference)]
    assert [node.node_id for node in nodes[0]] == [node.node_id for node in nodes[1]]


def test_every_operator_that_the_stock_store_builds_a_filter_for_is_among_those_tested() -> None:
    def operators(filters: MetadataFilters) -> set[FilterOperator]:
        return {
            operator
            for part in filters.filters
            for operator in (operators(part) if isinstance(part, MetadataFilters) else {part.operator})
        }

    tested = {operator for filters in FILTERS for operator in operators(filters)}
    builder = stock(QdrantClient(":memory:"))
    for operator in set(FilterOperator) - tested:
        with pytest.raises(NotImplementedError):
            builder._build_subfilter(filter_("key", "value", operator))


def test_documents_and_nodes_can_be_asked_for(
    client: StockClient, reference: QdrantClient, alpha: FakeModel, chunks: tuple[Chunk, ...]
) -> None:
    ids = [chunk.chunk_id for chunk in chunks[3:9]]
    for options in ({"doc_ids": ["doc-1", "doc-2"]}, {"node_ids": ids}):
        query = VectorStoreQuery(
            query_embedding=alpha.embed_queries([QUERY])[0].tolist(), similarity_top_k=40, **options
        )
        ours, theirs = (stock(one).query(query) for one in (client, reference))
        assert ours.ids == theirs.ids
        assert ours.ids
    nodes = [stock(one).get_nodes(node_ids=ids) for one in (client, reference)]
    assert [node.to_dict() for node in nodes[0]] == [node.to_dict() for node in nodes[1]]
    assert {node.node_id for node in nodes[0]} == set(ids)
    assert nodes[0][0].embedding is not None
    with pytest.raises(InputError, match=r"expected UUIDs.*'mine'"):
        stock(client).get_nodes(node_ids=["mine"])


def test_nodes_are_read_asynchronously_too(
    client: StockClient, aclient: AsyncStockClient, chunks: tuple[Chunk, ...]
) -> None:
    nodes = asyncio.run(stock(client, aclient=aclient).aget_nodes())
    assert {node.node_id for node in nodes} == {chunk.chunk_id for chunk in chunks}
    alone = QdrantVectorStore(collection_name="guide", aclient=aclient, dense_vector_name="alpha")
    assert len(asyncio.run(alone.aget_nodes(limit=3))) == 3


def test_scrolling_says_where_it_goes_on(client: StockClient, chunks: tuple[Chunk, ...]) -> None:
    ids = sorted(chunk.chunk_id for chunk in chunks)
    records, following = client.scroll("guide", limit=3, with_payload=False)
    assert [record.id for record in records] == ids[:3]
    assert [record.payload for record in records] == [None] * 3
    assert following == ids[3]
    assert client.scroll("guide", limit=40)[1] is None


@pytest.mark.parametrize(
    "mode", [VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.DEFAULT]
)
def test_a_hybrid_store_searches_the_bm25_vectors_as_well(
    tmp_path: Path,
    make_corpus: Callable[..., Corpus],
    models_of_it: list[FakeModel],
    chunks: tuple[Chunk, ...],
    mode: VectorStoreQueryMode,
) -> None:
    spec = measured([chunk.text for chunk in chunks], language="english")

    def sparse(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
        vectors = [encode_query(text, spec) for text in texts]
        return [one.indices.tolist() for one in vectors], [one.values.tolist() for one in vectors]

    folder, qdrant = EmbeddedStore(tmp_path), QdrantClient(":memory:")
    for store in (folder, ServerStore(qdrant, location=":memory:")):
        with make_corpus(store, "guide", models_of_it) as corpus:
            corpus.add_lexical(spec)
    client, aclient = StockClient(folder, "guide"), AsyncStockClient(folder, "guide")
    query = VectorStoreQuery(
        query_embedding=models_of_it[0].embed_queries([QUERY])[0].tolist(),
        query_str="harbour music",
        similarity_top_k=5,
        mode=mode,
    )
    stores = [
        stock(
            one,
            enable_hybrid=True,
            sparse_doc_fn=sparse,
            sparse_query_fn=sparse,
            sparse_vector_name="bm25",
            **also,
        )
        for one, also in ((client, {"aclient": aclient}), (qdrant, {}))
    ]
    ours, theirs = (one.query(query) for one in stores)
    for one in (ours, asyncio.run(stores[0].aquery(query))):
        assert one.ids == theirs.ids
        assert one.similarities == pytest.approx(theirs.similarities, rel=1e-5)
    assert ours.ids
    client.close()
    asyncio.run(aclient.close())


@pytest.mark.parametrize("method", ["add", "delete", "delete_nodes", "clear"])
def test_writing_is_refused_with_the_way_to_write(
    client: StockClient, aclient: AsyncStockClient, chunks: tuple[Chunk, ...], method: str
) -> None:
    node = TextNode(id_=str(uuid.uuid4()), text="new", embedding=[0.0] * 24)
    given: dict[str, Any] = {
        "add": [[node]],
        "delete": ["doc-1"],
        "delete_nodes": [[node.node_id]],
        "clear": [],
    }
    store = stock(client, aclient=aclient)
    with pytest.raises(InputError, match=r"'guide'.*only reads, got .*ingest run"):
        getattr(store, method)(*given[method])
    writing = {"add": "async_add", "delete": "adelete", "delete_nodes": "adelete_nodes", "clear": "aclear"}
    with pytest.raises(InputError, match="ingest run"):
        asyncio.run(getattr(store, writing[method])(*given[method]))
    assert len(store.get_nodes()) == len(chunks)


def test_a_vector_that_is_not_there_is_refused_with_those_that_are(
    client: StockClient, alpha: FakeModel
) -> None:
    numbers = alpha.embed_queries([QUERY])[0].tolist()
    query = VectorStoreQuery(query_embedding=numbers, similarity_top_k=1)
    with pytest.raises(InputError, match=r"\(alpha, beta, alpha\+beta\), got 'text-dense'"):
        QdrantVectorStore(collection_name="guide", client=client).query(query)
    with pytest.raises(InputError, match=r"\(there is none of this kind\), got 'alpha'"):
        client.query_points("guide", query=models.SparseVector(indices=[1], values=[1.0]), using="alpha")
    with pytest.raises(ShapeError, match=r"queries of beta.*\(any, 16\)"):
        stock(client, "beta").query(query)
    with pytest.raises(CorpusNotFoundError, match="'guide', the corpus of this client, got 'other'"):
        client.query_points("other", query=numbers, using="alpha")
    with pytest.raises(CorpusNotFoundError, match="expected a corpus 'other', found guide"):
        StockClient(EmbeddedStore(client._reader.location), "other")


def test_a_combination_that_was_added_since_is_found(
    tmp_path: Path, make_corpus: Callable[..., Corpus], models_of_it: list[FakeModel]
) -> None:
    store = EmbeddedStore(tmp_path)
    with make_corpus(store, "guide", models_of_it) as corpus:
        client = StockClient(store, "guide")
        corpus.add_combination(["alpha", "beta"])
        answer = client.query_points(
            "guide", query=np.ones(40), using="alpha+beta", limit=1, with_vectors=True
        )
        (point,) = answer.points
        assert isinstance(point.vector, dict)
        assert sorted(point.vector) == ["alpha", "alpha+beta", "beta"]
        client.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="a"))]),
            "IsNullCondition",
        ),
        (models.Filter(must=[models.FieldCondition(key="a")]), "FieldCondition"),
        (
            models.Filter(
                min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=[])], min_count=1)
            ),
            "min_count=1",
        ),
        (
            models.Filter(must=models.FieldCondition(key="a", values_count=models.ValuesCount(gt=1))),
            "values_count",
        ),
    ],
)
def test_a_filter_of_another_kind_is_refused_by_name(given: models.Filter, words: str) -> None:
    with pytest.raises(InputError, match=rf"expected must, should.*got .*{words}"):
        as_condition(given)


def test_an_empty_filter_restricts_nothing_and_one_condition_needs_no_list() -> None:
    assert as_condition(None) is None
    assert as_condition(models.Filter(must=[], should=[])) is None
    one = models.HasVectorCondition(has_vector="alpha")
    assert as_condition(models.Filter(must_not=one)) == as_condition(models.Filter(must_not=[one]))


def test_what_only_a_server_knows_is_refused(client: StockClient, alpha: FakeModel) -> None:
    numbers = alpha.embed_queries([QUERY])[0].tolist()
    with pytest.raises(InputError, match="no shard_key_selector"):
        client.query_points("guide", query=numbers, using="alpha", shard_key_selector="a")
    with pytest.raises(InputError, match="no score_threshold"):
        client.query_batch_points(
            "guide", requests=[models.QueryRequest(query=numbers, using="alpha", score_threshold=0.5)]
        )
    with pytest.raises(AttributeError, match="no attribute 'recommend'"):
        client.recommend  # noqa: B018  # asked for as LlamaIndex asks whether a client has something


def test_the_example_of_the_documentation_runs(
    tmp_path: Path,
    make_corpus: Callable[..., Corpus],
    llama_embedding: Embedding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (Path(__file__).parents[2] / "docs/store.md").read_text(encoding="utf-8")
    example = re.search(
        r"```python\n(.*?)```", page.split("## With LlamaIndex's own Qdrant store")[1], re.DOTALL
    )
    assert example is not None
    model = FakeModel("acme/all-MiniLM-L6-v2", dimensions=24)
    monkeypatch.chdir(tmp_path)
    make_corpus(EmbeddedStore("tandem-store"), "handbook", [model]).close()
    names: dict[str, Any] = {"embedding": llama_embedding(model)}
    exec(example[1], names)  # noqa: S102  # as its reader would
    assert len(names["nodes"]) == 3
    names["vectors"].client.close()
    asyncio.run(names["vectors"]._aclient.close())
