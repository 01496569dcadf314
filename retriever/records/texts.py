"""What is ingested and what is found: documents, chunks, hits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from retriever.records.identity import fingerprint_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A heading of a document: where its line starts in the text, its level from 1, its words."""

    start_char: int
    level: int
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text to ingest.

    `metadata` holds JSON values; it travels to every chunk and can be filtered on. `text` is what
    offsets of chunks refer to. `headings` are those of its source, in the order of the text, where it
    marks them (Markdown, HTML, Word); None where nobody has looked. `node` is what LlamaIndex says of it
    beyond this, by the names of its own fields and as JSON values, where it comes from there; a
    ``class_name`` is among them if it was a node and no document.
    """

    doc_id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headings: tuple[Heading, ...] | None = None
    node: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Return 16 hexadecimal digits that change with anything but the id."""
        identity: dict[str, Any] = {"text": self.text, "metadata": dict(self.metadata)}
        if self.headings:
            identity["headings"] = [asdict(heading) for heading in self.headings]
        if self.node:
            identity["node"] = dict(self.node)
        return fingerprint_of(identity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a document: ``text == document.text[start_char:end_char]``.

    `index` counts from 0 within the document. `prefix` is embedded before the text and is no part of
    it: the title of the document, say. `token_count` is of `embedded_text`, includes the special
    tokens and is the largest over the models of the corpus. `node` is what its LlamaIndex node has
    otherwise than Tandem would say, by the names of the node's fields and as JSON values.
    """

    chunk_id: str
    doc_id: str
    index: int
    text: str
    start_char: int
    end_char: int
    token_count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    node: Mapping[str, Any] = field(default_factory=dict)

    @property
    def embedded_text(self) -> str:
        """What the models embed."""
        return self.prefix + self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One retrieved chunk.

    Attributes
    ----------
    chunk
        The chunk.
    rank
        Counts from 1.
    score
        What the hits are ordered by. ``Σ weight·cosine`` over the legs of the deployment, unless
        another fusion was asked for.
    contributions
        The summands of the score, by leg.
    ranks
        By leg, the rank of the chunk if that leg searched alone; empty where nobody asked for it.
    before, after
        Its neighbours in the document, in the order of the text; empty where nobody asked for them.
    approximate
        Whether a chunk with a higher score may have been missed: for fusions that look only at the
        first chunks of each leg.
    """

    chunk: Chunk
    rank: int
    score: float
    contributions: Mapping[str, float]
    ranks: Mapping[str, int] = field(default_factory=dict)
    before: tuple[Chunk, ...] = ()
    after: tuple[Chunk, ...] = ()
    approximate: bool = False
