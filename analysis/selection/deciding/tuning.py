"""Choices made on judged queries, judged on others: the weights of a pair.

The best of many on some queries looks better there than it is. Here every query is scored by a choice
that was made without it, so what is tuned can stand in one table with what is not.

References
----------
.. [1] T. Hastie, R. Tibshirani, J. Friedman: The Elements of Statistical Learning (2nd ed. 2009),
   section 7.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, IntArray, check_floats, check_rows
from analysis.selection.record import MeasuredOption, Option
from retriever.errors import InputError, ShapeError

Chooser: TypeAlias = Callable[[IntArray], int]
"""Takes the queries to learn from, and returns the row of the option it chooses."""

N_FOLDS = 5
N_REPEATS = 10

_FEWEST_QUERIES = 2
_TOLERANCE = 0.5
_TIE = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CrossValidated:
    """What a way of choosing is worth, without having seen the queries it is judged on.

    Attributes
    ----------
    ndcg : float64, shape (n_queries,)
        NDCG@10 of each query under what was chosen on other queries; the mean over the repeats.
    choice
        Row of the option chosen on all queries: what to serve.
    """

    ndcg: FloatArray
    choice: int


def cross_validate(
    ndcg: ArrayLike,
    choose: Chooser,
    *,
    rng: np.random.Generator,
    n_folds: int = N_FOLDS,
    n_repeats: int = N_REPEATS,
) -> CrossValidated:
    """Judge a way of choosing among options by cross-validation over queries ([1]_).

    Parameters
    ----------
    ndcg : float, shape (n_options, n_queries)
        NDCG@10 of each query under each option; at least two queries.
    choose
        Must learn from the queries it is given, and from nothing else that is judged.
    rng
        Source of the folds; equal generators give equal results.
    n_folds
        At least 2; as many as there are queries where these are fewer.
    n_repeats
        How often queries are dealt into folds anew, at least 1: one deal is a matter of luck.

    Raises
    ------
    ShapeError
        If the numbers are not a finite matrix of at least two queries, or an option is out of range.
    """
    values = check_floats(ndcg, name="ndcg", ndim=2).astype(np.float64)
    n_queries = values.shape[1]
    _check_folds(n_queries, n_folds=n_folds, n_repeats=n_repeats)
    total = np.zeros(n_queries)
    for fold in _folds(n_queries, rng=rng, n_folds=min(n_folds, n_queries), n_repeats=n_repeats):
        option = choose(np.setdiff1d(np.arange(n_queries), fold))
        total[fold] += values[option, fold]
    return CrossValidated(ndcg=total / n_repeats, choice=choose(np.arange(n_queries)))


def weight_chooser(ndcg: ArrayLike, *, home: int) -> Chooser:
    """Return a way to choose weights that leaves those at home only for a reason.

    Of the weights that are within half a standard error of the best (of the paired difference to it), the
    nearest to `home` in the order of the grid; of two as near, the better. So few queries change little,
    and many find the best.

    Parameters
    ----------
    ndcg : float, shape (n_grid, n_queries)
        Under each weight of a grid, in order of the weight.
    home
        Row of the weights to start from: the calibrated ones.

    Raises
    ------
    ShapeError
        If the numbers are not a finite matrix, or home is not one of its rows.
    """
    values = check_floats(ndcg, name="ndcg", ndim=2).astype(np.float64)
    if not 0 <= home < len(values):
        raise ShapeError(f"home: expected a row from 0 to {len(values) - 1}, got {home}. Count from 0.")
    away = np.abs(np.arange(len(values)) - home)

    def choose(queries: IntArray) -> int:
        seen = values[:, queries]
        means = seen.mean(axis=1)
        behind = seen[means.argmax()] - seen
        error = behind.std(axis=1, ddof=1) / np.sqrt(len(queries)) if len(queries) > 1 else 0.0
        near = np.where(behind.mean(axis=1) <= _TOLERANCE * error + _TIE, away, len(values))
        tied = np.flatnonzero(near == near.min())
        return int(tied[means[tied].argmax()])

    return choose


def tune_weights(
    grid: Sequence[MeasuredOption],
    *,
    home: int,
    rng: np.random.Generator,
    n_folds: int = N_FOLDS,
    n_repeats: int = N_REPEATS,
) -> MeasuredOption:
    """Return the option at the weights found on all queries, with what was reached out of fold.

    Parameters
    ----------
    grid
        The same legs at different weights, in order of the weight of the first.
    home
        Which of them to start from, see `weight_chooser`: the calibrated weights, in the middle of
        `analysis.selection.scoring.candidates.grid_options`.
    rng, n_folds, n_repeats
        See `cross_validate`.

    Returns
    -------
    MeasuredOption
        Its weighting is ``"tuned"``.

    Raises
    ------
    InputError
        If the options differ in their legs or are no sums of scores.
    ShapeError
        As `cross_validate` and `weight_chooser`.
    """
    _check_grid(grid)
    ndcg = np.stack([one.ndcg for one in grid])
    found = cross_validate(
        ndcg, weight_chooser(ndcg, home=home), rng=rng, n_folds=n_folds, n_repeats=n_repeats
    )
    best = grid[found.choice].option
    return MeasuredOption(option=Option(weights=best.weights, weighting="tuned"), ndcg=found.ndcg)


def _folds(n_queries: int, *, rng: np.random.Generator, n_folds: int, n_repeats: int) -> Iterator[IntArray]:
    for _ in range(n_repeats):
        yield from np.array_split(rng.permutation(n_queries), n_folds)


def _check_folds(n_queries: int, *, n_folds: int, n_repeats: int) -> None:
    if n_queries < _FEWEST_QUERIES:
        raise ShapeError(
            f"ndcg: expected at least {_FEWEST_QUERIES} queries, one to learn from and one to judge by, got "
            f"{n_queries}. Judge more queries, or leave tuned options out."
        )
    if n_folds < _FEWEST_QUERIES or n_repeats < 1:
        raise ShapeError(
            f"folds: expected at least 2, dealt at least once, got {n_folds}, dealt {n_repeats} times. "
            f"{N_FOLDS} and {N_REPEATS} are usual."
        )


def _check_grid(grid: Sequence[MeasuredOption]) -> None:
    if len({one.option.legs for one in grid}) != 1 or any(one.option.fusion != "sum" for one in grid):
        raise InputError(
            f"grid: expected sums of the same legs at different weights, got "
            f"{', '.join(sorted({one.label for one in grid})) or 'nothing'}. Tune one combination at a time."
        )
    for one in grid:
        check_rows(name=one.label, got=len(one.ndcg), expected=len(grid[0].ndcg), of="query")
