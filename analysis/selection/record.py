"""What could be served, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from analysis.arrays import FloatArray
from retriever.records import COMBINED, LEXICAL
from retriever.search.wish import Fusion

OptionWeighting: TypeAlias = Literal["equal", "calibrated", "quality", "tuned"]
"""``"equal"``, the paper's; ``"calibrated"``, one over the spread of each leg's scores; ``"quality"``, the
same times what evidence says of the quality of each model; ``"tuned"``, numbers found on judged queries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """Something that could be served: legs, how their rankings become one, at what weights.

    Attributes
    ----------
    weights
        By leg, at least 0, sum 1: model keys in the order of the corpus, then ``"bm25"``. One leg alone
        has weight 1. Ranks and distributions are fused at equal weights.
    weighting
        Where the weights come from; ``"equal"`` for one leg, and where ranks or distributions are fused.
    fusion
        ``"sum"`` of scores, exact; ``"rrf"``, ``"dbsf"`` for comparison, see `retriever.search.fusion`.
    """

    weights: Mapping[str, float]
    weighting: OptionWeighting = "equal"
    fusion: Fusion = "sum"

    @property
    def legs(self) -> tuple[str, ...]:
        """Keys of the models, then ``"bm25"`` where it takes part."""
        return tuple(self.weights)

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of the models."""
        return tuple(leg for leg in self.weights if leg != LEXICAL)

    @property
    def is_single(self) -> bool:
        """Whether it is one model alone: what there is without combining anything."""
        return len(self.weights) == 1 and self.legs != (LEXICAL,)

    @property
    def is_deployable(self) -> bool:
        """Whether `tandem deploy` can serve it: a sum of scores with at least one model."""
        return self.fusion == "sum" and bool(self.models)

    @property
    def name(self) -> str:
        """The legs: ``A``, ``A+B``, ``A+B+bm25``."""
        return COMBINED.join(self.weights)

    @property
    def label(self) -> str:
        """The name and how its legs are joined: ``A+B (calibrated)``, ``A+B (rrf)``."""
        if len(self.weights) == 1:
            return self.name
        return f"{self.name} ({self.weighting if self.fusion == 'sum' else self.fusion})"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "label": self.label,
            "legs": list(self.legs),
            "weights": list(self.weights.values()),
            "weighting": self.weighting,
            "fusion": self.fusion,
            "deployable": self.is_deployable,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredOption:
    """An option with NDCG@10 of each judged query.

    `ndcg`: float64, shape (n_queries,), in [0, 1]. Of a tuned option each query's number was reached at
    weights that were found on other queries.
    """

    option: Option
    ndcg: FloatArray

    @property
    def label(self) -> str:
        """That of the option."""
        return self.option.label

    @property
    def mean(self) -> float:
        """NDCG@10, the mean over all queries."""
        return float(self.ndcg.mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What an option takes, beside its quality; None where it was not measured.

    Attributes
    ----------
    seconds_per_1000_chunks
        To embed, all models of the option together.
    bytes_per_chunk
        Of the vectors that serve it, in float32; BM25 by its stored entries.
    milliseconds_per_query
        Embedding of one query by all models of the option and the search.
    """

    seconds_per_1000_chunks: float | None
    bytes_per_chunk: float | None
    milliseconds_per_query: float | None

    def to_json(self) -> dict[str, float | None]:
        """Return JSON values."""
        return {
            "seconds_per_1000_chunks": self.seconds_per_1000_chunks,
            "bytes_per_chunk": self.bytes_per_chunk,
            "milliseconds_per_query": self.milliseconds_per_query,
        }
