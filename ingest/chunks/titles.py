"""Titles that are embedded with the chunks of their document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.chunks.budget import Budget
from ingest.chunks.layout import layout_of
from retriever.models.protocol import Tokenizer
from retriever.records import Document

_SHARE = 4
"""A title takes at most one of so many tokens that a chunk has for text: it is to help, not to crowd out."""

_GAP = "\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """What is embedded before the chunks of one document.

    Attributes
    ----------
    title
        The whole title; empty where there is none.
    text
        As much of it as may be embedded, with an empty line behind it.
    """

    title: str = ""
    text: str = ""

    def before(self, text: str, start: int) -> str:
        """Return what is embedded before a chunk of `text` that starts there: nothing before the title."""
        return "" if self.text and self._begins(text, start) else self.text

    def _begins(self, text: str, start: int) -> bool:
        end = start + len(self.title)
        return text.startswith(self.title, start) and not text[end : end + 1].isalnum()


def prefix_of(document: Document, tokenizers: Sequence[Tokenizer], budget: Budget) -> Prefix:
    """Return the prefix of the chunks of `document`: its ``title``, if that is a string with text.

    A title of more than a quarter of the room for text is cut after a word; if not even one word of it
    is short enough, there is no prefix. `budget` is that of chunks without a prefix.
    """
    given = document.metadata.get("title")
    title = given.strip() if isinstance(given, str) else ""
    allowed = [
        overhead + room // _SHARE for overhead, room in zip(budget.overheads, budget.rooms, strict=True)
    ]

    def fits(text: str) -> bool:
        counts = (tokenizer.count([text + _GAP])[0] for tokenizer in tokenizers)
        return all(count <= most for count, most in zip(counts, allowed, strict=True))

    kept = _longest(title[: budget.characters // _SHARE], fits)
    return Prefix(title=title, text=kept + _GAP) if kept else Prefix()


def _longest(title: str, fits: Callable[[str], bool]) -> str:
    """Return as many words of `title` as fit."""
    if fits(title):
        return title
    ends = layout_of(title).ends.tolist()
    fitting, too_many = 0, len(ends)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if fits(title[: ends[middle - 1]]):
            fitting = middle
        else:
            too_many = middle
    return title[: ends[fitting - 1]] if fitting else ""
