"""What to expect of options when only a few queries are judged: predictions and measurements in one.

References
----------
.. [1] A. Gelman et al.: Bayesian Data Analysis (3rd ed. 2013), sections 3.2 and 3.5.
.. [2] J. Schäfer, K. Strimmer: A shrinkage approach to large-scale covariance matrix estimation,
   Statist. Appl. Genet. Mol. Biol. 4 (2005), Table 2, target C.
.. [3] I. J. Good: The Estimation of Probabilities (1965), on type II maximum likelihood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, check_floats, check_rows
from retriever.errors import ShapeError

FEWEST_QUERIES = 4
"""With fewer the uncertainty of a mean has no variance: its variance is itself an estimate."""

WIDENINGS = tuple(2.0**step for step in range(9))
"""How many times as uncertain as stated a prior may turn out to be, in variance."""

_NOTHING = 1e-10


def updated(mean: FloatArray, covariance: FloatArray, ndcg: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Combine what was predicted of options with what was measured of them on a few queries.

    Both are normal distributions over the vector of all options, so their product is, too ([1]_): with
    prior N(m, P), mean measurement y and its sampling covariance R, the posterior has mean
    ``m + P(P + R)⁻¹(y - m)`` and covariance ``P - P(P + R)⁻¹P``. R is the covariance of the options over
    queries, see `shrunk_covariance`, divided by the number of queries n: options are measured on the same
    queries, so their differences are known far better than their level. It is times (n - 1)/(n - 3), the
    variance of Student's distribution, because it is an estimate itself. With many queries the measurement
    stands.

    A prior that is wrong and sure of itself would keep a good measurement from being heard. So P is
    widened by the factor of `WIDENINGS` under which what was measured is likeliest ([3]_); where
    predictions come true that is 1.

    Parameters
    ----------
    mean : float64, shape (n_options,)
        Predicted NDCG@10.
    covariance : float64, shape (n_options, n_options)
        Of the errors of these predictions; trusted to be one.
    ndcg : float, shape (n_options, n_queries)
        NDCG@10 of each query; at least `FEWEST_QUERIES`.

    Returns
    -------
    float64, shape (n_options,)
        Expected NDCG@10: the mean of the posterior.
    float64, shape (n_options, n_options)
        Its covariance.

    Raises
    ------
    ShapeError
        If there are fewer queries, another number of options, or a number that is not finite.
    """
    values = _checked_ndcg(ndcg, n_options=len(mean))
    n_queries = values.shape[1]
    sampling = shrunk_covariance(values) / n_queries * (n_queries - 1) / (n_queries - 3)
    surprise = values.mean(axis=1) - mean
    priors = [widening * covariance for widening in WIDENINGS]
    prior = max(priors, key=lambda one: _log_likelihood(surprise, one + sampling))
    # options that are one and the same make the sum singular: they share what is known of either
    trust = prior @ np.linalg.pinv(prior + sampling, hermitian=True)
    return mean + trust @ surprise, _symmetric(prior - trust @ prior)


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


def _checked_ndcg(ndcg: ArrayLike, *, n_options: int) -> FloatArray:
    values = check_floats(ndcg, name="ndcg", ndim=2).astype(np.float64)
    check_rows(name="ndcg", got=len(values), expected=n_options, of="option")
    if values.shape[1] < FEWEST_QUERIES:
        raise ShapeError(
            f"ndcg: expected at least {FEWEST_QUERIES} judged queries, got {values.shape[1]}. So few do not "
            f"tell how queries differ: judge more, or leave them out."
        )
    return values
