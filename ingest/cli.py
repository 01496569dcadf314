"""The `ingest` program: `ingest run`, `ingest status` and `ingest drop-model`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest import display
from retriever import console
from retriever.commands.status import status
from retriever.console import (
    ApiKeyOption,
    CorpusOption,
    ErrorBoundary,
    JsonOption,
    QuietOption,
    StoreOption,
    UrlOption,
)
from retriever.errors import InputError

if TYPE_CHECKING:
    from ingest.documents import FailedDocument
    from ingest.executors import RayOptions
    from retriever.store.layout import ServerLayout
    from retriever.store.protocol import VectorStore

_MEBIBYTE = 1 << 20
_MODELS, _CHUNKS, _SOURCE = "Models", "Chunks", "Source"
_RUN, _REPORTS, _CLUSTER = "Run", "Reports", "Past one machine"

app = typer.Typer(
    cls=ErrorBoundary,
    callback=console.main_callback,
    no_args_is_help=True,
    add_completion=False,
    help="Documents into stored vectors: cut, embed with several models, store.",
)


@app.command("run")
def run(
    ctx: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            help="A folder of documents (text, Markdown, HTML, PDF, Word), one such file, a .jsonl, .csv, "
            ".tsv or .parquet file, or - for standard input."
        ),
    ],
    corpus: CorpusOption,
    models: Annotated[
        str,
        typer.Option(
            "--models",
            "-m",
            help="Models as A,B: hub names, folders, or the short names minilm and wordllama. "
            "May be left out for a corpus that is there.",
            rich_help_panel=_MODELS,
        ),
    ] = "",
    backend: Annotated[
        str | None,
        typer.Option(
            help="What runs the models named: torch, onnx, openvino, … (`tandem doctor` compares them).",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    over_length: Annotated[
        str,
        typer.Option(
            help="A model that reads less than a chunk: refuse it, or embed chunks in windows and average.",
            rich_help_panel=_MODELS,
        ),
    ] = "refuse",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads for the models (default: the cores it may use).", rich_help_panel=_MODELS
        ),
    ] = None,
    combine: Annotated[
        list[str] | None,
        typer.Option(
            "--combine",
            help="Keep concatenated vectors of these models, as A+B; may be repeated.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    chunking: Annotated[
        str | None,
        typer.Option(
            help="How to cut: words (default), sentences, or markdown, which keeps sections apart.",
            rich_help_panel=_CHUNKS,
        ),
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest chunk in tokens, special tokens included (default: 256).", rich_help_panel=_CHUNKS
        ),
    ] = None,
    chunk_overlap: Annotated[
        int | None,
        typer.Option(
            help="How many tokens of a chunk its successor repeats (default: 0).", rich_help_panel=_CHUNKS
        ),
    ] = None,
    title_prefix: Annotated[
        bool | None,
        typer.Option(
            "--title-prefix/--no-title-prefix",
            help="Embed the title of a document before each of its chunks (default: no).",
            rich_help_panel=_CHUNKS,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Only files like this, as in a .gitignore; may be repeated.", rich_help_panel=_SOURCE
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="No files like this; may be repeated. See also .tandemignore.", rich_help_panel=_SOURCE
        ),
    ] = None,
    max_file_size: Annotated[
        int, typer.Option(min=1, help="The largest document, in MiB.", rich_help_panel=_SOURCE)
    ] = 50,
    encoding: Annotated[
        str,
        typer.Option(
            help="Of texts: detect (UTF-8 unless it cannot be), or a name.", rich_help_panel=_SOURCE
        ),
    ] = "detect",
    text_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column or field that holds the text; may be repeated (default: text).",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the ids (default: _id or id).", rich_help_panel=_SOURCE)
    ] = None,
    title_column: Annotated[
        str | None, typer.Option(help="Column of the titles (default: title).", rich_help_panel=_SOURCE)
    ] = None,
    metadata_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column kept as metadata; may be repeated (default: all others).", rich_help_panel=_SOURCE
        ),
    ] = None,
    number_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a CSV file that holds numbers; may be repeated.", rich_help_panel=_SOURCE
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between the cells of a CSV file.", rich_help_panel=_SOURCE)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done and how long it would take.", rich_help_panel=_RUN
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete documents that the source no longer has.", rich_help_panel=_RUN),
    ] = False,
    recreate: Annotated[
        bool,
        typer.Option(
            "--recreate",
            help="Delete the corpus with all it holds and make it anew.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    retry_failed: Annotated[
        Path | None,
        typer.Option(
            help="Only the documents that failed in an earlier run, from the file it left.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where to cut and embed: local, or ray.", rich_help_panel=_CLUSTER)
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster: auto, or HOST:PORT (default: one on this machine).", rich_help_panel=_CLUSTER
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Ray workers (default: as many as fit).", rich_help_panel=_CLUSTER),
    ] = None,
    cpus_per_worker: Annotated[
        float | None,
        typer.Option(min=0, help="Cores of a Ray worker (default: 1).", rich_help_panel=_CLUSTER),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="GPUs of a Ray worker (default: 0).", rich_help_panel=_CLUSTER)
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Shards of a new corpus on a server.", rich_help_panel=_CLUSTER),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of each shard of a new corpus.", rich_help_panel=_CLUSTER),
    ] = None,
    on_disk: Annotated[
        bool | None,
        typer.Option(
            "--on-disk/--in-memory",
            help="Where the server holds vectors of a new corpus.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    failed: Annotated[
        Path | None,
        typer.Option(
            help="Where to list the documents that fail (default: CORPUS.failed.jsonl, if any does).",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Also write the summary to this file, however the run ends (not with --dry-run).",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    log: Annotated[
        str,
        typer.Option(
            help="Progress on standard error: text (a bar on a terminal) or json (lines).",
            rich_help_panel=_REPORTS,
        ),
    ] = "text",
    json: JsonOption = False,
    quiet: QuietOption = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Bring a corpus to the state of its source; only what is new or changed is embedded."""
    from ingest.chunks import ChunkSettings
    from ingest.documents import SourceOptions, open_source, retrying
    from ingest.preview import dry_run as preview
    from ingest.reports import FailureFile, read_failures, summary_file
    from ingest.reports import as_json as to_json
    from ingest.run import ingest
    from retriever.models import load_models
    from retriever.models.catalog import BACKENDS, OVER_LENGTH
    from retriever.models.threads import limit_threads
    from retriever.records import check_corpus_name
    from retriever.store.place import open_store

    reporter = display.reporter(ctx, log, quiet=quiet or json)
    calm = quiet or reporter.is_json
    _check_word("--backend", backend, BACKENDS)
    _check_word("--over-length", over_length, OVER_LENGTH)
    check_corpus_name(corpus)  # before there are files named after it
    options = SourceOptions(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        max_bytes=max_file_size * _MEBIBYTE,
        encoding=encoding,
        text_columns=tuple(text_column or ()),
        id_column=id_column,
        title_column=title_column,
        metadata_columns=tuple(metadata_column) if metadata_column else None,
        number_columns=tuple(number_column or ()),
        delimiter=delimiter,
    )
    settings = ChunkSettings(
        method=chunking, max_tokens=chunk_tokens, overlap_tokens=chunk_overlap, title_prefix=title_prefix
    )
    cluster = _cluster(
        executor,
        address=ray_address,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    for option, is_given in (("--prune", prune), ("--recreate", recreate)):
        if is_given and retry_failed is not None:
            raise InputError(
                f"{option}: expected the whole source, got only what failed (--retry-failed). Leave one out."
            )
    if dry_run:
        summary = None  # nothing is written, not even a file that says so
    with ExitStack() as stack:
        finished = stack.enter_context(summary_file(summary))
        source = open_source(path, options)
        documents = source if retry_failed is None else retrying(source, read_failures(retry_failed))
        place = open_store(
            store, url=url, api_key=api_key, layout=_layout(shards=shards, replicas=replicas, on_disk=on_disk)
        )
        limit_threads(threads)
        wanted = load_models(
            console.names(models) if models else [], backend=backend, over_length=over_length
        )
        combinations = [console.names(one, separator="+") for one in combine or ()]
        if dry_run:
            found = preview(
                documents,
                place,
                corpus,
                models=wanted,
                combine=combinations,
                chunks=settings,
                prune=prune,
                recreate=recreate,
            )
            value = found.to_json()
            console.emit(value, as_json=json, show=lambda out: display.show_plan(out, found, quiet=calm))
            return
        failures = stack.enter_context(FailureFile(failed or retry_failed or Path(f"{corpus}.failed.jsonl")))
        reporter = stack.enter_context(reporter.over(corpus, place.location, length_hint(documents)))

        def on_failure(one: FailedDocument) -> None:
            failures.add(one)
            reporter.failed(one)

        done = ingest(
            documents,
            place,
            corpus,
            models=wanted,
            combine=combinations,
            chunks=settings,
            prune=prune,
            recreate=recreate,
            ray=cluster,
            on_progress=reporter.progress,
            on_failure=on_failure,
        )
        value = {**to_json(done), "skipped": dict(source.skipped), "detected": dict(source.detected)}
        finished(value)
        reporter.finished(value)
    console.emit(value, as_json=json, show=lambda out: display.show_summary(out, done, quiet=calm))
    display.note_source(source, quiet=calm)
    if done.failed:
        display.report_failures(done, failures.path, quiet=reporter.is_json)


def _cluster(executor: str, **options: Any) -> RayOptions | None:
    """Return what is said of the cluster; None where this process does the work."""
    from ingest.executors import RayOptions

    given = {name: value for name, value in options.items() if value is not None}
    if executor == "ray":
        return RayOptions(**given)
    if executor != "local":
        raise InputError(f"--executor: expected local or ray, got {executor!r}.")
    if given:
        names = ", ".join(
            "--ray-address" if name == "address" else f"--{name.replace('_', '-')}" for name in given
        )
        raise InputError(f"{names}: expected --executor ray beside it, got local. Add it, or leave it out.")
    return None


def _layout(**options: Any) -> ServerLayout | None:
    """Return what is said of a new corpus on a server; None where nothing is."""
    from retriever.store.layout import ServerLayout

    layout = ServerLayout(**options)
    return None if layout == ServerLayout() else layout


@app.command("drop-model")
def drop_model(
    model: Annotated[str, typer.Argument(help="The model, by any of its names.")],
    corpus: CorpusOption,
    json: JsonOption = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Delete the vectors of a model from a corpus, and the combinations it is part of."""
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    place: VectorStore = open_store(store, url=url, api_key=api_key)
    with Corpus.open(place, corpus) as opened:
        opened.drop_model(model)
        opened.flush()
    console.emit(
        {"corpus": corpus, "dropped": model},
        as_json=json,
        show=lambda out: out.print(f"Corpus {corpus!r} has no vectors of {model} any longer.", markup=False),
    )


@app.command("drop-corpus")
def drop_corpus(
    corpus: Annotated[str, typer.Argument(help="Its name.")],
    yes: Annotated[bool, typer.Option("--yes", help="It shall be gone for good.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Delete a corpus with its chunks, vectors and deployments."""
    from retriever.corpus import Corpus
    from retriever.store.place import open_store

    place: VectorStore = open_store(store, url=url, api_key=api_key)
    with Corpus.open(place, corpus) as opened:
        chunks, where = opened.count_chunks(), opened.location
    if not yes:
        raise InputError(
            f"--yes: expected it, as {chunks:,} chunks with their vectors and deployments would be deleted "
            f"for good with corpus {corpus!r} at {where}. Nothing was deleted."
        )
    place.drop(corpus)
    console.emit(
        {"dropped": corpus, "chunks": chunks},
        as_json=json,
        show=lambda out: out.print(f"Corpus {corpus!r} is deleted, with {chunks:,} chunks.", markup=False),
    )


app.command("status")(status)


def _check_word(option: str, word: str | None, words: Sequence[str]) -> None:
    """Refuse a word that is none of these, also where there is no model that it would apply to."""
    if word is not None and word not in words:
        raise InputError(f"{option}: expected one of {', '.join(words)}, got {word!r}.")


def main() -> None:
    """Run the program."""
    console.run(app, section="ingest")
