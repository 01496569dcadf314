"""How alike two models are in their vectors: centred kernel alignment.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), Eq. 1.
.. [2] S. Kornblith et al.: Similarity of Neural Network Representations Revisited, ICML 2019.
.. [3] L. Song et al.: Feature Selection via Dependence Maximization, JMLR 13 (2012), Eq. 5: the
   unbiased estimator of HSIC.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.arrays import FloatArray, check_floats, check_rows
from analysis.similarity.alignment import Alignments, Blocks, Centre, alignments, centres
from retriever.errors import ShapeError

FEWEST_FOR_DEBIASED = 4
"""The unbiased estimator divides by n - 3."""

_BLOCK_ROWS = 8192
_EXACT_CHUNKS = 16_384  # up to so many, products in float64 take seconds
_EQUIDISTANT = 1e-12  # unbiased over biased self-similarity; what rounding leaves of zero
_SURE = 0.1  # the same; below it, removing the bias magnifies the rounding of float32 past 1e-6


def cka(x: ArrayLike, y: ArrayLike) -> float:
    """Linear centred kernel alignment of two models' vectors of the same chunks ([1]_, Eq. 1).

    ``‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)`` with centred columns: the feature-space form [2]_, which never
    holds an n-by-n matrix. Sums are in float64.

    Parameters
    ----------
    x : float, shape (n_chunks, d_x)
    y : float, shape (n_chunks, d_y)

    Returns
    -------
    float
        In [0, 1]; 1 for vectors equal up to rotation and scale. Biased upwards when n is not far
        above the dimensions: independent random vectors of n = 300 and d = 384 give over 0.5.

    Raises
    ------
    ShapeError
        If the numbers of rows differ, a number is not finite, or all vectors of one side are equal.
    """
    return float(pairwise_cka([x, y]).biased[0, 1])


def debiased_cka(x: ArrayLike, y: ArrayLike) -> float:
    """Linear CKA with the unbiased estimator of HSIC ([3]_, Eq. 5), in feature space.

    Parameters
    ----------
    x : float, shape (n_chunks, d_x)
    y : float, shape (n_chunks, d_y)
        At least 4 chunks.

    Returns
    -------
    float
        In [-1, 1]; about 0 for independent vectors at any n, 1 for vectors equal up to rotation and
        scale.

    Raises
    ------
    ShapeError
        As in `cka`, with fewer than 4 chunks, or if all vectors of one side are equally far apart.
    """
    value = float(pairwise_cka([x, y]).debiased[0, 1])
    if math.isnan(value):
        raise ShapeError(
            f"vectors: expected at least {FEWEST_FOR_DEBIASED} chunks, not all equally far apart, for the "
            f"debiased estimator, got {len(np.asarray(x))} chunks. Use cka, or more chunks."
        )
    return value


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairwiseCka:
    """CKA of all pairs of models.

    Attributes
    ----------
    biased : float64, shape (n_models, n_models)
        See `cka`; symmetric, 1 on the diagonal.
    debiased : float64, shape (n_models, n_models)
        See `debiased_cka`; NaN where it is not defined.
    """

    biased: FloatArray
    debiased: FloatArray


def pairwise_cka(vectors: Sequence[ArrayLike]) -> PairwiseCka:
    """Compute both estimators for all pairs of models; one matrix product per pair serves both.

    Parameters
    ----------
    vectors : sequence of float, shape (n_chunks, d_i)
        The same chunks in the same order from each model. Memory maps are read in blocks.

    Raises
    ------
    ShapeError
        As in `cka`.
    """
    matrices = [_matrix(given, name=f"vectors of model {index}") for index, given in enumerate(vectors)]
    for index, matrix in enumerate(matrices):
        check_rows(name=f"vectors of model {index}", got=len(matrix), expected=len(matrices[0]), of="chunk")

    def blocks() -> Iterator[list[NDArray[Any]]]:
        for start in range(0, len(matrices[0]) if matrices else 0, _BLOCK_ROWS):
            yield [matrix[start : start + _BLOCK_ROWS] for matrix in matrices]

    return cka_of_blocks(blocks)


def cka_of_blocks(blocks: Blocks) -> PairwiseCka:
    """Compute both estimators for all pairs of models from blocks of chunks, as many as there may be.

    In memory are one block, and as many float64 as the matrices XᵀY of all pairs have. Blocks of a few
    thousand chunks are fastest.

    Above 16,384 chunks the products within a block are in float32 (centring, lengths and the sums
    over blocks stay in float64), which takes half the time and changes a value by less than 1e-6. Where
    the chunks of a model are so close to equally far apart that the debiased estimator would magnify this,
    the blocks are read once more and all is in float64.

    Parameters
    ----------
    blocks
        A function that returns an iterable over all blocks. It is called two or three times: for the
        means, then for the products. A block is one array per model, float, shape (n_rows, d_i), the
        same chunks in the same order.

    Raises
    ------
    ShapeError
        As in `cka`, if blocks differ in models or dimensions, or if a later call yields another number of
        chunks than the first, as an iterator does that is used up.
    """
    around = centres(blocks)
    sums = _sums(blocks, around)
    return PairwiseCka(biased=_normalised(sums.products), debiased=_normalised(_debiased(sums)))


def _matrix(vectors: ArrayLike, *, name: str) -> NDArray[Any]:
    """Return what can be cut into blocks; the numbers are checked block by block."""
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2:  # noqa: PLR2004  # rows and columns
        return vectors
    return check_floats(vectors, name=name, ndim=2)


def _sums(blocks: Blocks, around: Sequence[Centre]) -> Alignments:
    if around[0].n_chunks > _EXACT_CHUNKS:
        sums = alignments(blocks, around, dtype=np.float32)
        if (np.diag(_unbiased(sums)) >= _SURE * np.diag(sums.products)).all():
            return sums
    return alignments(blocks, around, dtype=np.float64)


def _debiased(sums: Alignments) -> FloatArray:
    """Return n(n - 3) times the unbiased HSIC; NaN where a model has no such value."""
    if sums.n_chunks < FEWEST_FOR_DEBIASED:
        return np.full_like(sums.products, np.nan)
    unbiased = _unbiased(sums)
    undefined = np.diag(unbiased) <= _EQUIDISTANT * np.diag(sums.products)
    unbiased[undefined, :] = unbiased[:, undefined] = np.nan
    return unbiased


def _unbiased(sums: Alignments) -> FloatArray:
    """Correct ‖XᵀY‖²_F to n(n - 3) times the unbiased HSIC, of at least four chunks.

    With centred rows of squared lengths s and t, K·1 = 0 turns Eq. 5 of [3]_ into
    ``‖XᵀY‖² - n/(n-2) Σ s·t + Σs·Σt / ((n-1)(n-2))``.
    """
    n = sums.n_chunks
    unbiased: FloatArray = (
        sums.products
        - n / (n - 2) * sums.norm_products
        + np.outer(sums.norms, sums.norms) / ((n - 1) * (n - 2))
    )
    return unbiased


def _normalised(products: FloatArray) -> FloatArray:
    own = np.diag(products)
    norms = np.sqrt(np.outer(own, own))  # the root of the square: exactly 1 on the diagonal
    similarities: FloatArray = np.clip(products / norms, -1.0, 1.0)  # rounding may pass 1
    return similarities
