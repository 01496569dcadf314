"""Deployments and hits in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.console import names
from retriever.errors import InputError
from retriever.records import FULL_STORAGE, LOSS, Deployment, Hit

_SNIPPET = 60


def described(deployment: Deployment) -> str:
    """Return a deployment in words: its legs and their weights, and how they are stored."""
    stored = "" if deployment.storage == FULL_STORAGE else f", stored as {deployment.storage}"
    if len(deployment.legs) == 1:
        return f"{deployment.name} alone{stored}"
    shares = ", ".join(f"{leg} {weight:.3f}" for leg, weight in deployment.shares.items())
    return f"{deployment.name} with {deployment.weighting} weights ({shares}){stored}"


def loss_line(deployment: Deployment) -> str | None:
    """Return what fewer bits or dimensions cost, in words; None where nothing was spared."""
    loss = deployment.evidence.get(LOSS)
    if not isinstance(loss, dict):
        return None
    return (
        f"Of the top {loss['k']} by whole float32 vectors, {100 * loss['kept']:.1f} % are kept "
        f"({loss['queries']} stored chunks as queries); {loss['bytes_per_chunk']:,} bytes a chunk are "
        f"searched instead of {loss['bytes_whole']:,}."
    )


def weighting_of(text: str, legs: Sequence[str]) -> Any:
    """Return the weights that an option gives: a rule, or numbers in the order of `legs`.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text in {"calibrated", "equal"}:
        return text
    try:
        values = [float(part) for part in names(text)]
        return dict(zip(legs, values, strict=True))
    except ValueError as error:
        raise InputError(
            f"--weights: expected 'calibrated', 'equal' or {len(legs)} numbers separated by commas, "
            f"got {text!r}."
        ) from error


def show_hits(console: Console, hits: Sequence[Hit]) -> None:
    """Print hits for people: score, contributions, document, text with its neighbours."""
    if not hits:
        console.print("Nothing found.")
    for hit in hits:
        shares = " + ".join(f"{share:.3f} {leg}" for leg, share in hit.contributions.items())
        console.print(f"{hit.rank}. {hit.score:.3f} = {shares}", style="bold", markup=False)
        console.print(
            f"   {hit.chunk.doc_id}, characters {hit.chunk.start_char} to {hit.chunk.end_char}",
            style="dim",
            markup=False,
        )
        for chunk in hit.before:
            console.print(chunk.text, style="dim", markup=False, soft_wrap=True)
        console.print(hit.chunk.text, markup=False, soft_wrap=True)
        for chunk in hit.after:
            console.print(chunk.text, style="dim", markup=False, soft_wrap=True)
        console.print()


def explained(hits: Sequence[Hit], *, title: str) -> Table:
    """Return hits as a table: what each leg gave to the score, and where it alone would put the chunk."""
    table = Table(title=Text(title), title_justify="left")
    legs = list(hits[0].contributions) if hits else []
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    for leg in legs:
        table.add_column(leg, justify="right")
        table.add_column("rank", justify="right")
    table.add_column("chunk", overflow="fold")
    for hit in hits:
        cells = [str(hit.rank), f"{hit.score:.4f}"]
        for leg in legs:
            cells += [f"{hit.contributions[leg]:.4f}", f"{hit.ranks[leg]:,}"]
        table.add_row(*cells, Text(f"{hit.chunk.doc_id}: {snippet(hit)}"))
    return table


def compared(columns: Mapping[str, Sequence[Hit]]) -> Table:
    """Return hits of several deployments side by side; a chunk that all have found is bold."""
    table = Table(title="Side by side", title_justify="left")
    table.add_column("", justify="right")
    everywhere = set.intersection(*({hit.chunk.chunk_id for hit in hits} for hits in columns.values()))
    for name in columns:
        table.add_column(Text(name), overflow="fold", ratio=1)
    for place in range(max(map(len, columns.values()))):
        cells = []
        for hits in columns.values():
            if place < len(hits):
                hit = hits[place]
                style = "bold" if hit.chunk.chunk_id in everywhere else ""
                cells.append(Text(f"{hit.score:.3f} {hit.chunk.doc_id}: {snippet(hit)}", style=style))
            else:
                cells.append(Text(""))
        table.add_row(str(place + 1), *cells)
    return table


def snippet(hit: Hit) -> str:
    """Return the beginning of the text of a hit, on one line."""
    text = " ".join(hit.chunk.text.split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"
