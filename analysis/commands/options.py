"""Options that the commands of the analysis share, and what they make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from retriever import console
from retriever.errors import InputError

if TYPE_CHECKING:
    from analysis.judgements import Judgements
    from analysis.results.record import Results

ModelsOption: TypeAlias = Annotated[
    str, typer.Option("--models", "-m", help="Which models of the corpus, as A,B; all if left out.")
]
CutoffsOption: TypeAlias = Annotated[
    list[int] | None,
    typer.Option(
        "--k",
        min=1,
        help="Cutoff of Jaccard and rank similarity, in chunks (default: 10); may be repeated: what is shown "
        "is of the first, results and JSON have all.",
    ),
]
ConfidenceOption: TypeAlias = Annotated[float, typer.Option(help="Of the intervals and of the verdict.")]
MinimumGainOption: TypeAlias = Annotated[
    float, typer.Option(help="NDCG@10 that a pair must gain over the best single model.")
]
SeedOption: TypeAlias = Annotated[
    int, typer.Option(help="Of the resamples; the same seed gives the same intervals.")
]
AggregateOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--aggregate",
        min=1,
        help="A document scores the mean of its best chunks, so many; 1 is its best chunk.",
    ),
]
CostOption: TypeAlias = Annotated[
    bool, typer.Option("--cost", help="Also measure what each model takes to embed, on 64 stored chunks.")
]
DropOwnOption: TypeAlias = Annotated[
    bool, typer.Option("--drop-own", help="Drop hits whose document id is the query's id (ArguAna).")
]
OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for all numbers, tables (CSV, LaTeX) and figures (SVG, PNG)."),
]
OverwriteOption: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace the results that --out holds already.")
]
NoFiguresOption: TypeAlias = Annotated[
    bool, typer.Option("--no-figures", help="Leave the figures out, for which matplotlib is needed.")
]

_UNKNOWN_SHOWN = 5


def keys_of(models: str) -> list[str] | None:
    """Return the models that ``--models`` names; None for all."""
    return console.names(models) if models else None


def grid_of(text: str) -> tuple[float, ...]:
    """Return the weights that ``--grid`` names.

    Raises
    ------
    InputError
        If one is no number.
    """
    try:
        return tuple(float(part) for part in console.names(text)) if text else ()
    except ValueError as error:
        raise InputError(f"--grid: expected numbers separated by commas, got {text!r}.") from error


def note(text: str, *, quiet: bool) -> None:
    """Print what a reader of the figures should know, on standard error."""
    if not quiet:
        console.notes.print(f"note: {text}", markup=False, soft_wrap=True)


def note_judgements(judgements: Judgements, unknown: Sequence[str], *, where: str = "", quiet: bool) -> None:
    """Say how many queries have no judgements, or nothing relevant, and which documents are `unknown`."""
    if judgements.unjudged:
        note(
            f"{where}queries left out, because they have no judgements: {judgements.unjudged:,}.", quiet=quiet
        )
    hopeless = sum(max(grades.values()) <= 0 for grades in judgements.qrels.values())
    if hopeless:
        note(
            f"{where}queries for which no document is judged relevant, which score 0 whatever is found: "
            f"{hopeless:,} of {len(judgements.qrels):,}.",
            quiet=quiet,
        )
    if unknown:
        listed = ", ".join(unknown[:_UNKNOWN_SHOWN]) + (" …" if len(unknown) > _UNKNOWN_SHOWN else "")
        note(
            f"{where}judged documents that the corpus lacks, which lowers every NDCG: {len(unknown):,} "
            f"({listed}).",
            quiet=quiet,
        )


def check_out(out: Path | None, *, overwrite: bool, figures: bool) -> None:
    """Refuse an ``--out`` that could not be written, before anything is measured."""
    from analysis.results.folder import check_figures, check_place

    if out is not None:
        check_place(out, overwrite=overwrite)
        if figures:
            check_figures()


def write_out(results: Results, out: Path | None, *, overwrite: bool, figures: bool, quiet: bool) -> None:
    """Write results where ``--out`` says, if it says."""
    from analysis.results.folder import write_results

    if out is not None:
        write_results(results, out, overwrite=overwrite, figures=figures)
        if not quiet:
            console.notes.print(f"written: {out}", markup=False, soft_wrap=True)
