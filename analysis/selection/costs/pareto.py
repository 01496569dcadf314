"""Which options are worth a look: no other is at least as good and costs no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import check_rows
from analysis.selection.record import Cost

BoolArray: TypeAlias = NDArray[np.bool_]


def cost_figures(cost: Cost) -> tuple[float | None, ...]:
    """Return the figures of a cost, each the better the lower."""
    return cost.seconds_per_1000_chunks, cost.bytes_per_chunk, cost.milliseconds_per_query


def pareto_front(qualities: Sequence[float | None], costs: Sequence[Cost]) -> BoolArray:
    """Mark the options that no other dominates in quality and cost.

    One option dominates another if it is at least as good in quality, seconds, bytes and milliseconds,
    and better in one of them. A figure that is unknown of every option does not count; one that is
    unknown of some cannot be compared, so such an option neither dominates nor is dominated: it stays
    on the front because nobody knows better. Of equal options none dominates.

    Parameters
    ----------
    qualities
        NDCG@10 of each option, measured or predicted; None where unknown.
    costs
        In the same order.

    Returns
    -------
    bool, shape (n_options,)

    Raises
    ------
    ShapeError
        If the two differ in length.
    """
    check_rows(name="costs", got=len(costs), expected=len(qualities), of="quality")
    losses = [None if quality is None else -quality for quality in qualities]
    rows = [(loss, *cost_figures(cost)) for loss, cost in zip(losses, costs, strict=True)]
    on_front: BoolArray = np.logical_not(_dominates(rows).any(axis=0))
    return on_front


def dominates_in_cost(costs: Sequence[Cost]) -> BoolArray:
    """Tell of each two options whether the first costs less, whatever their quality.

    Returns
    -------
    bool, shape (n_options, n_options)
        At row i and column j whether option i costs no more than j in any figure and less in one, both
        knowing every figure that any option knows.
    """
    return _dominates([cost_figures(cost) for cost in costs])


def _dominates(rows: Sequence[Sequence[float | None]]) -> BoolArray:
    if not rows:
        return np.zeros((0, 0), dtype=np.bool_)
    # NaN compares false with everything: what is unknown is neither lower nor equal
    values = np.array([[math.nan if value is None else value for value in row] for row in rows])
    known = values[:, ~np.isnan(values).all(axis=0)]
    no_higher = (known[:, None, :] <= known[None, :, :]).all(axis=2)
    lower = (known[:, None, :] < known[None, :, :]).any(axis=2)
    return np.asarray(no_higher & lower)
