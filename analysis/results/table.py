"""A table as data, once; rendered as CSV, as LaTeX, and by `analysis.tables` on a terminal."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, TypeAlias

Cell: TypeAlias = str | int | float | None
"""None where there is no value."""

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "‖": r"$\Vert$",
        "ρ": r"$\rho$",
        "α": r"$\alpha$",
        "τ": r"$\tau$",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name
        Heading of the CSV file.
    heading
        For people.
    digits
        After the decimal point, for people; None for text and whole numbers.
    signed
        Whether people see a plus sign: a difference.
    detail
        Whether only the CSV file has it: too much for a page.
    """

    name: str
    heading: str
    digits: int | None = None
    signed: bool = False
    detail: bool = False

    def text(self, cell: Cell) -> str:
        """Return a cell for people, empty where there is no value."""
        if cell is None:
            return ""
        if isinstance(cell, str):
            return cell
        if self.digits is None:
            return f"{cell:,}"
        return f"{cell:+.{self.digits}f}" if self.signed else f"{cell:.{self.digits}f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultTable:
    """A table: cells in full precision, one tuple per row.

    Attributes
    ----------
    name
        Of its files and of its LaTeX label.
    title
        What it shows, a sentence without full stop.
    columns, rows
        Every row has one cell per column.
    note
        What a reader must know to read it right; may be empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def csv(self) -> str:
        """Return the table as CSV with a header; floats so that they are read back exactly."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return out.getvalue()

    def latex(self) -> str:
        r"""Return the table for LaTeX: rounded, escaped, with the rules of booktabs.

        It needs ``\usepackage{booktabs,longtable}``: a table may be longer than a page.
        """
        alignment = "".join("r" if self.is_number(place) else "l" for place in self.shown)
        heading = self._latex_row([column.heading for column in self.columns])
        caption = f"{self.title}. {self.note}".rstrip()
        return "\n".join(
            [
                r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
                rf"\begin{{longtable}}{{{alignment}}}",
                rf"\caption{{{_escaped(caption)}}}\label{{tab:{self.name}}} \\",
                r"\toprule",
                heading,
                r"\midrule",
                r"\endfirsthead",
                r"\toprule",
                heading,
                r"\midrule",
                r"\endhead",
                r"\bottomrule",
                r"\endlastfoot",
                *(self._latex_row(self.texts(row)) for row in self.rows),
                r"\end{longtable}",
                r"\endgroup",
                "",
            ]
        )

    @property
    def shown(self) -> tuple[int, ...]:
        """Places of the columns that people see."""
        return tuple(place for place, column in enumerate(self.columns) if not column.detail)

    def texts(self, row: tuple[Cell, ...]) -> list[str]:
        """Return the cells of a row for people."""
        return [column.text(cell) for column, cell in zip(self.columns, row, strict=True)]

    def is_number(self, place: int) -> bool:
        """Return whether a column holds numbers, which stand to the right."""
        return not any(isinstance(row[place], str) for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: the title, the note, and one object per row by the names of the columns."""
        names = [column.name for column in self.columns]
        return {
            "title": self.title,
            "note": self.note,
            "rows": [dict(zip(names, row, strict=True)) for row in self.rows],
        }

    def _latex_row(self, texts: list[str]) -> str:
        return " & ".join(_escaped(texts[place]) for place in self.shown) + r" \\"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
