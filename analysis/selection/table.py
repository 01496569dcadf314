"""A selection on a terminal: models are lettered, so that the table of options fits 100 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from analysis.evaluation import CUTOFF
from analysis.resampling import Interval
from analysis.selection.outcome import Row, Selection
from analysis.selection.record import Cost
from analysis.tables import Letters
from retriever.records import LEXICAL

_NUMBER = 6  # a number, and its interval below it, must not be cut off where a terminal is narrow


def option_table(selection: Selection, letters: Letters, *, every: bool = False) -> Table:
    """Return the options, best first; single models always, of the others the best unless `every` is wished.

    Parameters
    ----------
    selection
        What to show.
    letters
        Of the models.
    every
        Whether to show all options.
    """
    is_judged = selection.verdict is not None
    asked = f"{selection.judged_queries:,} judged queries" if is_judged else _asked(selection)
    table = Table(
        title=f"What could be served, by {asked}",
        title_justify="left",
        caption=_caption(selection, every=every),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("option", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    table.add_column("expected", justify="right", no_wrap=True)
    if is_judged:
        table.add_column(f"NDCG@{CUTOFF}", justify="right", min_width=_NUMBER)
    table.add_column("gain", justify="right", min_width=_NUMBER)
    table.add_column("chance", justify="right", no_wrap=True)
    has_costs = any(row.cost.bytes_per_chunk is not None for row in selection.rows)
    for heading in ("s/1,000", "bytes", "ms") if has_costs else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in _shown(selection, every=every):
        is_served = row.option.label == selection.recommended.label
        cells: list[str | Text] = [_name(row, letters, is_served=is_served), _weights(row)]
        cells.append(f"{row.expected:.2f} ±{row.deviation:.2f}")
        if row.measured is not None:
            cells.append(_interval(row.measured, ".3f"))
        cells += [_gain(row), "" if row.option.is_single else f"{row.chance:.0%}"]
        cells += _cost(row.cost) if has_costs else []
        table.add_row(*cells, style="bold" if is_served else None if row.is_affordable else "dim")
    return table


SHOWN = 12
"""How many options beside the single models are shown."""


def _shown(selection: Selection, *, every: bool) -> list[Row]:
    ordered = sorted(selection.rows, key=lambda row: -row.quality)
    if every:
        return ordered
    others = [row for row in ordered if not row.option.is_single]
    kept = {row.option.label for row in (*others[:SHOWN], selection.best_guess)}
    kept |= {row.option.label for row in others if row.option.legs == (LEXICAL,)}
    return [row for row in ordered if row.option.is_single or row.option.label in kept]


def _caption(selection: Selection, *, every: bool) -> str:
    left = len(selection.rows) - len(_shown(selection, every=every))
    parts = [
        f"expected: NDCG@{CUTOFF} by agreement of models and by judgements, ± a standard deviation",
        "*: recommended",
        "°: no other is as good at no more cost",
        "†: for comparison, not deployable",
    ]
    if selection.verdict is not None:
        confidence = f"{100 * selection.verdict.confidence:.4g}%"
        parts.insert(
            1, f"NDCG@{CUTOFF} and gain over the best model: measured, ± half the {confidence} interval"
        )
    if left:
        parts.append(f"{left} more with --all")
    return "; ".join(parts)


def _asked(selection: Selection) -> str:
    kind = (
        "chunks of the corpus in the place of queries"
        if selection.made_queries
        else "queries that nobody judged"
    )
    return f"{selection.queries:,} {kind}"


def _name(row: Row, letters: Letters, *, is_served: bool) -> Text:
    option = row.option
    parts = [letters.of((model,)) for model in option.models] + ([LEXICAL] if LEXICAL in option.legs else [])
    marks = ("*" if is_served else "") + ("°" if row.on_front else "")
    return Text("‖".join(parts) + marks + ("" if option.is_deployable else "†"))


def _weights(row: Row) -> str:
    if len(row.option.legs) == 1:
        return ""
    return row.option.weighting if row.option.fusion == "sum" else row.option.fusion


def _gain(row: Row) -> str:
    if row.option.is_single:
        return ""
    if row.gain is None:
        return f"{row.expected_gain:+.2f} ±{row.gain_deviation:.2f}"
    return _interval(row.gain.gain, "+.3f")


def _interval(interval: Interval, form: str) -> str:
    return f"{interval.estimate:{form}} ±{(interval.high - interval.low) / 2:.3f}"


def _cost(cost: Cost) -> list[str]:
    return [
        "" if cost.seconds_per_1000_chunks is None else f"{cost.seconds_per_1000_chunks:.1f}",
        "" if cost.bytes_per_chunk is None else f"{cost.bytes_per_chunk:,.0f}",
        "" if cost.milliseconds_per_query is None else f"{cost.milliseconds_per_query:.1f}",
    ]
