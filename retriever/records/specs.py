"""What vectors and chunks are made with, each with a fingerprint that changes with all that changes them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from retriever.records.identity import fingerprint_of, without_defaults

_RESERVED = re.compile(r"""[+@~,<>:"'\\|?*\x00-\x1f]""")
"""What a model key must not have: it would mean something in the name of a vector, or no engine takes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What an embedding model is, up to everything that changes one of its vectors.

    Attributes
    ----------
    name
        The model's own name, as its publisher writes it (``"BAAI/bge-small-en-v1.5"``).
    revision
        Content hash of its weights (``"sha256:…"``), or the publisher's revision.
    dimensions
        Length of a vector.
    max_tokens
        The longest input it reads, special tokens included; None where it has no limit.
    query_prompt, document_prompt
        Put before every query and every chunk.
    pooling
        ``"mean"``, ``"cls"``, ``"static"``, ``"in-graph"``, …
    backend
        ``"torch"``, ``"onnx"``, ``"llama-index"``, …
    dtype
        Arithmetic of the weights: ``"float32"``, ``"int8"``, …
    tokenizer
        Content hash of the tokenizer; None where the model has none on this machine.
    source
        What to give to `retriever.models.load_model` to load it again. Not part of the
        fingerprint: the same model may lie elsewhere on another machine.
    over_length
        What becomes of a chunk beyond `max_tokens`: ``"refuse"``, or ``"windows"``: embedded in pieces
        whose vectors are averaged.
    agreement
        Mean cosine between its vectors and those of the model it was quantised from, as measured
        when that was done; None where nobody said. Not part of the fingerprint: a measurement.
    """

    name: str
    revision: str
    dimensions: int
    max_tokens: int | None
    query_prompt: str
    document_prompt: str
    pooling: str
    backend: str
    dtype: str
    tokenizer: str | None
    source: str
    over_length: str = "refuse"
    agreement: float | None = None

    @property
    def key(self) -> str:
        """The short name: that of its vectors in the store and on the command line."""
        return _RESERVED.sub("-", self.name.rsplit("/", 1)[-1])

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change with all that changes a vector."""
        identity = without_defaults(self, ["over_length"])
        del identity["source"], identity["agreement"]
        return fingerprint_of(identity)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkerSpec:
    """How documents are cut.

    `max_tokens` includes special tokens and is counted with the tokenizer that yields the most
    tokens; `overlap_tokens` is how much of a chunk its successor repeats. `tokenizers` are the
    content hashes of all tokenizers that count. `title_prefix`: the title of a document is embedded
    before each of its chunks. `parser` is the LlamaIndex node parser that cuts, with its settings, as
    JSON; empty where none does.
    """

    method: str = "words"
    version: int = 1
    max_tokens: int = 256
    overlap_tokens: int = 0
    tokenizers: tuple[str, ...] = ()
    title_prefix: bool = False
    parser: str = ""

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change with any setting."""
        return fingerprint_of(without_defaults(self, ["title_prefix", "parser"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class LexicalSpec:
    """How texts become BM25 vectors, up to everything that changes one of them; see `retriever.lexical`.

    Attributes
    ----------
    language
        Whose stop words and stemmer are used; ``"none"`` for none.
    average_length
        Tokens of a chunk on average, as measured when the vectors were first made. It stays when chunks
        come and go, so that vectors made at different times can be compared.
    k1, b
        Of BM25: how late repetitions of a token stop counting, and how much the length of the chunk
        counts, from 0 to 1.
    tokens
        Fingerprint of the tokens that a fixed text becomes: it changes with the tokenizer, the stop words
        and the stemmer.
    """

    language: str
    average_length: float
    k1: float
    b: float
    tokens: str

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change with all that changes a vector."""
        return fingerprint_of(asdict(self))
