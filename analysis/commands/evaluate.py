"""The command that measures models and pairs on judged queries, and says what to serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from analysis.commands.options import (
    AggregateOption,
    ConfidenceOption,
    CostOption,
    CutoffsOption,
    DropOwnOption,
    MinimumGainOption,
    ModelsOption,
    NoFiguresOption,
    OutOption,
    OverwriteOption,
    SeedOption,
    check_out,
    grid_of,
    keys_of,
    note_judgements,
    write_out,
)
from retriever import console
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, QuietOption, StoreOption, UrlOption
from retriever.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.evaluation import Evaluation
    from analysis.results.record import Settings
    from analysis.verdict import Verdict


def evaluate(
    corpus: CorpusOption,
    queries: Annotated[Path, typer.Option(help="Queries, JSON lines with _id and text (BEIR).")],
    qrels: Annotated[Path, typer.Option(help="Judgements, tab-separated with header (BEIR), or TREC qrels.")],
    models: ModelsOption = "",
    drop_own: DropOwnOption = False,
    k: CutoffsOption = None,
    grid: Annotated[
        str, typer.Option(help="Further weights of the first model of each pair, as 0.3,0.7.")
    ] = "",
    aggregate: AggregateOption = 1,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Show this too: recall@10, precision@10, mrr@10, map@10; may be repeated."),
    ] = None,
    confidence: ConfidenceOption = 0.95,
    minimum_gain: MinimumGainOption = 0.0,
    seed: SeedOption = 0,
    cost: CostOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    no_figures: NoFiguresOption = False,
    trec: Annotated[
        Path | None,
        typer.Option(
            help="New folder for a TREC run of every candidate, 100 documents a query, and the qrels."
        ),
    ] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the models of a corpus and their pairs on judged queries, and say what to serve."""
    from analysis.collect import Collection, collect_results
    from analysis.judgements import check_documents, read_judgements
    from analysis.resampling import check_confidence
    from analysis.results.record import Settings
    from analysis.runs import check_new, write_runs
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    check_confidence(confidence)
    measures = _known(measure or [])
    check_out(out, overwrite=overwrite, figures=not no_figures)
    if trec is not None:
        check_new(trec)
    judgements = read_judgements(queries, qrels)
    settings = Settings(
        seed=seed,
        confidence=confidence,
        minimum_gain=minimum_gain,
        ks=tuple(k) if k else Settings().ks,
        aggregate=aggregate,
    )
    unknown: list[str] = []

    def look(opened: Corpus, _: Collection) -> None:
        unknown.extend(check_documents(judgements, opened.document_ids()))
        note_judgements(judgements, unknown, quiet=quiet)

    place = open_store(store, url=url, api_key=api_key)
    collection = Collection(corpus=corpus, judgements=judgements, drop_own=drop_own)
    results = collect_results(
        place,
        [collection],
        keys=keys_of(models),
        settings=settings,
        grid=grid_of(grid),
        cost=cost,
        on_open=look,
    )
    write_out(results, out, overwrite=overwrite, figures=not no_figures, quiet=quiet)
    evaluation = results.collections[0].evaluation
    if trec is not None:
        with Corpus.open(place, corpus) as opened:
            write_runs(trec, opened, judgements, evaluation, aggregate=aggregate, drop_own=drop_own)
    left_out = {"unjudged_queries": judgements.unjudged, "unknown_documents": unknown}
    report(evaluation, settings=settings, as_json=json, measures=measures, left_out=left_out)


def report(
    evaluation: Evaluation,
    *,
    settings: Settings,
    as_json: bool,
    measures: Sequence[str] = (),
    left_out: Mapping[str, object] | None = None,
) -> Verdict:
    """Print an evaluation with its verdict, and return the verdict.

    `measures` are shown beside NDCG@10; `left_out` goes to the JSON as it is.
    """
    from analysis.results.evidence import evidence
    from analysis.tables import Letters, quality_table, similarity_table

    found = evidence(evaluation, settings)
    value = {
        **evaluation.to_json(),
        "intervals": {label: interval.to_json() for label, interval in found.intervals.items()},
        "verdict": found.verdict.to_json(),
        "seed": settings.seed,
        **(left_out or {}),
    }
    letters = Letters([single.name for single in evaluation.singles])

    def show(out: Console) -> None:
        out.print(letters.legend(), markup=False)
        if evaluation.similarities:
            out.print(similarity_table(evaluation, letters))
        out.print(quality_table(evaluation, letters, found.intervals, found.verdict, measures))
        out.print(f"Verdict: {found.verdict.sentence}", style="bold", markup=False, soft_wrap=True)

    console.emit(value, as_json=as_json, show=show)
    return found.verdict


def _known(measures: Sequence[str]) -> Sequence[str]:
    from analysis.evaluation import MEASURES

    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown:
        raise InputError(f"--measure: expected one of {', '.join(MEASURES)}, got {', '.join(unknown)}.")
    return measures
