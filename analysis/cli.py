"""The commands of the analysis: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from retriever import console
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, StoreOption, UrlOption

if TYPE_CHECKING:
    from analysis.evaluation import Evaluation
    from analysis.verdict import Verdict

_UNKNOWN_SHOWN = 5


def evaluate(
    corpus: CorpusOption,
    queries: Annotated[Path, typer.Option(help="Queries, JSON lines with _id and text (BEIR).")],
    qrels: Annotated[Path, typer.Option(help="Judgements, tab-separated with header (BEIR), or TREC qrels.")],
    models: Annotated[
        str, typer.Option("--models", "-m", help="Which models of the corpus, as A,B; all if left out.")
    ] = "",
    drop_own: Annotated[
        bool, typer.Option("--drop-own", help="Drop hits whose document id is the query's id (ArguAna).")
    ] = False,
    confidence: Annotated[float, typer.Option(help="Of the intervals and of the verdict.")] = 0.95,
    minimum_gain: Annotated[
        float, typer.Option(help="NDCG@10 that a pair must gain over the best single model.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the resamples; the same seed gives the same intervals.")] = 0,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Measure the models of a corpus and their pairs on judged queries, and say what to serve."""
    from analysis.judgements import check_documents, read_judgements
    from analysis.stored import evaluate_corpus
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    judgements = read_judgements(queries, qrels)
    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        evaluation = evaluate_corpus(
            opened, judgements, keys=console.names(models) if models else None, drop_own=drop_own
        )
        unknown = check_documents(judgements, opened.document_ids())
    if judgements.unjudged:
        _note(f"queries left out, because they have no judgements: {judgements.unjudged:,}.")
    if unknown:
        listed = ", ".join(unknown[:_UNKNOWN_SHOWN]) + (" …" if len(unknown) > _UNKNOWN_SHOWN else "")
        _note(
            f"judged documents that the corpus lacks, which lowers every NDCG: {len(unknown):,} ({listed})."
        )
    report(evaluation, confidence=confidence, minimum_gain=minimum_gain, seed=seed, as_json=json)


def report(
    evaluation: Evaluation, *, confidence: float, minimum_gain: float, seed: int, as_json: bool
) -> Verdict:
    """Print an evaluation with its verdict, and return the verdict."""
    import numpy as np

    from analysis.resampling import bootstrap_mean
    from analysis.tables import Letters, quality_table, similarity_table
    from analysis.verdict import decide

    intervals = {
        candidate.label: bootstrap_mean(
            candidate.ndcg, rng=np.random.default_rng(seed), confidence=confidence
        )
        for candidate in (*evaluation.singles, *evaluation.pairs)
    }
    verdict = decide(
        evaluation, rng=np.random.default_rng(seed), confidence=confidence, minimum_gain=minimum_gain
    )
    value = {
        **evaluation.to_json(),
        "intervals": {label: interval.to_json() for label, interval in intervals.items()},
        "verdict": verdict.to_json(),
        "seed": seed,
    }

    letters = Letters(evaluation)

    def show(out: Console) -> None:
        out.print(letters.legend(), markup=False)
        if evaluation.similarities:
            out.print(similarity_table(evaluation, letters))
        out.print(quality_table(evaluation, letters, intervals, verdict))
        out.print(f"Verdict: {verdict.sentence}", style="bold", markup=False, soft_wrap=True)

    console.emit(value, as_json=as_json, show=show)
    return verdict


def _note(text: str) -> None:
    console.notes.print(f"note: {text}", markup=False, soft_wrap=True)
