"""What is left of a marked-up document: its text, its title, its headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retriever.records import Heading

SPACE, CELL, LINE, PARAGRAPH = " ", "\t", "\n", "\n\n"
"""What stands between two pieces of text; the later ones win over the earlier."""

_STRENGTH = {"": 0, SPACE: 1, CELL: 2, LINE: 3, PARAGRAPH: 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a file holds; `title` is None where it has none, `metadata` are others that it has."""

    text: str
    title: str | None = None
    headings: tuple[Heading, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class PlainText:
    """Collects pieces of text, with the strongest gap that was asked for between two of them.

    The cells of a table, empty ones included, are separated by tabs.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._gap = ""
        self._led = False
        self._headings: list[tuple[int, int, int]] = []  # level, and where it starts and ends
        self._level: int | None = None  # of the heading that is being written
        self._start: int | None = None  # of its text

    def gap(self, gap: str) -> None:
        """Ask for a gap before what is written next; one right after a lead is no gap.

        A heading has one line: one that was not closed in its source ends there.
        """
        if self._start is not None and _STRENGTH[gap] >= _STRENGTH[LINE]:
            self.end_heading()
        if not self._led and _STRENGTH[gap] > _STRENGTH[self._gap]:
            self._gap = gap

    @property
    def in_heading(self) -> bool:
        """Whether what is written next belongs to a heading: its line breaks are spaces."""
        return self._level is not None

    def line_break(self) -> None:
        """Ask for a new line, but in a heading for a space."""
        self.gap(SPACE if self.in_heading else LINE)

    def write(self, text: str) -> None:
        """Add a piece of text."""
        gap = self._gap if self._pieces else ""
        start = self._length + len(gap)
        self._pieces += (gap, text)
        self._length = start + len(text)
        self._gap = ""
        self._led = False
        if self._level is not None and self._start is None and text.strip():
            self._start = start

    def write_content(self, content: Content) -> None:
        """Add the text of another document, with its headings."""
        self.write(content.text)
        start = self._length - len(content.text)
        for heading in content.headings or ():
            begins = start + heading.start_char
            self._headings.append((heading.level, begins, begins + len(heading.title)))

    def begin_heading(self, level: int) -> None:
        """Begin a heading: what is written next, up to `end_heading` or a new line, is its title."""
        self.gap(PARAGRAPH)
        self.end_heading()
        self._level = level

    def end_heading(self) -> None:
        """End a heading; without text it is none."""
        if self._level is not None and self._start is not None:
            self._headings.append((self._level, self._start, self._length))
        self._level = self._start = None

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
        self.end_heading()
        self._gap = CELL

    def content(self, title: str | None = None) -> Content:
        """Return all that was written, without empty lines at the beginning and white space at the end."""
        self.end_heading()
        whole = "".join(self._pieces)
        text = whole.lstrip("\n")
        headings = _headings(whole, self._headings, removed=len(whole) - len(text))
        return Content(text=text.rstrip(), title=title, headings=headings)


def _headings(whole: str, found: Sequence[tuple[int, int, int]], *, removed: int) -> tuple[Heading, ...]:
    """Return headings, each the first line of its text; offsets count from `removed` characters on."""
    headings = []
    for level, start, end in found:
        words = whole[start:end].lstrip()
        begins = end - len(words) - removed
        title = words.split("\n", 1)[0].rstrip()
        headings.append(Heading(start_char=begins, level=level, title=title))
    return tuple(headings)
