"""Chunks as Qdrant payloads that LlamaIndex reads.

A payload is what LlamaIndex's own vector stores write for a node, so a stock `QdrantVectorStore` opens
the collection, plus one field, ``tandem``, with what LlamaIndex has no place for. The node is a
`TextNode` that Tandem makes of the chunk, unless `Chunk.node` says otherwise: a node that was given
comes back as it was, with the id and the relationships that its program knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from retriever.errors import StoreCorruptError
from retriever.records import Chunk

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

OWN_FIELD = "tandem"
"""The one payload field that LlamaIndex does not know."""

TEXT_HASH = f"{OWN_FIELD}.text_hash"
"""Where `text_hash` of a chunk lies in its payload."""

SOURCE_ID = f"{OWN_FIELD}.source_id"
"""Where the id of a chunk's source in LlamaIndex lies, if that is not its document in Tandem."""

RESERVED_FIELDS = frozenset({OWN_FIELD, "doc_id", "document_id", "ref_doc_id", "_node_content", "_node_type"})
"""Names that metadata of a document cannot have: they are the payload's own."""

SOURCE, PREVIOUS, NEXT, PARENT, CHILD = "1", "2", "3", "4", "5"
"""How LlamaIndex writes the kinds of relationships between nodes, its `NodeRelationship`."""

TEXT_NODE, DOCUMENT_NODE = "1", "4"
"""How it writes what a related node is, its `ObjectType`."""

INHERITED = (
    "excluded_embed_metadata_keys",
    "excluded_llm_metadata_keys",
    "metadata_template",
    "metadata_separator",
    "text_template",
)
"""What its splitters hand on from a document, or from a node, to the nodes they make of it."""

_NO_SOURCE = "None"  # as LlamaIndex writes it
_GIVEN = "given"
_READ_BACK = ("id_", "text", "start_char_idx", "end_char_idx")
_KEPT_ELSEWHERE = frozenset({"id_", "embedding", "metadata", "text"})


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
    own = {
        "index": chunk.index,
        "tokens": chunk.token_count,
        "document_hash": document_hash,
        "chunk_count": chunk_count,
        "text_hash": text_hash(chunk.embedded_text),
    }
    payload[OWN_FIELD] = own
    if chunk.prefix:
        own["prefix"] = chunk.prefix
    if chunk.node:
        own[_GIVEN] = _override(payload, chunk.node)
        if payload["ref_doc_id"] not in {chunk.doc_id, _NO_SOURCE}:
            own["source_id"] = payload["ref_doc_id"]
    return payload


def _override(payload: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Put fields of a node in the place of those that Tandem made; return which, with what is read back."""
    content = json.loads(payload["_node_content"])
    hidden = {name: content[name] if name in _READ_BACK else None for name in given}
    content.update(given)
    payload["_node_content"] = json.dumps(content, ensure_ascii=False)
    payload["_node_type"] = content["class_name"]
    source = content["relationships"].get(SOURCE, {}).get("node_id", _NO_SOURCE)
    payload["document_id"] = payload["ref_doc_id"] = source
    return hidden


def document_of(payload: Mapping[str, Any]) -> str:
    """Return the document of a chunk; that of a LlamaIndex node that was given is the node's source."""
    doc_id: str = payload[OWN_FIELD].get("source_id", payload["doc_id"])
    return doc_id


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
        content = json.loads(payload["_node_content"])
        own = payload[OWN_FIELD]
        given = own.get(_GIVEN, {})
        made = {**content, **given}
        return Chunk(
            chunk_id=made["id_"],
            doc_id=payload["doc_id"],
            index=own["index"],
            text=made["text"],
            start_char=made["start_char_idx"],
            end_char=made["end_char_idx"],
            token_count=own["tokens"],
            metadata=content["metadata"],
            prefix=own.get("prefix", ""),
            node={name: content[name] for name in given},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
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


def node_fields(node: BaseNode) -> dict[str, Any]:
    """Return what a node has beside id, text, metadata and embedding, as JSON values by field name.

    What has its default is left out; the ``class_name`` is always there.

    Raises
    ------
    ValueError
        If something of it, such as the object that an `IndexNode` holds, has no JSON form.
    """
    said = node.model_dump(mode="json")
    defaults = _defaults(said["class_name"])
    return {
        name: value
        for name, value in said.items()
        if name not in _KEPT_ELSEWHERE and (name == "class_name" or value != defaults.get(name))
    }


@cache
def _defaults(class_name: str) -> Mapping[str, Any]:
    """Return the fields of an empty node of the class that LlamaIndex reads such nodes as."""
    from llama_index.core.schema import ImageNode, IndexNode, Node, TextNode

    if class_name == IndexNode.class_name():
        return IndexNode(index_id="").model_dump(mode="json")
    if class_name == ImageNode.class_name():
        return ImageNode().model_dump(mode="json")
    return (Node() if class_name == Node.class_name() else TextNode()).model_dump(mode="json")
