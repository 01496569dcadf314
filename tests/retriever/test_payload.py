from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from retriever.errors import StoreCorruptError
from retriever.payload import OWN_FIELD, RESERVED_FIELDS, text_hash, to_chunk, to_node, to_payload
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
