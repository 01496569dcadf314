from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from llama_index.core.schema import IndexNode, NodeRelationship, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from retriever.errors import StoreCorruptError
from retriever.payload import (
    DOCUMENT_NODE,
    OWN_FIELD,
    PARENT,
    RESERVED_FIELDS,
    SOURCE,
    SOURCE_ID,
    node_fields,
    text_hash,
    to_chunk,
    to_node,
    to_payload,
)
from retriever.records import Chunk

CHUNK = Chunk(
    chunk_id="00000000-0000-5000-8000-000000000001",
    doc_id="guide/ünïcode.md",
    index=3,
    text="Basil wants\n\twarm soil 🌱 “and” sun. \x00",
    start_char=120,
    end_char=157,
    token_count=12,
    metadata={"lang": "en", "pages": [1, 2.5, None], "author": {"name": "Ö"}, "draft": False},
)


@pytest.fixture
def payload() -> dict[str, Any]:
    return to_payload(CHUNK, document_hash="abc", chunk_count=7)


def test_a_chunk_survives_its_payload(payload: dict[str, Any]) -> None:
    assert to_chunk(json.loads(json.dumps(payload))) == CHUNK


def test_a_payload_carries_what_a_later_run_asks_for(payload: dict[str, Any]) -> None:
    assert payload[OWN_FIELD] == {
        "index": 3,
        "tokens": 12,
        "document_hash": "abc",
        "chunk_count": 7,
        "text_hash": text_hash(CHUNK.text),
    }


def test_what_is_embedded_before_a_text_survives_and_tells_it_from_the_text_alone() -> None:
    prefixed = replace(CHUNK, prefix="A title\n\n")
    payload = to_payload(prefixed, document_hash="abc", chunk_count=7)
    assert to_chunk(payload) == prefixed
    assert payload[OWN_FIELD]["text_hash"] == text_hash("A title\n\n" + CHUNK.text) != text_hash(CHUNK.text)


GIVEN = {
    "class_name": "IndexNode",
    "id_": "a node of its program",
    "index_id": "elsewhere",
    "text": f"  {CHUNK.text}\n",
    "start_char_idx": None,
    "relationships": {SOURCE: {"node_id": "book", "node_type": DOCUMENT_NODE}},
    "metadata_template": "{key}={value} “ü”",
}


def test_what_a_node_has_otherwise_survives_beside_what_its_chunk_has() -> None:
    given = replace(CHUNK, node=GIVEN)
    payload = json.loads(json.dumps(to_payload(given, document_hash="abc", chunk_count=7)))
    assert to_chunk(payload) == given
    node = to_node(payload)
    assert isinstance(node, IndexNode)
    assert {name: node.to_dict()[name] for name in GIVEN if name != "relationships"} == {
        name: value for name, value in GIVEN.items() if name != "relationships"
    }
    assert node.end_char_idx == CHUNK.end_char
    assert node.metadata == CHUNK.metadata
    assert payload[OWN_FIELD]["text_hash"] == text_hash(CHUNK.text)


@pytest.mark.parametrize(
    ("relationships", "source", "own"),
    [
        ({SOURCE: {"node_id": "book"}}, "book", "book"),
        ({SOURCE: {"node_id": CHUNK.doc_id}}, CHUNK.doc_id, None),
        ({PARENT: {"node_id": "book"}}, "None", None),
    ],
)
def test_the_source_of_a_node_lies_where_llama_index_looks_and_the_document_where_we_do(
    relationships: dict[str, Any], source: str, own: str | None
) -> None:
    given = replace(CHUNK, node={"relationships": relationships})
    payload = to_payload(given, document_hash="abc", chunk_count=7)
    assert (payload["ref_doc_id"], payload["document_id"]) == (source, source)
    assert payload["doc_id"] == CHUNK.doc_id
    assert payload[OWN_FIELD].get("source_id") == own
    assert f"{OWN_FIELD}.source_id" == SOURCE_ID


def test_a_chunk_of_which_nothing_else_is_said_has_the_payload_it_always_had() -> None:
    # As it was written before nodes were kept: what is stored stays as it is.
    payload = to_payload(CHUNK, document_hash="abc", chunk_count=7)
    content = json.loads(payload.pop("_node_content"))
    related = {"node_id": CHUNK.doc_id, "node_type": "4", "metadata": {}, "hash": None}
    assert content == {
        "id_": CHUNK.chunk_id,
        "embedding": None,
        "metadata": CHUNK.metadata,
        "excluded_embed_metadata_keys": [],
        "excluded_llm_metadata_keys": [],
        "relationships": {"1": {**related, "class_name": "RelatedNodeInfo"}},
        "metadata_template": "{key}: {value}",
        "metadata_separator": "\n",
        "text": CHUNK.text,
        "mimetype": "text/plain",
        "start_char_idx": 120,
        "end_char_idx": 157,
        "text_template": "{metadata_str}\n\n{content}",
        "class_name": "TextNode",
    }
    assert payload["_node_type"] == "TextNode"


def test_fields_of_a_node_are_those_that_are_not_as_they_would_be() -> None:
    assert node_fields(TextNode(id_="a", text="A.", metadata={"x": 1}, embedding=[1.0])) == {
        "class_name": "TextNode"
    }
    assert node_fields(TextNode(text="A.", start_char_idx=0, mimetype="text/html")) == {
        "class_name": "TextNode",
        "start_char_idx": 0,
        "mimetype": "text/html",
    }
    assert node_fields(IndexNode(text="A.", index_id="")) == {"class_name": "IndexNode"}


def test_a_class_that_llama_index_does_not_know_is_read_as_llama_index_reads_it() -> None:
    class Own(TextNode):
        extra: int = 0

        @classmethod
        def class_name(cls) -> str:
            return "Own"

    fields = node_fields(Own(text="A.", extra=3))
    assert fields == {"class_name": "Own", "extra": 3}
    node = to_node(to_payload(replace(CHUNK, node=fields), document_hash="abc", chunk_count=1))
    assert (type(node), node.get_content()) == (TextNode, CHUNK.text)


def test_metadata_lies_at_the_top_where_filters_look(payload: dict[str, Any]) -> None:
    assert {key: payload[key] for key in CHUNK.metadata} == CHUNK.metadata
    assert payload["doc_id"] == CHUNK.doc_id


def test_the_reserved_fields_are_those_the_payload_has_beside_the_metadata(payload: dict[str, Any]) -> None:
    assert set(payload) - set(CHUNK.metadata) == RESERVED_FIELDS


@pytest.mark.parametrize("read", [metadata_dict_to_node, to_node], ids=["llama_index", "tandem"])
def test_llama_index_reads_the_node(payload: dict[str, Any], read: Any) -> None:
    node = read(payload)
    assert type(node) is TextNode
    assert node.node_id == CHUNK.chunk_id
    assert node.text == CHUNK.text
    assert node.metadata == CHUNK.metadata
    assert node.ref_doc_id == CHUNK.doc_id
    assert (node.start_char_idx, node.end_char_idx) == (120, 157)
    assert set(node.relationships) == {NodeRelationship.SOURCE}


@pytest.mark.parametrize(
    "change",
    [
        {OWN_FIELD: None},
        {OWN_FIELD: {}},
        {"_node_content": None},
        {"_node_content": "{"},
        {"_node_content": "{}"},
        {"_node_content": "[]"},
    ],
)
def test_a_payload_that_is_not_ours_is_no_chunk(payload: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(StoreCorruptError, match="payload"):
        to_chunk({**payload, **change})


@pytest.mark.parametrize("payload", [{}, {"doc_id": "d"}, {"_node_content": "{"}, {"_node_content": "3"}])
def test_a_payload_that_llama_index_cannot_read_is_no_node(payload: dict[str, Any]) -> None:
    with pytest.raises(StoreCorruptError, match="payload"):
        to_node(payload)
