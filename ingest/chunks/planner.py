"""Which borders the chunks of a text get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.chunks.layout import layout_of
from ingest.chunks.rules import Rules
from ingest.chunks.tokens import TokenMap, map_tokens

_RESERVE = 100
"""Once an estimate has proved too low, one token of so many stays free."""

_DOUBT = 2
"""A word is cut unseen only if its estimate is so many times too long; else it is counted first."""


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
    rules
        How.
    """

    def __init__(self, text: str, rules: Rules) -> None:
        self._text = text
        self._rules = rules
        self._layout = layout_of(text, exact_sentences=rules.whole_sentences)
        self._maps = [map_tokens(text, each, self._layout.starts) for each in rules.tokenizers]
        self._length = len(text)
        self._ceilings: dict[int, int] = {}
        self._reserved = False

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
        budget = self._rules.budget(self._text, begin.start)
        pairs = zip(self._maps, budget.shares(counts), strict=True)
        limit = min(tokens.share(begin.start, end, share) for tokens, share in pairs if share < 1)
        self._ceilings[begin.start] = max(self._shortest(begin, end), min(end - 1, limit))
        self._reserved = True

    def _shortest(self, begin: Begin, end: int) -> int:
        """Return where a chunk ends at the earliest if it has to end before `end`."""
        if self._rules.whole_sentences and (sentence := self._sentence_end(begin)) < end:
            return sentence
        word = int(self._layout.ends[self._word_behind(begin.start)])
        return word if word < end else begin.start + 1

    def _end(self, begin: Begin) -> int:
        """Return the end of a chunk: the best border there is, `begin.beyond` if nothing new fits."""
        rooms = self._rules.budget(self._text, begin.start).rooms
        spared = [room - room // _RESERVE for room in rooms] if self._reserved else rooms
        limit = self._limit(begin.start, spared)
        if self._rules.whole_sentences and limit < (sentence := self._sentence_end(begin)):
            if begin.start < begin.beyond and self._ends_sentence(self._word_behind(begin.beyond) - 1):
                return begin.beyond
            if sentence <= self._limit(begin.start, [_DOUBT * room for room in rooms]):
                return sentence
        return self._end_within(begin, limit, rooms)

    def _end_within(self, begin: Begin, limit: int, rooms: Sequence[int]) -> int:
        """Return the best border up to `limit`."""
        ends = self._layout.ends
        first, behind = self._word_behind(begin.start), self._word_behind(limit)
        if behind == first:
            return self._end_of_long_word(begin.start, limit, int(ends[first]), rooms)
        if behind == ends.size:
            return int(ends[-1])
        return int(ends[self._best_border(begin, behind - 1)])

    def _end_of_long_word(self, start: int, limit: int, end: int, rooms: Sequence[int]) -> int:
        """Return the end of the word if only counting tells whether it is too long, else where to cut it."""
        doubtful = self._limit(start, [_DOUBT * room for room in rooms])
        return end if start not in self._ceilings and end <= doubtful else self._cut(start, limit)

    def _limit(self, start: int, rooms: Sequence[int]) -> int:
        """Return how far a chunk may reach that has so many tokens by each tokenizer."""
        reaches = (tokens.reach(start, room) for tokens, room in self._paired(rooms))
        characters = self._rules.bare.characters
        return min(start + characters, self._ceilings.get(start, self._length), *reaches)

    def _half(self, start: int) -> int:
        halves = self._rules.budget(self._text, start).halves
        return min(tokens.reach(start, half - 1) + 1 for tokens, half in self._paired(halves))

    def _best_border(self, begin: Begin, last: int) -> int:
        """Return the word behind which to end, `last` at the latest.

        Of each kind of border the last one counts if it leaves the chunk half full; the end of a sentence
        counts in any case where sentences are to be whole.
        """
        new = self._word_behind(begin.beyond)
        half = max(int(np.searchsorted(self._layout.ends, self._half(begin.start))), new)
        paragraphs, sentences, lines = self._layout.borders
        first_sentence = new if self._rules.whole_sentences else half
        for borders, first in ((paragraphs, half), (sentences, first_sentence), (lines, half)):
            candidate = int(borders[np.searchsorted(borders, last, "right") - 1])
            if candidate >= first:
                return candidate
        return last

    def _sentence_end(self, begin: Begin) -> int:
        """Return the end of the first sentence that is not all repeated; that of the text at the latest."""
        word = self._word_behind(max(begin.start, begin.beyond))
        sentences = self._layout.borders[1]
        place = int(np.searchsorted(sentences, word))
        return int(self._layout.ends[sentences[place] if place < sentences.size else -1])

    def _ends_sentence(self, word: int) -> bool:
        sentences = self._layout.borders[1]
        place = int(np.searchsorted(sentences, word))
        return place < sentences.size and int(sentences[place]) == word

    def _cut(self, start: int, limit: int) -> int:
        """Return where to cut a word: at a token, or before the grapheme that this token is within."""
        end = limit
        while end > start and not self._layout.graphemes[end]:
            end -= 1
        return end if end > start else max(limit, start + 1)

    def _repeating(self, begin: Begin, end: int) -> int | None:
        """Return where the overlap begins, so chosen that at least one new word fits behind it.

        Where sentences are to be whole and one ends here, it is sentences that are repeated, and a new
        one that fits. None if there is to be no overlap, the text is at its end, or `end` is within a word.
        """
        starts, ends = self._layout.starts, self._layout.ends
        overlap = self._rules.prefixed.overlap_tokens
        new = self._word_behind(end)
        if not overlap or new == ends.size or ends[new - 1] != end:
            return None
        whole = self._rules.whole_sentences and self._ends_sentence(new - 1)
        next_end = self._sentence_end(Begin(start=end, beyond=end)) if whole else int(ends[new])
        rooms = self._rules.prefixed.rooms
        fitting = (tokens.back(next_end, room) for tokens, room in self._paired(rooms))
        repeated = (tokens.back(end, overlap) for tokens in self._maps)
        earliest = max(next_end - self._rules.bare.characters, *fitting, *repeated)
        word = max(int(np.searchsorted(starts, earliest)), self._word_behind(begin.start) + 1)
        return int(starts[min(self._sentence_from(word) if whole else word, new)])

    def _sentence_from(self, word: int) -> int:
        """Return the first word from `word` on with which a sentence begins."""
        sentences = self._layout.borders[1]
        place = int(np.searchsorted(sentences, word - 1))
        return int(sentences[place]) + 1 if place < sentences.size else self._layout.starts.size

    def _word_behind(self, position: int) -> int:
        """Return the index of the first word that ends behind `position`."""
        return int(np.searchsorted(self._layout.ends, position, "right"))

    def _paired(self, sizes: Sequence[int]) -> Iterator[tuple[TokenMap, int]]:
        return zip(self._maps, sizes, strict=True)
