"""How many directions the vectors of a model use."""

from __future__ import annotations

import numpy as np

from analysis.arrays import AnyFloatArray, check_floats
from retriever.errors import ShapeError

_BLOCK_ROWS = 8192


def effective_rank(vectors: AnyFloatArray) -> float:
    """Return the effective rank of a model's vectors: the exponential of the entropy of its singular values.

    The singular values are the square roots of the eigenvalues of XᵀX, which is summed in blocks, so that
    in memory are one block and d² numbers.

    Parameters
    ----------
    vectors : float, shape (n_chunks, d)
        May be a memory map.

    Returns
    -------
    float
        From 1, all vectors on one line, to min(n_chunks, d), all directions alike.

    Raises
    ------
    ShapeError
        If it is not a matrix of finite numbers, or all of them are 0.

    References
    ----------
    O. Roy, M. Vetterli: The effective rank: a measure of effective dimensionality, EUSIPCO 2007, Eq. 4.
    """
    if getattr(vectors, "ndim", 2) != 2 or not len(vectors):  # noqa: PLR2004  # rows and columns
        raise ShapeError(
            f"vectors: expected rows of numbers, at least one, got shape {np.shape(vectors)}. Give one row "
            f"per chunk."
        )
    products = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = check_floats(vectors[start : start + _BLOCK_ROWS], name="vectors", ndim=2)
        block = block.astype(np.float64, copy=False)
        products += block.T @ block
    eigenvalues = np.linalg.eigvalsh(products)
    largest = float(eigenvalues[-1])
    if largest <= 0:
        raise ShapeError("vectors: expected some that are not 0, got only zeros. Look for the broken model.")
    # Rounding makes small eigenvalues of what is none, and roots make them large.
    kept = eigenvalues[eigenvalues > largest * len(eigenvalues) * np.finfo(np.float64).eps]
    shares = np.sqrt(kept)
    shares /= shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
