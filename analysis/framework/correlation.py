"""How gains go with adjusted dissimilarity: Pearson's ρ per model, their mean, and overall.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arrays import FloatArray
from analysis.framework.dissimilarity import PairFigures
from analysis.framework.pearson import bootstrap_pearson, both_defined, pearson
from analysis.framework.values import defined_or_none
from analysis.resampling import N_RESAMPLES, Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlations:
    """How gains go with adjusted dissimilarity, on one collection ([1]_, Table 2).

    Attributes
    ----------
    measure, weighting
        As in `PairFigures`.
    alpha
        Of the adjusted dissimilarity; at 0, the paper's baseline, the measure has no say.
    by_model
        ρ over the pairs of each model; NaN where it is not defined: fewer than three pairs, or equal
        numbers on one side.
    overall
        ρ over all pairs; NaN likewise.
    interval
        Of `overall`, over draws of models, see `bootstrap_pearson`; None where that is not defined.
    n_pairs
        How many pairs `overall` is over.
    """

    measure: str
    weighting: str
    alpha: float
    by_model: Mapping[str, float]
    overall: float
    interval: Interval | None
    n_pairs: int

    @property
    def mean(self) -> float:
        """The mean over the models whose ρ is defined; NaN if none is."""
        return mean_of_defined(self.by_model)

    @property
    def n_undefined(self) -> int:
        """How many models have no ρ."""
        return sum(math.isnan(value) for value in self.by_model.values())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; None where a number is not defined."""
        return {
            "measure": self.measure,
            "weighting": self.weighting,
            "alpha": self.alpha,
            "by_model": {model: defined_or_none(value) for model, value in self.by_model.items()},
            "mean": defined_or_none(self.mean),
            "undefined_models": self.n_undefined,
            "overall": defined_or_none(self.overall),
            "interval": None if self.interval is None else self.interval.to_json(),
            "pairs": self.n_pairs,
        }


def correlate(
    figures: PairFigures,
    *,
    alpha: float,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Correlations:
    """Correlate the gains of pairs with their adjusted dissimilarity ([1]_, section 5.1).

    Parameters
    ----------
    figures
        Of one collection.
    alpha
        In [0, 1], see `adjusted_dissimilarity`.
    rng, n_resamples, confidence
        As in `bootstrap_pearson`.

    Raises
    ------
    ShapeError
        If alpha, confidence or n_resamples are out of range.
    """
    adjusted = figures.adjusted(alpha)
    return Correlations(
        measure=figures.measure,
        weighting=figures.weighting,
        alpha=alpha,
        by_model=pearson_by_model(figures, adjusted),
        overall=pearson(adjusted, figures.gain),
        interval=bootstrap_pearson(
            figures.pairs, adjusted, figures.gain, rng=rng, n_resamples=n_resamples, confidence=confidence
        ),
        n_pairs=len(both_defined(adjusted, figures.gain)[0]),
    )


def pearson_by_model(figures: PairFigures, adjusted: FloatArray) -> dict[str, float]:
    """Return ρ between `adjusted` and gains over the pairs of each model; NaN where it is not defined."""
    return {
        model: pearson(adjusted[own], figures.gain[own])
        for model in figures.models
        if (own := [index for index, pair in enumerate(figures.pairs) if model in pair])
    }


def mean_of_defined(by_model: Mapping[str, float]) -> float:
    """Return the mean of the numbers that are not NaN; NaN if all are."""
    defined = [value for value in by_model.values() if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
