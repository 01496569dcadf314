"""Where sentences end.

Rules of our own, not a library: the libraries there are either have had no release for years or ask for
the language first and err as often on the cases in our tests; and with a library each release would
cut stored text anew. These rules change with `ChunkerSpec.version` alone.
"""

from __future__ import annotations

import re

import numpy as np

from ingest.chunks.abbreviations import BEFORE_NUMBERS, BEGINNERS, MONTHS, NEVER_LAST, SELDOM_LAST
from ingest.chunks.characters import STOPS, Positions

_AT_MOST = 48
"""Characters of a word that are looked at: what is longer is no abbreviation."""

_OPENING = (
    "\"'([{<*_~`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u00a1\u00bf\u300c\u300e\uff08"
)
_CLOSING = "\"')]}>*_~`\u2018\u2019\u201c\u201d\u00ab\u00bb\u2039\u203a\u300d\u300f\uff09"
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2022\u2023\u25e6\u00b7+"
_CONTINUES = ".,;:!?\u2026)]}"

_FOOTNOTES = re.compile(r"(?:\[[\w,\u2013-]{1,8}\])+$")
_NUMBER = re.compile(r"[0-9]{1,2}")
_ENUMERATOR = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3})*|[A-Za-z]|[ivxIVX]{1,4}")
_ACRONYM = re.compile(r"(?:[^\W\d_]{1,2}[.-]+)+[^\W\d_]{1,2}")
_END_OF_SPEECH = ("\u300d", "\u300f")


def sentence_ends(text: str, starts: Positions, ends: Positions, stops: Positions) -> Positions:
    """Return those of the words `stops` behind which a sentence ends.

    `starts` and `ends` are the offsets of all words; each word of `stops` ends with a stop or with what
    may stand behind one, such as a bracket, and has a word behind it.
    """
    begins, closes, nexts = (starts[stops].tolist(), ends[stops].tolist(), starts[stops + 1].tolist())
    after = ends[stops + 1].tolist()
    chosen = [
        _ends(text, begin, end, following, min(behind, following + _AT_MOST))
        for begin, end, following, behind in zip(begins, closes, nexts, after, strict=True)
    ]
    kept: Positions = stops[np.array(chosen, dtype=bool)]
    return kept


def _ends(text: str, begin: int, end: int, following: int, behind: int) -> bool:
    """Tell whether a sentence ends with the word from `begin` to `end`, before the word at `following`."""
    word = _without_wraps(text[max(begin, end - _AT_MOST) : end])
    next_word = text[following:behind]
    breaks = "\n" in text[end:following]
    if not word or word[-1] not in STOPS or not _can_begin(next_word, breaks=breaks):
        return False
    if text[end - 1] in _END_OF_SPEECH and next_word.startswith("\u3068"):  # Japanese: said so
        return False
    if not word.endswith(".") or word.endswith(".."):
        return True
    return not _abbreviates(word[:-1], next_word, leads=_leads_line(text, begin), breaks=breaks)


def _without_wraps(word: str) -> str:
    """Return a word without quotes and brackets around it and without marks of footnotes behind it."""
    bare = _FOOTNOTES.sub("", word)
    return bare.rstrip(_CLOSING).lstrip(_OPENING)


def _can_begin(next_word: str, *, breaks: bool) -> bool:
    """Tell whether a sentence can begin with this word; `breaks`: it begins a line."""
    bare = next_word.lstrip(_OPENING)
    if not bare:
        return breaks
    if bare[0] in _DASHES and not bare.strip(_DASHES):
        return breaks
    return not bare[0].islower() and bare[0] not in _CONTINUES


def _abbreviates(stem: str, next_word: str, *, leads: bool, breaks: bool) -> bool:
    """Tell whether the full stop behind `stem` is none that ends a sentence."""
    small = stem.lower()
    bare = next_word.lstrip(_OPENING)
    if leads and not breaks and _ENUMERATOR.fullmatch(stem):
        return True
    if small in NEVER_LAST or (small in BEFORE_NUMBERS and bare[:1].isdigit()):
        return True
    next_small = bare.rstrip(_CLOSING + _CONTINUES).lower()
    if _NUMBER.fullmatch(stem):
        return next_small in MONTHS
    initial = len(stem) == 1 and stem.isupper()
    if small in SELDOM_LAST or initial or _ACRONYM.fullmatch(stem):
        return next_small not in BEGINNERS and not breaks
    return False


def _leads_line(text: str, begin: int) -> bool:
    """Tell whether only blanks stand before `begin` on its line."""
    before = begin
    while before > max(begin - _AT_MOST, 0) and text[before - 1] in " \t":
        before -= 1
    return before == 0 or text[before - 1] == "\n"
