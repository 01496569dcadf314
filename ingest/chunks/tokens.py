"""Where the tokens of a text lie, and what follows from it for the size of a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ingest.chunks.characters import Positions
from retriever.models.protocol import Tokenizer

_SEGMENT = 1 << 15
"""Characters given to a tokenizer at once: its memory grows with the text, its speed does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenMap:
    """The tokens of one text under one tokenizer.

    What is read from it is an estimate: on its own, a piece of a text may have a few tokens more or
    less than inside the text.

    Attributes
    ----------
    starts, ends
        int64, shape (n_tokens,): character offsets; neither decreases.
    length
        Characters of the text.
    """

    starts: Positions
    ends: Positions
    length: int

    def reach(self, start: int, tokens: int) -> int:
        """Return up to where a piece that starts at `start` has at most so many tokens."""
        return self._start_of(int(np.searchsorted(self.ends, start, "right")) + tokens)

    def back(self, end: int, tokens: int) -> int:
        """Return from where on a piece that ends at `end` has at most so many tokens."""
        index = int(np.searchsorted(self.starts, end)) - tokens - 1
        return int(self.ends[index]) if index >= 0 else 0

    def share(self, start: int, end: int, share: float) -> int:
        """Return up to where a piece has such a share of the tokens from `start` to `end`, but not all.

        Where that is less than one token, it is the share of the characters.
        """
        first = int(np.searchsorted(self.ends, start, "right"))
        tokens = int(np.searchsorted(self.starts, end)) - first
        kept = min(int(tokens * share), tokens - 1)
        return self._start_of(first + kept) if kept > 0 else start + int((end - start) * share)

    def _start_of(self, index: int) -> int:
        return int(self.starts[index]) if index < self.starts.size else self.length


def map_tokens(text: str, tokenizer: Tokenizer, word_starts: Positions) -> TokenMap:
    """Return the tokens of `text`, read in segments that begin with a word where they can."""
    spans = [np.zeros((0, 2), dtype=np.int64)]
    spans += [tokenizer.spans(text[start:end]) + start for start, end in _segments(len(text), word_starts)]
    starts, ends = np.concatenate(spans).T
    return TokenMap(starts=np.ascontiguousarray(starts), ends=np.maximum.accumulate(ends), length=len(text))


def _segments(length: int, word_starts: Positions) -> Iterator[tuple[int, int]]:
    start = 0
    while start < length and word_starts.size:
        end = min(start + _SEGMENT, length)
        if end < length:
            border = int(word_starts[np.searchsorted(word_starts, end, "right") - 1])
            end = border if border > start else end
        yield start, end
        start = end
