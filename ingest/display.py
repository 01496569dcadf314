"""What `ingest run` shows: progress, notes, summary, plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from retriever import console
from retriever.errors import DocumentsFailedError, InputError

if TYPE_CHECKING:
    from ingest.collection import Counts
    from ingest.documents import FailedDocument
    from ingest.preview import DryRun
    from ingest.reports import JsonLog, Pace
    from ingest.run import IngestSummary

_FAILURES_SHOWN = 10
_HOUR, _MINUTE = 3600, 60
_MANY = 10


class Reporter:
    """Tells how far a run is: not at all, by a bar, or by lines of JSON."""

    is_json = False

    @contextmanager
    def over(self, corpus: str, location: str, documents: int) -> Iterator[Reporter]:  # noqa: ARG002
        """Report a run over about so many documents; 0 where nobody knows."""
        yield self

    def progress(self, counts: Counts) -> None:
        """Tell how far the run is."""

    def failed(self, failed: FailedDocument) -> None:
        """Tell of a document that failed."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Tell what came of the run."""


class BarReporter(Reporter):
    """A progress bar on standard error."""

    _bar: Progress
    _pace: Pace

    @contextmanager
    def over(self, corpus: str, location: str, documents: int) -> Iterator[Reporter]:  # noqa: ARG002
        """Show the bar while the run lasts."""
        from ingest.reports import Pace

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[done]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._pace = Pace(documents)
        self._documents = documents
        with Progress(*columns, console=console.notes, transient=True) as bar:
            self._bar = bar
            self._task = bar.add_task("opening", total=documents or None, done="", left="")
            yield self

    def progress(self, counts: Counts) -> None:
        """Move the bar."""
        self._pace.mark(counts)
        left = self._pace.seconds_left(counts)
        self._bar.update(
            self._task,
            description=counts.model or "reading",
            completed=counts.documents,
            done=self._done(counts),
            left="" if left is None else f"{duration(left)} left",
        )

    def _done(self, counts: Counts) -> str:
        total = f"/{max(self._documents, counts.documents):,}" if self._documents else ""
        chunks = counts.written_chunks + sum(counts.filled.values())
        rate = f", {rounded(self._pace.chunks_per_second)} chunks/s" if chunks else ""
        return f"{counts.documents:,}{total} documents{rate}"


class JsonReporter(Reporter):
    """Lines of JSON on standard error."""

    is_json = True
    _pace: Pace

    def __init__(self, log: JsonLog) -> None:
        self._log = log

    @contextmanager
    def over(self, corpus: str, location: str, documents: int) -> Iterator[Reporter]:
        """Write that the run starts."""
        from ingest.reports import Pace

        self._pace = Pace(documents)
        self._log.event("started", corpus=corpus, location=location, documents=documents or None)
        yield self

    def progress(self, counts: Counts) -> None:
        """Write a line every few seconds."""
        self._pace.mark(counts)
        self._log.progress(counts, self._pace)

    def failed(self, failed: FailedDocument) -> None:
        """Write the document and the reason."""
        self._log.failed(failed)

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Write the summary; the failed documents have their own lines."""
        self._log.event("finished", **{**summary, "failed": len(summary["failed"])})


def reporter(ctx: typer.Context, log: str, *, quiet: bool) -> Reporter:
    """Return what reports as `--log` says; with JSON, all else on standard error becomes lines as well.

    Raises
    ------
    InputError
        If `log` is neither text nor json.
    """
    if log == "json":
        from ingest.reports import json_on_standard_error

        lines: JsonLog = ctx.find_root().with_resource(json_on_standard_error())
        ctx.meta[console.SAY] = lambda text: lines.event(
            "error", level="error", message=text.removeprefix("error: ")
        )
        return JsonReporter(lines)
    if log != "text":
        raise InputError(f"--log: expected text or json, got {log!r}.")
    return BarReporter() if console.notes.is_terminal and not quiet else Reporter()


def show_summary(out: Console, summary: IngestSummary, *, quiet: bool) -> None:
    """Print a run's summary for people."""
    removed = f"{summary.removed:,} removed, " if summary.removed else ""
    out.print(
        f"Corpus {summary.corpus!r} in {summary.location}: {summary.chunks:,} chunks. "
        f"Documents: {summary.new:,} new, {summary.changed:,} changed, {summary.unchanged:,} unchanged, "
        f"{removed}{len(summary.failed):,} failed. "
        f"Written: {summary.written_chunks:,} chunks, {summary.written_tokens:,} tokens "
        f"in {summary.seconds:.1f} s.",
        soft_wrap=True,
        markup=False,
    )
    if not quiet:
        if summary.reused_chunks:
            _note(f"chunks written with the vectors of equal text, not embedded: {summary.reused_chunks:,}.")
        if summary.elsewhere:
            _note(f"documents of the corpus that are not in this source, and stay: {summary.elsewhere:,}.")
    embedded = {key: timing for key, timing in summary.models.items() if timing.texts}
    if embedded:
        table = Table("model", "texts embedded", "seconds", "texts per second")
        for key, timing in embedded.items():
            table.add_row(key, f"{timing.texts:,}", f"{timing.seconds:.1f}", rounded(timing.per_second))
        out.print(table)


def show_plan(out: Console, plan: DryRun, *, quiet: bool) -> None:
    """Print what a run would do."""
    out.print(
        f"Nothing was written. Corpus {plan.corpus!r} in {plan.location} {_state(plan)}. "
        f"Documents: {len(plan.new):,} new, {len(plan.changed):,} changed, {plan.unchanged:,} unchanged, "
        f"{len(plan.removed):,} to remove, {len(plan.failed):,} that fail. "
        f"Chunks: {plan.new_chunks:,} to write, {plan.reused_chunks:,} of them with vectors of equal text; "
        f"{plan.removed_chunks:,} to remove.",
        soft_wrap=True,
        markup=False,
    )
    if plan.embed:
        table = Table("model", "texts to embed", "tokens", "texts per second", "time")
        for key, work in plan.embed.items():
            rate = "" if work.seconds is None else rounded(work.texts / max(work.seconds, 1e-9))
            time = "unknown" if work.seconds is None else duration(work.seconds)
            table.add_row(key, f"{work.texts:,}", f"{work.tokens:,}", rate, time)
        out.print(table)
        texts = "1 text" if plan.sampled == 1 else f"{plan.sampled:,} texts"
        out.print(f"The time is estimated from {texts}, embedded just now.", markup=False)
    for title, ids in (("new", plan.new), ("changed", plan.changed), ("to remove", plan.removed)):
        _show_ids(out, title, ids)
    if plan.elsewhere and not quiet:
        _note(f"documents of the corpus that are not in this source, and stay: {plan.elsewhere:,}.")
    if plan.prune_refused:
        _note(f"nothing would be pruned: {plan.prune_refused}")
    if plan.failed:
        _show_failures(plan.failed)


def rounded(rate: float) -> str:
    """Return a rate for people, with a digit behind the point where there are few before it."""
    return f"{rate:,.0f}" if rate >= _MANY else f"{rate:.1f}"


def duration(seconds: float) -> str:
    """Return a time for people: ``under 1 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"


def note_source(source: Any, *, quiet: bool) -> None:
    """Say what a source has left aside, and which encodings it inferred."""
    if quiet:
        return
    if source.skipped:
        kinds = ", ".join(
            f"{count:,} {suffix or 'without suffix'}" for suffix, count in sorted(source.skipped.items())
        )
        _note(f"files of other kinds were left aside: {kinds}.")
    if source.detected:
        kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(source.detected.items()))
        _note(f"encodings were inferred, and are in the metadata as `encoding`: {kinds}.")


def report_failures(summary: IngestSummary, path: Path, *, quiet: bool) -> NoReturn:
    """Show the first documents that failed, and end with the status that says so."""
    failures = summary.failed
    if not quiet:
        _show_failures(failures)
        if summary.prune_refused:
            _note(f"nothing was pruned: {summary.prune_refused}")
    documents = "1 document" if len(failures) == 1 else f"{len(failures):,} documents"
    raise DocumentsFailedError(
        f"{documents} failed; all others are stored. The list is in {path}. Mend the source and run the same "
        f"command again, or only these: --retry-failed {path}"
    )


def _state(plan: DryRun) -> str:
    if plan.recreated:
        return "would be deleted with all it holds and made anew"
    return "is there" if plan.exists else "would be created"


def _show_failures(failures: Sequence[FailedDocument]) -> None:
    for failed in failures[:_FAILURES_SHOWN]:
        console.notes.print(f"failed: {failed.where}: {failed.reason}", markup=False, soft_wrap=True)
    if len(failures) > _FAILURES_SHOWN:
        console.notes.print(f"… and {len(failures) - _FAILURES_SHOWN:,} more.", highlight=False)


def _show_ids(out: Console, title: str, ids: Sequence[str]) -> None:
    if ids:
        more = f", … and {len(ids) - _FAILURES_SHOWN:,} more (--json)" if len(ids) > _FAILURES_SHOWN else ""
        out.print(f"{title}: {', '.join(ids[:_FAILURES_SHOWN])}{more}", markup=False, soft_wrap=True)


def _note(text: str) -> None:
    console.notes.print(f"note: {text}", markup=False, soft_wrap=True)
