"""The command that tells whether live queries are still those of the time of deployment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.console import ApiKeyOption, CorpusOption, JsonOption, StoreOption, UrlOption, emit, names
from retriever.errors import InputError
from retriever.records import COMBINED

if TYPE_CHECKING:
    from retriever.corpus import Corpus
    from retriever.search import Searcher
    from retriever.watch import Change, Summary, WatchReport

_AGO = re.compile(r"(\d{1,6})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def watch(  # the options of the command
    corpus: CorpusOption,
    log: Annotated[
        Path | None,
        typer.Option(help="Folder of the log (default: beside the store; tandem-watch for a server)."),
    ] = None,
    serve: Annotated[
        str | None, typer.Option("--serve", help="A or A+B, instead of the deployment watched last.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only live queries since then: 7d, 24h, 30m, or a time such as 2026-11-22T09:00."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="How likely nothing is called drifted where nothing has changed.")
    ] = 0.99,
    minimum_shift: Annotated[
        float, typer.Option(help="Share of the queries that must lie elsewhere for it to matter.")
    ] = 0.1,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Measure these queries (JSON lines with text) as the time of deployment, and keep that."
        ),
    ] = None,
    keep_queries: Annotated[
        bool, typer.Option("--keep-queries", help="Keep the texts of --baseline, not only numbers.")
    ] = False,
    fail: Annotated[
        bool, typer.Option("--fail", help="End with exit status 6 if the queries have drifted.")
    ] = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Tell whether live queries are still those of the time of deployment.

    Reads the log that retrievers write after `TandemRetriever.watch`; only --baseline opens the store.
    """
    from retriever.watch import DriftAlarm, WatchSettings
    from retriever.watch.drift import watch_report
    from retriever.watch.log import latest_log, log_of_place

    settings = WatchSettings(confidence=confidence, minimum_shift=minimum_shift)
    start = None if since is None else _time(since)
    folder = log_of_place(store, url) if log is None else log.expanduser()
    if baseline is None:
        if keep_queries:
            raise InputError(
                "--keep-queries: expected --baseline, got none: live queries keep what they keep."
            )
        watched = latest_log(folder, corpus, serves=serve)
    else:
        from retriever.corpus import Corpus
        from retriever.store.place import open_store
        from retriever.watch.baselines import read_texts, record_baseline

        texts = read_texts(baseline)
        with Corpus.open(open_store(store, url=url, api_key=api_key), corpus) as opened:
            watched = record_baseline(_searcher(opened, serve), texts, folder, keep_text=keep_queries)
    report = watch_report(watched, settings, since=start)
    emit(report.to_json(), as_json=json, show=lambda console: _show(console, report))
    if fail and report.is_drifted:
        raise DriftAlarm(report)


def _searcher(corpus: Corpus, serve: str | None) -> Searcher:
    from retriever.deployments import current_deployment, planned
    from retriever.search import Searcher

    if serve is None:
        return Searcher(corpus, current_deployment(corpus))
    wished = planned(corpus, names(serve, separator=COMBINED))
    served = corpus.served
    is_served = served is not None and served.name == wished.name
    return Searcher(corpus, current_deployment(corpus) if is_served else wished)


def _time(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone()  # without an offset it is the time of this machine
    except (ValueError, OverflowError) as error:  # before the year 1
        raise InputError(
            f"--since: expected 7d, 24h, 30m or a time such as 2026-11-22T09:00, got {text!r}."
        ) from error


def _show(console: Console, report: WatchReport) -> None:
    if report.live_queries and report.baseline_queries:
        console.print(_table(report))
    if report.lost or report.broken:
        console.print(
            f"Not observed, because too many waited or measuring failed: {report.lost:,} queries. Lines of "
            f"the log that cannot be read: {report.broken:,}.",
            markup=False,
            soft_wrap=True,
        )
    if report.changes and len(report.changes) == 1:
        console.print("One model alone is served: there are no halves to agree.", markup=False)
    console.print(report.sentence, style="bold", markup=False, soft_wrap=True)


def _table(report: WatchReport) -> Table:
    from retriever.watch.report import MEASURES

    title = f"{report.serves} on {report.corpus}: {report.first} to {report.last}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column(f"deployment ({report.baseline_queries:,})", justify="right")
    table.add_column(f"live ({report.live_queries:,})", justify="right")
    for name in ("shift", "p (Holm)", ""):
        table.add_column(name, justify="right")
    for change in report.changes:
        table.add_row(
            MEASURES[change.measure],
            _cell(change.baseline, change),
            _cell(change.live, change),
            _shift(change),
            f"{change.adjusted_p_value:.2g}",
            Text("drifted", style="bold red") if change.is_drifted else Text("steady"),
        )
    for name, (before, now) in report.others.items():
        table.add_row(Text(name.replace("_", " ")), _spread(before), _spread(now), "", "", "")
    return table


def _cell(summary: Summary, change: Change) -> str:
    return f"{100 * summary.mean:.1f} %" if change.measure == "disagreement" else _spread(summary)


def _spread(summary: Summary) -> str:
    return f"{summary.median:.3f} ({summary.low:.3f} to {summary.high:.3f})"


def _shift(change: Change) -> str:
    if change.interval is None:
        return f"{100 * change.shift:.1f} %"
    low, high = change.interval
    return f"{100 * change.shift:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"
