"""Which borders the chunks of a text get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.chunks.layout import layout_of
from ingest.chunks.tokens import TokenMap, map_tokens
from retriever.models.protocol import Tokenizer

_CHARACTERS_PER_TOKEN = 32
"""Bounds a chunk where tokens do not: a vocabulary may read a word of a million letters as one unknown."""

_RESERVE = 100
"""Once an estimate has proved too low, one token of so many stays free."""

_DOUBT = 2
"""A word is cut unseen only if its estimate is so many times too long; else it is counted first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long a chunk may be.

    `max_tokens` includes special tokens, of which each tokenizer adds `specials`.
    """

    max_tokens: int
    overlap_tokens: int
    specials: tuple[int, ...]

    @property
    def characters(self) -> int:
        """The most characters of a chunk."""
        return self.max_tokens * _CHARACTERS_PER_TOKEN

    @property
    def rooms(self) -> tuple[int, ...]:
        """For each tokenizer, the most tokens of a text besides the special ones."""
        return tuple(self.max_tokens - special for special in self.specials)

    def shares(self, counts: Sequence[int]) -> tuple[float, ...]:
        """For each tokenizer, how much of a text of so many tokens fits; special ones are included."""
        texts = (max(count - special, 1) for count, special in zip(counts, self.specials, strict=True))
        return tuple(room / text for room, text in zip(self.rooms, texts, strict=True))

    @property
    def halves(self) -> tuple[int, ...]:
        """For each tokenizer, how many tokens of a text make a chunk half full; at least 1."""
        return tuple(max(1, (self.max_tokens + 1) // 2 - special) for special in self.specials)


@dataclass(frozen=True, kw_only=True, slots=True)
class Begin:
    """Where a chunk starts, and the end of the chunk before, which it must pass."""

    start: int
    beyond: int


class Planner:
    """Picks the borders of the chunks of one text, by the estimates of token maps.

    Parameters
    ----------
    text
        What to cut.
    tokenizers
        All that count, in the order of `budget.specials`.
    budget
        How long a chunk may be.
    """

    def __init__(self, text: str, tokenizers: Sequence[Tokenizer], budget: Budget) -> None:
        self._budget = budget
        self._layout = layout_of(text)
        self._maps = [map_tokens(text, each, self._layout.starts) for each in tokenizers]
        self._length = len(text)
        self._ceilings: dict[int, int] = {}
        self._rooms = budget.rooms

    def plan(self, begin: Begin, stop: int) -> Iterator[tuple[Begin, int]]:
        """Yield the begin and the end of each chunk that starts before `stop`."""
        while begin.start < stop:
            end = self._end(begin)
            if end <= begin.beyond:  # with so much of its predecessor repeated, nothing new fits
                begin = Begin(start=self.after(begin.beyond), beyond=begin.beyond)
                end = self._end(begin)
            yield begin, end
            begin = self.following(begin, end)

    def after(self, end: int) -> int:
        """Return where the text goes on behind `end`; its length if only white space follows."""
        word = self._word_behind(end)
        return max(end, int(self._layout.starts[word])) if word < self._layout.starts.size else self._length

    def following(self, begin: Begin, end: int) -> Begin:
        """Return where the chunk begins that follows the one from `begin` to `end`."""
        repeating = self._repeating(begin, end)
        return Begin(start=self.after(end) if repeating is None else repeating, beyond=end)

    def shorten(self, begin: Begin, end: int, counts: Sequence[int]) -> None:
        """Note that a planned chunk is too long, and its tokens by each tokenizer, special ones included.

        It will be planned shorter, by one character at least, and all others with a little reserve: text
        in which one estimate fails, such as a long word or Chinese under some vocabularies, fails many.
        """
        first_word = int(self._layout.ends[self._word_behind(begin.start)])
        shortest = first_word if first_word < end else begin.start + 1
        pairs = zip(self._maps, self._budget.shares(counts), strict=True)
        limit = min(tokens.share(begin.start, end, share) for tokens, share in pairs if share < 1)
        self._ceilings[begin.start] = max(shortest, min(end - 1, limit))
        self._rooms = tuple(room - room // _RESERVE for room in self._budget.rooms)

    def _end(self, begin: Begin) -> int:
        """Return the end of a chunk: the best border of those that leave it half full."""
        limit = self._limit(begin.start, self._rooms)
        ends = self._layout.ends
        first, behind = self._word_behind(begin.start), self._word_behind(limit)
        if behind == first:
            return self._end_of_long_word(begin.start, limit, int(ends[first]))
        if behind == ends.size:
            return int(ends[-1])
        half = int(np.searchsorted(ends, self._half(begin.start)))
        return int(ends[self._best_border(max(half, self._word_behind(begin.beyond)), behind - 1)])

    def _end_of_long_word(self, start: int, limit: int, end: int) -> int:
        """Return the end of the word if only counting tells whether it is too long, else where to cut it."""
        doubtful = self._limit(start, [_DOUBT * room for room in self._budget.rooms])
        return end if start not in self._ceilings and end <= doubtful else self._cut(start, limit)

    def _limit(self, start: int, rooms: Sequence[int]) -> int:
        """Return how far a chunk may reach that has so many tokens by each tokenizer."""
        reaches = (tokens.reach(start, room) for tokens, room in self._paired(rooms))
        return min(start + self._budget.characters, self._ceilings.get(start, self._length), *reaches)

    def _half(self, start: int) -> int:
        return min(tokens.reach(start, half - 1) + 1 for tokens, half in self._paired(self._budget.halves))

    def _best_border(self, first: int, last: int) -> int:
        """Return the word behind which to end: of words `first` to `last` if there are any, else `last`."""
        for borders in self._layout.borders:
            candidate = int(borders[np.searchsorted(borders, last, "right") - 1])
            if candidate >= first:
                return candidate
        return last

    def _cut(self, start: int, limit: int) -> int:
        """Return where to cut a word: at a token, or before the grapheme that this token is within."""
        end = limit
        while end > start and not self._layout.graphemes[end]:
            end -= 1
        return end if end > start else max(limit, start + 1)

    def _repeating(self, begin: Begin, end: int) -> int | None:
        """Return where the overlap begins, so chosen that at least one new word fits behind it.

        None if there is to be no overlap, the text is at its end, or `end` is within a word.
        """
        starts, ends = self._layout.starts, self._layout.ends
        new = self._word_behind(end)
        if not self._budget.overlap_tokens or new == ends.size or ends[new - 1] != end:
            return None
        fitting = (tokens.back(int(ends[new]), room) for tokens, room in self._paired(self._budget.rooms))
        repeated = (tokens.back(end, self._budget.overlap_tokens) for tokens in self._maps)
        earliest = max(int(ends[new]) - self._budget.characters, *fitting, *repeated)
        word = max(int(np.searchsorted(starts, earliest)), self._word_behind(begin.start) + 1)
        return int(starts[min(word, new)])

    def _word_behind(self, position: int) -> int:
        """Return the index of the first word that ends behind `position`."""
        return int(np.searchsorted(self._layout.ends, position, "right"))

    def _paired(self, sizes: Sequence[int]) -> Iterator[tuple[TokenMap, int]]:
        return zip(self._maps, sizes, strict=True)
