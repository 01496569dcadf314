"""The paper's tables, of any models and collections, with what it prints beside ours where both agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.evaluation import Weighting
from analysis.framework import (
    Consistency,
    Correlations,
    PairFigures,
    SimilarityMeasure,
    Transfer,
    consistency,
    correlate,
    pair_figures,
    similarities_by_pair,
    transfer_alpha,
    transfer_similarities,
    tune_alpha,
)
from analysis.framework.printed import CONSISTENCY, printed_correlations
from analysis.resampling import Interval
from analysis.results.record import CollectionResults, Results
from analysis.results.table import Cell, Column, ResultTable

WEIGHTINGS: tuple[Weighting, ...] = ("equal", "calibrated")
"""The paper's weighting, and ours."""

MEASURES: Mapping[SimilarityMeasure, str] = {
    "jaccard": "Jaccard",
    "cka": "CKA",
    "rank_similarity": "RankSim",
}
"""The paper's similarity measures, in the order of its tables, with their headings."""

BASELINE = "baseline"
"""Adjusted dissimilarity with α = 0: closeness in quality alone."""

_INTERVALS = "Low and high bound intervals over draws of models; empty with fewer than five."
_PRINTED = "paper: what the paper prints of the same model and collection."


@dataclass(frozen=True, kw_only=True)
class Framework:
    """What the paper's arithmetic gives on results; computed once, on use."""

    results: Results

    @property
    def judged(self) -> list[CollectionResults]:
        """Collections on which pairs were measured."""
        return [one for one in self.results.collections if one.evaluation.pairs]

    def rng(self) -> np.random.Generator:
        """Return a source of resamples; the same for every number."""
        return np.random.default_rng(self.results.settings.seed)

    def alpha(self, measure: str) -> float:
        """Return α of a measure; 0 of the baseline."""
        return 0.0 if measure == BASELINE else self.results.settings.alphas[measure]

    @cached_property
    def figures(self) -> dict[tuple[Weighting, SimilarityMeasure], dict[str, PairFigures]]:
        """What correlations are of, by weighting and measure, then by collection."""
        return {
            (weighting, measure): {
                one.facts.name: pair_figures(one.evaluation, measure=measure, weighting=weighting)
                for one in self.judged
            }
            for weighting in WEIGHTINGS
            for measure in MEASURES
        }

    @cached_property
    def correlations(self) -> dict[tuple[Weighting, str], dict[str, Correlations]]:
        """ρ of gains with adjusted dissimilarity, by weighting and column of Table 2, then by collection."""
        return {
            (weighting, column): {
                name: correlate(
                    figures,
                    alpha=self.alpha(column),
                    rng=self.rng(),
                    confidence=self.results.settings.confidence,
                )
                for name, figures in self.figures[weighting, measure_of(column)].items()
            }
            for weighting in WEIGHTINGS
            for column in (BASELINE, *MEASURES)
        }

    @cached_property
    def consistencies(self) -> dict[SimilarityMeasure, Consistency]:
        """Agreement of similarities across the collections that have them, by measure."""
        found = {}
        for measure in MEASURES:
            similarities = {
                one.facts.name: similarities_by_pair(one.evaluation, measure=measure)
                for one in self.results.collections
                if one.evaluation.similarities and (measure == "cka" or one.evaluation.query_ids)
            }
            found[measure] = consistency(
                similarities, measure=measure, rng=self.rng(), confidence=self.results.settings.confidence
            )
        return found


def paper_tables(framework: Framework) -> list[ResultTable]:
    """Return the tables that need pairs of models on one or more collections."""
    return [
        table1(framework),
        consistency_table(framework),
        *(table2(framework, weighting) for weighting in WEIGHTINGS),
        transfer_table(framework),
        alpha_table(framework),
        carried_table(framework),
    ]


def measure_of(column: str) -> SimilarityMeasure:
    """Return the measure of a column of Table 2; with α = 0, any says the same."""
    return next((measure for measure in MEASURES if measure == column), "jaccard")


def table1(framework: Framework) -> ResultTable:
    """Return Table 1: ρ of the similarities of pairs on two collections."""
    names = framework.consistencies["cka"].collections
    known = [name for name in names if printed_correlations(name)]
    printed = known if len(known) > 1 else []
    rows = [
        (
            MEASURES[measure],
            name,
            *(_rho(found, name, other) for other in names),
            *(_printed_rho(measure, name, other) for other in printed),
        )
        for measure, found in framework.consistencies.items()
        for name in found.collections
        if len(found.collections) > 1
    ]
    return ResultTable(
        name="table1",
        title="Table 1: similarities of pairs of models on two collections go together (ρ)",
        columns=(
            Column(name="similarity", heading="similarity"),
            Column(name="collection", heading="collection"),
            *(Column(name=name, heading=name, digits=3) for name in names),
            *(Column(name=f"paper_{name}", heading=f"paper: {name}", digits=3) for name in printed),
        ),
        rows=tuple(rows),
        note="Pearson's ρ over the pairs that both collections have; see consistency for intervals.",
    )


def consistency_table(framework: Framework) -> ResultTable:
    """Return Table 1 as a list, with intervals."""
    rows: list[tuple[Cell, ...]] = []
    for measure, found in framework.consistencies.items():
        for one in found.agreements:
            first, second = one.collections
            rows.append(
                (
                    MEASURES[measure],
                    first,
                    second,
                    _cell(one.rho),
                    *_ends(one.interval),
                    one.n_pairs,
                    _printed_rho(measure, first, second),
                )
            )
    return ResultTable(
        name="consistency",
        title="Similarities across collections",
        columns=(
            Column(name="similarity", heading="similarity"),
            Column(name="first", heading="first collection"),
            Column(name="second", heading="second collection"),
            Column(name="rho", heading="ρ", digits=3),
            Column(name="low", heading="low", digits=3),
            Column(name="high", heading="high", digits=3),
            Column(name="pairs", heading="pairs"),
            Column(name="paper", heading="paper", digits=3),
        ),
        rows=tuple(rows),
        note=_INTERVALS,
    )


def table2(framework: Framework, weighting: Weighting) -> ResultTable:
    """Return Table 2: ρ of gains with adjusted dissimilarity, per model, their mean, and overall."""
    is_printed = weighting == "equal" and any(
        printed_correlations(one.facts.name) for one in framework.judged
    )
    headings: dict[str, str] = {BASELINE: BASELINE} | {
        str(name): heading for name, heading in MEASURES.items()
    }
    columns = [Column(name="collection", heading="collection"), Column(name="model", heading="model")]
    columns += [Column(name=name, heading=heading, digits=3) for name, heading in headings.items()]
    if is_printed:
        columns += [
            Column(name=f"paper_{name}", heading=f"paper: {heading}", digits=3)
            for name, heading in headings.items()
        ]
    columns += [
        Column(name=f"{name}_{end}", heading=end, digits=3, detail=True)
        for name in headings
        for end in ("low", "high")
    ]
    alphas = ", ".join(f"{framework.alpha(measure):g} for {heading}" for measure, heading in MEASURES.items())
    note = f"Pearson's ρ, empty with fewer than three pairs. α is {alphas}; the baseline is α = 0."
    if is_printed:
        note += f" {_PRINTED} Its mean and overall are over its own 15 models."
    return ResultTable(
        name=f"table2_{weighting}",
        title=f"Table 2: gains go with adjusted dissimilarity (ρ; {weighting} weights)",
        columns=tuple(columns),
        rows=tuple(
            row
            for one in framework.judged
            for row in _table2_rows(framework, one.facts.name, weighting, is_printed=is_printed)
        ),
        note=note,
    )


def transfer_table(framework: Framework) -> ResultTable:
    """Return how similarities of one collection predict gains on another (section 5.2)."""
    rows: list[tuple[Cell, ...]] = []
    for (weighting, measure), figures in framework.figures.items():
        for source in figures if len(figures) > 1 else ():
            carried = transfer_similarities(
                figures,
                source=source,
                alpha=framework.alpha(measure),
                rng=framework.rng(),
                confidence=framework.results.settings.confidence,
            )
            own = framework.correlations[weighting, measure]
            rows += _carried_rows(carried, own, start=(weighting, MEASURES[measure]))
    return ResultTable(
        name="transfer",
        title="Similarities of one collection, gains on another",
        columns=(
            Column(name="weighting", heading="weighting"),
            Column(name="similarity", heading="similarity"),
            Column(name="source", heading="similarities of"),
            Column(name="target", heading="gains on"),
            Column(name="rho", heading="ρ", digits=3),
            Column(name="low", heading="low", digits=3),
            Column(name="high", heading="high", digits=3),
            Column(name="rho_own", heading="ρ with its own", digits=3),
            Column(name="pairs", heading="pairs"),
        ),
        rows=tuple(rows),
        note=_INTERVALS,
    )


def alpha_table(framework: Framework) -> ResultTable:
    """Return the α that fits each collection best, beside the one that was used."""
    rows: list[tuple[Cell, ...]] = []
    for (weighting, measure), figures in framework.figures.items():
        for name, one in figures.items():
            curve = tune_alpha(one)
            best = _cell(curve.best)
            at_best = None if best is None else curve.overall[curve.alphas.index(curve.best)]
            used = framework.correlations[weighting, measure][name]
            rows.append(
                (
                    weighting,
                    MEASURES[measure],
                    name,
                    best,
                    at_best,
                    _cell(curve.exact),
                    _cell(curve.exact_overall),
                    used.alpha,
                    _cell(used.overall),
                )
            )
    return ResultTable(
        name="alpha",
        title="α that fits each collection best",
        columns=(
            Column(name="weighting", heading="weighting"),
            Column(name="similarity", heading="similarity"),
            Column(name="collection", heading="collection"),
            Column(name="alpha", heading="best α", digits=1),
            Column(name="rho", heading="ρ", digits=3),
            Column(name="alpha_exact", heading="exactly", digits=3),
            Column(name="rho_exact", heading="ρ", digits=3),
            Column(name="alpha_used", heading="used α", digits=1),
            Column(name="rho_used", heading="ρ", digits=3),
        ),
        rows=tuple(rows),
        note="Tuned on the collection it is judged on, α flatters itself; see alpha_carried.",
    )


def carried_table(framework: Framework) -> ResultTable:
    """Return how α tuned on one collection does on the others."""
    rows: list[tuple[Cell, ...]] = []
    for (weighting, measure), figures in framework.figures.items():
        tunable = [name for name, one in figures.items() if not math.isnan(tune_alpha(one).best)]
        for source in tunable if len(figures) > 1 else ():
            carried = transfer_alpha(
                figures,
                source=source,
                rng=framework.rng(),
                confidence=framework.results.settings.confidence,
            )
            own = framework.correlations[weighting, measure]
            start = (weighting, MEASURES[measure])
            rows += [(*row[:3], carried.alpha, *row[3:]) for row in _carried_rows(carried, own, start=start)]
    return ResultTable(
        name="alpha_carried",
        title="α tuned on one collection, used on others",
        columns=(
            Column(name="weighting", heading="weighting"),
            Column(name="similarity", heading="similarity"),
            Column(name="source", heading="tuned on"),
            Column(name="alpha", heading="α", digits=1),
            Column(name="target", heading="used on"),
            Column(name="rho", heading="ρ", digits=3),
            Column(name="low", heading="low", digits=3),
            Column(name="high", heading="high", digits=3),
            Column(name="rho_used", heading="ρ with the α of Table 2", digits=3),
            Column(name="pairs", heading="pairs"),
        ),
        rows=tuple(rows),
        note=_INTERVALS,
    )


def _table2_rows(
    framework: Framework, collection: str, weighting: Weighting, *, is_printed: bool
) -> Iterator[tuple[Cell, ...]]:
    columns = (BASELINE, *MEASURES)
    ours = [framework.correlations[weighting, column][collection] for column in columns]
    printed = printed_correlations(collection)
    papers = [printed.get(column) for column in columns] if is_printed else []
    no_intervals = (None,) * (2 * len(columns))
    for key in ours[0].by_model:
        name = framework.results.model(key).name
        yield (
            collection,
            key,
            *(_cell(one.by_model[key]) for one in ours),
            *(None if paper is None else paper.by_model.get(name) for paper in papers),
            *no_intervals,
        )
    yield (
        collection,
        "mean",
        *(_cell(one.mean) for one in ours),
        *(None if paper is None else paper.mean for paper in papers),
        *no_intervals,
    )
    yield (
        collection,
        "overall",
        *(_cell(one.overall) for one in ours),
        *(None if paper is None else paper.overall for paper in papers),
        *(end for one in ours for end in _ends(one.interval)),
    )


def _carried_rows(
    carried: Transfer, own: Mapping[str, Correlations], *, start: tuple[str, str]
) -> Iterator[tuple[Cell, ...]]:
    for target, found in carried.by_collection.items():
        yield (
            *start,
            carried.source,
            target,
            _cell(found.overall),
            *_ends(found.interval),
            _cell(own[target].overall),
            found.n_pairs,
        )


def _ends(interval: Interval | None) -> tuple[Cell, Cell]:
    return (None, None) if interval is None else (interval.low, interval.high)


def _rho(found: Consistency, first: str, second: str) -> Cell:
    return _cell(found.rho(first, second)) if second in found.collections else None


def _printed_rho(measure: str, first: str, second: str) -> Cell:
    names = (first.lower(), second.lower())
    if names[0] == names[1]:
        return 1.0 if printed_correlations(first) else None
    return CONSISTENCY[measure].get((min(names), max(names)))


def _cell(value: float) -> Cell:
    return None if math.isnan(value) else value
