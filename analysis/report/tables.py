"""The tables of one collection."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from analysis.evaluation import Candidate, Evaluation, Pair, PairSimilarity
from analysis.framework import Correlations
from analysis.report.associations import BASELINE, Association
from analysis.report.charts import around, whisker
from analysis.report.figures import (
    NOTHING,
    Letters,
    bounded,
    clean,
    isolated,
    maybe,
    number,
    p_value,
    percent,
    signed,
)
from analysis.report.findings import Difference, Duel, Findings, Quality
from analysis.report.table import Row, Table, numbers, words
from analysis.results.record import ModelFacts, Results
from analysis.results.tables import heading
from analysis.verdict import CandidateGain

ROWS = 250
"""Rows of a pair table; beyond it, of candidates with explicit weights only the best are listed."""

TEXT_LENGTH = 320
"""Characters of a query that are shown; the whole text is in the results."""

NOT_MEASURED = "not measured"

MEASURES = {
    "jaccard": "Jaccard",
    "cka": "CKA",
    "rank_similarity": "RankSim",
    "cka_debiased": "CKA debiased",
    BASELINE: "Baseline",
}
"""Names of what adjusted dissimilarity is made from."""

_WHISKER = (2, 118)  # from the left to the right end


def pair_table(findings: Findings, quality: Quality, letters: Letters) -> Table:
    """Return what was measured of each pair candidate, the highest NDCG@10 first."""
    evaluation = findings.collection.evaluation
    alike = {similarity.models: similarity for similarity in evaluation.similarities}
    listed = _listed(quality)
    bounds = [bound for gain in listed for bound in (gain.gain.low, gain.gain.high)]
    across = around(bounds, start=_WHISKER[0], stop=_WHISKER[1])
    adjusted = dict(list(findings.adjusted.items())[:1])  # the others stand with the similarities
    rows = tuple(
        Row(
            cells=(
                letters.named(gain.candidate.models),
                _weights(gain.candidate),
                bounded(quality.intervals[gain.candidate.label]),
                signed(evaluation.improvement(gain.candidate)),
                Markup("{}{}").format(whisker(gain.gain, across), bounded(gain.gain, sign=True)),
                p_value(gain.adjusted_p_value),
                *_alike(alike.get(_pair(gain.candidate))),
                *(maybe(values.get(_pair(gain.candidate))) for values in adjusted.values()),
            ),
            is_served=gain.candidate is quality.verdict.serve,
        )
        for gain in listed
    )
    cutoff = _cutoff(evaluation)
    return Table(
        caption=f"Pair candidates, the highest NDCG@10 first; {_in_small(quality)}",
        columns=(
            *words("Pair", "Weights"),
            *numbers("NDCG@10", "Gain over better half", "Gain over best single", "Adjusted p"),
            *numbers(f"Jaccard{cutoff}", f"RankSim{cutoff}", "CKA"),
            *numbers(*(f"AD {MEASURES[name]}" for name in adjusted)),
        ),
        rows=rows,
        filtered_by=1,
        note=_left_out(len(evaluation.pairs), len(rows)),
    )


def singles_table(evaluation: Evaluation, quality: Quality, letters: Letters) -> Table:
    """Return every measure of every single model, the highest NDCG@10 first."""
    ranked = sorted(evaluation.singles, key=lambda single: -single.mean)
    first, *others = evaluation.singles[0].per_query
    rows = tuple(
        Row(
            cells=(
                letters.named(single.models),
                bounded(quality.intervals[single.label]),
                *(number(single.means[measure]) for measure in others),
            ),
            is_served=single is quality.verdict.serve,
        )
        for single in ranked
    )
    return Table(
        caption=f"Models alone, the highest NDCG@10 first; {_in_small(quality)}",
        columns=(*words("Model"), *numbers(*(heading(measure) for measure in (first, *others)))),
        rows=rows,
    )


def similarity_table(findings: Findings, letters: Letters) -> Table:
    """Return how alike the models of each pair are, by every measure at every cutoff, and what follows."""
    evaluation, adjusted = findings.collection.evaluation, findings.adjusted
    overlaps = [name for one in evaluation.similarities[0].overlaps for name in one.means]
    rows = tuple(
        Row(
            cells=(
                letters.named(pair.models),
                number(pair.cka),
                maybe(pair.cka_debiased),
                *(maybe(mean) for one in pair.overlaps for mean in one.means.values()),
                *(maybe(values[pair.models]) for values in adjusted.values()),
            )
        )
        for pair in evaluation.similarities
    )
    return Table(
        caption="How alike the models of each pair are; 1 means the same",
        columns=(
            *words("Pair"),
            *numbers("CKA", "CKA debiased", *map(heading, overlaps)),
            *numbers(*(f"AD {MEASURES[name]}" for name in adjusted)),
        ),
        rows=rows,
    )


def association_table(associations: Sequence[Association]) -> Table:
    """Return how gains go with adjusted dissimilarity, the weightings side by side."""
    by_name: dict[str, list[Association]] = {}
    for one in associations:
        by_name.setdefault(one.name, []).append(one)
    weightings = dict.fromkeys(one.figures.weighting for one in associations)
    rows = tuple(
        Row(
            cells=(
                MEASURES[name],
                f"{ones[0].correlations.alpha:g}",
                *(cell for one in ones for cell in _correlations(one.correlations)),
            )
        )
        for name, ones in by_name.items()
    )
    kinds = [f"ρ {kind}, {weighting}" for weighting in weightings for kind in ("overall", "mean")]
    return Table(
        caption="Correlation ρ of gain over the better half with adjusted dissimilarity; in small, intervals "
        "over the choice of models",
        columns=(*words("Measure"), *numbers("α", *kinds)),
        rows=rows,
        is_sortable=False,
    )


def difference_tables(duel: Duel) -> tuple[Table, Table]:
    """Return the largest wins and the largest losses with the texts of the queries."""
    return (
        _difference_table("Where the pair gains most", duel.wins),
        _difference_table("Where it loses most", duel.losses),
    )


def cost_table(findings: Findings, results: Results, letters: Letters) -> Table:
    """Return what each model costs, and the pair that the report is about."""
    evaluation, quality = findings.collection.evaluation, findings.quality
    models = [results.model(key) for key in models_of(evaluation)]
    rows = [
        Row(cells=(letters.named([model.key]), *_costs([model], evaluation.n_chunks))) for model in models
    ]
    if quality is not None and quality.best is not None:
        halves = [results.model(key) for key in quality.best.candidate.models]
        rows.append(
            Row(
                cells=(letters.named(quality.best.candidate.models), *_costs(halves, evaluation.n_chunks)),
                is_served=quality.best.candidate is quality.verdict.serve,
            )
        )
    return Table(
        caption="What they cost",
        columns=(
            *words("Model, or pair"),
            *numbers("Dimensions", "Bytes per chunk", "Megabytes in all"),
            *numbers("Seconds per 1,000 chunks", "Milliseconds per query"),
        ),
        rows=tuple(rows),
        note="Bytes as float32. A pair costs the sum of its models; less time where they run at once.",
    )


def models_of(evaluation: Evaluation) -> list[str]:
    """Return the keys of the models of an evaluation, with judgements or without."""
    alone = [single.name for single in evaluation.singles]
    paired = [key for pair in evaluation.similarities for key in pair.models]
    return list(dict.fromkeys([*alone, *paired]))


def _listed(quality: Quality) -> list[CandidateGain]:
    ranked = sorted(quality.verdict.gains, key=lambda gain: -gain.gain.estimate)
    explicit = [gain for gain in ranked if gain.candidate.weighting == "explicit"]
    room = max(0, ROWS - (len(ranked) - len(explicit)))
    left_out = {id(gain) for gain in explicit[room:] if gain.candidate is not quality.verdict.serve}
    return [gain for gain in ranked if id(gain) not in left_out]


def _in_small(quality: Quality) -> str:
    return f"in small, {percent(quality.verdict.confidence)} intervals"


def _left_out(every: int, listed: int) -> str:
    if every == listed:
        return ""
    return (
        f"{listed} of {every} candidates are listed: of those with explicit weights the best. All are in "
        f"tables/pairs.csv of the results."
    )


def _weights(candidate: Candidate) -> Markup:
    return Markup("{} <small>{}</small>").format(
        candidate.weighting, " + ".join(f"{weight:.2f}" for weight in candidate.weights)
    )


def _correlations(found: Correlations) -> tuple[str | Markup, str]:
    overall = maybe(found.overall) if found.interval is None else bounded(found.interval)
    return overall, maybe(found.mean)


def _pair(candidate: Candidate) -> Pair:
    first, second = candidate.models
    return first, second


def _cutoff(evaluation: Evaluation) -> str:
    overlaps = evaluation.similarities[0].overlaps if evaluation.similarities else ()
    return f"@{overlaps[0].k}" if overlaps else ""


def _alike(pair: PairSimilarity | None) -> tuple[str, str, str]:
    if pair is None:
        return NOTHING, NOTHING, NOTHING
    return number(pair.jaccard), number(pair.rank_similarity), number(pair.cka)


def _difference_table(caption: str, differences: Sequence[Difference]) -> Table:
    return Table(
        caption=caption,
        columns=(*words("Query"), *numbers("Single", "Pair", "Difference")),
        rows=tuple(
            Row(cells=(_query(one), number(one.single), number(one.pair), signed(one.gain)))
            for one in differences
        ),
        note="" if differences else "On no query.",
        is_sortable=False,
    )


def _query(difference: Difference) -> Markup:
    text = clean(difference.text)
    shown = text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
    return Markup('<span dir="auto">{}</span> <small>{}</small>').format(shown, isolated(difference.query_id))


def _costs(models: Sequence[ModelFacts], n_chunks: int) -> tuple[str, ...]:
    stored = sum(model.bytes_per_chunk for model in models)
    return (
        f"{sum(model.dimensions for model in models):,}",
        f"{stored:,}",
        f"{stored * n_chunks / 1e6:,.1f}",
        _summed([model.seconds_per_1000_chunks for model in models]),
        _summed([model.milliseconds_per_query for model in models]),
    )


def _summed(values: Sequence[float | None]) -> str:
    """Return the sum; a part that was not measured leaves the whole unmeasured."""
    known = [value for value in values if value is not None]
    return NOT_MEASURED if len(known) < len(values) else f"{sum(known):,.1f}"
