"""The commands on what a corpus serves: deploy, deployments, rollback, drop."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.commands.words import described, loss_line, weighting_of
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, StoreOption, UrlOption, emit, names
from retriever.records import COMBINED, FULL_STORAGE, LEXICAL


def deploy(  # the options of the command
    combination: Annotated[
        str,
        typer.Argument(
            help="Models to serve together, as A+B; or one alone. A@128 is the first 128 dimensions of A "
            "(Matryoshka models); +bm25 adds the words."
        ),
    ],
    corpus: CorpusOption,
    weights: Annotated[
        str,
        typer.Option(
            help="'calibrated' (one over each model's spread of cosines), 'equal' (the paper's), "
            "or numbers that sum to 1, in the order given: 0.6,0.4."
        ),
    ] = "calibrated",
    storage: Annotated[
        str,
        typer.Option(
            help="What is searched: float32; or float16, int8, binary, which take less memory and find "
            "candidates for exact scores."
        ),
    ] = FULL_STORAGE,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="Record it again where it is served already: what watches it begins anew."
        ),
    ] = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Serve models of a corpus; nothing is embedded again."""
    from retriever import deploying
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        legs = names(combination, separator=COMBINED)
        weighting = weighting_of(weights, legs)
        deployment = deploying.deploy(opened, legs, weighting=weighting, storage=storage, anew=anew)

    def show(console: Console) -> None:
        console.print(f"Corpus {corpus!r} now serves {described(deployment)}.", markup=False, soft_wrap=True)
        if (line := loss_line(deployment)) is not None:
            console.print(line, markup=False, soft_wrap=True)

    emit(deployment.to_json(), as_json=json, show=show)


def deployments(
    corpus: CorpusOption,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """List what a corpus has served, oldest first, and what it serves now."""
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        found, serving = opened.deployments, opened.serving
        derived = set(opened.manifest.derived)
        keys = set(opened.manifest.keys)

    def show(console: Console) -> None:
        if not found:
            console.print(f"Corpus {corpus!r} has served nothing yet: `tandem deploy`.", markup=False)
            return
        table = Table(title=Text(f"deployments of {corpus}"), title_justify="left")
        for name in ("", "serves", "deployed", ""):
            table.add_column(name, overflow="fold")
        for number, one in enumerate(found, start=1):
            needed = {one.vector, *one.combination.keys} | ({LEXICAL} if one.lexical_weight else set())
            state = "served" if number == serving + 1 else "" if needed <= derived | keys else "dropped"
            table.add_row(str(number), Text(described(one)), one.created, state)
        console.print(table)

    emit({"served": serving + 1, "deployments": [one.to_json() for one in found]}, as_json=json, show=show)


def rollback(
    corpus: CorpusOption,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Number in `tandem deployments`; else the one before.")
    ] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Serve an earlier deployment again; readers switch within a second."""
    from retriever import deployments as of_corpus
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        deployment = of_corpus.rollback(opened, to=to)
    emit(
        deployment.to_json(),
        as_json=json,
        show=lambda console: console.print(
            f"Corpus {corpus!r} serves {described(deployment)} again.", markup=False, soft_wrap=True
        ),
    )


def drop(
    vector: Annotated[str, typer.Argument(help="A+B, A+B~float16, bm25: as `tandem status` shows it.")],
    corpus: CorpusOption,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a combined vector that is not served, and the deployments of it; the models' own stay."""
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
        opened.drop_derived(vector)
        opened.flush()
        left = opened.manifest.derived
    emit(
        {"dropped": vector, "left": list(left)},
        as_json=json,
        show=lambda console: console.print(
            f"Dropped {vector}. Left: {', '.join(left) or 'no combined vector'}.", markup=False
        ),
    )
