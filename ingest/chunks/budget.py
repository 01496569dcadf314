"""How long a chunk may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from retriever.models.protocol import Tokenizer

_CHARACTERS_PER_TOKEN = 32
"""Bounds a chunk where tokens do not: a vocabulary may read a word of a million letters as one unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long a chunk may be.

    `max_tokens` includes what each tokenizer counts apart from the text: `overheads`, special tokens
    and the prefix.
    """

    max_tokens: int
    overlap_tokens: int
    overheads: tuple[int, ...]

    @property
    def characters(self) -> int:
        """The most characters of a chunk."""
        return self.max_tokens * _CHARACTERS_PER_TOKEN

    @property
    def rooms(self) -> tuple[int, ...]:
        """For each tokenizer, the most tokens of a text."""
        return tuple(self.max_tokens - overhead for overhead in self.overheads)

    def shares(self, counts: Sequence[int]) -> tuple[float, ...]:
        """For each tokenizer, how much of a text fits that has so many tokens with all that is added."""
        texts = (max(count - overhead, 1) for count, overhead in zip(counts, self.overheads, strict=True))
        return tuple(room / text for room, text in zip(self.rooms, texts, strict=True))

    @property
    def halves(self) -> tuple[int, ...]:
        """For each tokenizer, how many tokens of a text make a chunk half full; at least 1."""
        return tuple(max(1, (self.max_tokens + 1) // 2 - overhead) for overhead in self.overheads)

    def with_prefix(self, prefix: str, tokenizers: Sequence[Tokenizer]) -> Self:
        """Return the budget of chunks that have `prefix` before them."""
        return replace(self, overheads=tuple(tokenizer.count([prefix])[0] for tokenizer in tokenizers))
