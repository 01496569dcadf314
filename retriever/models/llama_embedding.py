"""Any LlamaIndex embedding as a model: an OpenAI or Ollama model can be half of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding

from retriever.errors import EmbeddingError
from retriever.models.catalog import LLAMA_INDEX
from retriever.models.checked import as_texts, unit_rows
from retriever.models.protocol import FloatArray
from retriever.records import ModelSpec

_UNNAMED = "unknown"  # what LlamaIndex calls an embedding without a model name
_PROBE = "probe"
# Settings that common LlamaIndex embeddings have beside the model name, and that change a vector.
_SETTINGS = ("query_instruction", "text_instruction", "mode", "dimensions", "input_type", "task_type")


class LlamaEmbeddingModel:
    """An embedding of LlamaIndex behind our seam.

    Its prompts are its own business: those of the spec are empty. One text is embedded at once, to
    learn the dimensions.

    Parameters
    ----------
    embedding
        The LlamaIndex embedding.
    max_tokens
        The longest input it reads; None if that is not known. No chunk is checked against an unknown
        maximum, and a service may cut a longer one in silence.

    Raises
    ------
    EmbeddingError
        If it cannot embed a text.
    """

    def __init__(self, embedding: BaseEmbedding, *, max_tokens: int | None = None) -> None:
        self._embedding = embedding
        kind = embedding.class_name()
        model_name = embedding.model_name
        with _embedding_errors(embedding):
            dimensions = len(embedding.get_text_embedding(_PROBE))
        self._spec = ModelSpec(
            name=kind if model_name == _UNNAMED else model_name,
            revision="/".join([kind, model_name, *_settings_of(embedding)]),
            dimensions=dimensions,
            max_tokens=max_tokens,
            query_prompt="",
            document_prompt="",
            pooling="remote",
            backend="llama-index",
            dtype="unknown",
            tokenizer=None,
            source=f"{LLAMA_INDEX}{kind}/{model_name}",
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> None:
        """None: LlamaIndex embeddings have none."""
        return

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        queries = as_texts(texts)
        with _embedding_errors(self._embedding):
            vectors = [self._embedding.get_query_embedding(query) for query in queries]
        return self._unit_rows(vectors, queries)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        chunks = as_texts(texts)
        with _embedding_errors(self._embedding):
            vectors = self._embedding.get_text_embedding_batch(chunks)
        return self._unit_rows(vectors, chunks)

    def _unit_rows(self, vectors: list[list[float]], texts: list[str]) -> FloatArray:
        with _embedding_errors(self._embedding):  # vectors of several lengths are no array
            rows = np.array(vectors, dtype=np.float64)
        if not texts:
            rows = np.empty((0, self._spec.dimensions))
        return unit_rows(rows, texts=texts, spec=self._spec)


@contextmanager
def _embedding_errors(embedding: BaseEmbedding) -> Iterator[None]:
    """Turn whatever the embedding raises, which is its service's choice, into our error."""
    try:
        yield
    except Exception as error:
        raise EmbeddingError(
            f"model {embedding.model_name!r}: expected vectors from {embedding.class_name()}, got {error!r}. "
            "Check that its service answers, and its key."
        ) from error


def _settings_of(embedding: BaseEmbedding) -> list[str]:
    settings = ((name, getattr(embedding, name, None)) for name in _SETTINGS)
    return [f"{name}={value}" for name, value in settings if value is not None]
