"""The command that takes a corpus to another store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from retriever import console
from retriever.console import (
    ApiKeyOption,
    CorpusOption,
    JsonOption,
    QuietOption,
    StoreOption,
    UrlOption,
    emit,
)

if TYPE_CHECKING:
    from retriever.copying import CopyReport


def copy(
    corpus: CorpusOption,
    to: Annotated[str, typer.Option(help="Where to: the URL of a Qdrant server, or a folder.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the copy (default: that of the corpus).")
    ] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    to_api_key: Annotated[
        str | None,
        typer.Option(
            envvar="TANDEM_TO_API_KEY",
            help="Key of the server that is copied to (default: --api-key, where that has no other server).",
            show_envvar=True,
        ),
    ] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Shards of the copy on a server.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Copies of each shard.")] = None,
    on_disk: Annotated[
        bool | None,
        typer.Option("--on-disk/--in-memory", help="Where the server holds the vectors of the copy."),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Copy a corpus with its vectors and deployments, from a folder to a server, back, or elsewhere.

    An interrupted copy is continued by the same command; until it is whole, nobody can open it.
    """
    from retriever.copying import copy as copy_corpus
    from retriever.store.layout import ServerLayout
    from retriever.store.place import open_store

    source = open_store(store, url=url, api_key=api_key)
    layout = ServerLayout(shards=shards, replicas=replicas, on_disk=on_disk)
    place = {"url": to} if "://" in to else {"path": to}
    key = to_api_key or (api_key if url is None else None)  # the key of one server is not sent to another
    target = open_store(**place, api_key=key, layout=layout)
    with _progress(corpus, quiet=quiet) as tell:
        report = copy_corpus(source, target, corpus, name=name, on_progress=tell)
    emit(
        asdict(report),
        as_json=json,
        show=lambda out: out.print(_described(report), markup=False, soft_wrap=True),
    )


@contextmanager
def _progress(corpus: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what moves a bar on standard error; None where nobody looks at it."""
    if quiet or not console.notes.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,}/{task.total:,} chunks"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console.notes, transient=True) as bar:
        task = bar.add_task(corpus, total=0)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _described(report: CopyReport) -> str:
    return (
        f"Corpus {report.name!r} in {report.target} is corpus {report.corpus!r} in {report.source}: "
        f"{report.chunks:,} chunks. Sent: {report.sent:,} chunks, {report.bytes / 1e6:,.1f} MB in "
        f"{report.seconds:.1f} s; read again and equal: {report.checked:,}."
    )
