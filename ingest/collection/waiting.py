"""Chunks that wait for the vectors of their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

AT_A_TIME = 256
"""How many points are written or looked up by one call to the store."""


class Waiting(Generic[T]):
    """Who waits for the vectors of which text: a text is embedded once, however many wait for it."""

    def __init__(self) -> None:
        self._by_text: dict[str, list[T]] = {}

    def __contains__(self, text: str) -> bool:
        return text in self._by_text

    def add(self, text: str, who: T) -> None:
        """Let `who` wait for a text."""
        self._by_text.setdefault(text, []).append(who)

    def take(self, text: str) -> list[T]:
        """Return all who waited for a text; none waits any longer."""
        return self._by_text.pop(text)


def portions(items: Sequence[T], size: int = AT_A_TIME) -> Iterator[Sequence[T]]:
    """Yield `items` in parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def distinct(texts: Iterable[str]) -> list[str]:
    """Return each text once, in the order of first sight."""
    return list(dict.fromkeys(texts))
