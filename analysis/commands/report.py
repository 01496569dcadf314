"""The command that makes one page of results, to be shown and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retriever import console
from retriever.console import JsonOption


def report(
    results_folder: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Folder that --out of a command has written.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write; replaced if it is there.")] = Path(
        "report.html"
    ),
    json: JsonOption = False,
) -> None:
    """Make one HTML page of results: verdicts, tables and charts, in a single file that loads nothing."""
    from analysis.report import write_report
    from analysis.results.folder import read_results

    written = write_report(read_results(results_folder), out)
    console.emit(
        {"report": str(out), "bytes": written},
        as_json=json,
        show=lambda to: to.print(
            f"Report: {out} ({written / 1000:,.0f} kB). Open it in a browser; it needs no network.",
            markup=False,
            soft_wrap=True,
        ),
    )
