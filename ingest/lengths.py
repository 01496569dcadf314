"""Chunks that were cut without asking a model, checked against what it reads."""

from __future__ import annotations

from collections.abc import Sequence

from retriever.errors import ModelTooShortError
from retriever.models.protocol import EmbeddingModel, Tokenizer
from retriever.records import Chunk


class LengthGuard:
    """Refuses chunks that a model with a tokenizer and a limit would truncate."""

    def __init__(self, model: EmbeddingModel, tokenizer: Tokenizer, limit: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._limit = limit

    @classmethod
    def of(cls, model: EmbeddingModel, *, counted: Sequence[str]) -> LengthGuard | None:
        """Return the guard of a model, or None where it needs none.

        None: its tokenizer is among those that `counted` when the chunks were cut, it has no
        limit, or it runs elsewhere and has no tokenizer here.
        """
        tokenizer, limit = model.tokenizer, model.spec.max_tokens
        if tokenizer is None or limit is None or tokenizer.fingerprint in counted:
            return None
        return cls(model, tokenizer, limit)

    def check(self, chunks: Sequence[Chunk]) -> None:
        """Raise `ModelTooShortError` if the model would truncate one of these chunks."""
        prompt = self._model.spec.document_prompt
        counts = self._tokenizer.count([prompt + chunk.text for chunk in chunks])
        for chunk, count in zip(chunks, counts, strict=True):
            if count > self._limit:
                raise ModelTooShortError(
                    f"model {self._model.spec.name}: expected chunks of at most {self._limit} tokens, "
                    f"chunk {chunk.index} of document {chunk.doc_id!r} has {count} by its tokenizer. "
                    "Ingest into a corpus of another name, which is cut for this model too."
                )
