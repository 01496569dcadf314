"""A table of the page as data: texts, laid out by the template."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A heading, and whether numbers stand below it."""

    heading: str
    is_number: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One cell per column, the first of which names the row.

    Attributes
    ----------
    cells
        Texts, or what is HTML already.
    is_served
        Whether the row is about what the verdict says to serve.
    """

    cells: tuple[str | Markup, ...]
    is_served: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table.

    Attributes
    ----------
    caption, columns, rows
        What it shows.
    note
        Stands below; may be empty.
    is_sortable
        Whether readers may change the order.
    filtered_by
        Index of the column whose first word readers may filter by; None for no filter.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    is_sortable: bool = True
    filtered_by: int | None = None


def words(*headings: str) -> tuple[Column, ...]:
    """Return columns that hold words."""
    return tuple(Column(heading=heading, is_number=False) for heading in headings)


def numbers(*headings: str) -> tuple[Column, ...]:
    """Return columns that hold numbers."""
    return tuple(Column(heading=heading) for heading in headings)
