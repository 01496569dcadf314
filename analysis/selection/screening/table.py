"""A screening on a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from analysis.selection.screening.record import Screening


def screening_table(screening: Screening) -> Table:
    """Return the models, best first, by the evidence of each sample; those to keep in bold."""
    table = Table(
        title=Text(f"Agreement with the other models on samples of corpus {screening.corpus}"),
        title_justify="left",
        caption=Text(
            "chance that the best model is not kept: "
            + ", ".join(f"{one.risk:.1%} on {one.chunks:,} chunks" for one in screening.rounds)
            + f"; that one of the two best is not: {screening.last.pair_risk:.1%}"
        ),
        caption_justify="left",
    )
    table.add_column("model", overflow="fold")
    for one in screening.rounds:
        table.add_column(f"{one.chunks:,} chunks", justify="right")
    for key in screening.last.order:
        table.add_row(
            Text(key),
            *(f"{one.quality[key]:.3f}" if key in one.quality else "" for one in screening.rounds),
            style="bold" if key in screening.kept else None,
        )
    for left_out in screening.unscreened:
        table.add_row(Text(f"{left_out.name}: {left_out.reason}", style="red"))
    return table
