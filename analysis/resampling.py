"""How sure a gain is: paired bootstrap over queries, correction for many looks, queries needed.

References
----------
.. [1] B. Efron, R. Tibshirani: An Introduction to the Bootstrap (1993), chapters 13 and 16.
.. [2] S. Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
.. [3] R. L. Berger: Multiparameter hypothesis testing and acceptance sampling, Technometrics 24 (1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, check_floats, check_rows
from retriever.errors import ShapeError

N_RESAMPLES = 10_000
"""The smallest p-value is one over one more than this; see `enough_resamples` for many looks."""

POWER = 0.8
"""How likely the number of `queries_needed` decides, if the gain is what it seems to be."""

_BLOCK_DRAWS = 2_000_000
ROUNDING = 1e-12
"""Half an ulp of a mean must not turn "no gain" into a gain."""

_DRAWS_AT_LEVEL = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its percentile bootstrap interval; `confidence` is in (0, 1)."""

    estimate: float
    low: float
    high: float
    confidence: float

    def to_json(self) -> dict[str, float]:
        """Return JSON values."""
        return {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A gain over the best single model.

    `p_value` is one-sided, in (0, 1], for "the gain is at most the minimum gain"; it is not
    corrected for other candidates looked at, see `holm`.
    """

    interval: Interval
    p_value: float


def resampled_means(
    values: ArrayLike, *, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> FloatArray:
    """Draw queries with replacement, the same draw for every row, and return the means.

    Parameters
    ----------
    values : float, shape (n_candidates, n_queries)
        Per-query measure of each candidate.
    rng
        Source of the draws; equal generators give equal results.
    n_resamples
        How many draws, each of n_queries queries.

    Returns
    -------
    float64, shape (n_candidates, n_resamples)

    Raises
    ------
    ShapeError
        If the values are not a finite matrix, or n_resamples is below 1.
    """
    matrix = check_floats(values, name="values", ndim=2).astype(np.float64)
    if n_resamples < 1:
        raise ShapeError(f"n_resamples: expected at least 1, got {n_resamples}. {N_RESAMPLES} is usual.")
    n_queries = matrix.shape[1]
    means = np.empty((len(matrix), n_resamples))
    block = max(1, _BLOCK_DRAWS // n_queries)
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        # how often each query was drawn, times the values: one product for all candidates
        means[:, start : start + rows] = matrix @ _counts(rng, rows, n_queries).T / n_queries
    return means


def bootstrap_mean(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean over queries with its percentile interval ([1]_, chapter 13).

    Parameters
    ----------
    values : float, shape (n_queries,)
    rng, n_resamples
        As in `resampled_means`.
    confidence
        Of the interval, two-sided, in (0, 1).

    Raises
    ------
    ShapeError
        If the values are not a finite vector, or confidence or n_resamples are out of range.
    """
    vector = check_floats(values, name="values", ndim=1)
    check_confidence(confidence)
    means = resampled_means(vector[None, :], rng=rng, n_resamples=n_resamples)[0]
    return _interval(float(vector.mean(dtype=np.float64)), means, confidence=confidence)


def bootstrap_gain(  # noqa: PLR0913  # the options of bootstrap_gains
    combined: ArrayLike,
    singles: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
    minimum_gain: float = 0.0,
) -> Gain:
    """Return the gain of a combination over the best single model: mean(combined) - max mean(single).

    As `bootstrap_gains` for one candidate.

    Parameters
    ----------
    combined : float, shape (n_queries,)
    singles : float, shape (n_singles, n_queries)
    rng, n_resamples, confidence, minimum_gain
        As in `bootstrap_gains`.
    """
    vector = check_floats(combined, name="combined", ndim=1)
    return bootstrap_gains(
        vector[None, :],
        singles,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )[0]


def bootstrap_gains(  # noqa: PLR0913  # two arrays, and what any bootstrap needs
    combined: ArrayLike,
    singles: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
    minimum_gain: float = 0.0,
) -> tuple[Gain, ...]:
    """Return the gain of each combination over the best single model, from one set of resamples.

    Queries are drawn jointly for all models, and the best single model is chosen anew in each draw:
    being chosen on the same queries flatters it there as it does in the estimate. The p-value is the
    share of draws at or below the minimum gain ([1]_, chapter 16), ``(1 + count) / (1 + n_resamples)``,
    but never below two others, because with few queries the bootstrap claims too much far out in the
    tails, where the correction for many looks reads it:

    - the largest p-value of the paired t-tests against each single model: what beats the best beats
      all of them ([3]_), and which one is the best is itself uncertain;
    - 2^-m, m being the queries whose gain is neither 0 nor exactly the minimum: agreement in sign of m
      queries is worth no more.

    Parameters
    ----------
    combined : float, shape (n_candidates, n_queries)
    singles : float, shape (n_singles, n_queries)
        Columns of both are the same queries.
    rng, n_resamples
        As in `resampled_means`.
    confidence
        Of the intervals, two-sided, in (0, 1); not corrected for the number of candidates.
    minimum_gain
        The gain to be exceeded.

    Returns
    -------
    tuple of Gain
        One per candidate.

    Raises
    ------
    ShapeError
        If the arrays are not finite, differ in their queries, or an option is out of range.
    """
    pairs = check_floats(combined, name="combined", ndim=2).astype(np.float64)
    halves = check_floats(singles, name="singles", ndim=2).astype(np.float64)
    check_rows(name="singles", got=halves.shape[1], expected=pairs.shape[1], of="query of combined")
    check_confidence(confidence)
    means = resampled_means(np.concatenate([pairs, halves]), rng=rng, n_resamples=n_resamples)
    resampled = means[: len(pairs)] - means[len(pairs) :].max(axis=0)
    best = halves[halves.mean(axis=1).argmax()]
    tested = _t_test(pairs - minimum_gain, halves)
    return tuple(
        Gain(
            interval=_interval(float(values.mean() - best.mean()), gains, confidence=confidence),
            p_value=max(
                _share_below(gains, minimum_gain), by_t, _sign_floor(values - best, minimum_gain=minimum_gain)
            ),
        )
        for values, gains, by_t in zip(pairs, resampled, tested.tolist(), strict=True)
    )


def lower_bound(  # noqa: PLR0913  # the options of bootstrap_gains
    combined: ArrayLike,
    singles: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_looks: int = 1,
    n_resamples: int | None = None,
) -> float:
    """Return how much a combination gains at least over the best single model: a one-sided bound.

    The gain that the test of `bootstrap_gains` still rejects at the level ``(1 - confidence) / n_looks``:
    the smaller of the bootstrap's quantile and the bounds of the t-tests, and not above 0 where too few
    queries differ. At that level the bounds of all `n_looks` combinations hold together (Bonferroni),
    whichever of them is picked.

    Parameters
    ----------
    combined : float, shape (n_queries,)
    singles : float, shape (n_singles, n_queries)
        One row of zeros gives the bound of the mean itself.
    rng
        As in `resampled_means`.
    confidence
        In (0, 1).
    n_looks
        How many combinations were looked at.
    n_resamples
        None for `enough_resamples`.

    Raises
    ------
    ShapeError
        As `bootstrap_gains`, or if n_looks is below 1.
    """
    values = check_floats(combined, name="combined", ndim=1).astype(np.float64)
    halves = check_floats(singles, name="singles", ndim=2).astype(np.float64)
    check_rows(name="singles", got=halves.shape[1], expected=len(values), of="query of combined")
    draws = n_resamples or enough_resamples(n_looks, confidence=confidence)
    level = (1 - confidence) / n_looks
    means = resampled_means(np.concatenate([values[None, :], halves]), rng=rng, n_resamples=draws)
    by_draws = float(np.quantile(means[0] - means[1:].max(axis=0), level))
    bound = min(by_draws, _t_bound(values - halves, level=level))
    floor = _sign_floor(values - halves[halves.mean(axis=1).argmax()], minimum_gain=0.0)
    return min(bound, 0.0) if floor > level else bound


def enough_resamples(n_looks: int, *, confidence: float) -> int:
    """Return how many resamples let the smallest of `n_looks` p-values pass the correction for them.

    At least `N_RESAMPLES`, and four draws at the level of the first: with fewer than one, a clear gain
    among many candidates could never be proven.

    Raises
    ------
    ShapeError
        If n_looks is below 1 or confidence is out of range.
    """
    check_confidence(confidence)
    if n_looks < 1:
        raise ShapeError(f"n_looks: expected at least 1, got {n_looks}. Count what was looked at.")
    return max(N_RESAMPLES, math.ceil(_DRAWS_AT_LEVEL * n_looks / (1 - confidence)))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust p-values for how many there are, after Holm [2]_.

    Rejecting what is below a level then errs at most that often in any of them, however they depend
    on each other.

    Parameters
    ----------
    p_values : float, shape (n,)
        In [0, 1].

    Returns
    -------
    float64, shape (n,)
        In the same order, in [0, 1], never below the given ones.

    Raises
    ------
    ShapeError
        If they are not a finite vector in [0, 1].

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    given = check_floats(p_values, name="p_values", ndim=1).astype(np.float64)
    if given.min() < 0 or given.max() > 1:
        raise ShapeError(f"p_values: expected numbers in [0, 1], got {given.min()} to {given.max()}.")
    order = np.argsort(given)
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def queries_needed(
    differences: ArrayLike, *, confidence: float = 0.95, n_candidates: int = 1, minimum_gain: float = 0.0
) -> int | None:
    """Return about how many queries in total would decide, if the gain is what it seems to be.

    The sample size of a one-sided paired test with power 0.8 at the observed mean and variance, at
    the level that the first of `n_candidates` must meet after `holm`. An order of magnitude, not a
    promise: both moments are estimates.

    Parameters
    ----------
    differences : float, shape (n_queries,)
        Per-query gain over the best single model.
    confidence
        To be reached, in (0, 1).
    n_candidates
        How many candidates are looked at.
    minimum_gain
        The gain to be exceeded.

    Returns
    -------
    int or None
        More than n_queries; None if the mean gain is not above the minimum, where more queries of
        the same kind would not help.

    Raises
    ------
    ShapeError
        If the differences are not a finite vector, or confidence is out of range.
    """
    gains = check_floats(differences, name="differences", ndim=1).astype(np.float64)
    check_confidence(confidence)
    excess = float(gains.mean()) - minimum_gain
    if excess <= ROUNDING:
        return None
    level = (1 - confidence) / n_candidates
    normal = NormalDist()
    reach = normal.inv_cdf(1 - level) + normal.inv_cdf(POWER)
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    fewest = fewest_queries(n_candidates, confidence=confidence)
    return max(len(gains) + 1, fewest, math.ceil((reach * spread / excess) ** 2))


def fewest_queries(n_looks: int, *, confidence: float) -> int:
    """Return with how many queries a gain can be proven at all, however clear it is.

    With fewer, the p-value of `bootstrap_gains` is above the level of the first of `n_looks`: so many
    that agree in sign are worth no more.
    """
    return math.ceil(math.log2(n_looks / (1 - confidence)))


def check_confidence(confidence: float) -> None:
    """Raise ShapeError unless `confidence` lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ShapeError(f"confidence: expected a number between 0 and 1, got {confidence}. 0.95 is usual.")


def _counts(rng: np.random.Generator, n_resamples: int, n_queries: int) -> FloatArray:
    """Draw n_queries queries per resample and count them: seven times faster than `rng.multinomial`."""
    drawn = rng.integers(n_queries, size=(n_resamples, n_queries))
    drawn += n_queries * np.arange(n_resamples)[:, None]
    counts: np.ndarray[Any, np.dtype[np.int64]] = np.bincount(
        drawn.ravel(), minlength=n_resamples * n_queries
    )
    return counts.reshape(n_resamples, n_queries).astype(np.float64)


def _interval(estimate: float, resampled: FloatArray, *, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high), confidence=confidence)


def _share_below(resampled: FloatArray, minimum_gain: float) -> float:
    count = int(np.count_nonzero(resampled <= minimum_gain + ROUNDING))
    return (1 + count) / (1 + len(resampled))


def _sign_floor(differences: FloatArray, *, minimum_gain: float) -> float:
    differs = np.abs(differences - minimum_gain) > ROUNDING
    if minimum_gain > 0:
        differs &= np.abs(differences) > ROUNDING
    return 2.0 ** -int(np.count_nonzero(differs))


def _t_test(pairs: FloatArray, halves: FloatArray) -> FloatArray:
    """Return the largest one-sided p-value of each pair against any half."""
    from scipy.special import stdtr

    largest = np.zeros(len(pairs))
    for half in halves:
        mean, error = _mean_and_error(pairs - half)
        sure = np.where(mean > ROUNDING, -np.inf, np.inf)
        statistic = np.divide(-mean, error, out=sure, where=error > ROUNDING)
        largest = np.maximum(largest, stdtr(max(1, pairs.shape[1] - 1), statistic))
    return largest


def _t_bound(differences: FloatArray, *, level: float) -> float:
    from scipy.special import stdtrit

    mean, error = _mean_and_error(differences)
    n_queries = differences.shape[1]
    reach = float(stdtrit(n_queries - 1, 1 - level)) if n_queries > 1 else 0.0
    return float((mean - reach * error).min())


def _mean_and_error(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of each row and its standard error, 0 of one query."""
    n_queries = differences.shape[1]
    spread = differences.std(axis=1, ddof=1) if n_queries > 1 else np.zeros(len(differences))
    return differences.mean(axis=1), spread / math.sqrt(n_queries)
