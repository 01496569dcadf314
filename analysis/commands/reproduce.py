"""The command that writes the tables and figures of the paper for any models and collections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from analysis.commands.options import (
    AggregateOption,
    ConfidenceOption,
    CostOption,
    CutoffsOption,
    MinimumGainOption,
    ModelsOption,
    NoFiguresOption,
    OutOption,
    OverwriteOption,
    SeedOption,
    check_out,
    keys_of,
    note_judgements,
    write_out,
)
from retriever import console
from retriever.console import ApiKeyOption, JsonOption, QuietOption, StoreOption, UrlOption
from retriever.errors import InputError

if TYPE_CHECKING:
    from analysis.collect import Collection
    from analysis.results.record import Results, Settings
    from retriever.corpus import Corpus
    from retriever.store.protocol import VectorStore

_QUERIES, _QRELS = Path("queries.jsonl"), Path("qrels", "test.tsv")
_ON_TERMINAL = ("table1", "table2_equal", "table2_calibrated")
"""The others are too wide or too long for it; all are in the files and in the JSON."""


def reproduce(
    corpora: Annotated[str, typer.Option(help="Corpora of the store, as a,b,c; judged in --data/NAME.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder with NAME/queries.jsonl and NAME/qrels/test.tsv (BEIR).")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="CORPUS=FOLDER, judged in that folder; may be repeated.")
    ] = None,
    drop_own: Annotated[
        list[str] | None,
        typer.Option(help="Corpus whose hits on the query's own id are dropped (ArguAna); may be repeated."),
    ] = None,
    results_folder: Annotated[
        Path | None, typer.Option("--from", help="Results to draw again; needs neither store nor models.")
    ] = None,
    models: ModelsOption = "",
    k: CutoffsOption = None,
    aggregate: AggregateOption = 1,
    confidence: ConfidenceOption = 0.95,
    minimum_gain: MinimumGainOption = 0.0,
    seed: SeedOption = 0,
    cost: CostOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    no_figures: NoFiguresOption = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the paper's tables and figures from your models and collections.

    Table 1: whether similarities are the same on all collections; Table 2: whether adjusted dissimilarity
    predicts gains; Figure 1: similarities; Figure 2: gains.
    """
    from analysis.resampling import check_confidence
    from analysis.results.folder import read_results
    from analysis.results.record import Settings
    from retriever.store.place import open_store

    check_confidence(confidence)
    check_out(out, overwrite=overwrite, figures=not no_figures)
    folders = _folders(corpora, data, collection or [])
    if results_folder is not None:
        if folders:
            raise InputError("--from: expected no corpora beside it, got some. Draw again, or measure.")
        results = read_results(results_folder)
    else:
        results = _measure(
            open_store(store, url=url, api_key=api_key),
            _collections(folders, drop_own or []),
            keys=keys_of(models),
            settings=Settings(
                seed=seed,
                confidence=confidence,
                minimum_gain=minimum_gain,
                ks=tuple(k) if k else Settings().ks,
                aggregate=aggregate,
            ),
            cost=cost,
            quiet=quiet,
        )
    write_out(results, out, overwrite=overwrite, figures=not no_figures, quiet=quiet)
    _show(results, as_json=json)


def _measure(
    place: VectorStore,
    collections: Sequence[Collection],
    *,
    keys: Sequence[str] | None,
    settings: Settings,
    cost: bool,
    quiet: bool,
) -> Results:
    from analysis.collect import collect_results
    from analysis.judgements import check_documents

    def look(corpus: Corpus, asked: Collection) -> None:
        judgements = asked.judgements
        if judgements is None:
            return
        if not quiet:
            number = [one.corpus for one in collections].index(asked.corpus) + 1
            console.notes.print(
                f"{number} of {len(collections)}: {asked.corpus}, {len(judgements.queries):,} judged queries",
                markup=False,
                soft_wrap=True,
            )
        unknown = check_documents(judgements, corpus.document_ids())
        note_judgements(judgements, unknown, where=f"{asked.corpus}: ", quiet=quiet)

    return collect_results(place, collections, keys=keys, settings=settings, cost=cost, on_open=look)


def _folders(corpora: str, data: Path | None, given: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each corpus, in the order they are named."""
    names = console.names(corpora) if corpora else []
    if names and data is None:
        raise InputError("--corpora: expected --data, the folder with their judgements, as well, got none.")
    pairs = [(name, (data or Path()) / name) for name in names]
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise InputError(f"--collection: expected CORPUS=FOLDER, got {text!r}.")
        pairs.append((name, Path(folder)))
    folders = dict(pairs)
    if len(folders) < len(pairs):
        raise InputError(f"corpora: expected each once, got {', '.join(name for name, _ in pairs)}.")
    return folders


def _collections(folders: dict[str, Path], drop_own: Sequence[str]) -> list[Collection]:
    from analysis.collect import Collection
    from analysis.judgements import read_judgements

    if not folders:
        raise InputError(
            "corpora: expected --corpora with --data, --collection, or --from, got none. Name one of them."
        )
    unknown = [name for name in drop_own if name not in folders]
    if unknown:
        raise InputError(f"--drop-own: expected one of {', '.join(folders)}, got {', '.join(unknown)}.")
    return [
        Collection(
            corpus=name,
            judgements=read_judgements(folder / _QUERIES, folder / _QRELS),
            drop_own=name in drop_own,
        )
        for name, folder in folders.items()
    ]


def _show(results: Results, *, as_json: bool) -> None:
    from analysis.results.evidence import evidence
    from analysis.results.tables import results_tables
    from analysis.tables import result_table

    tables = results_tables(results)

    def show(out: Console) -> None:
        for table in tables:
            if table.name in _ON_TERMINAL:
                out.print(result_table(table))
                out.print()
        for collection in results.collections:
            if collection.evaluation.singles:
                sentence = evidence(collection.evaluation, results.settings).verdict.sentence
                out.print(f"{collection.facts.name}: {sentence}", markup=False, soft_wrap=True)

    console.emit({table.name: table.to_json() for table in tables}, as_json=as_json, show=show)
