"""Array types of the analysis and the checks at its border: kernels trust what passed them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retriever.errors import ShapeError

FloatArray: TypeAlias = NDArray[np.float64]
ScoreArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]
AnyFloatArray: TypeAlias = NDArray[np.floating[Any]]


def check_floats(values: ArrayLike, *, name: str, ndim: int) -> AnyFloatArray:
    """Return `values` as a float array of `ndim` dimensions; float32 stays float32, uncopied.

    Raises
    ------
    ShapeError
        If it is ragged, not of numbers, of another number of dimensions, empty, or not finite.
    """
    array = _as_array(values, name=name)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f" or array.ndim != ndim or array.size == 0:
        raise ShapeError(
            f"{name}: expected numbers in {ndim} dimension(s), at least one of them, got shape {array.shape} "
            f"of {array.dtype}. Give one row per query, chunk or candidate."
        )
    if not np.isfinite(array).all():
        raise ShapeError(
            f"{name}: expected finite numbers, got {int((~np.isfinite(array)).sum())} NaN or infinite of "
            f"{array.size}. Look for the text whose embedding or score failed."
        )
    return array


def check_integers(values: ArrayLike, *, name: str, ndim: int) -> IntArray:
    """Return `values` as an int64 array of `ndim` dimensions.

    Raises
    ------
    ShapeError
        If it is ragged, not of integers, of another number of dimensions, or empty.
    """
    array = _as_array(values, name=name)
    if array.dtype.kind not in "iu" or array.ndim != ndim or array.size == 0:
        raise ShapeError(
            f"{name}: expected integers in {ndim} dimension(s), at least one of them, got shape "
            f"{array.shape} of {array.dtype}. Give indices that count from 0."
        )
    return array.astype(np.int64, copy=False)


def check_rows(*, name: str, got: int, expected: int, of: str) -> None:
    """Raise ShapeError unless an array has one row per `of`."""
    if got != expected:
        raise ShapeError(
            f"{name}: expected {expected} rows, one per {of}, got {got}. Give all arrays in the same order "
            f"and of the same length."
        )


def _as_array(values: ArrayLike, *, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeError(
            f"{name}: expected rows of equal length, got a ragged list. Pad it or split it."
        ) from error
