"""The command that shows what a store holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.commands.words import described
from retriever.console import ApiKeyOption, JsonOption, StoreOption, UrlOption, emit
from retriever.errors import CorpusUnfinishedError, StoreLockedError


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
    found = []
    unfinished: dict[str, str] = {}
    in_use: dict[str, str] = {}
    for name in [corpus] if corpus else place.names():
        try:
            found.append(corpus_status(place, name))
        except (CorpusUnfinishedError, StoreLockedError) as error:
            if corpus:
                raise
            (in_use if isinstance(error, StoreLockedError) else unfinished)[name] = str(error)

    def show(console: Console) -> None:
        if not found and not unfinished and not in_use:
            console.print(
                f"No corpus in {place.location}. Make one with `ingest run`.", markup=False, soft_wrap=True
            )
        for one in found:
            console.print(_status_table(one))
        for reason in (*unfinished.values(), *in_use.values()):
            console.print(reason, markup=False, soft_wrap=True)

    said = {
        "store": place.location,
        "corpora": [asdict(one) for one in found],
        "unfinished": unfinished,
        "in_use": in_use,
    }
    emit(said, as_json=json, show=show)


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
        about = f"{model.name}, {model.dimensions} dimensions, {model.backend}{measured}"
        rows.append((f"model {model.key}", about + _lacking(one, model.key)))
    rows += [("combined", name + _lacking(one, name)) for name in manifest.derived]
    for row in (*rows, ("serves", served)):
        table.add_row(*map(Text, row))  # as they are: a name may look like rich's markup
    return table


def _lacking(one: Any, vector: str) -> str:
    count = one.missing[vector]
    return f", missing for {count:,} chunks" if count else ""
