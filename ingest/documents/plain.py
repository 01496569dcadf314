"""What is left of a marked-up document: its text and its title."""

from __future__ import annotations

from dataclasses import dataclass

SPACE, CELL, LINE, PARAGRAPH = " ", "\t", "\n", "\n\n"
"""What stands between two pieces of text; the later ones win over the earlier."""

_STRENGTH = {"": 0, SPACE: 1, CELL: 2, LINE: 3, PARAGRAPH: 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Text of a file; `title` is None where the file has none."""

    text: str
    title: str | None = None


class PlainText:
    """Collects pieces of text, with the strongest gap that was asked for between two of them.

    The cells of a table, empty ones included, are separated by tabs.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._gap = ""
        self._led = False

    def gap(self, gap: str) -> None:
        """Ask for a gap before what is written next; one right after a lead is no gap."""
        if not self._led and _STRENGTH[gap] > _STRENGTH[self._gap]:
            self._gap = gap

    def write(self, text: str) -> None:
        """Add a piece of text."""
        self._pieces += (self._gap if self._pieces else "", text)
        self._gap = ""
        self._led = False

    def lead(self, text: str) -> None:
        """Add what the next piece follows directly: the number of an item, the place of a cell."""
        self.write(text)
        self._led = True

    def end_item(self) -> None:
        """End an item of a list."""
        self._led = False
        self.gap(LINE)

    def end_cell(self) -> None:
        """End a cell of a table; a gap at its end does not tear the row apart."""
        self._led = False
        self._gap = CELL

    @property
    def text(self) -> str:
        """All that was written, without empty lines at the beginning and white space at the end."""
        return "".join(self._pieces).lstrip("\n").rstrip()
