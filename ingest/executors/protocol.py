"""The seam to those who cut and embed.

Both are streams: an executor takes what it is given as it becomes free and gives back what it has
finished, so that nothing is held but what is under way. What is new, what is written and in which
order is decided on this side of the seam, once for all executors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.vectors import Batch, EmbeddedBatch
from retriever.records import Chunk, Document


@dataclass(frozen=True, kw_only=True, slots=True)
class CutDocument:
    """A document and its chunks; `reason` says why there are none if it could not be cut."""

    document: Document
    chunks: Sequence[Chunk] = ()
    reason: str | None = None


class Executor(Protocol):
    """Cuts documents and embeds texts."""

    def cut(self, groups: Iterable[Sequence[Document]]) -> Iterator[Sequence[CutDocument]]:
        """Yield the documents of each group with their chunks; groups may come in another order."""
        ...

    def embed(self, batches: Iterable[Batch]) -> Iterator[EmbeddedBatch]:
        """Yield each batch with its vectors; batches may come in another order.

        Raises
        ------
        TandemError
            If a model cannot be used at all.
        """
        ...

    def close(self) -> None:
        """Release what was taken."""
        ...
