"""What LlamaIndex is told of chunks, beyond what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from retriever.payload import CHILD, DOCUMENT_NODE, INHERITED, NEXT, PARENT, PREVIOUS, SOURCE, TEXT_NODE
from retriever.records import Chunk, Document

_SILENT: Mapping[str, Any] = {"relationships": {}, "start_char_idx": None, "end_char_idx": None}
"""What a node has of which it says nothing."""


def with_nodes(
    document: Document, chunks: Sequence[Chunk], parsed: Sequence[Mapping[str, Any]] = ()
) -> list[Chunk]:
    """Return the chunks of a document, each with its `Chunk.node`.

    - A node of LlamaIndex that is one chunk comes back as it was, under its own id.
    - Pieces of a longer one have ids of their own. The node is their parent; its source and its
      neighbours are theirs, under the ids that its program knows.
    - Chunks of a document have the chunks before and after them as neighbours, and look to a language
      model as the document says.

    `parsed` is what a node parser said of each chunk, by names of fields; its relationships count for
    more.
    """
    if "class_name" in document.node:
        if len(chunks) == 1 and chunks[0].text == document.text.strip():
            return [_whole(document, chunks[0], parsed[0] if parsed else {})]
        related = [_of_a_piece(document)] * len(chunks)
    else:
        related = _neighbours(document, chunks)
    inherited = {name: document.node[name] for name in INHERITED if name in document.node}
    return [
        _with_node(chunk, {**inherited, **(parsed[i] if parsed else {})}, related[i])
        for i, chunk in enumerate(chunks)
    ]


def _whole(document: Document, chunk: Chunk, parsed: Mapping[str, Any]) -> Chunk:
    added = {name: value for name, value in parsed.items() if name not in _SILENT}
    white_space = {} if chunk.text == document.text else {"text": document.text}
    return replace(chunk, node={**_SILENT, **document.node, **added, **white_space, "id_": document.doc_id})


def _with_node(chunk: Chunk, fields: dict[str, Any], related: Mapping[str, Any]) -> Chunk:
    relationships = {**related, **fields.get("relationships", {})}
    if len(relationships) > 1 or relationships[SOURCE]["node_id"] != chunk.doc_id:
        fields["relationships"] = relationships
    return replace(chunk, node=fields) if fields else chunk


def _of_a_piece(document: Document) -> dict[str, Any]:
    given = document.node.get("relationships", {})
    kept = {kind: related for kind, related in given.items() if kind != CHILD}
    return {
        SOURCE: _related(document.doc_id, DOCUMENT_NODE),
        **kept,
        PARENT: _related(document.doc_id, TEXT_NODE),
    }


def _neighbours(document: Document, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
    given = document.node.get("relationships", {})
    source = given.get(SOURCE, _related(document.doc_id, DOCUMENT_NODE))
    related: list[dict[str, Any]] = [{SOURCE: source} for _ in chunks]
    for i in range(1, len(chunks)):
        related[i][PREVIOUS] = _related(chunks[i - 1].chunk_id, TEXT_NODE)
        related[i - 1][NEXT] = _related(chunks[i].chunk_id, TEXT_NODE)
    return related


def _related(node_id: str, node_type: str) -> dict[str, Any]:
    return {"node_id": node_id, "node_type": node_type}
