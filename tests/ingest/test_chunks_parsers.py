"""Chunks that LlamaIndex node parsers cut."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from llama_index.core.bridge.pydantic import Field
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    TokenTextSplitter,
)
from llama_index.core.schema import BaseNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode

from ingest.chunks import NODE_PARSER, ChunkSettings, TextChunker, chunker_for, chunker_of, parser_identity
from retriever.errors import InputError, ModelMismatchError
from retriever.payload import NEXT, PARENT, PREVIOUS, SOURCE
from retriever.records import Chunk, Document
from retriever.testing import FakeModel

MODEL = FakeModel("acme/alpha")
TEXT = "# One\n\nFirst sentence here. Second one there.\n\n## Two\n\nThird and last sentence, a longer one.\n"


class Scripted(NodeParser):
    """Makes the nodes that a test writes down."""

    texts: Sequence[str] = ()
    extra: Mapping[str, Any] = Field(default_factory=dict)
    nested: bool = False
    fails: bool = False

    def _parse_nodes(
        self,
        nodes: Sequence[BaseNode],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # as LlamaIndex has it
        **_: Any,
    ) -> list[BaseNode]:
        if self.fails:
            raise RuntimeError("no luck")
        made: list[BaseNode] = [
            TextNode(
                text=text,
                metadata=dict(self.extra),
                relationships={NodeRelationship.SOURCE: nodes[0].as_related_node_info()},
            )
            for text in self.texts
        ]
        if self.nested:
            made[0].relationships[NodeRelationship.CHILD] = [made[-1].as_related_node_info()]
        return made


def cut(
    parser: object, text: str = TEXT, metadata: dict[str, Any] | None = None, **settings: Any
) -> list[Chunk]:
    wished = ChunkSettings(parser=parser, **{"max_tokens": 64, **settings})
    document = Document(doc_id="doc", text=text, metadata=metadata or {})
    return chunker_for([MODEL], wished).chunks(document, "corpus")


PARSERS: dict[str, Callable[[], NodeParser]] = {
    "sentences": lambda: SentenceSplitter(chunk_size=12, chunk_overlap=4),
    "tokens": lambda: TokenTextSplitter(chunk_size=10, chunk_overlap=2),
    "markdown": MarkdownNodeParser,
    "windows": SentenceWindowNodeParser,
}


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> NodeParser:
    return PARSERS[request.param]()


class TestParsers:
    def test_their_nodes_are_chunks(self, parser: NodeParser) -> None:
        chunks = cut(parser)
        assert len(chunks) > 1
        for index, chunk in enumerate(chunks):
            assert chunk.index == index
            assert chunk.text == TEXT[chunk.start_char : chunk.end_char] == chunk.text.strip() != ""
            assert chunk.token_count == MODEL.tokenizer.count([chunk.embedded_text])[0] <= 64
        assert set("".join(TEXT.split())) == set("".join("".join(chunk.text for chunk in chunks).split()))

    def test_the_same_parser_makes_the_same_chunks(self, parser: NodeParser) -> None:
        assert cut(parser) == cut(parser)
        assert len({chunk.chunk_id for chunk in cut(parser)}) == len(cut(parser))

    def test_identities_differ_by_class_and_setting(self) -> None:
        made = [*(make() for make in PARSERS.values()), SentenceSplitter(chunk_size=13, chunk_overlap=4)]
        assert len({parser_identity(one) for one in made}) == len(made)
        assert len({cut(one, "a b")[0].chunk_id for one in made}) == len(made)

    def test_a_title_may_go_before_them(self, parser: NodeParser) -> None:
        chunks = cut(parser, metadata={"title": "A title"}, title_prefix=True)
        assert {chunk.prefix for chunk in chunks} == {"A title\n\n"}
        assert chunks[0].token_count == MODEL.tokenizer.count([chunks[0].embedded_text])[0]

    def test_white_space_alone_has_no_chunks(self, parser: NodeParser) -> None:
        assert cut(parser, " \n\n ") == []

    def test_they_do_not_make_room_for_metadata_which_are_not_embedded(self) -> None:
        metadata = {"long": "word " * 100}  # more than a chunk: LlamaIndex itself would refuse
        chunks = cut(SentenceSplitter(chunk_size=12, chunk_overlap=0), metadata=metadata)
        assert [chunk.text for chunk in chunks] == [
            chunk.text for chunk in cut(SentenceSplitter(chunk_size=12, chunk_overlap=0))
        ]
        assert chunks[0].metadata == metadata

    def test_what_they_add_to_the_metadata_stays(self) -> None:
        chunks = cut(MarkdownNodeParser(), metadata={"shelf": 1})
        assert [chunk.metadata for chunk in chunks] == [
            {"shelf": 1, "header_path": "/"},
            {"shelf": 1, "header_path": "/One/"},
        ]

    def test_their_chunks_know_each_other_by_ids_that_are_the_same_in_each_run(
        self, parser: NodeParser
    ) -> None:
        chunks = cut(parser)
        ids = [chunk.chunk_id for chunk in chunks]
        related = [chunk.node["relationships"] for chunk in chunks]
        assert [one.get(NEXT, {}).get("node_id") for one in related] == [*ids[1:], None]
        assert [one.get(PREVIOUS, {}).get("node_id") for one in related] == [None, *ids[:-1]]
        assert {one[SOURCE]["node_id"] for one in related} == {"doc"}

    def test_what_they_hide_from_a_language_model_stays_hidden_and_no_more(self) -> None:
        chunks = cut(SentenceWindowNodeParser(), metadata={"shelf": 1})
        for chunk in chunks:
            assert chunk.node["excluded_llm_metadata_keys"] == ["window", "original_text"]
        assert "excluded_llm_metadata_keys" not in cut(MarkdownNodeParser(), metadata={"shelf": 1})[0].node

    def test_nodes_that_point_to_each_other_point_to_chunks(self) -> None:
        class Pointing(Scripted):
            def _parse_nodes(self, nodes: Sequence[BaseNode], *_: Any, **__: Any) -> list[BaseNode]:
                table = TextNode(
                    text="c d", relationships={NodeRelationship.SOURCE: nodes[0].as_related_node_info()}
                )
                table.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="elsewhere")
                return [IndexNode(text="a b", index_id=table.node_id), table]

        about, table = cut(Pointing(), "a b c d")
        assert (about.node["class_name"], about.node["index_id"]) == ("IndexNode", table.chunk_id)
        assert table.node["relationships"][PARENT]["node_id"] == "elsewhere"
        assert "class_name" not in table.node

    def test_one_part_of_a_longer_node_is_not_that_node(self) -> None:
        document = Document(doc_id="given", text="a b c d", node={"class_name": "TextNode"})
        wished = ChunkSettings(parser=Scripted(texts=["b c"]), max_tokens=64)
        (chunk,) = chunker_for([MODEL], wished).chunks(document, "corpus")
        assert "id_" not in chunk.node
        assert chunk.node["relationships"][PARENT]["node_id"] == "given"

    def test_repeated_text_has_its_own_places(self) -> None:
        chunks = cut(Scripted(texts=["a b", "a b", " ", "a b\n"]), "a b a b a b")
        assert [(chunk.start_char, chunk.end_char) for chunk in chunks] == [(0, 3), (4, 7), (8, 11)]


class TestIdentity:
    def test_it_is_class_and_settings_without_functions_of_a_process(self) -> None:
        value = json.loads(parser_identity(SentenceSplitter(chunk_size=12, chunk_overlap=4)))
        assert value["class"] == "llama_index.SentenceSplitter"
        assert value["settings"]["chunk_size"] == 12
        assert not {"id_func", "callback_manager"} & set(value["settings"])
        assert "0x" not in json.dumps(value)

    def test_it_is_the_same_in_another_process(self) -> None:
        code = (
            "from llama_index.core.node_parser import SentenceSplitter\n"
            "from ingest.chunks import parser_identity\n"
            "print(parser_identity(SentenceSplitter(chunk_size=12, chunk_overlap=4)))"
        )
        ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert ran.stdout.strip() == parser_identity(SentenceSplitter(chunk_size=12, chunk_overlap=4))

    def test_secrets_are_not_stored(self) -> None:
        parser = Scripted(extra={"api_key": "s3cret", "nested": {"password": "s3cret"}, "size": 3})
        assert "s3cret" not in parser_identity(parser)
        assert json.loads(parser_identity(parser))["settings"]["extra"] == {"nested": {}, "size": 3}

    def test_what_is_no_parser_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"expected a node parser of LlamaIndex .* got str"):
            parser_identity("SentenceSplitter")


class TestRefusals:
    def test_a_chunk_that_is_too_long(self) -> None:
        with pytest.raises(InputError) as caught:
            cut(Scripted(texts=["a b", "c d e f"]), "a b c d e f", max_tokens=4)
        assert str(caught.value) == (
            "chunk 1 of document 'doc': expected at most 4 tokens, the node parser made 6. Have it cut "
            "shorter, or allow more tokens per chunk (chunk_tokens=6) for models that read them."
        )

    def test_a_chunk_that_is_too_long_with_its_title(self) -> None:
        document = {"text": "a b c d e f", "metadata": {"title": "T"}}
        parser = Scripted(texts=["a b c d e f"])
        assert cut(parser, **document, max_tokens=8)[0].token_count == 8
        with pytest.raises(InputError, match="expected at most 8 tokens, the node parser made 9"):
            cut(parser, **document, max_tokens=8, title_prefix=True)

    def test_text_that_is_not_in_the_document(self) -> None:
        with pytest.raises(
            InputError, match=re.escape("chunk 1 of document 'doc': expected a piece of its text")
        ):
            cut(Scripted(texts=["a", "rewritten"]), "a b")

    def test_chunks_of_chunks(self) -> None:
        with pytest.raises(InputError, match="got HierarchicalNodeParser, which makes chunks of chunks"):
            cut(HierarchicalNodeParser.from_defaults())
        with pytest.raises(InputError, match="got Scripted, which makes chunks of chunks"):
            cut(Scripted(texts=["a", "b"], nested=True), "a b")

    def test_metadata_that_cannot_be_stored(self) -> None:
        with pytest.raises(InputError, match="other names than doc_id, which are reserved"):
            cut(Scripted(texts=["a"], extra={"doc_id": "x"}), "a")
        deep: list[Any] = []
        for _ in range(200):
            deep = [deep]
        for bad, reason in (({1, 2}, "got set"), (2**70, "64 bits"), (deep, "at most 32 deep")):
            with pytest.raises(InputError, match=f"chunk 0 of document 'doc'.*metadata 'x'.*{reason}"):
                cut(Scripted(texts=["a"], extra={"x": bad}), "a")

    def test_a_parser_that_fails(self) -> None:
        with pytest.raises(InputError, match=r"document 'doc'.* it failed with RuntimeError: no luck"):
            cut(Scripted(fails=True), "a")

    def test_an_overlap_or_a_method_beside_it(self) -> None:
        with pytest.raises(InputError, match="expected none with a node parser, which has its own, got 3"):
            cut(Scripted(), overlap_tokens=3)
        with pytest.raises(InputError, match="expected either a method or a node parser, got 'words' and a"):
            cut(Scripted(), method="words")

    def test_another_parser_than_the_one_of_the_spec_or_none(self) -> None:
        subject = chunker_for([MODEL], ChunkSettings(parser=Scripted(texts=["a"])))
        assert subject.spec.method == NODE_PARSER
        with pytest.raises(ModelMismatchError, match=r"expected the node parser .*Scripted.* got .*Sentence"):
            chunker_of(subject.spec, [MODEL.tokenizer], parser=SentenceSplitter())
        with pytest.raises(ModelMismatchError, match="which is a program's own, got none"):
            chunker_of(subject.spec, [MODEL.tokenizer])
        with pytest.raises(ModelMismatchError, match="of Tandem's own"):
            TextChunker(subject.spec, [MODEL.tokenizer])


def test_without_a_parser_llama_index_is_not_loaded() -> None:
    code = (
        "import sys; from ingest.chunks import chunker_of; from retriever.records import *;"
        "from ingest.chunks.chunker import TextChunker; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"llama_index", "markdown_it"}.isdisjoint(loaded.stdout.split())
