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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import AnyFloatArray, FloatArray, check_floats, check_rows
from retriever.errors import ShapeError

FEWEST_FOR_DEBIASED = 4
"""The unbiased estimator divides by n - 3."""

_BLOCK_ROWS = 4096
_CONSTANT = 1e-24  # variance over mean square; rounding in float32 alone gives 1e-15
_EQUIDISTANT = 1e-12  # unbiased over biased self-similarity; what rounding leaves of zero


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
        The same chunks in the same order from each model.

    Raises
    ------
    ShapeError
        As in `cka`.
    """
    centred = _centre_all(vectors)
    products = _alignments(centred)
    return PairwiseCka(biased=_normalised(products), debiased=_normalised(_debiased(products, centred)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Centred:
    """Vectors with what centring needs; rows are centred in blocks, so that memory stays bounded."""

    vectors: AnyFloatArray
    mean: FloatArray
    row_norms: FloatArray  # squared length of each centred row

    def block(self, start: int) -> FloatArray:
        return self.vectors[start : start + _BLOCK_ROWS].astype(np.float64) - self.mean


def _centre_all(vectors: Sequence[ArrayLike]) -> list[_Centred]:
    checked = [
        check_floats(matrix, name=f"vectors of model {index}", ndim=2) for index, matrix in enumerate(vectors)
    ]
    for index, matrix in enumerate(checked):
        check_rows(name=f"vectors of model {index}", got=len(matrix), expected=len(checked[0]), of="chunk")
    return [_centre(matrix, name=f"vectors of model {index}") for index, matrix in enumerate(checked)]


def _centre(vectors: AnyFloatArray, *, name: str) -> _Centred:
    mean = vectors.mean(axis=0, dtype=np.float64)
    unnormed = _Centred(vectors=vectors, mean=mean, row_norms=np.empty(0))
    starts = range(0, len(vectors), _BLOCK_ROWS)
    row_norms = np.concatenate([np.square(unnormed.block(start)).sum(axis=1) for start in starts])
    if row_norms.sum() <= _CONSTANT * len(vectors) * np.square(mean).sum():
        raise ShapeError(
            f"{name}: expected chunks with different vectors, got {len(vectors)} equal ones, for which "
            f"similarity has no meaning. Look whether the model or the corpus is broken."
        )
    return _Centred(vectors=vectors, mean=mean, row_norms=row_norms)


def _alignments(centred: Sequence[_Centred]) -> FloatArray:
    """Compute ‖XᵀY‖²_F of all pairs, shape (n_models, n_models)."""
    products = np.empty((len(centred), len(centred)))
    for i, x in enumerate(centred):
        for j, y in enumerate(centred[: i + 1]):
            products[i, j] = products[j, i] = _alignment(x, y)
    return products


def _alignment(x: _Centred, y: _Centred) -> float:
    cross = np.zeros((x.vectors.shape[1], y.vectors.shape[1]))
    for start in range(0, len(x.vectors), _BLOCK_ROWS):
        cross += x.block(start).T @ y.block(start)
    return float(np.square(cross).sum())


def _debiased(products: FloatArray, centred: Sequence[_Centred]) -> FloatArray:
    """Correct ‖XᵀY‖²_F to n(n - 3) times the unbiased HSIC; NaN where a model has no such value.

    With centred rows of squared lengths s and t, K·1 = 0 turns Eq. 5 of [3]_ into
    ``‖XᵀY‖² - n/(n-2) Σ s·t + Σs·Σt / ((n-1)(n-2))``.
    """
    n = len(centred[0].vectors)
    if n < FEWEST_FOR_DEBIASED:
        return np.full_like(products, np.nan)
    norms = np.stack([x.row_norms for x in centred])
    sums = norms.sum(axis=1)
    unbiased: FloatArray = (
        products - n / (n - 2) * (norms @ norms.T) + np.outer(sums, sums) / ((n - 1) * (n - 2))
    )
    undefined = np.diag(unbiased) <= _EQUIDISTANT * np.diag(products)
    unbiased[undefined, :] = unbiased[:, undefined] = np.nan
    return unbiased


def _normalised(products: FloatArray) -> FloatArray:
    own = np.sqrt(np.diag(products))
    similarities: FloatArray = np.clip(products / np.outer(own, own), -1.0, 1.0)  # rounding may pass 1
    return similarities
