"""Pearson's correlation over pairs of models, where it is defined, with its interval.

References
----------
.. [1] T. Snijders, S. Borgatti: Non-Parametric Standard Errors and Tests for Network Statistics,
   Connections 22 (1999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, IntArray, check_rows
from analysis.evaluation.record import Pair
from analysis.resampling import N_RESAMPLES, Interval, check_confidence
from retriever.errors import ShapeError

FEWEST_PAIRS = 3
"""Through two pairs there is always a line: ρ would be 1 or -1."""

FEWEST_MODELS = 5
"""For an interval; with fewer models too few draws differ."""

_CONSTANT = 1e-12  # range over size; what rounding leaves of equal numbers
_BLOCK_WEIGHTS = 2_000_000


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Return Pearson's correlation coefficient over the pairs where both numbers are defined.

    Parameters
    ----------
    x, y : float, shape (n_pairs,)
        NaN where not defined.

    Returns
    -------
    float
        In [-1, 1]; NaN with fewer than three pairs, or where one side is constant.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> round(pearson([1, 2, 3], [1, 2, 4]), 4)
    0.982
    >>> pearson([1, 2, 3], [5, 5, 5])
    nan
    """
    a, b = both_defined(x, y)
    if len(a) < FEWEST_PAIRS or _is_constant(a) or _is_constant(b):
        return math.nan
    a, b = _standard(a), _standard(b)
    return float(np.clip(a @ b / len(a), -1.0, 1.0))


def bootstrap_pearson(  # noqa: PLR0913  # the pairs and their numbers, and what any bootstrap needs
    pairs: Sequence[Pair],
    x: ArrayLike,
    y: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Interval | None:
    """Return Pearson's ρ over pairs of models with its percentile interval over draws of *models*.

    Models are drawn with replacement, not pairs: pairs that share a model are not independent (each of
    n models is in n - 1 pairs), and drawing them as if they were gives too narrow an interval. Where models
    add something of their own to each of their pairs, 95 % intervals over draws of pairs held the truth in
    77 to 87 % of simulations with 5 to 15 models, those over draws of models in 95 to 99 %. A pair
    counts as often as its first model was drawn times its second ([1]_; a model drawn twice makes no pair
    with itself). Draws without a ρ, of too few different models, are left out. The interval says what
    another choice of models of this kind might give; it knows nothing of the error in each pair's gain.

    Parameters
    ----------
    pairs
        Keys of the models.
    x, y : float, shape (n_pairs,)
        As in `pearson`.
    rng
        Source of the draws; equal generators give equal results.
    n_resamples
        How many draws.
    confidence
        Of the interval, two-sided, in (0, 1).

    Returns
    -------
    Interval or None
        None with fewer than five models, or where ρ is not defined.

    Raises
    ------
    ShapeError
        If the shapes differ, or confidence or n_resamples are out of range.
    """
    check_confidence(confidence)
    if n_resamples < 1:
        raise ShapeError(f"n_resamples: expected at least 1, got {n_resamples}. {N_RESAMPLES} is usual.")
    estimate = pearson(x, y)
    defined = ~(np.isnan(np.asarray(x, dtype=np.float64)) | np.isnan(np.asarray(y, dtype=np.float64)))
    check_rows(name="x", got=len(defined), expected=len(pairs), of="pair")
    ends, n_models = _numbered([pair for pair, is_defined in zip(pairs, defined, strict=True) if is_defined])
    if math.isnan(estimate) or n_models < FEWEST_MODELS:
        return None
    drawn = _resampled(ends, *both_defined(x, y), n_models=n_models, rng=rng, n_resamples=n_resamples)
    drawn = drawn[~np.isnan(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high), confidence=confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A straight line, ``y = intercept + slope·x``."""

    slope: float
    intercept: float


def fitted_line(x: ArrayLike, y: ArrayLike) -> Line | None:
    """Return the line of least squares through the pairs where both are defined; None where ρ is not.

    Parameters
    ----------
    x, y : float, shape (n_pairs,)
        As in `pearson`.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    rho = pearson(x, y)
    if math.isnan(rho):
        return None
    a, b = both_defined(x, y)
    slope = rho * float(b.std() / a.std())
    return Line(slope=slope, intercept=float(b.mean()) - slope * float(a.mean()))


def both_defined(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return two vectors without the places where either is NaN."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ShapeError(f"x, y: expected two vectors of equal length, got shapes {a.shape} and {b.shape}.")
    defined = ~(np.isnan(a) | np.isnan(b))
    return a[defined], b[defined]


def _is_constant(values: FloatArray) -> bool:
    return bool(np.ptp(values) <= _CONSTANT * np.abs(values).max())


def _standard(values: FloatArray) -> FloatArray:
    centred = (values - values.mean()) / np.ptp(values)  # the range first: squares may underflow
    standard: FloatArray = centred / centred.std()
    return standard


def _numbered(pairs: Sequence[Pair]) -> tuple[IntArray, int]:
    """Return the models of each pair as numbers, shape (n_pairs, 2), and how many models there are."""
    numbers = {model: index for index, model in enumerate(dict.fromkeys(m for pair in pairs for m in pair))}
    return np.array([[numbers[a], numbers[b]] for a, b in pairs], dtype=np.int64), len(numbers)


def _resampled(  # noqa: PLR0913  # as `bootstrap_pearson`
    ends: IntArray,
    x: FloatArray,
    y: FloatArray,
    *,
    n_models: int,
    rng: np.random.Generator,
    n_resamples: int,
) -> FloatArray:
    """Return ρ of each draw of models, shape (n_resamples,); NaN where it is not defined."""
    a, b = _standard(x), _standard(y)
    rows = max(1, _BLOCK_WEIGHTS // len(a))
    drawn = []
    for start in range(0, n_resamples, rows):
        chosen = rng.integers(n_models, size=(min(rows, n_resamples - start), n_models))
        counts = (chosen[:, :, None] == np.arange(n_models)).sum(axis=1)
        weights = (counts[:, ends[:, 0]] * counts[:, ends[:, 1]]).astype(np.float64)
        drawn.append(_weighted_pearson(weights, a, b))
    return np.concatenate(drawn)


def _weighted_pearson(weights: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Return one ρ per row of weights, of standardised numbers."""
    enough = np.count_nonzero(weights, axis=1) >= FEWEST_PAIRS
    weights = weights[enough] / weights[enough].sum(axis=1, keepdims=True)
    mean_a, mean_b = weights @ a, weights @ b
    variance_a = weights @ (a * a) - mean_a**2
    variance_b = weights @ (b * b) - mean_b**2
    covariance = weights @ (a * b) - mean_a * mean_b
    varies = (variance_a > _CONSTANT) & (variance_b > _CONSTANT)
    rho = np.full(len(enough), np.nan)
    found = np.full(len(weights), np.nan)
    found[varies] = covariance[varies] / np.sqrt(variance_a[varies] * variance_b[varies])
    rho[enough] = np.clip(found, -1.0, 1.0)
    return rho
