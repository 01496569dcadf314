"""Chunks as Qdrant payloads that LlamaIndex reads.

A payload is what LlamaIndex's own vector stores write for a `TextNode`, so a stock
`QdrantVectorStore` opens the collection, plus one field, ``tandem``, with what LlamaIndex has no
place for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retriever.errors import StoreCorruptError
from retriever.records import Chunk

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

OWN_FIELD = "tandem"
"""The one payload field that LlamaIndex does not know."""

TEXT_HASH = f"{OWN_FIELD}.text_hash"
"""Where `text_hash` of a chunk lies in its payload."""

RESERVED_FIELDS = frozenset({OWN_FIELD, "doc_id", "document_id", "ref_doc_id", "_node_content", "_node_type"})
"""Names that metadata of a document cannot have: they are the payload's own."""


def to_payload(chunk: Chunk, *, document_hash: str, chunk_count: int) -> dict[str, Any]:
    """Return the payload of a chunk.

    `document_hash` changes with the document and how it was cut; `chunk_count` is the number of
    chunks it was cut into. From these a later run knows whether a document is stored whole.
    """
    from llama_index.core.schema import NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
    from llama_index.core.vector_stores.utils import node_to_metadata_dict

    document = RelatedNodeInfo(node_id=chunk.doc_id, node_type=ObjectType.DOCUMENT)
    node = TextNode(
        id_=chunk.chunk_id,
        text=chunk.text,
        metadata=dict(chunk.metadata),
        relationships={NodeRelationship.SOURCE: document},
        start_char_idx=chunk.start_char,
        end_char_idx=chunk.end_char,
    )
    payload: dict[str, Any] = node_to_metadata_dict(node, remove_text=False, flat_metadata=False)
    payload[OWN_FIELD] = {
        "index": chunk.index,
        "tokens": chunk.token_count,
        "document_hash": document_hash,
        "chunk_count": chunk_count,
        "text_hash": text_hash(chunk.embedded_text),
    }
    if chunk.prefix:
        payload[OWN_FIELD]["prefix"] = chunk.prefix
    return payload


def text_hash(text: str) -> str:
    """Return 16 hexadecimal digits by which chunks with this embedded text are found."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_chunk(payload: Mapping[str, Any]) -> Chunk:
    """Return the chunk of a payload.

    Raises
    ------
    StoreCorruptError
        If `to_payload` did not write it.
    """
    try:
        node = json.loads(payload["_node_content"])
        own = payload[OWN_FIELD]
        return Chunk(
            chunk_id=node["id_"],
            doc_id=payload["doc_id"],
            index=own["index"],
            text=node["text"],
            start_char=node["start_char_idx"],
            end_char=node["end_char_idx"],
            token_count=own["tokens"],
            metadata=node["metadata"],
            prefix=own.get("prefix", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"payload: expected the fields of a chunk that Tandem stored, got {sorted(payload)}."
        ) from error


def to_node(payload: Mapping[str, Any]) -> BaseNode:
    """Return the LlamaIndex node of a payload.

    Raises
    ------
    StoreCorruptError
        If neither Tandem nor LlamaIndex wrote it.
    """
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    try:
        return metadata_dict_to_node(dict(payload))
    except (TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"payload: expected the fields of a LlamaIndex node, got {sorted(payload)}."
        ) from error
