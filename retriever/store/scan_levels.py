"""Vectors as 8-bit numbers, with how far they are from what they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retriever.models.protocol import FloatArray

Bytes = NDArray[np.int8]
Doubles = NDArray[np.float64]

_LARGEST = 127
"""The largest 8-bit number in use, of either sign."""

_FINER = 2 * _LARGEST
"""How much smaller the step of a level is than that of the one before: half of that one has to fit."""

_QUERY_LEVELS = 3


class QueryLevels:
    """Queries in units of their lengths, split along and across a direction.

    Parameters
    ----------
    queries : float32, shape (n, size)
    direction : float64, shape (size,)
        Of length 1, or zeros.

    Attributes
    ----------
    along, across : float64, shape (n,)
        The part along the direction, and the length of the rest.
    levels : int8, shape (3, n, size)
        The rest; each level is finer than the one before.
    steps : float64, shape (3, n)
    errors : float64, shape (3, n)
        How far the first level is from the rest, the first two, and all.
    """

    def __init__(self, queries: FloatArray, direction: Doubles) -> None:
        values = queries.astype(np.float64)
        lengths = _lengths(values)[:, None]
        values /= np.where(lengths > 0, lengths, 1.0)
        self.along, rest = _split(values, direction)
        self.across = _lengths(rest)
        self.levels, self.steps, self.errors = _levels(rest, _QUERY_LEVELS)


def encode_rows(rows: FloatArray, direction: Doubles) -> tuple[Bytes, Doubles]:
    """Return rows as 8-bit numbers, and what is to be known of each besides.

    Parameters
    ----------
    rows : float32, shape (n, size)
    direction : float64, shape (size,)
        Of length 1, or zeros.

    Returns
    -------
    codes : int8, shape (n, size)
        Of what is across the direction.
    facts : float64, shape (n, 4)
        The step of the codes, the part along the direction, how far the codes are from the rest, and how
        long they are at most.
    """
    along, rest = _split(rows.astype(np.float64), direction)
    lengths = _lengths(rest)
    levels, steps, errors = _levels(rest, 1)
    return levels[0], np.stack([steps[0], along, errors[0], lengths + errors[0]], axis=1)


def direction_of(rows: FloatArray) -> Doubles:
    """Return the direction of the mean of rows, of length 1; zeros where the mean is zero."""
    mean: Doubles = rows.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    return mean / length if length > 0 else mean


def _split(values: Doubles, direction: Doubles) -> tuple[Doubles, Doubles]:
    """Return the parts of rows along a direction, and what remains."""
    along = values @ direction
    return along, values - np.outer(along, direction)


def _levels(rest: Doubles, count: int) -> tuple[Bytes, Doubles, Doubles]:
    """Return rows as sums, over the levels, of steps times 8-bit numbers.

    Parameters
    ----------
    rest : float64, shape (n, size)
        The rows; replaced by what is left of them.
    count
        Of levels.

    Returns
    -------
    levels : int8, shape (count, n, size)
    steps, errors : float64, shape (count, n)
        The error of a level is the length of what it and those before it leave.
    """
    levels = np.empty((count, *rest.shape), dtype=np.int8)
    steps, errors = np.empty((2, count, len(rest)))
    step = np.maximum(rest.max(axis=1, initial=0.0), -rest.min(axis=1, initial=0.0)) / _LARGEST
    for i in range(count):
        divisor = np.where(step > 0, step, 1.0)[:, None]
        level = np.rint(rest / divisor)
        levels[i] = level
        level *= divisor
        rest -= level
        steps[i], errors[i] = step, _lengths(rest)
        step = step / _FINER
    return levels, steps, errors


def _lengths(rows: Doubles) -> Doubles:
    lengths: Doubles = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths
