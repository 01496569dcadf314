"""What is to be measured: every model alone, and every pair at each of its weightings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from analysis.evaluation.record import WEIGHT_FORM, Pair, Weighting
from retriever.combine import calibrated_weights, equal_weights
from retriever.errors import InputError
from retriever.records import COMBINED


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A candidate before it is measured: one model, or the weighted sum of two models' scores."""

    weighting: Weighting
    weights: Mapping[str, float]


def ordered_pairs(keys: Sequence[str], pairs: Sequence[Pair] | None) -> list[Pair]:
    """Return the pairs with their models in the order given, so that A+B and B+A are one pair.

    Raises
    ------
    InputError
        If a pair is not of two of these models.
    """
    every = list(combinations(keys, 2))
    if pairs is None:
        return every
    asked = [frozenset(pair) for pair in pairs]
    for pair, models in zip(pairs, asked, strict=True):
        if models not in {frozenset(known) for known in every}:
            raise InputError(
                f"pairs: expected two different models of {', '.join(keys)}, got {COMBINED.join(pair)}. "
                f"Name models that are evaluated."
            )
    return [pair for pair in every if frozenset(pair) in asked]


def checked_grid(grid: Sequence[float]) -> tuple[float, ...]:
    """Return explicit weights of the first half of each pair, ascending.

    Raises
    ------
    InputError
        If one is not in [0, 1], or two are the same as labels show them.
    """
    for weight in grid:
        if not 0 <= weight <= 1:
            raise InputError(
                f"grid: expected weights of the first model of each pair, from 0 to 1, got {weight}. The "
                f"second model gets the rest."
            )
    labels = [format(weight, WEIGHT_FORM) for weight in grid]
    if len(set(labels)) < len(labels):
        raise InputError(
            f"grid: expected weights that differ in two decimals, got {', '.join(map(str, grid))}. Leave out "
            f"what is there twice."
        )
    return tuple(sorted(grid))


def plan_singles(keys: Sequence[str]) -> list[Plan]:
    """Return one plan per model."""
    return [Plan(weighting="equal", weights=equal_weights([key])) for key in keys]


def plan_pairs(pairs: Sequence[Pair], *, spreads: Mapping[str, float], grid: Sequence[float]) -> list[Plan]:
    """Return the plans of each pair: equal weights, calibrated ones, those of the grid.

    Raises
    ------
    InputError
        If a model has no spread.
    """
    plans = []
    for pair in pairs:
        first, second = pair
        plans.append(Plan(weighting="equal", weights=equal_weights(pair)))
        plans.append(Plan(weighting="calibrated", weights=calibrated_weights(pair, spreads)))
        plans += [Plan(weighting="explicit", weights={first: weight, second: 1 - weight}) for weight in grid]
    return plans
