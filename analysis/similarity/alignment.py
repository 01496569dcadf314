"""Sums over blocks of chunks from which the alignment of all pairs of models follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.arrays import AnyFloatArray, FloatArray, check_floats, check_rows
from retriever.errors import ShapeError
from retriever.models.threads import available_cores

Blocks: TypeAlias = Callable[[], Iterable[Sequence[ArrayLike]]]
"""Starts over at each call; each block has the same chunks of each model, as rows."""

_CONSTANT = 1e-24  # variance over mean square; rounding in float32 alone gives 1e-15


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alignments:
    """Sums over all chunks, of centred vectors divided by the largest number of each model.

    Attributes
    ----------
    n_chunks
        How many chunks there are.
    products : float64, shape (n_models, n_models)
        ‖XᵀY‖²_F.
    norms : float64, shape (n_models,)
        Σ s, s being the squared lengths of a model's centred vectors.
    norm_products : float64, shape (n_models, n_models)
        Σ s·t.
    """

    n_chunks: int
    products: FloatArray
    norms: FloatArray
    norm_products: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Centre:
    """What centring a model's vectors needs."""

    n_chunks: int
    mean: FloatArray
    largest: float

    def centred(self, block: ArrayLike) -> FloatArray:
        """Return the block with columns around 0 and of a size whose squares neither over- nor underflow."""
        values: FloatArray = np.subtract(block, self.mean, dtype=np.float64)
        values /= self.largest
        return values


def centres(blocks: Blocks) -> list[Centre]:
    """Read all blocks once and return where each model's vectors lie.

    Raises
    ------
    ShapeError
        If there is no block, blocks differ in models or dimensions, models differ in rows, or a number
        is not finite.
    """
    totals: list[_Total] = []
    with _threads() as threads:
        for index, block in enumerate(blocks()):
            if index == 0:
                totals = [_Total(name=f"vectors of model {number}") for number in range(len(block))]
            if not totals or len(block) != len(totals):
                raise ShapeError(
                    f"blocks: expected the vectors of {len(totals) or 'at least one'} model(s) in each, got "
                    f"{len(block)} in block {index}. Give every model in every block."
                )
            list(threads.map(_Total.add, totals, block))
            for total in totals:
                check_rows(name=total.name, got=total.n_chunks, expected=totals[0].n_chunks, of="chunk")
    if not totals:
        raise ShapeError("blocks: expected at least one, got none. Give vectors of at least one chunk.")
    return [total.centre() for total in totals]


def alignments(
    blocks: Blocks, around: Sequence[Centre], *, dtype: type[np.float32 | np.float64]
) -> Alignments:
    """Read all blocks once and return their sums.

    Centring and the sums over blocks are in float64; `dtype` is that of the products within a block.

    Raises
    ------
    ShapeError
        If the blocks are not those that the centres are of, or all vectors of a model are equal.
    """
    pairs = list(combinations_with_replacement(range(len(around)), 2))
    crosses = {(i, j): np.zeros((len(around[i].mean), len(around[j].mean))) for i, j in pairs}
    norms = np.zeros(len(around))
    norm_products = np.zeros((len(around), len(around)))
    n_chunks = 0
    with _threads() as threads:
        for block in blocks():
            found = list(threads.map(partial(_centred, dtype=dtype), around, block))
            row_norms = np.stack([lengths for _, lengths in found])
            for i, j in pairs:
                crosses[i, j] += found[i][0].T @ found[j][0]
            norms += row_norms.sum(axis=1)
            norm_products += row_norms @ row_norms.T
            n_chunks += row_norms.shape[1]
    _check_same_chunks(n_chunks, around[0].n_chunks)
    _check_not_constant(norms, around)
    products = np.empty_like(norm_products)
    for i, j in pairs:
        products[i, j] = products[j, i] = np.vdot(crosses[i, j], crosses[i, j])
    return Alignments(n_chunks=n_chunks, products=products, norms=norms, norm_products=norm_products)


class _Total:
    """Running sums of one model's vectors."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.n_chunks = 0
        self._sum = np.zeros(0)
        self._largest = 0.0

    def add(self, vectors: ArrayLike) -> None:
        checked: AnyFloatArray = check_floats(vectors, name=self.name, ndim=2)
        if self.n_chunks == 0:
            self._sum = np.zeros(checked.shape[1])
        if checked.shape[1] != len(self._sum):
            raise ShapeError(
                f"{self.name}: expected {len(self._sum)} dimensions in each block, got {checked.shape[1]}. "
                f"Give the models in the same order in every block."
            )
        self._sum += checked.sum(axis=0, dtype=np.float64)
        self._largest = max(self._largest, float(checked.max()), -float(checked.min()))
        self.n_chunks += len(checked)

    def centre(self) -> Centre:
        return Centre(n_chunks=self.n_chunks, mean=self._sum / self.n_chunks, largest=self._largest or 1.0)


def _threads() -> ThreadPoolExecutor:
    """Return threads for what numpy does on one core: all but the products."""
    return ThreadPoolExecutor(available_cores())


def _centred(
    centre: Centre, vectors: ArrayLike, *, dtype: type[np.floating[Any]]
) -> tuple[NDArray[np.floating[Any]], FloatArray]:
    """Return a model's centred vectors, and their squared lengths, shape (n_rows,)."""
    values = centre.centred(vectors)
    return values.astype(dtype, copy=False), np.einsum("ij,ij->i", values, values)


def _check_same_chunks(got: int, expected: int) -> None:
    if got != expected:
        raise ShapeError(
            f"blocks: expected {expected} chunks at each call, got {got} at a later one. Give a function "
            f"that starts over, not an iterator that is used up."
        )


def _check_not_constant(norms: FloatArray, around: Sequence[Centre]) -> None:
    for index, (centre, norm) in enumerate(zip(around, norms, strict=True)):
        mean = centre.mean / centre.largest
        if norm <= _CONSTANT * centre.n_chunks * float(mean @ mean):
            raise ShapeError(
                f"vectors of model {index}: expected chunks with different vectors, got {centre.n_chunks} "
                f"equal ones, for which similarity has no meaning. Look whether the model or the corpus is "
                f"broken."
            )
