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
"""Joins the model keys in the name of a concatenated vector: ``A+B``."""

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
    marks them (Markdown, HTML, Word); None where nobody has looked.
    """

    doc_id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headings: tuple[Heading, ...] | None = None

    @property
    def content_hash(self) -> str:
        """Return 16 hexadecimal digits that change with the text, the metadata or the headings."""
        identity: dict[str, Any] = {"text": self.text, "metadata": dict(self.metadata)}
        if self.headings:
            identity["headings"] = [asdict(heading) for heading in self.headings]
        return fingerprint_of(identity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a document: ``text == document.text[start_char:end_char]``.

    `index` counts from 0 within the document. `prefix` is embedded before the text and is no part of
    it: the title of the document, say. `token_count` is of `embedded_text`, includes the special
    tokens and is the largest over the models of the corpus.
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
        return self.name.rsplit("/", 1)[-1].replace(COMBINED, "-").replace(",", "-")

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
        The concatenated vectors it keeps, each a tuple of model keys in the order of `models`.
    spreads
        Standard deviation of the cosines between sampled chunks, by model key; measured after
        ingest. The default weights are one over these.
    counting
        Models that were dropped since, but whose tokenizers still count when documents are cut.
    format_version
        Version of the layout.
    """

    corpus: str
    chunker: ChunkerSpec
    models: tuple[ModelSpec, ...]
    combinations: tuple[tuple[str, ...], ...] = ()
    spreads: Mapping[str, float] = field(default_factory=dict)
    counting: tuple[ModelSpec, ...] = ()
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
        """Return the keys of these models in the order of the manifest: A+B and B+A are one combination.

        Raises
        ------
        InputError
            If there is none, or a model is unknown or comes twice.
        """
        if not names:
            raise InputError(
                f"combination: expected models of corpus {self.corpus!r} ({', '.join(self.keys)}), got none."
            )
        keys = [self.resolve(name) for name in names]
        if len(set(keys)) != len(keys):
            raise InputError(f"combination: expected different models, got {COMBINED.join(names)}")
        return tuple(key for key in self.keys if key in keys)

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
            combinations=tuple(keys for keys in self.combinations if key not in keys),
            spreads={other: value for other, value in self.spreads.items() if other != key},
            counting=(*self.counting, gone) if counts and not shared else self.counting,
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal manifest."""
        return _without_defaults(self, ["counting"])

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
                combinations=tuple(tuple(keys) for keys in value["combinations"]),
                spreads=dict(value["spreads"]),
                counting=tuple(ModelSpec(**model) for model in value.get("counting", ())),
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
        Model keys, in the order of the manifest; one or more.
    weights
        One per model, each at least 0, sum 1. A score is ``Σ weight·cosine``, in [-1, 1].
    weighting
        Where the weights come from: ``"calibrated"``, ``"equal"`` or ``"explicit"``.
    fingerprints
        Of the models, in the same order, at the time of deployment.
    evidence
        What it was chosen on: JSON values, empty where a user decided.
    created
        ISO 8601 time in UTC.
    """

    corpus: str
    models: tuple[str, ...]
    weights: tuple[float, ...]
    weighting: str
    fingerprints: tuple[str, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""

    @property
    def vector(self) -> str:
        """The named vector it searches."""
        return COMBINED.join(self.models)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal record."""
        return asdict(self)

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

    `rank` counts from 1; `score` is ``Σ weight·cosine`` over the models of the deployment, in
    [-1, 1]; `contributions` are its summands by model key.
    """

    chunk: Chunk
    rank: int
    score: float
    contributions: Mapping[str, float]
