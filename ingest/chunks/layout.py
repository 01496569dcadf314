"""Where a text can be cut, and how good each place is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.chunks.characters import (
    CLOSES,
    ENDS_SENTENCE,
    JOINS,
    LOWER,
    OPENS,
    SPACE,
    UNSPACED,
    WRAPS,
    Flags,
    Mask,
    Positions,
    codes_of,
    flags_of,
    grapheme_starts,
)
from ingest.chunks.sentences import sentence_ends

_NEWLINE = ord("\n")
_WRAPS_AT_MOST = 3
_MARKUP = codes_of("*_`~")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The words of a text and the borders between them.

    A word is a run of characters without white space; in scripts that are written without spaces it
    is a single character with the marks and the punctuation that belong to it.

    Attributes
    ----------
    starts, ends
        int64, shape (n_words,): character offsets of each word; both increase.
    borders
        Indices of the words behind which a paragraph, a sentence or a line ends, in this order of
        preference; each begins with -1 and increases. Where sentences are exact, one ends with each
        paragraph, too.
    graphemes
        Per character: whether a word that must be cut can be cut before it.
    """

    starts: Positions
    ends: Positions
    borders: tuple[Positions, Positions, Positions]
    graphemes: Mask


def layout_of(text: str, *, exact_sentences: bool = False) -> Layout:
    """Return the words and borders of `text`.

    A sentence ends with a stop that no small letter follows; where sentences are to be exact, with what
    `ingest.chunks.sentences` makes of such stops.
    """
    codes = codes_of(text)
    flags = flags_of(codes)
    graphemes = grapheme_starts(codes, flags)
    starts, ends = _words(flags, graphemes)
    borders = _borders(codes, flags, starts, ends)
    if exact_sentences:
        borders = _with_sentences(
            borders, sentence_ends(text, starts, ends, _stops(codes, flags, starts, ends))
        )
    return Layout(starts=starts, ends=ends, borders=borders, graphemes=graphemes)


def _words(flags: Flags, graphemes: Mask) -> tuple[Positions, Positions]:
    """Return where words start and end."""
    inside = np.concatenate(([False], (flags & SPACE) == 0, [False]))
    opening = inside[1:] & ~inside[:-1]
    closing = inside[:-1] & ~inside[1:]
    inner = _borders_without_space(flags, graphemes)
    opening[1:-1] |= inner
    closing[1:-1] |= inner
    return np.flatnonzero(opening), np.flatnonzero(closing)


def _borders_without_space(flags: Flags, graphemes: Mask) -> Mask:
    """Tell, for each place between two characters, whether words meet there without a space."""
    before, after = flags[:-1], flags[1:]
    unspaced = ((before | after) & UNSPACED) != 0
    solid = ((before | after) & SPACE) == 0
    free = ((before & (OPENS | JOINS)) == 0) & ((after & CLOSES) == 0)
    meeting: Mask = unspaced & solid & free & graphemes[1:]
    return meeting


def _stops(codes: NDArray[np.uint32], flags: Flags, starts: Positions, ends: Positions) -> Positions:
    """Return the words, the last one aside, that end with a stop or with what may stand behind one."""
    lasts = ends - 1
    closed = ((flags[lasts] & WRAPS) != 0) | np.isin(codes[lasts], _MARKUP)
    return np.flatnonzero((_ends_sentence(flags, starts, ends) | closed)[:-1])


def _with_sentences(
    borders: tuple[Positions, Positions, Positions], sentences: Positions
) -> tuple[Positions, Positions, Positions]:
    paragraphs, _, lines = borders
    return (paragraphs, np.union1d(paragraphs, sentences), lines)


def _borders(
    codes: NDArray[np.uint32], flags: Flags, starts: Positions, ends: Positions
) -> tuple[Positions, Positions, Positions]:
    newlines = np.flatnonzero(codes == _NEWLINE)
    between = np.searchsorted(newlines, starts[1:]) - np.searchsorted(newlines, ends[:-1])
    sentences = _ends_sentence(flags, starts, ends)[:-1] & ((flags[starts[1:]] & LOWER) == 0)
    return (_indices(between > 1), _indices(sentences), _indices(between == 1))


def _ends_sentence(flags: Flags, starts: Positions, ends: Positions) -> Mask:
    """Tell which words end with a stop, closing quotes and brackets aside."""
    tails = ends - 1
    for _ in range(_WRAPS_AT_MOST):
        tails = np.where(((flags[tails] & WRAPS) != 0) & (tails > starts), tails - 1, tails)
    stops: Mask = (flags[tails] & ENDS_SENTENCE) != 0
    return stops


def _indices(chosen: Mask) -> Positions:
    return np.concatenate((np.array([-1], dtype=np.int64), np.flatnonzero(chosen)))
