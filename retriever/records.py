"""The records that travel between the packages; all are frozen and keyword-only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from retriever.errors import InputError, StoreCorruptError

FORMAT_VERSION = 1
"""Version of what is written into a store; a reader refuses a newer one by name."""

COMBINED = "+"
"""Joins the parts in the name of a concatenated vector: ``A+B``."""

TRUNCATED = "@"
"""Stands between a model key and a number of dimensions: ``A@128`` is the first 128 of A, normalised."""

LEXICAL = "bm25"
"""The name of the sparse vector, and of its leg wherever legs are named."""

FULL_STORAGE = "float32"
"""How vectors are stored that every score is computed from; other kinds only find candidates for these."""

LOSS = "loss"
"""Where the evidence of a deployment keeps what fewer bits or dimensions cost, see `retriever.losses`."""

_STORED_AS = "~"
_RESERVED = re.compile(r"""[+@~,<>:"'\\|?*\x00-\x1f]""")
"""What a model key must not have: it would mean something in the name of a vector, or no engine takes it."""

_LONGEST_NAME = 200
"""Bytes of the name of a vector that every engine takes."""

_CORPUS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOT_A_RECORD = (AttributeError, KeyError, TypeError, ValueError)


def fingerprint_of(value: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that change with any value in `value`."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_defaults(record: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a record but for those of `names` that have their default value.

    A field that a later release adds to a fingerprint goes through here: at its default it changes
    nothing, so what was stored before it existed keeps its identity.
    """
    defaults = {one.name: one.default for one in fields(record)}
    return {
        name: value for name, value in asdict(record).items() if name not in names or value != defaults[name]
    }


def is_corpus_name(name: str) -> bool:
    """Return whether `name` can name a folder and a collection everywhere."""
    return _CORPUS_NAME.fullmatch(name) is not None


def check_corpus_name(name: str) -> str:
    """Return `name` if it can name a folder and a collection everywhere.

    Raises
    ------
    InputError
        If it is empty, too long, or has other characters than letters, digits, ``.``, ``_``, ``-``.
    """
    if not is_corpus_name(name):
        raise InputError(
            f"corpus name: expected 1 to 128 letters, digits, '.', '_' or '-', starting with a letter "
            f"or digit, got {name!r}"
        )
    return name


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
        identity = _without_defaults(self, ["over_length"])
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
        return fingerprint_of(_without_defaults(self, ["title_prefix", "parser"]))


@dataclass(frozen=True, slots=True)
class Combination:
    """A concatenated vector of a corpus.

    `parts` are model keys, each whole or its first dimensions (``"A@128"``), in the order of the
    manifest. `storage` is what the engine scans: ``"float32"``, ``"float16"``, ``"int8"``,
    ``"binary"``.
    """

    parts: tuple[str, ...]
    storage: str = FULL_STORAGE

    def __post_init__(self) -> None:
        if len(self.vector.encode()) > _LONGEST_NAME:
            raise InputError(
                f"combination: expected a name of at most {_LONGEST_NAME} bytes, got {self.vector!r}. Ingest "
                "with models of shorter names, or combine fewer."
            )

    @property
    def vector(self) -> str:
        """The name of its vector in the store."""
        name = COMBINED.join(self.parts)
        return name if self.storage == FULL_STORAGE else f"{name}{_STORED_AS}{self.storage}"

    @property
    def is_stored_anyway(self) -> bool:
        """Whether it is the vector of one model as every corpus keeps it."""
        return self.storage == FULL_STORAGE and len(self.parts) == 1 and TRUNCATED not in self.parts[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its models."""
        return tuple(split_part(part)[0] for part in self.parts)

    def to_json(self) -> Any:
        """Return JSON values from which `from_json` makes an equal record."""
        return list(self.parts) if self.storage == FULL_STORAGE else asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Combination:
        """Read what `to_json` wrote."""
        if isinstance(value, Mapping):
            return cls(tuple(value["parts"]), value["storage"])
        return cls(tuple(value))


def split_part(part: str) -> tuple[str, int | None]:
    """Return model key and number of dimensions of a part of a combination; None where it is whole.

    Raises
    ------
    InputError
        If what follows the ``@`` is no number of at least 1.
    """
    key, mark, dimensions = part.rpartition(TRUNCATED)
    if not mark:
        return part, None
    if not (dimensions.isascii() and dimensions.isdecimal() and int(dimensions)):
        raise InputError(f"combination: expected a number of dimensions after '@', got {part!r}.")
    return key, int(dimensions)


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusManifest:
    """What a corpus was made with; lies in the store beside the vectors.

    Attributes
    ----------
    corpus
        Its name.
    chunker
        How its documents were cut.
    models
        The models of its vectors, in the order they were added.
    combinations
        The concatenated vectors it keeps, made from those of its models.
    spreads
        Standard deviation of the cosines between sampled chunks, by model key; measured after
        ingest. The default weights are one over these. ``"bm25"`` is that of the lexical leg, on the
        scale of its scores divided by `lexical_scale`.
    counting
        Models that were dropped since, but whose tokenizers still count when documents are cut.
    lexical
        How its BM25 vectors are made; None where it has none.
    lexical_scale
        The BM25 score that a typical best hit has; scores of the lexical leg are divided by it.
    format_version
        Version of the layout.
    """

    corpus: str
    chunker: ChunkerSpec
    models: tuple[ModelSpec, ...]
    combinations: tuple[Combination, ...] = ()
    spreads: Mapping[str, float] = field(default_factory=dict)
    counting: tuple[ModelSpec, ...] = ()
    lexical: LexicalSpec | None = None
    lexical_scale: float = 1.0
    format_version: int = FORMAT_VERSION

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its models, in order."""
        return tuple(model.key for model in self.models)

    def model(self, key: str) -> ModelSpec:
        """Return the model of this key.

        Raises
        ------
        InputError
            If the corpus has no vectors of it.
        """
        for spec in self.models:
            if spec.key == key:
                return spec
        raise InputError(
            f"corpus {self.corpus!r}: expected one of its models ({', '.join(self.keys)}), got {key!r}. "
            "Add the model with `ingest run`."
        )

    def resolve(self, name: str) -> str:
        """Return the key of the model that is called `name`: its key, full name or source.

        Raises
        ------
        InputError
            If the corpus has no vectors of it.
        """
        for spec in self.models:
            if name in {spec.key, spec.name, spec.source}:
                return spec.key
        return self.model(name).key

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return these parts by key, in the order of the manifest: A+B and B+A are one combination.

        Each is a model, whole or its first dimensions (``A@128``).

        Raises
        ------
        InputError
            If there is none, a model is unknown or comes twice, or has fewer dimensions than asked for.
        """
        if not names:
            raise InputError(
                f"combination: expected models of corpus {self.corpus!r} ({', '.join(self.keys)}), got none."
            )
        by_key = dict(self._part(name) for name in names)
        if len(by_key) != len(names):
            raise InputError(f"combination: expected different models, got {COMBINED.join(names)}")
        return tuple(by_key[key] for key in self.keys if key in by_key)

    def _part(self, name: str) -> tuple[str, str]:
        """Return the model key and the name of a part that is called `name`."""
        if any(name in {spec.key, spec.name, spec.source} for spec in self.models):  # also one with an @
            key = self.resolve(name)
            return key, key
        called, dimensions = split_part(name)
        spec = self.model(self.resolve(called))
        if dimensions is None or dimensions == spec.dimensions:
            return spec.key, spec.key
        if dimensions > spec.dimensions:
            raise InputError(
                f"combination: expected at most the {spec.dimensions} dimensions of {spec.key}, got {name!r}."
            )
        return spec.key, f"{spec.key}{TRUNCATED}{dimensions}"

    def size(self, part: str) -> int:
        """Return the dimensions of a part of a combination."""
        key, dimensions = split_part(part)
        return self.model(key).dimensions if dimensions is None else dimensions

    @property
    def derived(self) -> tuple[str, ...]:
        """The names of the vectors that are made from others or from text, not embedded."""
        lexical = () if self.lexical is None else (LEXICAL,)
        return (*(combination.vector for combination in self.combinations), *lexical)

    def without(self, key: str) -> CorpusManifest:
        """Return the manifest without a model and its combinations.

        The chunks stay as they are, so where no other model has its tokenizer it goes on counting.
        """
        gone = self.model(key)
        models = tuple(model for model in self.models if model is not gone)
        counts = gone.tokenizer in self.chunker.tokenizers
        shared = gone.tokenizer in {model.tokenizer for model in (*models, *self.counting)}
        return replace(
            self,
            models=models,
            combinations=tuple(one for one in self.combinations if key not in one.keys),
            spreads={other: value for other, value in self.spreads.items() if other != key},
            counting=(*self.counting, gone) if counts and not shared else self.counting,
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal manifest."""
        value = _without_defaults(self, ["counting", "lexical", "lexical_scale"])
        value["combinations"] = [combination.to_json() for combination in self.combinations]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CorpusManifest:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreCorruptError
            If it was written by a newer release, or is not a manifest.
        """
        try:
            found = value.get("format_version")
            if found != FORMAT_VERSION:
                raise StoreCorruptError(
                    f"manifest: expected format version {FORMAT_VERSION}, got {found!r}. "
                    "Upgrade tandem-rag, or ingest again with this release."
                )
            chunker = dict(value["chunker"])
            chunker["tokenizers"] = tuple(chunker["tokenizers"])
            return cls(
                corpus=value["corpus"],
                chunker=ChunkerSpec(**chunker),
                models=tuple(ModelSpec(**model) for model in value["models"]),
                combinations=tuple(Combination.from_json(one) for one in value["combinations"]),
                spreads=dict(value["spreads"]),
                counting=tuple(ModelSpec(**model) for model in value.get("counting", ())),
                lexical=LexicalSpec(**value["lexical"]) if value.get("lexical") else None,
                lexical_scale=value.get("lexical_scale", 1.0),
            )
        except _NOT_A_RECORD as error:
            raise StoreCorruptError(f"manifest: expected the fields of a manifest, got {value!r}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What a corpus serves: which models, at which weights, and why.

    Attributes
    ----------
    corpus
        Name of the corpus.
    models
        Parts of the combination, in the order of the manifest; one or more. Each is a model key, or
        the first dimensions of one (``"A@128"``).
    weights
        One per part, each at least 0. A score is ``Σ weight·cosine``, in [-1, 1].
    weighting
        Where the weights come from: ``"calibrated"``, ``"equal"`` or ``"explicit"``.
    fingerprints
        Of the models, in the same order, at the time of deployment.
    evidence
        What it was chosen on: JSON values, empty where a user decided.
    created
        ISO 8601 time in UTC.
    storage
        What the engine scans, see `Combination`; scores are exact whatever it is.
    lexical_weight
        Weight of the BM25 score, divided by the `lexical_scale` of the manifest; 0 where it has no
        part. Together with `weights` the sum is 1.
    lexical_fingerprint
        Of how the BM25 vectors were made, at the time of deployment; empty where they have no part.
    """

    corpus: str
    models: tuple[str, ...]
    weights: tuple[float, ...]
    weighting: str
    fingerprints: tuple[str, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    storage: str = FULL_STORAGE
    lexical_weight: float = 0.0
    lexical_fingerprint: str = ""

    @property
    def combination(self) -> Combination:
        """What it searches: of its models together."""
        return Combination(self.models, self.storage)

    @property
    def vector(self) -> str:
        """The named vector it searches."""
        return self.combination.vector

    @property
    def legs(self) -> tuple[str, ...]:
        """What a score is the sum over: its parts, and ``"bm25"`` where that has a part."""
        return (*self.models, LEXICAL) if self.lexical_fingerprint else self.models

    @property
    def name(self) -> str:
        """What is said after ``tandem deploy``: ``A+B``, ``A+B+bm25``."""
        return COMBINED.join(self.legs)

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each leg."""
        weights = (*self.weights, self.lexical_weight) if self.lexical_fingerprint else self.weights
        return dict(zip(self.legs, weights, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal record."""
        return _without_defaults(self, ["storage", "lexical_weight", "lexical_fingerprint"])

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Deployment:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreCorruptError
            If it is not a deployment record.
        """
        try:
            given = dict(value)
            for name in ("models", "weights", "fingerprints"):
                given[name] = tuple(given[name])
            return cls(**given)
        except _NOT_A_RECORD as error:
            raise StoreCorruptError(f"deployment: expected the fields of a record, got {value!r}") from error


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
