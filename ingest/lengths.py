"""Chunks that were cut without asking a model, checked against what it reads."""

from __future__ import annotations

from collections.abc import Sequence

from retriever.errors import ModelTooShortError
from retriever.models.protocol import EmbeddingModel, Tokenizer
from retriever.records import Chunk, ChunkerSpec

_WAY_OUT = (
    "Have long chunks embedded in pieces (--over-length windows), or ingest into a corpus of another name, "
    "which is cut for this model too."
)


class LengthGuard:
    """Refuses chunks that a model with a tokenizer and a limit would truncate."""

    def __init__(self, model: EmbeddingModel, tokenizer: Tokenizer, limit: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._limit = limit

    @classmethod
    def of(cls, model: EmbeddingModel, chunker: ChunkerSpec) -> LengthGuard | None:
        """Return the guard of a model, or None where it needs none.

        None: it has no limit, or embeds what is longer in pieces; or its tokenizer counted when the
        chunks were cut, and the longest of them fits; or it has no tokenizer here, and its limit leaves
        room for the longest.

        Raises
        ------
        ModelTooShortError
            If it has no tokenizer here, and reads less than the longest chunk.
        """
        tokenizer, limit = model.tokenizer, model.spec.max_tokens
        if limit is None:
            return None
        if tokenizer is None:
            if limit < chunker.max_tokens:
                raise ModelTooShortError(
                    f"model {model.spec.name}: expected room for chunks of {chunker.max_tokens} tokens, "
                    f"got {limit}. {_WAY_OUT}"
                )
            return None
        with_prompt, without = tokenizer.count([model.spec.document_prompt, ""])
        fits = limit >= chunker.max_tokens + with_prompt - without
        if fits and tokenizer.fingerprint in chunker.tokenizers:
            return None
        return cls(model, tokenizer, limit)

    def check(self, chunks: Sequence[Chunk]) -> None:
        """Raise `ModelTooShortError` if the model would truncate one of these chunks."""
        prompt = self._model.spec.document_prompt
        counts = self._tokenizer.count([prompt + chunk.embedded_text for chunk in chunks])
        for chunk, count in zip(chunks, counts, strict=True):
            if count > self._limit:
                raise ModelTooShortError(
                    f"model {self._model.spec.name}: expected chunks of at most {self._limit} tokens, "
                    f"chunk {chunk.index} of document {chunk.doc_id!r} has {count} by its tokenizer. "
                    f"{_WAY_OUT}"
                )
