"""Which α makes adjusted dissimilarity go best with gains, on one collection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arrays import FloatArray
from analysis.framework.correlation import mean_of_defined, pearson_by_model
from analysis.framework.dissimilarity import PairFigures
from analysis.framework.pearson import both_defined, pearson
from analysis.framework.values import defined_or_none

GRID = tuple(step / 10 for step in range(11))
"""The values of α that are tried; the paper's have one decimal as well."""

_TIE = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class AlphaCurve:
    """How the correlation of gains with adjusted dissimilarity depends on α.

    Attributes
    ----------
    measure, weighting
        As in `PairFigures`.
    alphas
        What was tried, ascending from 0 to 1.
    overall, mean
        ρ over all pairs, and the mean of the models' ρ, at each; NaN where they are not defined.
    exact
        The α in [0, 1] with the highest overall ρ, not bound to the grid; NaN where no ρ is defined.
    exact_overall
        The overall ρ there.
    """

    measure: str
    weighting: str
    alphas: tuple[float, ...]
    overall: tuple[float, ...]
    mean: tuple[float, ...]
    exact: float
    exact_overall: float

    @property
    def best(self) -> float:
        """The α of the grid with the highest overall ρ, the smallest of equals; NaN where none is defined."""
        return _first_best(self.alphas, self.overall)

    @property
    def best_mean(self) -> float:
        """The α of the grid with the highest mean ρ, the smallest of equals; NaN where none is defined."""
        return _first_best(self.alphas, self.mean)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; None where a number is not defined."""
        return {
            "measure": self.measure,
            "weighting": self.weighting,
            "alphas": list(self.alphas),
            "overall": [defined_or_none(value) for value in self.overall],
            "mean": [defined_or_none(value) for value in self.mean],
            "best": defined_or_none(self.best),
            "best_mean": defined_or_none(self.best_mean),
            "exact": defined_or_none(self.exact),
            "exact_overall": defined_or_none(self.exact_overall),
        }


def tune_alpha(figures: PairFigures) -> AlphaCurve:
    """Try α from 0 to 1, and compute where overall ρ is highest.

    Where exactly, follows from least squares: ρ between ``α·D + (1 - α)·(1 - PG)`` and gains is highest
    where the sum has the direction of the regression of gains on D and 1 - PG, if both coefficients are
    positive, and otherwise at an end. An α tuned on the collection it is then judged on flatters itself:
    carry it to others, see `transfer_alpha`.

    Parameters
    ----------
    figures
        Of the collection to tune on.
    """
    adjusted = [figures.adjusted(alpha) for alpha in GRID]
    exact = _exact(figures)
    return AlphaCurve(
        measure=figures.measure,
        weighting=figures.weighting,
        alphas=GRID,
        overall=tuple(pearson(values, figures.gain) for values in adjusted),
        mean=tuple(mean_of_defined(pearson_by_model(figures, values)) for values in adjusted),
        exact=exact,
        exact_overall=math.nan if math.isnan(exact) else pearson(figures.adjusted(exact), figures.gain),
    )


def _exact(figures: PairFigures) -> float:
    rho = {alpha: pearson(figures.adjusted(alpha), figures.gain) for alpha in _candidates(figures)}
    return _first_best(tuple(rho), tuple(rho.values()))


def _candidates(figures: PairFigures) -> list[float]:
    """Return the ends and, if there is one, the optimum between them, ascending."""
    dissimilar, gain = both_defined(figures.dissimilarity, figures.gain)
    closeness, _ = both_defined(1 - figures.gap + 0 * figures.dissimilarity, figures.gain)
    if len(gain) == 0:
        return [0.0, 1.0]
    columns = _centred(np.stack([dissimilar, closeness], axis=1))
    (of_dissimilarity, of_closeness), _, rank, _ = np.linalg.lstsq(columns, _centred(gain))
    if rank < columns.shape[1] or of_dissimilarity <= 0 or of_closeness <= 0:
        return [0.0, 1.0]
    return [0.0, float(of_dissimilarity / (of_dissimilarity + of_closeness)), 1.0]


def _centred(values: FloatArray) -> FloatArray:
    centred: FloatArray = values - values.mean(axis=0)
    return centred


def _first_best(alphas: tuple[float, ...], rho: tuple[float, ...]) -> float:
    defined = [value for value in rho if not math.isnan(value)]
    if not defined:
        return math.nan
    return next(alpha for alpha, value in zip(alphas, rho, strict=True) if value >= max(defined) - _TIE)
