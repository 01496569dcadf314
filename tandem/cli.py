"""The `tandem` program: the commands of all packages in one place."""

from __future__ import annotations

import typer

import analysis.cli
import ingest.cli
import retriever.cli
import tandem.demo
from retriever.console import ErrorBoundary, main_callback, run

app = typer.Typer(
    cls=ErrorBoundary,
    callback=main_callback,
    no_args_is_help=True,
    add_completion=False,
    help="Do two embedding models beat one on your data? Find out, and serve the winner.",
)
app.command("demo")(tandem.demo.demo)
app.add_typer(ingest.cli.app, name="ingest")
app.command("evaluate")(analysis.cli.evaluate)
app.command("doctor")(retriever.cli.doctor)
app.command("deploy")(retriever.cli.deploy)
app.command("query")(retriever.cli.query)
app.command("quantize")(retriever.cli.quantize)
app.command("status")(retriever.cli.status)


def main() -> None:
    """Run the program."""
    run(app)
