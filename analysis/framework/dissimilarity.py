"""Dissimilarity of pairs of models, adjusted by how far apart their quality is.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), sections 4.1 and 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, check_rows
from analysis.evaluation.record import Evaluation, Pair, PairSimilarity, Weighting
from analysis.similarity.overlap import Overlap
from retriever.errors import InputError, ShapeError
from retriever.records import COMBINED

SimilarityMeasure: TypeAlias = Literal["jaccard", "rank_similarity", "cka", "cka_debiased"]

SIMILARITY_MEASURES: tuple[SimilarityMeasure, ...] = ("jaccard", "rank_similarity", "cka", "cka_debiased")
"""Those of the paper, and the debiased estimator of the last."""


def dissimilarity(similarity: ArrayLike) -> FloatArray:
    """Return ``D = 1 - S`` ([1]_, Eq. 4).

    Parameters
    ----------
    similarity : float, shape (n_pairs,)
        In [0, 1]; debiased CKA may be below 0. NaN where it is not defined.

    Returns
    -------
    float64, shape (n_pairs,)
        In [0, 1], or up to 2 for debiased CKA. NaN stays NaN.
    """
    dissimilar: FloatArray = 1.0 - np.asarray(similarity, dtype=np.float64)
    return dissimilar


def performance_gaps(performance: Mapping[str, float], pairs: Sequence[Pair]) -> FloatArray:
    """Return the normalised performance gap of each pair ([1]_, Eq. 5): ``|P_i - P_j| / PG_max``.

    PG_max is the largest gap of any two models given, whether or not they are one of `pairs`. Where all
    models are equally good, PG_max is 0; every gap is then 0: nobody is behind.

    Parameters
    ----------
    performance
        NDCG@10 by model.
    pairs
        Of models in `performance`.

    Returns
    -------
    float64, shape (n_pairs,)
        In [0, 1].

    Raises
    ------
    InputError
        If a pair names a model without performance.
    """
    unknown = {model for pair in pairs for model in pair} - performance.keys()
    if unknown:
        raise InputError(
            f"pairs: expected models of {', '.join(performance) or 'no performance'}, got "
            f"{', '.join(sorted(unknown))}. Give the performance of each model that a pair names."
        )
    gaps = np.array([abs(performance[a] - performance[b]) for a, b in pairs], dtype=np.float64)
    largest = max(performance.values(), default=0.0) - min(performance.values(), default=0.0)
    return gaps / largest if largest > 0 else np.zeros(len(pairs))


def adjusted_dissimilarity(dissimilar: ArrayLike, gap: ArrayLike, *, alpha: float) -> FloatArray:
    """Return ``AD = α·D + (1 - α)·(1 - PG)`` ([1]_, Eq. 6).

    Parameters
    ----------
    dissimilar : float, shape (n_pairs,)
        See `dissimilarity`.
    gap : float, shape (n_pairs,)
        See `performance_gaps`.
    alpha
        In [0, 1]; 0 is the paper's baseline, closeness in quality alone, 1 dissimilarity alone.

    Returns
    -------
    float64, shape (n_pairs,)
        In [0, 1] for D in [0, 1].

    Raises
    ------
    ShapeError
        If alpha is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ShapeError(f"alpha: expected a number from 0 to 1, got {alpha}. The paper has 0.5 to 0.8.")
    closeness = 1.0 - np.asarray(gap, dtype=np.float64)
    if alpha == 0:
        return closeness  # the baseline needs no similarity, not even a defined one
    adjusted: FloatArray = alpha * np.asarray(dissimilar, dtype=np.float64) + (1 - alpha) * closeness
    return adjusted


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairFigures:
    """What the paper's correlations are of: pairs of models on one collection.

    Attributes
    ----------
    measure, weighting
        Which similarity, and how the halves of a pair were weighted.
    pairs
        Keys of two different models, each pair once.
    similarity : float64, shape (n_pairs,)
        NaN where it is not defined.
    gap : float64, shape (n_pairs,)
        See `performance_gaps`.
    gain : float64, shape (n_pairs,)
        NDCG@10 of the pair minus that of its better half.
    """

    measure: str
    weighting: str
    pairs: tuple[Pair, ...]
    similarity: FloatArray
    gap: FloatArray
    gain: FloatArray

    def __post_init__(self) -> None:
        for name in ("similarity", "gap", "gain"):
            check_rows(name=name, got=len(getattr(self, name)), expected=len(self.pairs), of="pair")
        repeated = len(self.pairs) - len({frozenset(pair) for pair in self.pairs})
        if repeated or any(a == b for a, b in self.pairs):
            raise InputError(
                f"pairs: expected two different models in each and each pair once, got "
                f"{', '.join(map(COMBINED.join, self.pairs))}. Name each pair in one order."
            )

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the pairs, in order of appearance."""
        return tuple(dict.fromkeys(model for pair in self.pairs for model in pair))

    @property
    def dissimilarity(self) -> FloatArray:
        """One minus similarity, see the function of this name."""
        return dissimilarity(self.similarity)

    def adjusted(self, alpha: float) -> FloatArray:
        """Return the adjusted dissimilarity of each pair."""
        return adjusted_dissimilarity(self.dissimilarity, self.gap, alpha=alpha)

    def to_json(self) -> list[dict[str, Any]]:
        """Return JSON values, one record per pair."""
        return [
            {
                "models": list(pair),
                "similarity": None if np.isnan(similarity) else float(similarity),
                "gap": float(gap),
                "gain": float(gain),
            }
            for pair, similarity, gap, gain in zip(
                self.pairs, self.similarity, self.gap, self.gain, strict=True
            )
        ]


def similarities_by_pair(
    evaluation: Evaluation, *, measure: SimilarityMeasure, k: int | None = None
) -> dict[Pair, float]:
    """Return the similarity of each pair of an evaluation.

    Parameters
    ----------
    evaluation
        Judged or not.
    measure
        One of `SIMILARITY_MEASURES`.
    k
        Cutoff of Jaccard and rank similarity; None for the first that was measured.

    Returns
    -------
    dict
        By pair; NaN where the debiased estimator is not defined.

    Raises
    ------
    InputError
        If the measure is unknown, or was not measured at this cutoff.
    """
    if measure not in _READ:
        raise InputError(
            f"measure: expected one of {', '.join(SIMILARITY_MEASURES)}, got {measure!r}. Name one of them."
        )
    return {similar.models: _READ[measure](similar, k) for similar in evaluation.similarities}


def pair_figures(
    evaluation: Evaluation, *, measure: SimilarityMeasure, weighting: Weighting, k: int | None = None
) -> PairFigures:
    """Return what the paper's correlations are of, for all pairs that were measured with this weighting.

    Parameters
    ----------
    evaluation
        With judgements.
    measure, k
        As in `similarities_by_pair`.
    weighting
        ``"equal"``, as in the paper, or ``"calibrated"``.

    Raises
    ------
    InputError
        As in `similarities_by_pair`, or if no pair was measured with this weighting.
    """
    similarities = similarities_by_pair(evaluation, measure=measure, k=k)
    combined = {(c.models[0], c.models[1]): c for c in evaluation.pairs if c.weighting == weighting}
    pairs = tuple(pair for pair in similarities if pair in combined)
    if not pairs or weighting == "explicit":
        raise InputError(
            f"weighting: expected one of which pairs were measured, 'equal' or 'calibrated', got "
            f"{weighting!r}. Evaluate pairs on judged queries first."
        )
    performance = {single.name: single.mean for single in evaluation.singles}
    return PairFigures(
        measure=measure,
        weighting=weighting,
        pairs=pairs,
        similarity=np.array([similarities[pair] for pair in pairs]),
        gap=performance_gaps(performance, pairs),
        gain=np.array([evaluation.improvement(combined[pair]) for pair in pairs]),
    )


def _overlap_at(similar: PairSimilarity, k: int | None) -> Overlap:
    for overlap in similar.overlaps:
        if k is None or overlap.k == k:
            return overlap
    measured = ", ".join(str(overlap.k) for overlap in similar.overlaps)
    raise InputError(
        f"k: expected a cutoff that was measured ({measured or 'none, without queries'}), got {k}. Measure "
        f"rankings at this one, or name one that was."
    )


_READ: dict[str, Callable[[PairSimilarity, int | None], float]] = {
    "jaccard": lambda similar, k: float(_overlap_at(similar, k).jaccard.mean()),
    "rank_similarity": lambda similar, k: float(_overlap_at(similar, k).rank_similarity.mean()),
    "cka": lambda similar, _: similar.cka,
    "cka_debiased": lambda similar, _: float("nan") if similar.cka_debiased is None else similar.cka_debiased,
}
