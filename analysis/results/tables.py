"""Every table of results, as data: of one collection, and across collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analysis.evaluation import MEASURES, NDCG, Candidate, Pair, PairSimilarity
from analysis.results.evidence import Evidence, evidence, intervals
from analysis.results.paper import Framework, paper_tables
from analysis.results.record import CollectionResults, Results
from analysis.results.table import Cell, Column, ResultTable

_COLLECTION = Column(name="collection", heading="collection")
_OVERLAPS = ("jaccard", "rank_similarity", "rank_biased_overlap", "kendall_tau")
_HEADINGS = {
    "ndcg": "NDCG",
    "recall": "recall",
    "precision": "precision",
    "mrr": "MRR",
    "map": "MAP",
    "jaccard": "Jaccard",
    "rank_similarity": "RankSim",
    "rank_biased_overlap": "RBO",
    "kendall_tau": "Kendall τ",
}


def results_tables(results: Results) -> list[ResultTable]:
    """Return every table that the results fill, those with the verdict first.

    Collections without judgements fill those of similarities alone.
    """
    found = {one.facts.name: evidence(one.evaluation, results.settings) for one in _judged(results)}
    tables = [
        verdicts_table(results, found),
        singles_table(results),
        pairs_table(results, found),
        similarities_table(results),
        *paper_tables(Framework(results=results)),
        costs_table(results),
    ]
    return [table for table in tables if table.rows]


def verdicts_table(results: Results, found: Mapping[str, Evidence]) -> ResultTable:
    """Return what to serve on each judged collection; `found` by the name of the collection."""
    rows = []
    for name, one in found.items():
        verdict = one.verdict
        rows.append(
            (
                name,
                verdict.decision,
                verdict.serve.label,
                verdict.serve.mean,
                verdict.best_single.label,
                verdict.best_single.mean,
                verdict.n_queries,
                verdict.n_candidates,
                verdict.queries_needed,
            )
        )
    return ResultTable(
        name="verdicts",
        title="What to serve",
        columns=(
            _COLLECTION,
            Column(name="decision", heading="decision"),
            Column(name="serve", heading="serve"),
            Column(name=NDCG, heading=heading(NDCG), digits=3),
            Column(name="best_single", heading="best single model"),
            Column(name=f"best_single_{NDCG}", heading=heading(NDCG), digits=3),
            Column(name="queries", heading="queries"),
            Column(name="candidates", heading="candidates"),
            Column(name="queries_needed", heading="queries needed"),
        ),
        rows=tuple(rows),
        note=f"A pair is to be deployed where its gain over the best single model has an adjusted p below "
        f"{1 - results.settings.confidence:.2g}.",
    )


def singles_table(results: Results) -> ResultTable:
    """Return every measure of every model on every judged collection, each with its interval."""
    rows: list[tuple[Cell, ...]] = []
    for collection in _judged(results):
        singles = collection.evaluation.singles
        columns = [intervals(singles, measure, results.settings) for measure in MEASURES]
        for single, *measured in zip(singles, *columns, strict=True):
            numbers = [number for one in measured for number in (one.estimate, one.low, one.high)]
            rows.append((collection.facts.name, single.name, *numbers))
    return ResultTable(
        name="singles",
        title="Models alone",
        columns=(
            _COLLECTION,
            Column(name="model", heading="model"),
            *(column for measure in MEASURES for column in _with_interval(measure)),
        ),
        rows=tuple(rows),
        note=_interval_note(results),
    )


def pairs_table(results: Results, found: Mapping[str, Evidence]) -> ResultTable:
    """Return every pair at every weighting on every judged collection; `found` by the name of it."""
    rows = [row for one in _judged(results) for row in _pair_rows(one, found[one.facts.name])]
    k = results.settings.ks[0]
    return ResultTable(
        name="pairs",
        title="Pairs of models",
        columns=(
            _COLLECTION,
            Column(name="first", heading="first"),
            Column(name="second", heading="second"),
            Column(name="weighting", heading="weighting"),
            Column(name="weight_first", heading="weight of first", digits=2),
            *(
                Column(name=measure, heading=heading(measure), digits=3, detail=measure != NDCG)
                for measure in MEASURES
            ),
            Column(name="gain_better_half", heading="gain over better half", digits=3, signed=True),
            Column(name="gain_best_single", heading="gain over best single", digits=3, signed=True),
            Column(name="gain_low", heading="low", digits=3, signed=True),
            Column(name="gain_high", heading="high", digits=3, signed=True),
            Column(name="p_value", heading="p", digits=4, detail=True),
            Column(name="adjusted_p_value", heading="adjusted p", digits=4),
            Column(name="cka", heading="CKA", digits=3),
            Column(name=f"jaccard@{k}", heading=heading(f"jaccard@{k}"), digits=3),
            Column(name=f"rank_similarity@{k}", heading=heading(f"rank_similarity@{k}"), digits=3),
        ),
        rows=tuple(rows),
        note=f"{_interval_note(results)} p is adjusted by Holm over all pair candidates of a collection.",
    )


def similarities_table(results: Results) -> ResultTable:
    """Return how alike the models of each pair are, by every measure at every cutoff."""
    rows: list[tuple[Cell, ...]] = []
    for collection in results.collections:
        for pair in collection.evaluation.similarities:
            overlaps = [value for overlap in pair.overlaps for value in overlap.means.values()]
            wanted = len(_OVERLAPS) * len(results.settings.ks)
            cells = overlaps or [None] * wanted
            rows.append((collection.facts.name, *pair.models, pair.cka, pair.cka_debiased, *cells))
    names = [f"{name}@{k}" for k in results.settings.ks for name in _OVERLAPS]
    return ResultTable(
        name="similarities",
        title="How alike the models are",
        columns=(
            _COLLECTION,
            Column(name="first", heading="first"),
            Column(name="second", heading="second"),
            Column(name="cka", heading="CKA", digits=3),
            Column(name="cka_debiased", heading="CKA debiased", digits=3),
            *(Column(name=name, heading=heading(name), digits=3) for name in names),
        ),
        rows=tuple(rows),
        note="1 means the same. A cutoff beyond the chunks of a collection is lowered to their number.",
    )


def costs_table(results: Results) -> ResultTable:
    """Return what each model costs."""
    rows = [
        (
            model.key,
            model.dimensions,
            model.bytes_per_chunk,
            model.max_tokens,
            model.backend,
            model.dtype,
            model.seconds_per_1000_chunks,
            model.milliseconds_per_query,
        )
        for model in results.models
    ]
    return ResultTable(
        name="costs",
        title="What the models cost",
        columns=(
            Column(name="model", heading="model"),
            Column(name="dimensions", heading="dimensions"),
            Column(name="bytes_per_chunk", heading="bytes per chunk"),
            Column(name="max_tokens", heading="tokens at most"),
            Column(name="backend", heading="backend"),
            Column(name="dtype", heading="arithmetic"),
            Column(name="seconds_per_1000_chunks", heading="s per 1,000 chunks", digits=1),
            Column(name="milliseconds_per_query", heading="ms per query", digits=1),
        ),
        rows=tuple(rows),
        note="Times are of the machine in the manifest; empty where they were not measured.",
    )


def heading(name: str) -> str:
    """Return the name of a measure for people: ``RankSim@10`` for ``rank_similarity@10``."""
    measure, _, cutoff = name.partition("@")
    return f"{_HEADINGS[measure]}@{cutoff}"


def _judged(results: Results) -> list[CollectionResults]:
    return [one for one in results.collections if one.evaluation.singles]


def _pair_rows(collection: CollectionResults, found: Evidence) -> Iterator[tuple[Cell, ...]]:
    evaluation = collection.evaluation
    alike = {pair.models: pair for pair in evaluation.similarities}
    gains = found.gains
    for pair in evaluation.pairs:
        gain = gains[pair.label]
        yield (
            collection.facts.name,
            *pair.models,
            pair.weighting,
            pair.weights[0],
            *(pair.means[measure] for measure in MEASURES),
            evaluation.improvement(pair),
            gain.gain.estimate,
            gain.gain.low,
            gain.gain.high,
            gain.p_value,
            gain.adjusted_p_value,
            *_alike_cells(pair, alike),
        )


def _alike_cells(candidate: Candidate, alike: Mapping[Pair, PairSimilarity]) -> tuple[Cell, ...]:
    first, second = candidate.models
    pair = alike.get((first, second))
    return (None, None, None) if pair is None else (pair.cka, pair.jaccard, pair.rank_similarity)


def _with_interval(measure: str) -> tuple[Column, ...]:
    detail = measure != NDCG
    return (
        Column(name=measure, heading=heading(measure), digits=3),
        Column(name=f"{measure}_low", heading="low", digits=3, detail=detail),
        Column(name=f"{measure}_high", heading="high", digits=3, detail=detail),
    )


def _interval_note(results: Results) -> str:
    settings = results.settings
    confidence = f"{100 * settings.confidence:.4g}%"
    return f"Low and high bound {confidence} intervals over queries (seed {settings.seed})."
