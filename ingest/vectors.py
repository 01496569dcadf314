"""Chunks to vectors: every model on every text, each distinct text once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from retriever.models.protocol import EmbeddingModel, FloatArray


class Embedder:
    """Embeds texts with several models and keeps the time each of them took.

    Attributes
    ----------
    seconds
        By model key, spent embedding.
    texts
        By model key, how many distinct texts were embedded.
    """

    def __init__(self, models: Mapping[str, EmbeddingModel]) -> None:
        self.models = models
        self.seconds = dict.fromkeys(models, 0.0)
        self.texts = dict.fromkeys(models, 0)

    def embed(self, texts: Sequence[str], *, keys: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors of these models.

        Parameters
        ----------
        texts
            Equal ones are embedded once.
        keys
            Of the models to run.

        Returns
        -------
        By key, float32, shape (n_texts, d)
            Unit rows.

        Raises
        ------
        EmbeddingError
            If a model fails, or returns what cannot be used.
        """
        distinct = list(dict.fromkeys(texts))
        position = {text: i for i, text in enumerate(distinct)}
        rows = np.array([position[text] for text in texts], dtype=np.intp)
        return {key: self._run(key, distinct)[rows] for key in keys}

    def _run(self, key: str, texts: Sequence[str]) -> FloatArray:
        start = time.perf_counter()
        vectors = self.models[key].embed_chunks(texts)
        self.seconds[key] += time.perf_counter() - start
        self.texts[key] += len(texts)
        return vectors
