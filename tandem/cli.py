"""The `tandem` program: the commands of all packages in one place."""

from __future__ import annotations

import typer

import ingest.cli
import tandem.demo
from analysis.commands.compare import compare
from analysis.commands.evaluate import evaluate
from analysis.commands.report import report
from analysis.commands.reproduce import reproduce
from analysis.commands.select import select
from retriever.commands import deployments, models
from retriever.commands.copy import copy
from retriever.commands.query import query
from retriever.commands.status import status
from retriever.commands.watch import watch
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
app.command("select")(select)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("reproduce")(reproduce)
app.command("report")(report)
app.command("deploy")(deployments.deploy)
app.command("deployments")(deployments.deployments)
app.command("rollback")(deployments.rollback)
app.command("drop")(deployments.drop)
app.command("copy")(copy)
app.command("query")(query)
app.command("status")(status)
app.command("watch")(watch)
app.command("doctor")(models.doctor)
app.command("quantize")(models.quantize)


def main() -> None:
    """Run the program."""
    run(app)
