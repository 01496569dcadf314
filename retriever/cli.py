"""The commands of the serving side: deploy, query, status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.console import ApiKeyOption, CorpusOption, JsonOption, StoreOption, UrlOption, emit, names
from retriever.errors import InputError
from retriever.records import COMBINED, Deployment, Hit


def deploy(
    combination: Annotated[str, typer.Argument(help="Models to serve together, as A+B; or one alone.")],
    corpus: CorpusOption,
    weights: Annotated[
        str,
        typer.Option(
            help="'calibrated' (one over each model's spread of cosines), 'equal' (the paper's), "
            "or numbers that sum to 1, in the order given: 0.6,0.4."
        ),
    ] = "calibrated",
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Serve models of a corpus; nothing is embedded again."""
    from retriever import deployments
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        keys = [opened.manifest.resolve(name) for name in names(combination, separator=COMBINED)]
        deployment = deployments.deploy(opened, keys, weighting=_weighting(weights, keys))
    emit(
        deployment.to_json(),
        as_json=json,
        show=lambda console: console.print(
            f"Corpus {corpus!r} now serves {described(deployment)}.", markup=False, soft_wrap=True
        ),
    )


def query(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    corpus: CorpusOption,
    k: Annotated[int, typer.Option("--top-k", "-k", min=0, help="How many chunks to show.")] = 3,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a corpus; every hit shows what each model contributed to its score."""
    from retriever.corpus import Corpus
    from retriever.deployments import current_deployment
    from retriever.search import Searcher
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        searcher = Searcher(opened, current_deployment(opened))
        (hits,) = searcher.search([question], k=k)
        deployment = searcher.deployment
    emit(
        {"question": question, "deployment": deployment.to_json(), "hits": [asdict(hit) for hit in hits]},
        as_json=json,
        show=lambda console: show_hits(console, hits),
    )


def status(
    corpus: Annotated[
        str | None, typer.Option("--corpus", "-c", envvar="TANDEM_CORPUS", help="Only this corpus.")
    ] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show the corpora of a store: models, sizes, what is missing, what is served."""
    from retriever.status import corpus_status
    from retriever.store.place import open_store

    place = open_store(store, url=url, api_key=api_key)
    found = [corpus_status(place, name) for name in ([corpus] if corpus else place.names())]

    def show(console: Console) -> None:
        if not found:
            console.print(
                f"No corpus in {place.location}. Make one with `ingest run`.", markup=False, soft_wrap=True
            )
        for one in found:
            console.print(_status_table(one))

    emit({"store": place.location, "corpora": [asdict(one) for one in found]}, as_json=json, show=show)


def described(deployment: Deployment) -> str:
    """Return a deployment in words: its models and their weights."""
    if len(deployment.models) == 1:
        return f"{deployment.models[0]} alone"
    shares = ", ".join(
        f"{key} {weight:.3f}" for key, weight in zip(deployment.models, deployment.weights, strict=True)
    )
    return f"{deployment.vector} with {deployment.weighting} weights ({shares})"


def show_hits(console: Console, hits: Sequence[Hit]) -> None:
    """Print hits for people: score, contributions, document, text."""
    if not hits:
        console.print("Nothing found.")
    for hit in hits:
        shares = " + ".join(f"{share:.3f} {key}" for key, share in hit.contributions.items())
        console.print(f"{hit.rank}. {hit.score:.3f} = {shares}", style="bold", markup=False)
        console.print(
            f"   {hit.chunk.doc_id}, characters {hit.chunk.start_char} to {hit.chunk.end_char}",
            style="dim",
            markup=False,
        )
        console.print(hit.chunk.text, markup=False, soft_wrap=True)
        console.print()


def _weighting(text: str, keys: Sequence[str]) -> Any:
    if text in {"calibrated", "equal"}:
        return text
    try:
        values = [float(part) for part in names(text)]
        return dict(zip(keys, values, strict=True))
    except ValueError as error:
        raise InputError(
            f"--weights: expected 'calibrated', 'equal' or {len(keys)} numbers separated by commas, "
            f"got {text!r}."
        ) from error


def _status_table(one: Any) -> Table:
    manifest = one.manifest
    served = "nothing yet: `tandem deploy`" if one.deployment is None else described(one.deployment)
    table = Table(title=f"corpus {manifest.corpus}", title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    rows = [
        ("documents", f"{one.documents:,}"),
        ("chunks", f"{one.chunks:,} of at most {manifest.chunker.max_tokens} tokens"),
    ]
    for model in manifest.models:
        spread = manifest.spreads.get(model.key)
        measured = "" if spread is None else f", spread of cosines {spread:.3f}"
        lacking = one.missing[model.key]
        rows.append(
            (
                f"model {model.key}",
                f"{model.name}, {model.dimensions} dimensions, {model.backend}{measured}"
                + (f", missing for {lacking:,} chunks" if lacking else ""),
            )
        )
    for keys in manifest.combinations:
        name = COMBINED.join(keys)
        lacking = one.missing[name]
        rows.append(("combined", name + (f", missing for {lacking:,} chunks" if lacking else "")))
    for row in (*rows, ("serves", served)):
        table.add_row(*map(Text, row))  # as they are: a name may look like rich's markup
    return table
