"""How gains go with adjusted dissimilarity, as the report shows it: what `analysis.framework` computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from analysis.evaluation import Evaluation, Pair, Weighting
from analysis.framework import (
    Correlations,
    Line,
    PairFigures,
    SimilarityMeasure,
    adjusted_dissimilarity,
    correlate,
    dissimilarity,
    fitted_line,
    pair_figures,
    performance_gaps,
    similarities_by_pair,
)
from analysis.results.record import Settings

WEIGHTINGS: tuple[Weighting, ...] = ("equal", "calibrated")
"""Those that are shown side by side."""

BASELINE = "baseline"
"""Stands for adjusted dissimilarity with α = 0: the gap in quality alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A pair, its adjusted dissimilarity, and its gain over the better half."""

    pair: Pair
    adjusted: float
    gain: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Association:
    """Gains of all pairs of one weighting, and their adjusted dissimilarity by one measure.

    Attributes
    ----------
    name
        Of the similarity measure, or `BASELINE`.
    figures
        Pairs and gains.
    correlations
        Their ρ, and α.
    line
        Fitted to all pairs; None where ρ is not defined.
    """

    name: str
    figures: PairFigures
    correlations: Correlations
    line: Line | None

    @property
    def points(self) -> list[Point]:
        """One per pair whose adjusted dissimilarity is defined."""
        adjusted = self.figures.adjusted(self.correlations.alpha).tolist()
        every = zip(self.figures.pairs, adjusted, self.figures.gain.tolist(), strict=True)
        return [Point(pair=pair, adjusted=x, gain=y) for pair, x, y in every if not math.isnan(x)]


def adjusted_by_pair(evaluation: Evaluation, alphas: Mapping[str, float]) -> dict[str, dict[Pair, float]]:
    """Return the adjusted dissimilarity of each pair by each similarity measure."""
    performance = {single.name: single.mean for single in evaluation.singles}
    adjusted = {}
    for measure, alpha in alphas.items():
        similarity = similarities_by_pair(evaluation, measure=cast("SimilarityMeasure", measure))
        pairs = list(similarity)
        values = adjusted_dissimilarity(
            dissimilarity(list(similarity.values())), performance_gaps(performance, pairs), alpha=alpha
        )
        adjusted[measure] = dict(zip(pairs, values.tolist(), strict=True))
    return adjusted


def associations(evaluation: Evaluation, settings: Settings) -> tuple[Association, ...]:
    """Return one per measure and weighting that was evaluated, the baseline last of the measures."""
    measured = {candidate.weighting for candidate in evaluation.pairs}
    weightings = [weighting for weighting in WEIGHTINGS if weighting in measured]
    wanted = [(name, cast("SimilarityMeasure", name), alpha) for name, alpha in settings.alphas.items()]
    wanted.append((BASELINE, "cka", 0.0))  # which measure has no say at 0
    return tuple(
        _association(name, pair_figures(evaluation, measure=measure, weighting=weighting), alpha, settings)
        for name, measure, alpha in wanted
        for weighting in weightings
    )


def _association(name: str, figures: PairFigures, alpha: float, settings: Settings) -> Association:
    return Association(
        name=name,
        figures=figures,
        correlations=correlate(
            figures,
            alpha=alpha,
            rng=np.random.default_rng(settings.seed),
            confidence=settings.confidence,
        ),
        line=fitted_line(figures.adjusted(alpha), figures.gain),
    )
