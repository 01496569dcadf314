"""The command that asks a corpus."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from retriever.commands.words import compared, described, explained, show_hits, weighting_of
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, StoreOption, UrlOption, emit, names
from retriever.errors import InputError
from retriever.records import COMBINED, Deployment, Hit

if TYPE_CHECKING:
    from retriever.corpus import Corpus
    from retriever.search import Searcher


def query(  # the options of the command
    question: Annotated[str, typer.Argument(help="What to look for.")],
    corpus: CorpusOption,
    k: Annotated[int, typer.Option("--top-k", "-k", min=0, help="How many chunks to show.")] = 3,
    serve: Annotated[
        str | None,
        typer.Option("--serve", help="A or A+B instead of what is deployed; its vectors must be there."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Other weights for this query: calibrated, equal, or numbers (0.6,0.4) in the order of "
            "--serve, else in that of the deployment as `tandem deployments` shows it."
        ),
    ] = None,
    fusion: Annotated[
        str, typer.Option(help="sum (exact); or rrf, dbsf: first chunks of each model, to compare with.")
    ] = "sum",
    per_document: Annotated[
        bool, typer.Option("--per-document", help="Only the best chunk of each document.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, help="How many chunks before and after each hit to show.")
    ] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show a table: what each model gave, its own rank.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show each model alone beside all together.")
    ] = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a corpus; every hit shows what each model contributed to its score."""
    from retriever.corpus import Corpus
    from retriever.search import Searcher
    from retriever.store.place import open_store

    if not question.strip():
        raise InputError("question: expected a text to search for, got an empty one.")
    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        searcher = Searcher(opened, _deployment(opened, serve))
        legs = searcher.deployment.legs if serve is None else names(serve, separator=COMBINED)
        wish = {
            "k": k,
            "weights": None if weights is None else weighting_of(weights, legs),
            "fusion": _fusion(fusion),
            "per_document": per_document,
            "neighbours": neighbours,
            "explain": explain,
        }
        (hits,) = searcher.search([question], **wish)
        columns = {searcher.deployment.name: hits}
        if compare:
            columns = {**_alone(searcher, question, {**wish, "weights": None}), **columns}
    result: dict[str, Any] = {
        "question": question,
        "deployment": searcher.deployment.to_json(),
        "hits": [asdict(hit) for hit in hits],
    }
    if compare:
        result["compared"] = {name: [asdict(hit) for hit in found] for name, found in columns.items()}

    def show(console: Console) -> None:
        if compare:
            console.print(compared(columns))
        elif explain:
            console.print(explained(hits, title=described(searcher.deployment)))
        else:
            show_hits(console, hits)

    emit(result, as_json=json, show=show)


def _deployment(corpus: Corpus, serve: str | None) -> Deployment:
    from retriever.deployments import current_deployment, planned

    return current_deployment(corpus) if serve is None else planned(corpus, names(serve, separator=COMBINED))


def _alone(searcher: Searcher, question: str, wish: dict[str, Any]) -> dict[str, list[Hit]]:
    """Return what each model of a deployment finds alone."""
    from retriever.deployments import planned
    from retriever.search import Searcher as Alone

    keys = searcher.deployment.combination.keys
    if len(keys) == 1:
        raise InputError("--compare: expected a deployment of several models, this one serves one alone.")
    found = {}
    for key in keys:
        alone = Alone(searcher.corpus, planned(searcher.corpus, [key]))
        (found[key],) = alone.search([question], **wish)
    return found


def _fusion(name: str) -> Any:
    from retriever.search import FUSIONS

    if name not in FUSIONS:
        raise InputError(f"--fusion: expected one of {', '.join(FUSIONS)}, got {name!r}.")
    return name
