"""Nodes that a program gave come back as they were, so LlamaIndex finds what they refer to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import StorageContext
from llama_index.core.node_parser import HierarchicalNodeParser, SentenceSplitter, get_leaf_nodes
from llama_index.core.postprocessor import PrevNextNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.retrievers import AutoMergingRetriever, RecursiveRetriever
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from ingest import ChunkSettings, documents_from, ingest
from ingest.chunks import chunker_for
from retriever.corpus import Corpus
from retriever.llama.filters import to_condition
from retriever.llama.retriever import TandemRetriever
from retriever.models.protocol import EmbeddingModel
from retriever.payload import (
    CHILD,
    DOCUMENT_NODE,
    NEXT,
    PARENT,
    PREVIOUS,
    SOURCE,
    TEXT_NODE,
    to_chunk,
    to_node,
    to_payload,
)
from retriever.records import Chunk, Document
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

MODEL = FakeModel("acme/alpha", dimensions=24)
QUESTION = "How do I rotate an API credential without downtime?"

Serve = Callable[..., TandemRetriever]


def related(node_id: str, **fields: Any) -> RelatedNodeInfo:
    return RelatedNodeInfo(node_id=node_id, node_type=ObjectType.TEXT, **fields)


RICH = TextNode(
    id_="guide/basil#2",
    text="  Basil wants warm soil.\n",
    metadata={"lang": "en", "pages": [1, 2]},
    excluded_embed_metadata_keys=["pages"],
    excluded_llm_metadata_keys=["lang"],
    metadata_template="{key}={value}",
    metadata_separator=" | ",
    text_template="{metadata_str}\n---\n{content}",
    mimetype="text/markdown",
    start_char_idx=120,
    end_char_idx=146,
    relationships={
        NodeRelationship.SOURCE: RelatedNodeInfo(
            node_id="guide.md", node_type=ObjectType.DOCUMENT, metadata={"file": "guide.md"}, hash="abc"
        ),
        NodeRelationship.PREVIOUS: related("guide/basil#1", metadata={"lang": "en"}, hash="def"),
        NodeRelationship.NEXT: related("guide/basil#3"),
        NodeRelationship.PARENT: related("guide/basil"),
        NodeRelationship.CHILD: [related("guide/basil#2/a"), related("guide/basil#2/b")],
    },
)

GIVEN: dict[str, BaseNode] = {
    "rich": RICH,
    "plain": TextNode(id_="plain", text="The ferry leaves at noon."),
    "index": IndexNode(id_="i", text="A table of zebras.", index_id="zebras"),
    "index with a node": IndexNode(id_="j", text="A table of yaks.", index_id="yaks", obj=RICH),
    "image": ImageNode(id_="p", text="A plan of the harbour.", image_url="https://example.org/plan.png"),
    "multimodal": Node(id_="m", text_resource=MediaResource(text="Salt, sung."), metadata={"n": 1}),
}


def chunks_of(node: BaseNode | Document, max_tokens: int = 64, **wished: Any) -> list[Chunk]:
    (document,) = documents_from([node])
    assert isinstance(document, Document)
    return chunker_for([MODEL], ChunkSettings(max_tokens=max_tokens, **wished)).chunks(document, "corpus")


def payloads_of(node: BaseNode | Document, max_tokens: int = 64, **wished: Any) -> list[dict[str, Any]]:
    chunks = chunks_of(node, max_tokens, **wished)
    written = [to_payload(chunk, document_hash="abc", chunk_count=len(chunks)) for chunk in chunks]
    return [json.loads(json.dumps(payload)) for payload in written]


def stored(node: BaseNode | Document, max_tokens: int = 64, **wished: Any) -> list[BaseNode]:
    return [to_node(payload) for payload in payloads_of(node, max_tokens, **wished)]


class TestNodesThatAreOneChunk:
    @pytest.mark.parametrize("node", GIVEN.values(), ids=GIVEN)
    @pytest.mark.parametrize("read", [to_node, metadata_dict_to_node], ids=["tandem", "llama_index"])
    def test_they_come_back_as_they_were(self, node: BaseNode, read: Callable[..., BaseNode]) -> None:
        (payload,) = payloads_of(node)
        found = read(payload)
        assert type(found) is type(node)
        assert found.to_dict() == node.to_dict()
        assert found.hash == node.hash

    @pytest.mark.parametrize("node", GIVEN.values(), ids=GIVEN)
    def test_their_chunks_have_ids_and_places_of_their_own(self, node: BaseNode) -> None:
        (chunk,) = chunks_of(node)
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        assert chunk.chunk_id != node.node_id
        assert chunk.text == text[chunk.start_char : chunk.end_char] == text.strip()
        (payload,) = payloads_of(node)
        assert to_chunk(payload) == chunk
        assert payload["doc_id"] == chunk.doc_id == node.node_id

    def test_what_they_refer_to_is_compared_as_llama_index_does(self) -> None:
        before = RICH.model_copy(update={"id_": "guide/basil#1"}, deep=True)
        before.relationships[NodeRelationship.NEXT] = RICH.as_related_node_info()
        after = RICH.model_copy(update={"id_": "guide/basil#3"}, deep=True)
        after.relationships[NodeRelationship.PREVIOUS] = RICH.as_related_node_info()
        (one,), (other,) = stored(before), stored(after)
        assert one.next_node == other.prev_node == RICH.as_related_node_info()

    def test_their_source_is_that_of_llama_index(self) -> None:
        (payload,) = payloads_of(RICH)
        assert payload["ref_doc_id"] == payload["document_id"] == "guide.md"
        (payload,) = payloads_of(GIVEN["plain"])
        assert payload["ref_doc_id"] == payload["document_id"] == "None"  # as LlamaIndex writes it

    def test_metadata_that_the_chunker_adds_stay(self) -> None:
        node = TextNode(id_="a", text="# One\n\nText.")
        (found,) = stored(node, method="markdown")
        assert (found.node_id, found.metadata) == ("a", {"section": "One"})

    @settings(max_examples=60)
    @given(
        text=st.text(st.sampled_from("ab \n\u2028é🌱"), min_size=1).filter(lambda text: text.strip()),
        ids=st.lists(st.text(min_size=1, max_size=3), min_size=3, max_size=3, unique=True),
        place=st.none() | st.integers(0, 99),
    )
    def test_any_text_and_any_ids_survive(self, text: str, ids: list[str], place: int | None) -> None:
        try:
            "".join(ids).encode()
        except UnicodeEncodeError:
            return
        if not ids[0].strip():
            return
        node = TextNode(
            id_=ids[0],
            text=text,
            start_char_idx=place,
            relationships={
                NodeRelationship.SOURCE: related(ids[1]),
                NodeRelationship.PARENT: related(ids[2]),
            },
        )
        assert [found.to_dict() for found in stored(node, 500)] == [node.to_dict()]


class TestPiecesOfLongerNodes:
    TEXT = "One two three four. " * 4

    def pieces(self, **fields: Any) -> list[BaseNode]:
        node = RICH.model_copy(update={"text": self.TEXT, **fields}, deep=True)
        found = stored(node, 8)
        assert len(found) == 3 or len(found) == 4
        return found

    def test_they_are_text_nodes_with_ids_of_their_own_whose_parent_is_the_node(self) -> None:
        chunks = chunks_of(RICH.model_copy(update={"text": self.TEXT}, deep=True), 8)
        found = self.pieces()
        assert [piece.node_id for piece in found] == [chunk.chunk_id for chunk in chunks]
        for piece in found:
            assert type(piece) is TextNode
            assert piece.parent_node == related("guide/basil#2")
            assert piece.child_nodes is None
            assert piece.source_node == RICH.source_node
            assert (piece.prev_node, piece.next_node) == (RICH.prev_node, RICH.next_node)

    def test_they_look_to_a_language_model_as_the_node_does(self) -> None:
        for piece in self.pieces():
            shown = piece.get_content(metadata_mode=MetadataMode.LLM)
            assert shown == f"pages=[1, 2]\n---\n{piece.get_content()}"

    def test_of_a_node_that_points_elsewhere_too(self) -> None:
        node = IndexNode(id_="i", text=self.TEXT, index_id="zebras")
        for piece in stored(node, 8):
            assert type(piece) is TextNode
            assert piece.parent_node == related("i")
            assert piece.ref_doc_id == "i"


class TestChunksOfDocuments:
    DOCUMENT = LlamaDocument(
        id_="guide.md",
        text="One two three four. " * 4,
        metadata={"lang": "en", "file": "x"},
        excluded_llm_metadata_keys=["file"],
        metadata_template="{key}={value}",
    )

    @pytest.mark.parametrize(
        "document",
        [DOCUMENT, Document(doc_id="guide.md", text="One two three four. " * 4)],
        ids=["llama", "own"],
    )
    def test_they_know_the_chunks_before_and_after_them(self, document: Any) -> None:
        found = stored(document, 8)
        ids = [node.node_id for node in found]
        assert len(ids) > 2
        assert [node.prev_node and node.prev_node.node_id for node in found] == [None, *ids[:-1]]
        assert [node.next_node and node.next_node.node_id for node in found] == [*ids[1:], None]
        assert found[0].next_node == related(ids[1])
        for node in found:
            assert type(node) is TextNode
            assert node.ref_doc_id == "guide.md"
            assert node.source_node is not None
            assert node.source_node.node_type == ObjectType.DOCUMENT
            assert node.parent_node is None

    def test_they_look_to_a_language_model_as_the_document_says(self) -> None:
        for node in stored(self.DOCUMENT, 8):
            assert node.get_content(metadata_mode=MetadataMode.LLM) == f"lang=en\n\n{node.get_content()}"

    def test_the_source_of_a_document_is_that_of_its_chunks_as_llama_index_has_it(self) -> None:
        document = self.DOCUMENT.model_copy(deep=True)
        document.relationships[NodeRelationship.SOURCE] = related("book")
        document.relationships[NodeRelationship.NEXT] = related("next.md")
        for size in (8, 64):
            chunks, parsed = (
                stored(document, size),
                SentenceSplitter(chunk_size=30, chunk_overlap=0)([document]),
            )
            assert {node.ref_doc_id for node in chunks} == {node.ref_doc_id for node in parsed} == {"book"}
            assert chunks[-1].next_node is None

    def test_a_document_of_one_chunk_says_nothing_that_does_not_follow(self) -> None:
        (chunk,) = chunks_of(Document(doc_id="a", text="Short."))
        assert chunk.node == {}
        (chunk,) = chunks_of(LlamaDocument(id_="a", text="Short."))
        assert chunk.node == {}

    def test_kinds_of_relationships_are_written_as_llama_index_does(self) -> None:
        kinds = [NodeRelationship.SOURCE, NodeRelationship.PREVIOUS, NodeRelationship.NEXT]
        kinds += [NodeRelationship.PARENT, NodeRelationship.CHILD]
        assert [kind.value for kind in kinds] == [SOURCE, PREVIOUS, NEXT, PARENT, CHILD]
        assert (ObjectType.TEXT.value, ObjectType.DOCUMENT.value) == (TEXT_NODE, DOCUMENT_NODE)


class TestRuns:
    """What a later run makes of relationships, on both engines."""

    @staticmethod
    def run(store: VectorStore, *documents: object) -> Any:
        return ingest(
            documents_from(documents), store, "guide", models=[MODEL], chunks=ChunkSettings(max_tokens=8)
        )

    @staticmethod
    def nodes(store: VectorStore) -> dict[str, BaseNode]:
        with Corpus.open(store, "guide") as corpus:
            points = [point for batch in corpus._collection.scroll() for point in batch]
        return {node.node_id: node for node in (to_node(point.payload) for point in points)}

    def test_a_changed_relationship_is_written_and_nothing_is_embedded(self, any_store: VectorStore) -> None:
        node = TextNode(id_="a", text="Warm soil.")
        self.run(any_store, node)
        moved = node.model_copy(deep=True)
        moved.relationships[NodeRelationship.PARENT] = related("b")
        summary = self.run(any_store, moved)
        assert (summary.changed, summary.written_chunks) == (1, 0)
        assert all(timing.texts == 0 for timing in summary.models.values())
        assert self.nodes(any_store) == {"a": moved}
        assert self.run(any_store, moved).unchanged == 1

    def test_what_an_earlier_release_stored_of_a_document_stays(self, any_store: VectorStore) -> None:
        document = Document(doc_id="a", text="One two three four. " * 4)
        assert document.content_hash == "2af11e3fe4b5af14"  # as before nodes were kept
        self.run(any_store, document)
        with Corpus.open(any_store, "guide") as corpus:
            points = [point for batch in corpus._collection.scroll() for point in batch]
            for point in points:
                point.payload["tandem"].pop("given")
                content = json.loads(point.payload["_node_content"])
                content["relationships"] = {SOURCE: content["relationships"][SOURCE]}
                point.payload["_node_content"] = json.dumps(content)
            corpus._collection.update_payloads(points)
        assert self.run(any_store, document).unchanged == 1
        assert all(node.next_node is None for node in self.nodes(any_store).values())
        longer = Document(doc_id="a", text=document.text + "Five six.")
        assert self.run(any_store, longer).changed == 1
        linked = [node for node in self.nodes(any_store).values() if node.next_node is not None]
        assert len(linked) == len(self.nodes(any_store)) - 1

    def test_an_object_that_cannot_be_stored_fails_with_what_to_do(self, any_store: VectorStore) -> None:
        class Nothing(CustomQueryEngine):
            def custom_query(self, query_str: str) -> str:
                return query_str

        index = IndexNode(id_="i", text="A table.", index_id="t", obj=[Nothing()])
        summary = self.run(any_store, index, TextNode(id_="a", text="Warm soil."))
        (failed,) = summary.failed
        assert failed.where == "document 1"
        assert "IndexNode" in failed.reason
        assert "object_map={index_id: object}" in failed.reason
        assert set(self.nodes(any_store)) == {"a"}

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (
                {"relationships": {NodeRelationship.SOURCE: [related("a")]}},
                "node: expected what LlamaIndex can",
            ),
            ({"metadata_template": "\ud800"}, "node: expected Unicode"),
        ],
    )
    def test_what_cannot_be_stored_of_a_node_fails_alone(self, fields: dict[str, Any], reason: str) -> None:
        bad = TextNode(id_="bad", text="B.", **fields)
        failed, kept = documents_from([bad, TextNode(id_="a", text="A.")])
        assert getattr(failed, "reason", "").startswith(reason)
        assert isinstance(kept, Document)

    def test_what_a_program_says_of_its_own_documents_is_checked_too(self) -> None:
        (failed,) = documents_from([Document(doc_id="a", text="A.", node={"mimetype": float("nan")})])
        assert getattr(failed, "reason", "").startswith("node: expected JSON values")


class TestIds:
    """Which chunks ids of nodes and of their sources select."""

    @pytest.fixture
    def corpus(self, any_store: VectorStore) -> Iterator[Corpus]:
        long = TextNode(id_="long", text="One two three four. " * 4, relationships=RICH.relationships)
        own = Document(doc_id="own.md", text="Five six.")
        TestRuns.run(any_store, RICH, long, GIVEN["plain"], own)
        with Corpus.open(any_store, "guide") as corpus:
            yield corpus

    @pytest.mark.parametrize(
        ("restriction", "doc_ids"),
        [
            ({"node_ids": ["guide/basil#2"]}, ["guide/basil#2"]),
            ({"node_ids": ["plain", "never"]}, ["plain"]),
            ({"node_ids": ["long"]}, ["long"]),
            ({"node_ids": ["own.md"]}, ["own.md"]),
            ({"node_ids": ["guide.md"]}, []),
            ({"doc_ids": ["guide.md"]}, ["guide/basil#2", "long"]),
            ({"doc_ids": ["guide.md", "own.md"]}, ["guide/basil#2", "long", "own.md"]),
            ({"doc_ids": ["plain"]}, ["plain"]),
            ({"doc_ids": ["guide.md"], "node_ids": ["long", "plain"]}, ["long"]),
        ],
        ids=str,
    )
    def test_those_of_the_program_are_known(
        self, corpus: Corpus, restriction: Mapping[str, Sequence[str]], doc_ids: list[str]
    ) -> None:
        where = to_condition(None, **restriction)
        found = [chunk.doc_id for batch in corpus.chunks(where) for chunk in batch]
        assert sorted(set(found)) == sorted(doc_ids)
        assert len(found) == len(set(found)) + ("long" in doc_ids) * (found.count("long") - 1)

    def test_those_of_chunks_are_known_as_well(self, corpus: Corpus) -> None:
        chunks = [chunk for batch in corpus.chunks() for chunk in batch]
        for chunk in chunks:
            where = to_condition(None, node_ids=[chunk.chunk_id])
            assert [found for batch in corpus.chunks(where) for found in batch] == [chunk]


@pytest.fixture(scope="module")
def hierarchy(handbook: list[LlamaDocument]) -> list[BaseNode]:
    """Return nodes of three levels."""
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 80, 30], chunk_overlap=0)
    return parser.get_nodes_from_documents(handbook)


@pytest.fixture(scope="module")
def storage(hierarchy: list[BaseNode]) -> StorageContext:
    docstore = SimpleDocumentStore()
    docstore.add_documents(hierarchy)
    return StorageContext.from_defaults(docstore=docstore)


@pytest.fixture(scope="module")
def leaves(serve: Serve, hierarchy: list[BaseNode], models: dict[str, EmbeddingModel]) -> TandemRetriever:
    return serve(get_leaf_nodes(hierarchy), models, chunk_tokens=128, similarity_top_k=6)


class TestAutoMerging:
    def test_leaves_are_merged_into_their_parents(
        self,
        leaves: TandemRetriever,
        storage: StorageContext,
        hierarchy: list[BaseNode],
        questions: list[str],
    ) -> None:
        by_id = {node.node_id: node for node in hierarchy}
        merging = AutoMergingRetriever(leaves, storage, simple_ratio_thresh=0.4)
        merged = 0
        for question in questions:
            plain = leaves.retrieve(question)
            assert all(node.node == by_id[node.node_id] for node in plain)
            found = merging.retrieve(question)
            assert {node.node_id for node in found} <= by_id.keys()
            assert all(node.node == by_id[node.node_id] for node in found)
            merged += any(node.node.child_nodes for node in found)
        assert merged > len(questions) / 2

    def test_a_parent_comes_for_children_above_the_ratio_and_scores_their_mean(
        self, serve: Serve, models: dict[str, EmbeddingModel]
    ) -> None:
        """By hand: two of three children of P, one of three of Q, with a ratio of more than half."""
        parents = {name: TextNode(id_=name, text=f"All of {name}.") for name in "PQ"}
        texts = {"P": ["warm soil", "warm sun", "ferry"], "Q": ["warm basil", "noon", "music"]}
        children: list[TextNode] = []
        for name, parent in parents.items():
            made = [TextNode(id_=f"{name}{i}", text=text) for i, text in enumerate(texts[name])]
            parent.relationships[NodeRelationship.CHILD] = [child.as_related_node_info() for child in made]
            for child in made:
                child.relationships[NodeRelationship.PARENT] = related(name)
            children += made
        docstore = SimpleDocumentStore()
        docstore.add_documents([*parents.values(), *children])
        retriever = serve(children, models, node_ids=["P0", "P1", "Q0"], similarity_top_k=6)
        plain = {node.node_id: node.score or 0.0 for node in retriever.retrieve("warm")}
        assert plain.keys() == {"P0", "P1", "Q0"}
        merging = AutoMergingRetriever(retriever, StorageContext.from_defaults(docstore=docstore))
        found = {node.node_id: node.score for node in merging.retrieve("warm")}
        assert found == pytest.approx({"P": (plain["P0"] + plain["P1"]) / 2, "Q0": plain["Q0"]})

    def test_pieces_of_a_leaf_that_is_too_long_become_that_leaf_first(
        self,
        serve: Serve,
        models: dict[str, EmbeddingModel],
        hierarchy: list[BaseNode],
        storage: StorageContext,
        questions: list[str],
    ) -> None:
        cut = serve(get_leaf_nodes(hierarchy), models, chunk_tokens=16, similarity_top_k=8)
        known = {node.node_id for node in hierarchy}
        assert any(node.node_id not in known for node in cut.retrieve(questions[0]))
        merging = AutoMergingRetriever(cut, storage, simple_ratio_thresh=0.4)
        for question in questions:
            assert {node.node_id for node in merging.retrieve(question)} <= known


@pytest.fixture(scope="module")
def split(handbook: list[LlamaDocument]) -> list[BaseNode]:
    """Return nodes with neighbours on both sides."""
    return SentenceSplitter(chunk_size=60, chunk_overlap=0).get_nodes_from_documents(handbook)


@pytest.fixture(scope="module")
def retriever_of_nodes(
    serve: Serve, split: list[BaseNode], models: dict[str, EmbeddingModel]
) -> TandemRetriever:
    return serve(split, models, chunk_tokens=128, similarity_top_k=2)


class TestPrevNext:
    @pytest.mark.parametrize("mode", ["previous", "next", "both"])
    def test_neighbours_come_from_the_docstore_each_once(
        self, retriever_of_nodes: TandemRetriever, split: list[BaseNode], mode: str, questions: list[str]
    ) -> None:
        docstore = SimpleDocumentStore()
        docstore.add_documents(split)
        process = PrevNextNodePostprocessor(docstore=docstore, num_nodes=1, mode=mode)
        added = 0
        for question in questions[:5]:
            found = retriever_of_nodes.retrieve(question)
            ids = [node.node_id for node in process.postprocess_nodes(found)]
            expected = {node.node_id for node in found}
            for node in found:
                sides = {"previous": node.node.prev_node, "next": node.node.next_node}
                wanted = sides.values() if mode == "both" else [sides[mode]]
                expected |= {side.node_id for side in wanted if side is not None}
            assert sorted(ids) == sorted(expected)
            added += len(ids) - len(found)
        assert added

    def test_chunks_of_documents_have_neighbours_too(self, retriever: TandemRetriever) -> None:
        nodes = retriever.using(similarity_top_k=1000).retrieve(QUESTION)
        docstore = SimpleDocumentStore()
        docstore.add_documents([node.node for node in nodes])
        process = PrevNextNodePostprocessor(docstore=docstore, num_nodes=100, mode="both")
        first = nodes[0]
        found = process.postprocess_nodes([first])
        same = [node for node in nodes if node.node.ref_doc_id == first.node.ref_doc_id]
        assert {node.node_id for node in found} == {node.node_id for node in same}
        places = [node.node.start_char_idx for node in found if isinstance(node.node, TextNode)]
        assert places == sorted(places)


class TestRecursion:
    @pytest.fixture
    def summaries(self, hierarchy: list[BaseNode]) -> list[IndexNode]:
        """Return for each document a node that says in short what it is about, and points to it."""
        tops = [node for node in hierarchy if node.parent_node is None]
        return [
            IndexNode(id_=f"about-{i}", text=node.get_content()[:150], index_id=node.ref_doc_id or "")
            for i, node in enumerate(tops)
        ]

    def test_a_node_that_points_to_a_retriever_is_followed_to_it(
        self,
        serve: Serve,
        models: dict[str, EmbeddingModel],
        summaries: list[IndexNode],
        leaves: TandemRetriever,
        questions: list[str],
    ) -> None:
        root = serve(summaries, models, similarity_top_k=1)
        names = {node.index_id for node in summaries}
        inner = {name: leaves.using(doc_ids=[name], similarity_top_k=3) for name in names}
        recursive = RecursiveRetriever("root", retriever_dict={"root": root, **inner})
        for question in questions[:5]:
            (top,) = root.retrieve(question)
            assert isinstance(top.node, IndexNode)
            found = recursive.retrieve(question)
            assert found == inner[top.node.index_id].retrieve(question)
            assert {node.node.ref_doc_id for node in found} == {top.node.index_id}

    def test_a_node_that_points_to_a_node_becomes_it(
        self,
        serve: Serve,
        models: dict[str, EmbeddingModel],
        summaries: list[IndexNode],
        handbook: list[LlamaDocument],
    ) -> None:
        root = serve(summaries, models, similarity_top_k=2)
        documents = {document.doc_id: document for document in handbook}
        recursive = RecursiveRetriever("root", retriever_dict={"root": root}, node_dict=dict(documents))
        plain, found = root.retrieve(QUESTION), recursive.retrieve(QUESTION)
        expected = [
            documents[node.node.index_id].doc_id for node in plain if isinstance(node.node, IndexNode)
        ]
        assert [node.node_id for node in found] == list(dict.fromkeys(expected))

    def test_a_node_that_holds_a_node_gives_it(self, serve: Serve, models: dict[str, EmbeddingModel]) -> None:
        held = TextNode(id_="table", text="The whole table.", metadata={"rows": 3})
        nodes = [
            IndexNode(id_="about", text="A table of zebras.", index_id="zebras", obj=held),
            TextNode(id_="other", text="The ferry leaves at noon."),
            TextNode(id_="another", text="Salt."),
        ]
        retriever = serve(nodes, models, similarity_top_k=1)
        (found,) = retriever.retrieve("A table of zebras.")
        assert found.node == held
        assert isinstance(found, NodeWithScore)
