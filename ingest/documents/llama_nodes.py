"""LlamaIndex documents and nodes as documents; the one file that imports LlamaIndex for sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.schema import Document as LlamaDocument

from retriever.errors import SourceError
from retriever.payload import INHERITED, SOURCE, node_fields
from retriever.records import Document


def document_of_node(node: object) -> Document:
    """Return a LlamaIndex document or node as a document: its id, text and metadata, and what else it says.

    Of a document, only what its chunks can have of it is kept; its embedding, if it has one, is not.

    Raises
    ------
    SourceError
        With the reason, if it is neither.
    """
    if not isinstance(node, BaseNode):
        raise SourceError(
            f"expected a Document of Tandem, or a Document or TextNode of LlamaIndex, got "
            f"{type(node).__name__}; convert it"
        )
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return Document(doc_id=node.node_id, text=text, metadata=dict(node.metadata), node=_fields(node))


def _fields(node: BaseNode) -> dict[str, Any]:
    try:
        fields = node_fields(node)
        source = node.source_node
    except ValueError as error:
        raise SourceError(
            f"node: expected what LlamaIndex can write as JSON, got {error}; set what cannot to None (what "
            "an IndexNode refers to can be given to the retriever, as object_map={index_id: object})"
        ) from error
    if not isinstance(node, LlamaDocument):
        return fields
    kept = {name: fields[name] for name in INHERITED if name in fields}
    if source is not None:
        kept["relationships"] = {SOURCE: fields["relationships"][SOURCE]}
    return kept


def loaded(reader: object, load_kwargs: dict[str, Any]) -> Iterable[object]:
    """Return what a LlamaIndex reader loads, one at a time if it can do that.

    Raises
    ------
    SourceError
        If it is no reader.
    """
    if not isinstance(reader, BaseReader):
        raise SourceError(
            f"reader: expected a BaseReader of LlamaIndex, got {type(reader).__name__}. Give what it loads "
            "to documents_from."
        )
    if type(reader).lazy_load_data is BaseReader.lazy_load_data:
        return reader.load_data(**load_kwargs)
    return reader.lazy_load_data(**load_kwargs)
