"""The pieces of a text, each counted on its own by every tokenizer and short enough for all."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest.chunks.planner import Begin, Planner
from ingest.chunks.rules import Rules
from retriever.errors import InputError

_WINDOW = 1 << 20
"""Characters that are laid out at once: bounds the memory that a long text takes."""

_BATCH = 32
"""Pieces that are counted at once, to begin with; afterwards twice as many as proved to fit."""

_SHORT = 4
"""Characters for each token allowed, up to which a text is likely to be short enough for one piece: then
counting it is all the work there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of a text; `token_count` is of what is embedded, the largest over the tokenizers."""

    start: int
    end: int
    token_count: int


def pieces_of(text: str, rules: Rules) -> Iterator[Piece]:
    """Yield the pieces of `text` in order; all that is no white space is in one of them.

    Raises
    ------
    InputError
        If a single character has more tokens than a piece may have.
    """
    max_tokens = rules.bare.max_tokens
    if len(text) <= _SHORT * max_tokens:
        whole = _whole(text, rules)
        if whole.token_count <= max_tokens:
            yield from [whole] if whole.start < whole.end else []
            return
    start, beyond = 0, 0
    while start < len(text):
        window = _Window(text, start, rules)
        begin = yield from window.pieces(beyond)
        start, beyond = begin.start, begin.beyond


def _whole(text: str, rules: Rules) -> Piece:
    """Return all of `text` as one piece, however long."""
    end = len(text.rstrip())
    start = min(len(text) - len(text.lstrip()), end)
    embedded = rules.embedded(text, start, end)
    count = max(tokenizer.count([embedded])[0] for tokenizer in rules.tokenizers)
    return Piece(start=start, end=end, token_count=count)


class _Window:
    """A stretch of a text that is cut at once.

    No piece begins in its last characters, unless the text ends there: what lies behind the window
    then changes nothing in it.
    """

    def __init__(self, text: str, offset: int, rules: Rules) -> None:
        margin = 2 * rules.bare.characters
        self._offset = offset
        self._text = text[offset : offset + max(_WINDOW, 4 * margin)]
        ends_here = offset + len(self._text) == len(text)
        self._stop = len(self._text) - (0 if ends_here else margin)
        self._planner = Planner(self._text, rules)
        self._rules = rules
        self._max_tokens = rules.bare.max_tokens

    def pieces(self, beyond: int) -> Generator[Piece, None, Begin]:
        """Yield the pieces of the window; return where the next window has to begin.

        Borders are planned ahead by estimate and then counted. Up to the first piece that is too long
        they stand; from there all is planned anew, with that piece made shorter. Each round accepts a
        piece or makes one shorter, so there is an end.
        """
        begin = Begin(start=self._planner.after(0), beyond=max(beyond - self._offset, 0))
        batch = _BATCH
        while begin.start < self._stop:
            plan = list(islice(self._planner.plan(begin, self._stop), batch))
            counts = self._counts(plan)
            fitting = _leading(counts.max(axis=0) <= self._max_tokens)
            yield from self._accept(plan[:fitting], counts)
            if fitting == len(plan):
                begin = self._planner.following(*plan[-1])
                batch *= 2
            else:
                begin, end = plan[fitting]
                self._shorten(begin, end, counts[:, fitting])
                batch = 2 * fitting + 1
        return Begin(start=self._offset + begin.start, beyond=self._offset + begin.beyond)

    def _counts(self, plan: Sequence[tuple[Begin, int]]) -> NDArray[np.int64]:
        """Return the tokens of each planned piece, shape (n_tokenizers, n_pieces)."""
        texts = [self._rules.embedded(self._text, begin.start, end) for begin, end in plan]
        return np.array([tokenizer.count(texts) for tokenizer in self._rules.tokenizers], dtype=np.int64)

    def _accept(self, plan: Sequence[tuple[Begin, int]], counts: NDArray[np.int64]) -> Iterator[Piece]:
        for (begin, end), count in zip(plan, counts.max(axis=0).tolist(), strict=False):
            yield Piece(start=self._offset + begin.start, end=self._offset + end, token_count=count)

    def _shorten(self, begin: Begin, end: int, counts: NDArray[np.int64]) -> None:
        if end - begin.start == 1:
            character = self._text[begin.start]
            raise InputError(
                f"chunks: expected room for at least one character, got {int(counts.max())} tokens for "
                f"{character!r} alone where {self._max_tokens} are allowed. Allow more tokens per chunk."
            )
        self._planner.shorten(begin, end, counts.tolist())


def _leading(fits: NDArray[np.bool_]) -> int:
    """Return how many pieces fit before the first that does not."""
    return int(fits.size if fits.all() else np.argmin(fits))
