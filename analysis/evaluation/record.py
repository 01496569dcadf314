"""What an evaluation takes and gives: vectors, candidates, similarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from analysis.arrays import AnyFloatArray, FloatArray, ScoreArray
from analysis.similarity import Overlap
from retriever.errors import InputError
from retriever.records import COMBINED

Pair: TypeAlias = tuple[str, str]
Weighting: TypeAlias = Literal["equal", "calibrated", "explicit"]

CUTOFF = 10
"""Quality is NDCG at this cutoff, as in the paper and on MTEB."""

NDCG = f"ndcg@{CUTOFF}"
"""The measure that decides."""

MEASURES = (NDCG, f"recall@{CUTOFF}", f"precision@{CUTOFF}", f"mrr@{CUTOFF}", f"map@{CUTOFF}")
"""What is measured of every candidate, by name and cutoff, see `analysis.measures`."""


WEIGHT_FORM = ".2f"
"""How `Candidate.label` shows an explicit weight."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelVectors:
    """One model's vectors, unit rows; `key` is the model's key in the corpus.

    Attributes
    ----------
    queries : float32, shape (n_queries, d)
        In the order of `Judgements.query_ids`.
    chunks : float32 or float16, shape (n_chunks, d)
        In the same order for every model. May be a memory map: it is read in blocks.
    """

    key: str
    queries: ScoreArray
    chunks: AnyFloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """Something that could be served: one model, or a pair at certain weights.

    Attributes
    ----------
    models
        Keys, in the order in which the models were given.
    weighting
        ``"equal"``, the plain concatenation of the paper; ``"calibrated"``, one over the spread of
        each model's cosines; ``"explicit"``, numbers of a grid. A single model is ``"equal"``.
    weights
        One per model, at least 0, sum 1.
    per_query : mapping of float64, shape (n_queries,)
        By measure, each of `MEASURES`; in [0, 1], read-only.
    """

    models: tuple[str, ...]
    weighting: Weighting
    weights: tuple[float, ...]
    per_query: Mapping[str, FloatArray]

    @property
    def name(self) -> str:
        """The named vector it searches: ``A`` or ``A+B``."""
        return COMBINED.join(self.models)

    @property
    def label(self) -> str:
        """The name, with the weighting of a pair: ``A+B (calibrated)``, ``A+B (0.30)`` for explicit ones."""
        if len(self.models) == 1:
            return self.name
        how = format(self.weights[0], WEIGHT_FORM) if self.weighting == "explicit" else self.weighting
        return f"{self.name} ({how})"

    @property
    def ndcg(self) -> FloatArray:
        """NDCG@10 of each query."""
        return self.per_query[NDCG]

    @property
    def mean(self) -> float:
        """NDCG@10, the mean over all queries."""
        return float(self.ndcg.mean())

    @property
    def means(self) -> dict[str, float]:
        """The mean over all queries of each measure."""
        return {measure: float(values.mean()) for measure, values in self.per_query.items()}

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the single queries."""
        return {
            "name": self.name,
            "models": list(self.models),
            "weighting": self.weighting,
            "weights": list(self.weights),
            **self.means,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairSimilarity:
    """How alike two models are on this corpus and these queries.

    Attributes
    ----------
    models
        Their keys.
    cka, cka_debiased
        Over the vectors of all chunks, see `analysis.similarity`; the debiased one is None where it
        is not defined (fewer than four chunks, or all equally far apart).
    overlaps
        One per cutoff, in the order asked for; the first stands for the pair. None without queries.
    """

    models: Pair
    cka: float
    cka_debiased: float | None
    overlaps: tuple[Overlap, ...]

    @property
    def k(self) -> int:
        """The first cutoff, in chunks."""
        return self.overlaps[0].k

    @property
    def jaccard(self) -> float:
        """Mean Jaccard similarity at the first cutoff, in [0, 1]."""
        return float(self.overlaps[0].jaccard.mean())

    @property
    def rank_similarity(self) -> float:
        """Mean rank similarity at the first cutoff, in [0, 1]."""
        return float(self.overlaps[0].rank_similarity.mean())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the single queries."""
        means: dict[str, float | None] = {}
        for overlap in self.overlaps:
            means |= overlap.means
        return {
            "models": list(self.models),
            "cka": self.cka,
            "cka_debiased": self.cka_debiased,
            **means,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """What was measured: candidates on the same queries, and the similarity of each pair.

    Attributes
    ----------
    query_ids
        In the order of each candidate's numbers.
    singles
        One candidate per model, in the order given.
    pairs
        Per pair one candidate for each weighting, ``"equal"``, then ``"calibrated"``, then explicit
        ones, ascending.
    similarities
        One per pair.
    n_chunks, n_documents
        Size of the corpus.
    """

    query_ids: tuple[str, ...]
    singles: tuple[Candidate, ...]
    pairs: tuple[Candidate, ...]
    similarities: tuple[PairSimilarity, ...]
    n_chunks: int
    n_documents: int

    @property
    def best_single(self) -> Candidate:
        """The single model with the highest NDCG@10; the first of equals."""
        return max(self.singles, key=lambda candidate: candidate.mean)

    def single(self, key: str) -> Candidate:
        """Return the candidate that is this model alone."""
        for candidate in self.singles:
            if candidate.models == (key,):
                return candidate
        known = ", ".join(candidate.name for candidate in self.singles)
        raise InputError(f"model: expected one of {known}, got {key!r}. Name a model that was evaluated.")

    def improvement(self, candidate: Candidate) -> float:
        """Return the paper's gain: NDCG@10 of a pair minus that of its better half (section 4.1).

        A point estimate without an interval, for comparison with the paper; `analysis.decide` tells
        whether a pair beats the best of *all* single models.
        """
        return candidate.mean - max(self.single(key).mean for key in candidate.models)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which every mean can be computed again."""
        return {
            "queries": list(self.query_ids),
            "chunks": self.n_chunks,
            "documents": self.n_documents,
            "candidates": [
                {
                    **candidate.to_json(),
                    "per_query": {name: values.tolist() for name, values in candidate.per_query.items()},
                }
                for candidate in (*self.singles, *self.pairs)
            ],
            "similarities": [similarity.to_json() for similarity in self.similarities],
        }
