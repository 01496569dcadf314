"""The `ingest` program: `ingest run` and `ingest status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from retriever import console
from retriever.cli import status
from retriever.console import (
    ApiKeyOption,
    CorpusOption,
    ErrorBoundary,
    JsonOption,
    QuietOption,
    StoreOption,
    UrlOption,
)
from retriever.errors import DocumentsFailedError
from retriever.records import COMBINED

if TYPE_CHECKING:
    from ingest.documents import FailedDocument

_FAILURES_SHOWN = 10

app = typer.Typer(
    cls=ErrorBoundary,
    callback=console.main_callback,
    no_args_is_help=True,
    add_completion=False,
    help="Documents into stored vectors: cut, embed with several models, store.",
)


@app.command("run")
def run(
    path: Annotated[
        Path,
        typer.Argument(help="Folder of text, Markdown and HTML files, one such file, or a .jsonl corpus."),
    ],
    corpus: CorpusOption,
    models: Annotated[
        str,
        typer.Option(
            "--models",
            "-m",
            help="Models as A,B: hub names, folders, or the short names minilm and wordllama. "
            "May be left out for a corpus that is there.",
        ),
    ] = "",
    combine: Annotated[
        list[str] | None,
        typer.Option("--combine", help="Keep concatenated vectors of these models, as A+B; may be repeated."),
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Longest chunk in tokens, special tokens included (default: 256).")
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(help="How many tokens of a chunk its successor repeats (default: 0).")
    ] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring a corpus to the state of its source; only what is new or changed is embedded."""
    from ingest.documents import open_source
    from ingest.run import ingest
    from retriever.models import load_model
    from retriever.store.place import open_store

    source = open_source(path)
    place = open_store(store, url=url, api_key=api_key)
    loaded = [load_model(name) for name in console.names(models)] if models else []
    with progress(total=length_hint(source), quiet=quiet or json) as on_progress:
        summary = ingest(
            source,
            place,
            corpus,
            models=loaded,
            combine=[console.names(one, separator=COMBINED) for one in combine or ()],
            chunk_tokens=chunk_tokens,
            overlap_tokens=chunk_overlap,
            on_progress=on_progress,
        )
    value = {**_as_json(summary), "skipped": dict(source.skipped)}
    console.emit(value, as_json=json, show=lambda out: show_summary(out, summary, quiet=quiet))
    if source.skipped and not quiet:
        _note_skipped(source.skipped)
    if summary.failed:
        _report_failures(summary.failed)


app.command("status")(status)


def main() -> None:
    """Run the program."""
    console.run(app, section="ingest")


@contextmanager
def progress(*, total: int, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Show a run's progress on standard error; yields what `ingest.run.ingest` calls with its counts.

    `total` is about how many documents there are, 0 where that is not known.
    """
    if quiet or not console.notes.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents, {task.fields[chunks]:,} chunks written"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console.notes, transient=True) as bar:
        task = bar.add_task("ingesting", total=total or None, chunks=0)

        def update(counts: Any) -> None:
            bar.update(task, completed=counts.documents, chunks=counts.written_chunks)

        yield update


def _note_skipped(skipped: Mapping[str, int]) -> None:
    kinds = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in sorted(skipped.items()))
    console.notes.print(f"note: files of other kinds were left aside: {kinds}.", markup=False, soft_wrap=True)


def _report_failures(failures: Sequence[FailedDocument]) -> NoReturn:
    for failed in failures[:_FAILURES_SHOWN]:
        console.notes.print(f"failed: {failed.where}: {failed.reason}", markup=False, soft_wrap=True)
    if len(failures) > _FAILURES_SHOWN:
        console.notes.print(f"… and {len(failures) - _FAILURES_SHOWN:,} more: --json lists all.")
    documents = "1 document" if len(failures) == 1 else f"{len(failures):,} documents"
    raise DocumentsFailedError(
        f"{documents} failed; all others are stored. Mend the source and run the same command again."
    )


def _as_json(summary: Any) -> dict[str, Any]:
    value = asdict(summary)
    for key, timing in summary.models.items():
        value["models"][key]["chunks_per_second"] = timing.per_second
    return value


def show_summary(out: Console, summary: Any, *, quiet: bool) -> None:
    """Print a run's summary for people."""
    out.print(
        f"Corpus {summary.corpus!r} in {summary.location}: {summary.chunks:,} chunks. "
        f"Documents: {summary.new:,} new, {summary.changed:,} changed, {summary.unchanged:,} unchanged, "
        f"{len(summary.failed):,} failed. "
        f"Written: {summary.written_chunks:,} chunks, {summary.written_tokens:,} tokens "
        f"in {summary.seconds:.1f} s.",
        soft_wrap=True,
        markup=False,
    )
    if summary.elsewhere and not quiet:
        console.notes.print(
            f"note: documents of the corpus that are not in this source, and stay: {summary.elsewhere:,}.",
            markup=False,
            soft_wrap=True,
        )
    embedded = {key: timing for key, timing in summary.models.items() if timing.texts}
    if embedded:
        table = Table("model", "chunks embedded", "seconds", "chunks per second")
        for key, timing in embedded.items():
            table.add_row(key, f"{timing.texts:,}", f"{timing.seconds:.1f}", f"{timing.per_second:,.0f}")
        out.print(table)
