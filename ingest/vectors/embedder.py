"""Chunks to vectors: every model on every text, each distinct text once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from retriever.errors import EmbeddingError, TandemError
from retriever.models import CheckedModel
from retriever.models.protocol import EmbeddingModel, FloatArray


class Embedder:
    """Embeds texts with several models and keeps the time each of them took.

    This is the border at which models are held to what they promise: whatever goes wrong in one is
    an `EmbeddingError` that names it, so that a single bad text costs one document and not the run.

    Attributes
    ----------
    seconds
        By model key, spent embedding.
    texts
        By model key, how many distinct texts were embedded.
    """

    def __init__(self, models: Mapping[str, EmbeddingModel]) -> None:
        self._models = {key: CheckedModel(model) for key, model in models.items()}
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
            If a model fails in any way, or returns what cannot be used.
        """
        distinct = list(dict.fromkeys(texts))
        position = {text: i for i, text in enumerate(distinct)}
        rows = np.array([position[text] for text in texts], dtype=np.intp)
        return {key: self._run(key, distinct)[rows] for key in keys}

    def _run(self, key: str, texts: Sequence[str]) -> FloatArray:
        start = time.perf_counter()
        vectors = self._checked(key, texts)
        self.seconds[key] += time.perf_counter() - start
        self.texts[key] += len(texts)
        return vectors

    def _checked(self, key: str, texts: Sequence[str]) -> FloatArray:
        model = self._models[key]
        try:
            return model.embed_chunks(texts)
        except TandemError:
            raise
        except Exception as error:
            raise EmbeddingError(
                f"model {model.spec.name!r}: expected vectors of {len(texts)} texts, it failed with "
                f"{type(error).__name__}: {error}. Leave the text out, or use another model."
            ) from error
