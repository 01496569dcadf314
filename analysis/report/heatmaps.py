"""How alike the models are, as tables of shaded numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.evaluation import Evaluation, PairSimilarity

STEPS = 9
"""Shades, from the lowest value of a map to its highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A value as text, and its shade from 0 to `STEPS` - 1; no shade where there is no value."""

    text: str
    shade: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatMap:
    """One measure of all pairs.

    Attributes
    ----------
    name
        Of the measure, with its cutoff.
    keys
        Models of the rows and of the columns.
    rows
        One cell per column.
    low, high
        What the first and the last shade mean.
    """

    name: str
    keys: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    low: str
    high: str


def heat_maps(evaluation: Evaluation, keys: tuple[str, ...]) -> tuple[HeatMap, ...]:
    """Return CKA and, where there were queries, Jaccard and rank similarity at the first cutoff."""
    if not evaluation.similarities:
        return ()
    measures: dict[str, Callable[[PairSimilarity], float]] = {}
    overlaps = evaluation.similarities[0].overlaps
    if overlaps:
        measures[f"Jaccard@{overlaps[0].k}"] = lambda pair: pair.jaccard
        measures[f"RankSim@{overlaps[0].k}"] = lambda pair: pair.rank_similarity
    measures["CKA"] = lambda pair: pair.cka
    return tuple(
        _heat_map(name, {frozenset(pair.models): measure(pair) for pair in evaluation.similarities}, keys)
        for name, measure in measures.items()
    )


def _heat_map(name: str, values: Mapping[frozenset[str], float], keys: tuple[str, ...]) -> HeatMap:
    low, high = min(values.values()), max(values.values())
    return HeatMap(
        name=name,
        keys=keys,
        rows=tuple(
            tuple(_cell(values.get(frozenset((a, b))) if a != b else None, low, high) for b in keys)
            for a in keys
        ),
        low=_short(low),
        high=_short(high),
    )


def _cell(value: float | None, low: float, high: float) -> Cell:
    if value is None:
        return Cell(text="", shade=None)
    share = (value - low) / (high - low) if high > low else 0.5
    return Cell(text=_short(value), shade=min(int(share * STEPS), STEPS - 1))


def _short(value: float) -> str:
    return f"{value:.2f}"
