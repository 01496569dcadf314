"""What to expect of options when only a few queries are judged: predictions and measurements in one.

References
----------
.. [1] A. Gelman et al.: Bayesian Data Analysis (3rd ed. 2013), sections 3.2 and 3.5.
.. [2] J. Schäfer, K. Strimmer: A shrinkage approach to large-scale covariance matrix estimation,
   Statist. Appl. Genet. Mol. Biol. 4 (2005), Table 2, target C.
.. [3] I. J. Good: The Estimation of Probabilities (1965), on type II maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, check_floats, check_rows
from retriever.errors import ShapeError

N_DRAWS = 10_000
"""Probabilities are then right to about 0.01."""

FEWEST_QUERIES = 4
"""With fewer the uncertainty of a mean has no variance: its variance is itself an estimate."""

WIDENINGS = tuple(2.0**step for step in range(9))
"""How many times as uncertain as stated a prior may turn out to be, in variance."""

_NOTHING = 1e-10
_SYMMETRY = 1e-9
_TIE = 1e-6  # what rounding makes of options that are one and the same


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posterior:
    """What predictions and measurements together let expect of options.

    Attributes
    ----------
    mean : float64, shape (n_options,)
        Expected NDCG@10.
    covariance : float64, shape (n_options, n_options)
    best : float64, shape (n_options,)
        Probability that no other option is better; of options that tie, each has an equal share. Sums to 1.
    real : float64, shape (n_options,)
        Probability that the gain over the best single model exceeds the minimum gain.
    regret : float64, shape (n_options,)
        What choosing the option is expected to leave on the table: NDCG@10 of the best of all minus its own.
    widening
        How many times as large as stated the covariance of the prior was taken to be, one of `WIDENINGS`:
        above 1, what was measured contradicts what was predicted.
    """

    mean: FloatArray
    covariance: FloatArray
    best: FloatArray
    real: FloatArray
    regret: FloatArray
    widening: float

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of each option's NDCG@10, shape (n_options,)."""
        root: FloatArray = np.sqrt(np.diag(self.covariance))
        return root

    @property
    def choice(self) -> int:
        """The option with the least expected regret, that is the highest mean; the first of equals."""
        return int(self.mean.argmax())


def prior_covariance(deviation: ArrayLike, correlation: ArrayLike | None = None) -> FloatArray:
    """Return the covariance of predictions, from how far off each is and how they err together.

    Parameters
    ----------
    deviation : float, shape (n_options,)
        Standard deviation of each prediction, above 0.
    correlation : float, shape (n_options, n_options)
        Of their errors; None for predictions that err independently.

    Returns
    -------
    float64, shape (n_options, n_options)

    Raises
    ------
    ShapeError
        If a deviation is not above 0, or the shapes do not match.
    """
    spread = check_floats(deviation, name="deviation", ndim=1).astype(np.float64)
    if spread.min() <= 0:
        raise ShapeError(
            f"deviation: expected numbers above 0, got {spread.min():g}. A prediction that cannot be wrong "
            f"would never listen to a measurement."
        )
    related = np.eye(len(spread)) if correlation is None else np.asarray(correlation, dtype=np.float64)
    if related.shape != (len(spread), len(spread)):
        raise ShapeError(
            f"correlation: expected shape {(len(spread), len(spread))}, one row per deviation, got "
            f"{related.shape}."
        )
    return related * np.outer(spread, spread)


def shrink(  # noqa: PLR0913  # a prior, a measurement, and what is asked of both
    prior_mean: ArrayLike,
    prior_covariance: ArrayLike,
    ndcg: ArrayLike,
    *,
    singles: Sequence[int],
    rng: np.random.Generator,
    minimum_gain: float = 0.0,
    n_draws: int = N_DRAWS,
) -> Posterior:
    """Combine what was predicted of options with what was measured of them on a few queries.

    Both are normal distributions over the vector of all options, so their product is, too ([1]_): with
    prior N(m, P), mean measurement y and its sampling covariance R, the posterior has mean
    ``m + P(P + R)⁻¹(y - m)`` and covariance ``P - P(P + R)⁻¹P``. R is the covariance of the options over
    queries, see `shrunk_covariance`, divided by the number of queries n: options are measured on the same
    queries, so their differences are known far better than their level. It is times (n - 1)/(n - 3), the
    variance of Student's distribution, because it is an estimate itself. Without queries the prior stands;
    with many the measurement does.

    A prior that is wrong and sure of itself would keep a good measurement from being heard. So P is
    widened by the factor of `WIDENINGS` under which what was measured is likeliest ([3]_); where
    predictions come true that is 1.

    Parameters
    ----------
    prior_mean : float, shape (n_options,)
        Predicted NDCG@10.
    prior_covariance : float, shape (n_options, n_options)
        Of the errors of these predictions, see `prior_covariance`.
    ndcg : float, shape (n_options, n_queries)
        NDCG@10 of each query; no column or at least `FEWEST_QUERIES`.
    singles
        Rows that are single models, at least one: gains are over the best of them.
    rng
        Source of the draws from the posterior; equal generators give equal probabilities.
    minimum_gain
        What a gain must exceed to be real.
    n_draws
        How many draws, an even number: each comes with its mirror image, which makes their mean exact.

    Raises
    ------
    ShapeError
        If the shapes do not match, a number is not finite, the covariance is none, there are one to three
        queries, or no row, or a row that does not exist, is a single model.
    """
    mean, covariance = _checked_prior(prior_mean, prior_covariance)
    values = _checked_ndcg(ndcg, n_options=len(mean))
    rows = _checked_singles(singles, n_options=len(mean))
    widening = 1.0
    if values.shape[1]:
        mean, covariance, widening = updated(mean, covariance, values)
    drawn = _draws(mean, covariance, rng=rng, n_draws=n_draws)
    highest = drawn.max(axis=0)
    ties = drawn >= highest - _TIE
    return Posterior(
        mean=mean,
        covariance=covariance,
        best=(ties / ties.sum(axis=0)).mean(axis=1),
        real=(drawn - drawn[rows].max(axis=0) > minimum_gain + _TIE).mean(axis=1),
        regret=highest.mean() - mean,
        widening=widening,
    )


def shrunk_covariance(ndcg: ArrayLike) -> FloatArray:
    """Return the covariance of options over queries, drawn towards equal variances and equal covariances.

    Of few queries the sample covariance of many options is singular: it takes some differences for
    certain. It is mixed with the matrix that has the mean variance on its diagonal and the mean covariance
    beside it; how much, follows from how uncertain its entries are ([2]_).

    Parameters
    ----------
    ndcg : float, shape (n_options, n_queries)
        At least two queries.

    Returns
    -------
    float64, shape (n_options, n_options)
        Symmetric, no negative eigenvalue beyond rounding.

    Raises
    ------
    ShapeError
        If there are fewer queries, or the numbers are not a finite matrix.
    """
    values = check_floats(ndcg, name="ndcg", ndim=2).astype(np.float64)
    n_options, n_queries = values.shape
    if n_queries < 2:  # noqa: PLR2004  # of one alone there is no variance
        raise ShapeError(f"ndcg: expected at least two queries, got {n_queries}. One has no variance.")
    centred = values - values.mean(axis=1, keepdims=True)
    products = centred @ centred.T / n_queries  # the mean over queries of each two options' product
    sample: FloatArray = products * n_queries / (n_queries - 1)
    if n_options == 1:
        return sample
    of_products = (centred**2) @ (centred**2).T / n_queries - products**2
    uncertainty = of_products.sum() * n_queries**2 / (n_queries - 1) ** 3
    target = _equal_covariances(sample)
    distance = ((sample - target) ** 2).sum()
    share = 1.0 if distance <= 0 else float(np.clip(uncertainty / distance, 0.0, 1.0))
    shrunk: FloatArray = share * target + (1 - share) * sample
    return shrunk


def _equal_covariances(sample: FloatArray) -> FloatArray:
    n_options = len(sample)
    variance = float(np.trace(sample)) / n_options
    shared = (float(sample.sum()) - n_options * variance) / (n_options * (n_options - 1))
    target: FloatArray = np.full_like(sample, shared)
    np.fill_diagonal(target, variance)
    return target


def updated(
    mean: FloatArray, covariance: FloatArray, values: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Return mean and covariance of the posterior, and by what the prior was widened, see `shrink`.

    Parameters
    ----------
    mean : float64, shape (n_options,)
    covariance : float64, shape (n_options, n_options)
        Both trusted: of the prior.
    values : float64, shape (n_options, n_queries)
        NDCG@10 of each query; at least `FEWEST_QUERIES`.
    """
    n_queries = values.shape[1]
    sampling = shrunk_covariance(values) / n_queries * (n_queries - 1) / (n_queries - 3)
    surprise = values.mean(axis=1) - mean
    likelihoods = [_log_likelihood(surprise, factor * covariance + sampling) for factor in WIDENINGS]
    widening = WIDENINGS[int(np.argmax(likelihoods))]
    prior = widening * covariance
    # options that are one and the same make the sum singular: they share what is known of either
    trust = prior @ np.linalg.pinv(prior + sampling, hermitian=True)
    return mean + trust @ surprise, _symmetric(prior - trust @ prior), widening


def _log_likelihood(surprise: FloatArray, covariance: FloatArray) -> float:
    """Return the log of the density of a normal distribution, but for a constant."""
    values, vectors = np.linalg.eigh(covariance)
    lasting = values > _NOTHING * values.max()
    along = vectors.T[lasting] @ surprise
    return float(-0.5 * (np.log(values[lasting]) + along**2 / values[lasting]).sum())


def _symmetric(matrix: FloatArray) -> FloatArray:
    """Return the nearest matrix that is symmetric and has no negative eigenvalue: what rounding took away."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    nearest: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return nearest


def _draws(mean: FloatArray, covariance: FloatArray, *, rng: np.random.Generator, n_draws: int) -> FloatArray:
    """Draw from the normal distribution: shape (n_options, n_draws)."""
    if n_draws < 2 or n_draws % 2:  # noqa: PLR2004  # pairs
        raise ShapeError(f"n_draws: expected an even number from 2, got {n_draws}. {N_DRAWS} is usual.")
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    deviations = root @ rng.standard_normal((len(mean), n_draws // 2))
    drawn: FloatArray = mean[:, None] + np.concatenate([deviations, -deviations], axis=1)
    return drawn


def _checked_prior(mean: ArrayLike, covariance: ArrayLike) -> tuple[FloatArray, FloatArray]:
    expected = check_floats(mean, name="prior_mean", ndim=1).astype(np.float64)
    matrix = check_floats(covariance, name="prior_covariance", ndim=2).astype(np.float64)
    if matrix.shape != (len(expected), len(expected)):
        raise ShapeError(
            f"prior_covariance: expected shape {(len(expected), len(expected))}, one row per option, got "
            f"{matrix.shape}."
        )
    scale = float(np.abs(matrix).max())
    is_symmetric = bool(np.abs(matrix - matrix.T).max() <= _SYMMETRY * scale)
    if not is_symmetric or np.linalg.eigvalsh(matrix).min() < -_SYMMETRY * len(matrix) * scale:
        raise ShapeError(
            "prior_covariance: expected a symmetric matrix without negative eigenvalues, got another. Make "
            "it from deviations and correlations."
        )
    return expected, _symmetric(matrix)


def _checked_ndcg(ndcg: ArrayLike, *, n_options: int) -> FloatArray:
    values = np.asarray(ndcg, dtype=np.float64)
    if values.shape == (n_options, 0):
        return values
    checked = check_floats(values, name="ndcg", ndim=2).astype(np.float64)
    check_rows(name="ndcg", got=len(checked), expected=n_options, of="option")
    if checked.shape[1] < FEWEST_QUERIES:
        raise ShapeError(
            f"ndcg: expected no judged query or at least {FEWEST_QUERIES}, got {checked.shape[1]}. So few do "
            f"not tell how queries differ: judge more, or leave them out."
        )
    return checked


def _checked_singles(singles: Sequence[int], *, n_options: int) -> list[int]:
    rows = list(singles)
    if not rows or min(rows) < 0 or max(rows) >= n_options:
        raise ShapeError(
            f"singles: expected rows of single models, from 0 to {n_options - 1}, got {rows or 'none'}. A "
            f"gain is one over the best single model."
        )
    return rows
