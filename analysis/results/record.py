"""Results: models measured on collections, with all that is needed to draw every table again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A model as it was measured.

    Attributes
    ----------
    key, name, fingerprint
        As in the manifest of a corpus: short name, full name, hash over all that changes a vector.
    dimensions
        Numbers of a vector.
    max_tokens
        What it reads of a text; None without limit.
    backend, dtype
        What ran it.
    seconds_per_1000_chunks, milliseconds_per_query
        Cost on the machine of the manifest; None where it was not measured.
    """

    key: str
    name: str
    fingerprint: str
    dimensions: int
    max_tokens: int | None
    backend: str
    dtype: str
    seconds_per_1000_chunks: float | None = None
    milliseconds_per_query: float | None = None

    @property
    def bytes_per_chunk(self) -> int:
        """What a chunk's vector takes, as float32."""
        return 4 * self.dimensions

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "bytes_per_chunk": self.bytes_per_chunk}


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionFacts:
    """A judged collection as it was measured.

    Attributes
    ----------
    name
        Of the corpus.
    corpus_hash, queries_hash, qrels_hash
        SHA-256 over the texts of the chunks, over the queries, and over the judgements, each in the
        order of their ids; the last is empty where there are no judgements.
    documents, chunks, queries
        How many of each; queries that have judgements, where there are any.
    chunker
        How documents were cut, as in the manifest of the corpus.
    spreads
        Standard deviation of each model's cosines between chunks, by key.
    drop_own
        Whether hits whose document id equals the query id were dropped.
    """

    name: str
    corpus_hash: str
    queries_hash: str
    qrels_hash: str
    documents: int
    chunks: int
    queries: int
    chunker: Mapping[str, Any]
    spreads: Mapping[str, float]
    drop_own: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CollectionResults:
    """What was measured on one collection.

    Attributes
    ----------
    facts
        What the collection is.
    evaluation
        Candidates and similarities, per query; without judgements `singles` and `pairs` are empty.
    query_texts
        By query id, for the report.
    """

    facts: CollectionFacts
    evaluation: Evaluation
    query_texts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How it was measured; equal settings on equal collections give equal numbers.

    Attributes
    ----------
    seed
        Of all resamples.
    confidence
        Of intervals and verdicts, in (0, 1).
    minimum_gain
        NDCG@10 that a pair must exceed.
    ks
        Cutoffs of the overlaps, in chunks; the first stands for a pair. The default is lowered where
        a corpus has fewer chunks, see `Overlap.k`.
    aggregate
        A document scores as the mean of so many of its best chunks; 1 is its best chunk.
    alphas
        By similarity measure (``"jaccard"``, ``"cka"``, ``"rank_similarity"``): the paper's α of
        Eq. 6.
    """

    seed: int = 0
    confidence: float = 0.95
    minimum_gain: float = 0.0
    ks: tuple[int, ...] = (10,)
    aggregate: int = 1
    alphas: Mapping[str, float] = field(
        default_factory=lambda: {"jaccard": 0.7, "cka": 0.5, "rank_similarity": 0.8}
    )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "ks": list(self.ks)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Results:
    """Models measured on collections.

    Attributes
    ----------
    models
        Every model of any collection, in the order given.
    collections
        At least one, in the order given. A collection may lack some of the models.
    settings
        How it was measured.
    versions
        Of Python and of the packages that compute, by name.
    machine
        What it was measured on: cores and kind of processor.
    """

    models: tuple[ModelFacts, ...]
    collections: tuple[CollectionResults, ...]
    settings: Settings
    versions: Mapping[str, str]
    machine: Mapping[str, str]

    def model(self, key: str) -> ModelFacts:
        """Return the model of this key."""
        return next(model for model in self.models if model.key == key)
