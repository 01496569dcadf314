"""LlamaIndex documents and nodes as documents; the one file that imports LlamaIndex for sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import BaseNode, MetadataMode

from retriever.errors import SourceError
from retriever.records import Document


def document_of_node(node: object) -> Document:
    """Return a LlamaIndex document or node as a document: its id, text and metadata.

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
    return Document(doc_id=node.node_id, text=text, metadata=dict(node.metadata))


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
