"""Documents into the sections that stand under their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from retriever.errors import InputError
from retriever.records import Document, Heading

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_LINE_END = re.compile(r"\r\n?|\n")
_LIKE_A_HEADING = re.compile(r"(?:\A|[\r\n]) {0,3}(?:#{1,6}(?:\s|\Z)|(?:=+|-+)[ \t]*(?:[\r\n]|\Z))")


_TITLE = 200
"""Characters of a title that are kept: each chunk has all titles above it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A stretch of a document and the titles of the headings it stands under, outermost first.

    Of each title there are at most 200 characters.
    """

    start: int
    end: int
    path: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A heading: where its lines start and end."""

    start: int
    end: int
    level: int
    title: str


def sections_of(document: Document) -> list[Section]:
    """Return the sections of a document; together they are all of it.

    The headings are those its source marked, or where it marks none those of its text as CommonMark,
    lists and quotes aside. Each begins a section, but for one directly below another, with nothing but
    white space between them, and deeper: the upper one then has no section of its own and stands in
    that of the lower one.

    Raises
    ------
    InputError
        If the headings of the document are not in its text or not in order.
    """
    text = document.text
    lines = list(_found(text)) if document.headings is None else _given(document, document.headings)
    edges = [0, *(line.start for line in lines), len(text)]
    sections = [Section(start=0, end=edges[1])] if edges[1] else []
    begin: int | None = None
    for index, (line, path) in enumerate(zip(lines, _paths(lines), strict=True)):
        begin = line.start if begin is None else begin
        end = edges[index + 2]
        deeper = index + 1 < len(lines) and lines[index + 1].level > line.level
        if not (deeper and not text[line.end : end].strip()):
            sections.append(Section(start=begin, end=end, path=path))
            begin = None
    return sections


def _paths(lines: Sequence[_Line]) -> Iterator[tuple[str, ...]]:
    above: list[_Line] = []
    for line in lines:
        while above and above[-1].level >= line.level:
            above.pop()
        above.append(line)
        yield tuple(one.title[:_TITLE] for one in above if one.title)


def _given(document: Document, headings: Sequence[Heading]) -> list[_Line]:
    """Return the headings that the source of a document marked."""
    text = document.text
    places = [heading.start_char for heading in headings]
    if not all(before < after for before, after in pairwise([-1, *places, len(text)])):
        raise InputError(
            f"document {document.doc_id!r}, headings: expected places in its {len(text)} characters, each "
            f"behind the one before, got {', '.join(map(str, places[:10]))}. Mend what reads the document."
        )
    lines = []
    for heading in headings:
        written = text.startswith(heading.title, heading.start_char)
        behind = heading.start_char + (len(heading.title) if written else 0)
        end = text.find("\n", behind)
        lines.append(
            _Line(
                start=heading.start_char,
                end=len(text) if end < 0 else end,
                level=heading.level,
                title=" ".join(heading.title.split()),
            )
        )
    return lines


def _found(text: str) -> Iterator[_Line]:
    """Yield the headings of a text that is read as Markdown."""
    if not _LIKE_A_HEADING.search(text):  # most texts have none, and parsing takes a while
        return
    line_starts = [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]
    for opening, inside in pairwise(_parsers()[0].parse(text)):
        if opening.type == "heading_open" and opening.level == 0 and opening.map is not None:
            first, behind = opening.map
            yield _Line(
                start=line_starts[first],
                end=line_starts[behind],
                level=int(opening.tag[1:]),
                title=_title(inside.content),
            )


def _title(source: str) -> str:
    """Return the words of a heading without its markup."""
    tokens = _parsers()[1].parseInline(source)[0].children or ()
    return " ".join("".join(map(_words, tokens)).split())


def _words(token: Token) -> str:
    if token.type == "html_inline":
        return ""
    return " " if token.type in {"softbreak", "hardbreak"} else token.content


@cache
def _parsers() -> tuple[MarkdownIt, MarkdownIt]:
    """Return a parser of blocks, which leaves what stands within them as it is, and one for the rest."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable("inline"), MarkdownIt("commonmark")
