"""A plan on a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from analysis.selection.planning.record import ModelPlan, Range, SelectionPlan

_UNKNOWN = "not known"
_MINUTE, _HOUR = 60, 3600
_MEGABYTE = 1e6


def plan_table(plan: SelectionPlan) -> Table:
    """Return what each candidate would embed now, and what embedding the corpus with it would take."""
    table = Table(
        title=Text(
            f"Selection for corpus {plan.corpus}, {plan.chunks:,} chunks: "
            f"{plan.options:,} options to measure, about {_range(plan.seconds)} in all, "
            f"{plan.temporary_bytes / _MEGABYTE:,.0f} MB of temporary files"
        ),
        title_justify="left",
        caption=Text(plan.note),
        caption_justify="left",
    )
    table.add_column("model", overflow="fold")
    for column in ("queries", "sampled chunks", "time", "whole corpus", "its vectors"):
        table.add_column(column, justify="right")
    for model in plan.models:
        if model.problem is not None:
            table.add_row(Text(f"{model.name}: {model.problem}", style="red"))
        else:
            table.add_row(Text(model.name), *_cells(model))
    return table


def _cells(model: ModelPlan) -> list[str]:
    if model.stored:
        return [f"{model.queries:,}", "stored", _range(model.seconds), "stored", "stored"]
    size = model.corpus_bytes
    seconds = model.corpus_seconds
    return [
        f"{model.queries:,}",
        f"{model.chunks.least:,.0f} to {model.chunks.most:,.0f}",
        _range(model.seconds),
        _UNKNOWN if seconds is None else _duration(seconds),
        _UNKNOWN if size is None else f"{size / _MEGABYTE:,.1f} MB",
    ]


def _range(seconds: Range | None) -> str:
    if seconds is None:
        return _UNKNOWN
    least, most = _duration(seconds.least), _duration(seconds.most)
    return least if least == most else f"{least} to {most}"


def _duration(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
