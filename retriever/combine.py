"""The arithmetic of combination: one stored vector serves every weight.

The unit vectors ``x_1 … x_N`` that N models give a chunk are stored as ``[x_1 ; … ; x_N] / √N``, a
unit vector again. A query is ``√N · [w_1·q_1 ; … ; w_N·q_N]``. The dot product of the two is
``Σ w_i·cos(q_i, x_i)`` for any weights, so weights are chosen when a query is asked and nothing
stored changes. Concatenation of two models' vectors: Ghosh Dastidar et al. 2025, section 4.1; with
equal weights the ranking is that of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retriever.errors import InputError, ShapeError
from retriever.models.protocol import FloatArray
from retriever.records import split_part

Weighting: TypeAlias = Literal["calibrated", "equal"] | Mapping[str, float]
"""How the legs of a deployment count: by a rule, or by explicit weights that sum to 1."""

_WEIGHT_SUM_TOLERANCE = 1e-6


def concatenate(parts: Sequence[FloatArray]) -> FloatArray:
    """Return the stored form of N models' vectors of the same chunks.

    Parameters
    ----------
    parts : N arrays, float32, shape (n_chunks, d_i)
        Unit rows.

    Returns
    -------
    float32, shape (n_chunks, Σ d_i)
        Unit rows.
    """
    return np.hstack(parts) / np.float32(np.sqrt(len(parts)))


def weigh(parts: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Return the query form of N models' vectors of the same queries.

    Parameters
    ----------
    parts : N arrays, float32, shape (n_queries, d_i)
        Unit rows.
    weights
        One per model.

    Returns
    -------
    float32, shape (n_queries, Σ d_i)
        Not unit rows: the dot product with a row of `concatenate` is ``Σ w_i·cos_i``.
    """
    scaled = [np.float32(weight) * part for weight, part in zip(weights, parts, strict=True)]
    return np.hstack(scaled) * np.float32(np.sqrt(len(parts)))


def shares(
    query: Sequence[FloatArray], stored: Sequence[FloatArray], weights: Sequence[float]
) -> NDArray[np.float64]:
    """Return each part's summand of the scores of some chunks for one query.

    Parameters
    ----------
    query : N arrays, float32, shape (d_i,)
        Unit vectors, or means of such.
    stored : N arrays, float32, shape (n_chunks, d_i)
        Unit rows.
    weights
        One per part.

    Returns
    -------
    float64, shape (n_chunks, N)
        ``w_i·cos_i``; the sum of a row is the score.
    """
    cosines = [
        rows.astype(np.float64) @ part.astype(np.float64) for part, rows in zip(query, stored, strict=True)
    ]
    summands: NDArray[np.float64] = np.stack(cosines, axis=1) * np.asarray(weights)
    return summands


def truncated(rows: FloatArray, dimensions: int | None) -> FloatArray:
    """Return the first dimensions of unit rows as unit rows again: a Matryoshka model is trained for it.

    Parameters
    ----------
    rows : float32, shape (n, d)
    dimensions
        At most d; None for all.

    Returns
    -------
    float32, shape (n, dimensions)

    Raises
    ------
    ShapeError
        If a row is zero as far as it is kept: it has no direction.
    """
    if dimensions is None:
        return rows
    kept = rows[:, :dimensions]
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    if not lengths.all():
        raise ShapeError(
            f"truncated vectors: expected rows with a direction in their first {dimensions} dimensions, "
            "got one that is zero there. Keep more dimensions of this model."
        )
    rows_again: FloatArray = kept / lengths
    return rows_again


def parts_of(vectors: Mapping[str, FloatArray], parts: Sequence[str]) -> list[FloatArray]:
    """Return the rows of each part of a combination, from the vectors of whole models by key."""
    split = [split_part(part) for part in parts]
    return [truncated(vectors[key], dimensions) for key, dimensions in split]


def equal_weights(keys: Sequence[str]) -> dict[str, float]:
    """Return the weights of the paper: every model counts alike."""
    return dict.fromkeys(keys, 1 / len(keys))


def calibrated_weights(keys: Sequence[str], spreads: Mapping[str, float]) -> dict[str, float]:
    """Return weights of one over each model's spread, summing to 1.

    Models differ by a factor of five in how far their cosines spread; with equal weights the one
    with the widest spread decides alone.

    Raises
    ------
    InputError
        If a model has no measured spread (a corpus of fewer than two different chunks).
    """
    unmeasured = [key for key in keys if not spreads.get(key)]
    if unmeasured:
        raise InputError(
            f"calibrated weights: expected a measured spread of every model, got none of "
            f"{', '.join(unmeasured)}. Ingest at least three different chunks, or use equal weights."
        )
    inverse = {key: 1 / spreads[key] for key in keys}
    total = sum(inverse.values())
    return {key: value / total for key, value in inverse.items()}


def checked_weights(keys: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Return explicit weights in the order of `keys`.

    Raises
    ------
    InputError
        If they are not one per model, at least 0, with sum 1.
    """
    if set(weights) != set(keys):
        raise InputError(
            f"weights: expected one for each of {', '.join(keys)}, got {', '.join(weights) or 'none'}."
        )
    values = {key: float(weights[key]) for key in keys}
    if not all(np.isfinite(value) and value >= 0 for value in values.values()) or (
        abs(sum(values.values()) - 1) > _WEIGHT_SUM_TOLERANCE
    ):
        raise InputError(f"weights: expected numbers of at least 0 that sum to 1, got {values}.")
    return values


def spread(vectors: FloatArray) -> float:
    """Return the standard deviation of the cosines between all pairs of different rows.

    Parameters
    ----------
    vectors : float32, shape (n, d)
        Unit rows, n at least 2.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ShapeError
        If there are fewer than two rows.
    """
    if len(vectors) < 2:  # noqa: PLR2004  # a pair is two
        raise ShapeError(f"spread: expected at least 2 vectors, got {len(vectors)}.")
    rows = vectors.astype(np.float64)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    return float(cosines.std())


def lift(vectors: FloatArray) -> float:
    """Return how far the nearest other row stands out: its cosine over the mean cosine, in spreads.

    The mean over all rows; 0 where cosines do not spread.

    Parameters
    ----------
    vectors : float32, shape (n, d)
        Unit rows, n at least 2.
    """
    rows = vectors.astype(np.float64)
    cosines = rows @ rows.T
    pairs = cosines[np.triu_indices(len(rows), k=1)]
    np.fill_diagonal(cosines, -np.inf)
    width = float(pairs.std())
    return float((cosines.max(axis=1).mean() - pairs.mean()) / width) if width else 0.0
