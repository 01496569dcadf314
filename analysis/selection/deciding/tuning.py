"""Choices made on judged queries, judged on others: weights of a pair, α of the paper.

The best of many on some queries looks better there than it is. Here every query is scored by a choice
that was made without it, so what is tuned can stand in one table with what is not.

References
----------
.. [1] T. Hastie, R. Tibshirani, J. Friedman: The Elements of Statistical Learning (2nd ed. 2009),
   section 7.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, IntArray, check_floats, check_rows
from analysis.evaluation.record import Pair
from analysis.framework.dissimilarity import PairFigures, performance_gaps
from analysis.framework.tuning import tune_alpha
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
    chosen : float64, shape (n_options,)
        In which share of the folds each option was chosen; sums to 1. A spread-out one is a choice that
        hangs on chance.
    """

    ndcg: FloatArray
    choice: int
    chosen: FloatArray


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
    n_options, n_queries = values.shape
    _check_folds(n_queries, n_folds=n_folds, n_repeats=n_repeats)
    total = np.zeros(n_queries)
    chosen = np.zeros(n_options)
    for fold in _folds(n_queries, rng=rng, n_folds=min(n_folds, n_queries), n_repeats=n_repeats):
        option = choose(np.setdiff1d(np.arange(n_queries), fold))
        total[fold] += values[option, fold]
        chosen[option] += 1
    return CrossValidated(
        ndcg=total / n_repeats, choice=choose(np.arange(n_queries)), chosen=chosen / chosen.sum()
    )


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


def dissimilarity_chooser(
    similarity: Mapping[Pair, float], singles: Mapping[str, ArrayLike], pairs: Mapping[Pair, ArrayLike]
) -> Chooser:
    """Return the paper's way to choose a pair: the highest adjusted dissimilarity, its α tuned as well.

    On the queries to learn from it measures the gap of each pair and its gain, finds the α of highest
    correlation (see `analysis.framework.tuning.tune_alpha`; 0, the baseline, where none is defined), and
    takes the pair with the highest AD, the first of equals.

    Parameters
    ----------
    similarity
        By pair, in [0, 1]; needs no judgements.
    singles : float, shape (n_queries,)
        NDCG@10 of each query, by model.
    pairs : float, shape (n_queries,)
        The same by pair; rows are chosen in this order. At least one.

    Raises
    ------
    InputError
        If a pair has no similarity or a model of it no NDCG@10.
    ShapeError
        If the numbers of queries differ.
    """
    of_singles = {key: check_floats(values, name=key, ndim=1) for key, values in singles.items()}
    names = tuple(pairs)
    if not names or set(names) - set(similarity) or {key for name in names for key in name} - set(singles):
        raise InputError(
            "pairs: expected at least one, a similarity of each and NDCG@10 of its models, got less. Measure "
            "the same pairs and models."
        )
    combined = np.stack([check_floats(pairs[name], name="+".join(name), ndim=1) for name in names])
    for key, values in of_singles.items():
        check_rows(name=key, got=len(values), expected=combined.shape[1], of="query of the pairs")
    similar = np.array([similarity[name] for name in names], dtype=np.float64)

    def choose(queries: IntArray) -> int:
        means = {key: float(values[queries].mean()) for key, values in of_singles.items()}
        better = np.array([max(means[a], means[b]) for a, b in names])
        figures = PairFigures(
            measure="similarity",
            weighting="any",
            pairs=names,
            similarity=similar,
            gap=performance_gaps(means, names),
            gain=combined[:, queries].mean(axis=1) - better,
        )
        alpha = tune_alpha(figures).best
        return int(np.nanargmax(figures.adjusted(0.0 if np.isnan(alpha) else alpha)))

    return choose


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
