"""By which rules a text is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.chunks.budget import Budget
from ingest.chunks.titles import Prefix
from retriever.models.protocol import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How the text of one document is cut.

    Attributes
    ----------
    tokenizers
        All that count.
    bare, prefixed
        The budgets of a chunk without and with the prefix.
    prefix
        What is embedded before a chunk.
    whole_sentences
        Whether a chunk ends with a sentence wherever one fits.
    """

    tokenizers: Sequence[Tokenizer]
    bare: Budget
    prefixed: Budget
    prefix: Prefix
    whole_sentences: bool

    def budget(self, text: str, start: int) -> Budget:
        """Return how long a chunk of `text` may be that starts there."""
        return self.prefixed if self.prefix.before(text, start) else self.bare

    def embedded(self, text: str, start: int, end: int) -> str:
        """Return what is embedded of the piece of `text` between these places."""
        return self.prefix.before(text, start) + text[start:end]
