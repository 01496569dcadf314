"""The command that says which models to serve, or that it cannot be told yet, and acts on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from analysis.commands.options import (
    ConfidenceOption,
    DropOwnOption,
    MinimumGainOption,
    SeedOption,
    note,
    note_judgements,
)
from retriever import console
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, QuietOption, StoreOption, UrlOption
from retriever.errors import GateNotMetError, InputError

_FEWEST = 2
"""Legs that a choice is between."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.judgements import Judgements
    from analysis.selection.outcome import Selection
    from analysis.selection.run import Wishes
    from analysis.selection.screening.record import Screening, ScreeningProgress
    from analysis.tables import Letters
    from retriever.corpus import Corpus
    from retriever.records import Deployment


def select(  # the options of the command
    corpus: CorpusOption,
    candidates: Annotated[
        str,
        typer.Option(
            "--candidates",
            "-m",
            help="Models, as A,B; all of the corpus if left out. Those it has no vectors of are screened on "
            "a sample of it first.",
        ),
    ] = "",
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries, JSON lines with _id and text (BEIR); chunks of the corpus if left out."),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="Judgements of queries, tab-separated with header (BEIR), or TREC qrels."),
    ] = None,
    over_length: Annotated[
        str,
        typer.Option(
            help="Chunks longer than a screened model reads: 'refuse' leaves the model out, 'windows' "
            "embeds them in pieces."
        ),
    ] = "refuse",
    published: Annotated[
        Path | None,
        typer.Option(
            help="Published scores to show beside, CSV or JSON with model, task and ndcg_at_10; they do not "
            "decide."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and what it takes, and do nothing.")
    ] = False,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Serve what is recommended, if the gate is met.")
    ] = False,
    gate: Annotated[
        str, typer.Option(help="What it must reach, as 'gain>=0.01 at 95%'; exit status 6 if it does not.")
    ] = "",
    budget: Annotated[
        str, typer.Option(help="What it may take at most, as 'ms<=40,bytes<=4000,seconds<=20'.")
    ] = "",
    no_bm25: Annotated[bool, typer.Option("--no-bm25", help="Leave BM25 out.")] = False,
    no_cost: Annotated[
        bool, typer.Option("--no-cost", help="Do not measure costs, for which 64 chunks are embedded again.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every option.")] = False,
    drop_own: DropOwnOption = False,
    collection: Annotated[
        str,
        typer.Option(help="What the documents are called in public, to warn of models trained on them."),
    ] = "",
    confidence: ConfidenceOption = 0.95,
    minimum_gain: MinimumGainOption = 0.0,
    seed: SeedOption = 0,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say which model or combination to serve, with judgements or without, and at what cost."""
    from analysis.resampling import check_confidence
    from analysis.selection.costs.budget import Budget
    from analysis.selection.deciding.gate import read_gate
    from analysis.selection.run import Wishes
    from retriever.corpus import Corpus
    from retriever.models.catalog import OVER_LENGTH
    from retriever.store.place import open_store

    check_confidence(confidence)
    if over_length not in OVER_LENGTH:
        raise InputError(f"--over-length: expected one of {', '.join(OVER_LENGTH)}, got {over_length!r}.")
    wishes = Wishes(
        lexical=not no_bm25,
        costs=not no_cost,
        budget=Budget.parse(budget) if budget else Budget(),
        gate=read_gate(gate) if gate else None,
        confidence=confidence,
        minimum_gain=minimum_gain,
        drop_own=drop_own,
        collection=collection or None,
        seed=seed,
    )
    judgements, asked = _read(queries, qrels)
    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        names = _names(opened, candidates)
        texts = None if asked is None else list(asked.values())
        if plan:
            _show_plan(opened, names, texts, wishes=wishes, over_length=over_length, as_json=json)
            return
        if judgements is not None:
            _note(judgements, opened, quiet=quiet)
        _check_strangers(_strangers(opened, names), names, wishes=wishes, deploy=deploy)
        screening = _screened(opened, names, texts, over_length=over_length, seed=seed, quiet=quiet)
        if screening is not None and len(screening.stored) + wishes.lexical < _FEWEST:
            _show_screening(screening, as_json=json)
            return
        selection = _selected(opened, names, judgements, asked, wishes=wishes, quiet=quiet)
        said = _published(opened, published)
        is_refused = selection.gate is not None and not selection.gate.is_met
        deployment = _deployed(opened, selection) if deploy and not is_refused else None
    _report(selection, screening, deployment, said, every=every, as_json=json)
    if selection.gate is not None and is_refused:
        raise GateNotMetError(selection.gate.sentence)


def _read(queries: Path | None, qrels: Path | None) -> tuple[Judgements | None, Mapping[str, str] | None]:
    from analysis.judgements import read_judgements, read_queries

    if qrels is not None and queries is None:
        raise InputError(f"--queries: expected the texts of the queries judged in {qrels}, got none.")
    if queries is None:
        return None, None
    if qrels is None:
        return None, read_queries(queries)
    judgements = read_judgements(queries, qrels)
    return judgements, judgements.queries


def _note(judgements: Judgements, corpus: Corpus, *, quiet: bool) -> None:
    from analysis.judgements import check_documents

    note_judgements(judgements, check_documents(judgements, corpus.document_ids()), quiet=quiet)


def _names(corpus: Corpus, candidates: str) -> list[str]:
    """Return what `--candidates` names, all models of the corpus if nothing."""
    from analysis.selection.screening.models import check_candidates

    names = console.names(candidates) if candidates else list(corpus.manifest.keys)
    check_candidates(corpus, names)
    return names


def _strangers(corpus: Corpus, names: Sequence[str]) -> list[str]:
    """Return the candidates that the corpus has no vectors of."""
    from analysis.selection.screening.models import stored_key

    return [name for name in names if stored_key(corpus, name) is None]


def _check_strangers(strangers: Sequence[str], names: Sequence[str], *, wishes: Wishes, deploy: bool) -> None:
    """Refuse what a screening cannot do, which candidates without vectors in the corpus need."""
    if not strangers:
        return
    unknown = ", ".join(strangers)
    if wishes.drop_own:
        raise InputError(
            f"--drop-own: expected candidates that the corpus has vectors of, got {unknown} as well: on a "
            f"sample a query cannot be kept from its own document. Ingest with them, or leave them out."
        )
    asked = "--gate" if wishes.gate is not None else "--deploy" if deploy else ""
    if asked and len(names) - len(strangers) + wishes.lexical < _FEWEST:
        raise InputError(
            f"{asked}: expected two candidates that the corpus has vectors of, BM25 counted, got too few "
            f"beside {unknown}, which are only screened. Ingest with them first, or leave {asked} out."
        )


def _show_plan(  # the options of the command
    corpus: Corpus,
    names: Sequence[str],
    texts: Sequence[str] | None,
    *,
    wishes: Wishes,
    over_length: str,
    as_json: bool,
) -> None:
    import numpy as np

    from analysis.selection.plan import plan_selection
    from analysis.selection.planning.table import plan_table
    from retriever.models import load_afresh

    found = plan_selection(
        corpus,
        names,
        queries=texts,
        rng=np.random.default_rng(wishes.seed),
        lexical=wishes.lexical,
        load=partial(load_afresh, over_length=over_length),
    )
    console.emit(found.to_json(), as_json=as_json, show=lambda out: out.print(plan_table(found)))


def _screened(
    corpus: Corpus,
    names: Sequence[str],
    texts: Sequence[str] | None,
    *,
    over_length: str,
    seed: int,
    quiet: bool,
) -> Screening | None:
    import numpy as np

    from analysis.selection.screening.run import screen
    from retriever.models import load_afresh

    strangers = _strangers(corpus, names)
    if not strangers:
        return None
    note(f"screening on a sample, as the corpus has no vectors of {', '.join(strangers)}.", quiet=quiet)
    return screen(
        corpus,
        list(names),
        texts,
        rng=np.random.default_rng(seed),
        load=partial(load_afresh, over_length=over_length),
        on_progress=None if quiet else _progress,
    )


def _show_screening(screening: Screening, *, as_json: bool) -> None:
    """Show what came of a sample, where the corpus has no vectors to select among."""
    value = {"screening": screening.to_json()}
    console.emit(value, as_json=as_json, show=lambda out: _print_screening(out, screening))


def _selected(
    corpus: Corpus,
    names: Sequence[str],
    judgements: Judgements | None,
    asked: Mapping[str, str] | None,
    *,
    wishes: Wishes,
    quiet: bool,
) -> Selection:
    from analysis.selection.run import select_corpus

    strangers = _strangers(corpus, names)
    stored = [name for name in names if name not in strangers]
    return select_corpus(
        corpus,
        keys=stored,
        judgements=judgements,
        queries=asked if judgements is None else None,
        wishes=wishes,
        on_step=None if quiet else _step,
    )


def _progress(now: ScreeningProgress) -> None:
    if now.done == now.total > 0:
        _step(f"sample {now.sample}: {now.model}, {now.total:,} chunks embedded")


def _published(corpus: Corpus, file: Path | None) -> dict[str, float]:
    """Return the mean published score of each model of the corpus that the file knows."""
    from analysis.selection.evidence import published_quality, read_published

    names = {spec.name: spec.key for spec in corpus.manifest.models}
    found = {} if file is None else published_quality(read_published(file), list(names))
    return {names[name]: score for name, score in found.items()}


def _step(text: str) -> None:
    console.notes.print(f"{text} …", markup=False, soft_wrap=True)


def _deployed(corpus: Corpus, selection: Selection) -> Deployment:
    from retriever.deploying import deploy

    option = selection.recommended
    weighting = option.weighting if option.weighting in {"equal", "calibrated"} else option.weights
    return deploy(corpus, option.legs, weighting=weighting, evidence=selection.evidence())


def _report(
    selection: Selection,
    screening: Screening | None,
    deployment: Deployment | None,
    published: Mapping[str, float],
    *,
    every: bool,
    as_json: bool,
) -> None:
    from analysis.tables import Letters

    value = {
        **selection.to_json(),
        "screening": None if screening is None else screening.to_json(),
        "published": dict(published),
        "deployed": None if deployment is None else deployment.to_json(),
    }
    letters = Letters([row.option.name for row in selection.rows if row.option.is_single])

    def show(out: Console) -> None:
        if screening is not None:
            _print_screening(out, screening)
        _print_options(out, selection, letters, every=every)
        _print_published(out, published, letters)
        _print_verdict(out, selection)
        _print_deployment(out, selection, deployment)

    console.emit(value, as_json=as_json, show=show)


def _print_screening(out: Console, screening: Screening) -> None:
    from analysis.selection.screening.table import screening_table

    out.print(screening_table(screening))
    out.print(screening.sentence, markup=False, soft_wrap=True)


def _print_options(out: Console, selection: Selection, letters: Letters, *, every: bool) -> None:
    from analysis.selection.table import option_table

    out.print(letters.legend(), markup=False)
    out.print(option_table(selection, letters, every=every))


def _print_published(out: Console, published: Mapping[str, float], letters: Letters) -> None:
    if published:
        listed = ", ".join(
            f"{letters.of((key,))} {score:.3f}" for key, score in published.items() if key in letters.keys
        )
        out.print(f"Published, mean over common tasks: {listed or 'none of these'}.", markup=False)


def _print_verdict(out: Console, selection: Selection) -> None:
    for warning in selection.warnings:
        out.print(f"Warning: {warning}", markup=False, soft_wrap=True)
    out.print(f"Verdict: {selection.sentence}", style="bold", markup=False, soft_wrap=True)
    if selection.gate is not None:
        out.print(selection.gate.sentence, markup=False, soft_wrap=True)


def _print_deployment(out: Console, selection: Selection, deployment: Deployment | None) -> None:
    from retriever.commands.words import described

    if deployment is not None:
        out.print(
            f"Corpus {selection.corpus!r} now serves {described(deployment)}.", markup=False, soft_wrap=True
        )
