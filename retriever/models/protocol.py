"""The seam to embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retriever.records import ModelSpec

FloatArray: TypeAlias = NDArray[np.float32]
Spans: TypeAlias = NDArray[np.int64]


class Tokenizer(Protocol):
    """Counts the tokens a model sees."""

    @property
    def fingerprint(self) -> str:
        """Content hash: equal for models that share a vocabulary and its rules."""
        ...

    def spans(self, text: str) -> Spans:
        """Return where each token starts and ends in `text`, without special tokens.

        Returns
        -------
        int64, shape (n_tokens, 2)
            Character offsets; starts never decrease.
        """
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens included, never truncated."""
        ...


class EmbeddingModel(Protocol):
    """Turns queries and chunks into unit vectors, each with the prompt the model was trained with.

    Queries and chunks have separate methods because a model may prompt them differently; with one
    method a wrong prompt would go unseen. The prompts are the model's business: callers give plain
    texts. No texts give no rows, shape (0, dimensions); a text that cannot be embedded is an
    `EmbeddingError` that names it. All of it is safe from several threads. The promises are tested by
    `retriever.testing.EmbeddingModelContract`.
    """

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer; None where the model has none on this machine (a remote service)."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        ...

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        ...
