"""Documents into the chunks that a LlamaIndex node parser makes.

The only module of this package that imports LlamaIndex; nothing imports it before a parser is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.node_parser import HierarchicalNodeParser
from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    TextNode,
    TransformComponent,
)
from llama_index.core.schema import Document as LlamaDocument

from ingest.chunks.chunker import budget_of, check_version, distinct
from ingest.chunks.identity import chunk_id
from ingest.chunks.nodes import with_nodes
from ingest.chunks.titles import Prefix, prefix_of
from ingest.documents.source import check_metadata
from retriever.errors import InputError, ModelMismatchError, SourceError
from retriever.models.protocol import Tokenizer
from retriever.payload import NEXT, PREVIOUS, RESERVED_FIELDS, SOURCE, node_fields
from retriever.records import Chunk, ChunkerSpec, Document

_NO_SETTINGS = frozenset({"class_name", "callback_manager", "id_func", "include_prev_next_rel"})
"""What changes neither text nor metadata of a node."""

_SECRET = re.compile(
    r"api_?key|password|secret|credential|authori[sz]ation|headers|(access|auth|bearer)_token"
)

_SHOWN = 40

_KNOWN_BETTER = frozenset({"start_char_idx", "end_char_idx"})
"""What is said of the place of a node: a chunk is checked to have its own."""

_HIDDEN_KEYS = frozenset({"excluded_embed_metadata_keys", "excluded_llm_metadata_keys"})


class NodeParserChunker:
    """Cuts documents with a LlamaIndex node parser.

    - Each node is a chunk, white space at its ends aside; nodes without text are left out. Text that is
      not in the document as it is, because the parser rewrote it, is refused: a chunk must be found
      in its document.
    - Its metadata are those of the document and what the parser added or changed. What else the parser
      says of it is kept too, but for its id: that of its chunk is the same in each run. Nodes that refer
      to each other do so by these.
    - A chunk of more than `spec.max_tokens` tokens by any tokenizer is refused, never truncated.
    - The parser does not see the metadata when it measures: they are not embedded.
    - Parsers that make chunks of chunks are refused: only the smallest could be stored. Their leaves can be
      ingested as nodes.

    Parameters
    ----------
    spec
        `spec.parser` must be the `identity` of `parser`, `spec.tokenizers` the sorted fingerprints of
        `tokenizers`.
    tokenizers
        All that count, in any order; repeats are allowed.
    parser
        What cuts.

    Raises
    ------
    ModelMismatchError
        If `spec` asks for another parser or other tokenizers.
    InputError
        If `parser` is no node parser, makes chunks of chunks, or is given an overlap, which is its own
        business.
    """

    def __init__(self, spec: ChunkerSpec, tokenizers: Sequence[Tokenizer], parser: object) -> None:
        self._parser = _checked(parser)
        check_version(spec)
        found = identity(parser)
        if spec.parser != found:
            raise ModelMismatchError(
                f"chunker: expected the node parser {spec.parser or '(none)'}, got {found}. Give the parser "
                "that cut the corpus, or ingest into a corpus of another name."
            )
        if spec.overlap_tokens:
            raise InputError(
                f"chunk overlap: expected none with a node parser, which has its own, got "
                f"{spec.overlap_tokens}. Set it in the parser."
            )
        self._tokenizers = distinct(tokenizers)
        self._budget = budget_of(spec, self._tokenizers)
        self._spec = spec
        self._fingerprint = spec.fingerprint

    @property
    def spec(self) -> ChunkerSpec:
        """How it cuts."""
        return self._spec

    def chunks(self, document: Document, corpus: str) -> list[Chunk]:
        """Return the chunks of `document` in order; none if it has only white space.

        Raises
        ------
        InputError
            If a chunk is too long or not in the text of the document, if the parser fails, makes chunks of
            chunks, or sets metadata that cannot be stored.
        """
        if not document.text.strip():
            return []
        nodes = [node for node in self._nodes(document) if _text(node).strip()]
        places = _places(document, nodes)
        title = prefix_of(document, self._tokenizers, self._budget) if self._spec.title_prefix else Prefix()
        prefixes = [title.before(document.text, start) for start, _ in places]
        texts = [document.text[start:end] for start, end in places]
        counts = self._counts(document, [one + text for one, text in zip(prefixes, texts, strict=True)])
        chunks = [
            Chunk(
                chunk_id=chunk_id(
                    corpus=corpus,
                    doc_id=document.doc_id,
                    index=index,
                    text=texts[index],
                    prefix=prefixes[index],
                    fingerprint=self._fingerprint,
                ),
                doc_id=document.doc_id,
                index=index,
                text=texts[index],
                start_char=places[index][0],
                end_char=places[index][1],
                token_count=counts[index],
                metadata=_metadata(document, index, node),
                prefix=prefixes[index],
            )
            for index, node in enumerate(nodes)
        ]
        ids = {node.node_id: chunk.chunk_id for node, chunk in zip(nodes, chunks, strict=True)}
        return with_nodes(document, chunks, [_parsed(document, node, ids) for node in nodes])

    def _nodes(self, document: Document) -> Sequence[BaseNode]:
        given = LlamaDocument(
            id_=document.doc_id,
            text=document.text,
            metadata=dict(document.metadata),
            excluded_embed_metadata_keys=list(document.metadata),
            excluded_llm_metadata_keys=list(document.metadata),
        )
        try:
            nodes = self._parser([given])
        except Exception as error:  # whatever a program's own parser raises: one document must not end a run
            raise InputError(
                f"document {document.doc_id!r}: expected nodes from the parser, it failed with "
                f"{type(error).__name__}: {error}. Mend the parser or leave the document out."
            ) from error
        if any(node.relationships.get(NodeRelationship.CHILD) for node in nodes):
            raise _nested(self._parser)
        return nodes

    def _counts(self, document: Document, embedded: Sequence[str]) -> list[int]:
        by_tokenizer = [tokenizer.count(embedded) for tokenizer in self._tokenizers]
        counts = [max(column) for column in zip(*by_tokenizer, strict=True)]
        for index, count in enumerate(counts):
            if count > self._spec.max_tokens:
                raise InputError(
                    f"chunk {index} of document {document.doc_id!r}: expected at most "
                    f"{self._spec.max_tokens} tokens, the node parser made {count}. Have it cut shorter, or "
                    f"allow more tokens per chunk (chunk_tokens={max(counts)}) for models that read them."
                )
        return counts


def identity(parser: object) -> str:
    """Return class and settings of a parser as JSON, the same in each process.

    Left out is what changes no chunk, and what must not be stored, such as keys of services. Functions
    among the settings count by their names, those that a parser keeps to itself (a tokenizer, say) not at
    all: who exchanges these should ingest again.
    """
    component = _checked(parser)
    kind = type(component)
    name = f"{kind.__module__.split('.')[0]}.{kind.__qualname__}"
    settings = _settings(component.to_dict())
    return json.dumps(
        {"class": name, "settings": settings}, sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def _checked(parser: object) -> TransformComponent:
    if not isinstance(parser, TransformComponent):
        raise InputError(
            f"parser: expected a node parser of LlamaIndex (a TransformComponent), got "
            f"{type(parser).__name__}."
        )
    if isinstance(parser, HierarchicalNodeParser):
        raise _nested(parser)
    return parser


def _nested(parser: object) -> InputError:
    return InputError(
        f"parser: expected one that makes chunks of documents, got {type(parser).__name__}, which makes "
        "chunks of chunks too. Take the parser of its smallest chunks alone, or parse first and ingest the "
        "leaves: documents_from(get_leaf_nodes(nodes))."
    )


def _settings(value: Any) -> Any:
    """Return JSON values for the settings of a component."""
    if isinstance(value, Mapping):
        return {
            str(name): _settings(one)
            for name, one in value.items()
            if name not in _NO_SETTINGS and not _SECRET.search(str(name).lower())
        }
    if isinstance(value, (list, tuple)):
        return [_settings(one) for one in value]
    if isinstance(value, (str, int, float)) or value is None:
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _text(node: BaseNode) -> str:
    return node.get_content(metadata_mode=MetadataMode.NONE)


def _places(document: Document, nodes: Sequence[BaseNode]) -> list[tuple[int, int]]:
    """Return where the text of each node stands in the document, white space at its ends aside.

    What a node says of itself counts if it is true; else it is looked for behind the begin of the one
    before.
    """
    places: list[tuple[int, int]] = []
    for index, node in enumerate(nodes):
        text = _text(node).strip()
        said = getattr(node, "start_char_idx", None)
        start = -1 if said is None else document.text.find(text, said, said + len(_text(node)))
        if start < 0:
            start = document.text.find(text, places[-1][0] + 1 if places else 0)
        if start < 0:
            raise InputError(
                f"chunk {index} of document {document.doc_id!r}: expected a piece of its text, the node "
                f"parser made {text[:_SHOWN]!r}, which is not in it behind the chunk before. Take a parser "
                "that cuts and does not rewrite."
            )
        places.append((start, start + len(text)))
    return places


def _parsed(document: Document, node: BaseNode, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return what a parser said of a node, in the terms of stored chunks."""
    said = {name: value for name, value in node_fields(node).items() if name not in _KNOWN_BETTER}
    if said["class_name"] == TextNode.class_name():
        del said["class_name"]
    for name in _HIDDEN_KEYS & said.keys():  # the document that the parser got hid all of its own
        said[name] = [
            *document.node.get(name, ()),
            *(key for key in said[name] if key not in document.metadata),
        ]
    if "index_id" in said:
        said["index_id"] = ids.get(said["index_id"], said["index_id"])
    if "relationships" in said:
        said["relationships"] = {
            kind: {**related, "node_id": ids.get(related["node_id"], related["node_id"])}
            for kind, related in said["relationships"].items()
            if kind not in {SOURCE, PREVIOUS, NEXT}
        }
    return {name: value for name, value in said.items() if value}


def _metadata(document: Document, index: int, node: BaseNode) -> dict[str, Any]:
    metadata = {**document.metadata, **node.metadata}
    taken = sorted(RESERVED_FIELDS & set(metadata))
    if taken:
        raise InputError(
            f"chunk {index} of document {document.doc_id!r}: expected metadata of other names than "
            f"{', '.join(taken)}, which are reserved. Have the parser set others."
        )
    try:
        check_metadata(metadata)
    except SourceError as error:
        raise InputError(
            f"chunk {index} of document {document.doc_id!r}: expected metadata that can be stored, the node "
            f"parser set others ({error})."
        ) from error
    return metadata
