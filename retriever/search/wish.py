"""What is asked of a search, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from retriever.combine import Weighting
from retriever.errors import InputError
from retriever.models.protocol import FloatArray
from retriever.store.filters import Condition
from retriever.store.protocol import SparseVector

Fusion: TypeAlias = Literal["sum", "rrf", "dbsf"]
"""How the legs become one ranking: by the weighted sum of their scores, which is exact; or by their
first chunks only, for comparison: by reciprocal ranks, or by scores normalised by their distribution."""

FUSIONS: tuple[str, ...] = get_args(Fusion)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of a search.

    Attributes
    ----------
    k
        How many chunks per query; 0 gives none.
    where
        Only chunks for which this holds.
    weights
        Other weights than those of the deployment, see `retriever.deployments.resolve_weights`; for the sum.
    fusion
        See `Fusion`.
    per_document
        Only the best chunk of each document, and `k` documents.
    neighbours
        How many chunks before and after each hit to give along.
    explain
        Whether to tell the rank of each hit under each leg alone.

    Raises
    ------
    InputError
        If a number is negative, the fusion is unknown, or weights are given to one that has none.
    """

    k: int
    where: Condition | None = None
    weights: Weighting | None = None
    fusion: Fusion = "sum"
    per_document: bool = False
    neighbours: int = 0
    explain: bool = False

    def __post_init__(self) -> None:
        for name in ("k", "neighbours"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name)}.")
        if self.fusion not in FUSIONS:
            raise InputError(f"fusion: expected one of {', '.join(FUSIONS)}, got {self.fusion!r}.")
        if self.fusion != "sum" and self.weights is not None:
            raise InputError(
                f"weights: expected none beside fusion {self.fusion!r}, in which every leg counts alike, got "
                f"{self.weights!r}. Leave one of the two out."
            )


@dataclass(frozen=True, kw_only=True)
class EmbeddedQuery:
    """A query as the models of a deployment see it.

    `vectors` are by part of its combination, each float32, shape (d,), a unit vector or a mean of such;
    `tokens` are for BM25, None where the deployment has no such leg.
    """

    vectors: Mapping[str, FloatArray]
    tokens: SparseVector | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A hit as it is stored: what `retriever.records.Hit` and LlamaIndex's nodes are both made from."""

    point_id: str
    score: float
    payload: Mapping[str, Any]
    contributions: Mapping[str, float]
    rank: int = 0
    ranks: Mapping[str, int] = field(default_factory=dict)
    before: tuple[Mapping[str, Any], ...] = ()
    after: tuple[Mapping[str, Any], ...] = ()
    approximate: bool = False


def best_first(found: list[Found]) -> list[Found]:
    """Return hits by falling score, ties by id."""
    return sorted(found, key=lambda one: (-one.score, one.point_id))
