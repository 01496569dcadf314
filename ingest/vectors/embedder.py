"""A batch through its models, one after the other; what fails is named text by text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.vectors.batches import Batch, EmbeddedBatch
from retriever.errors import EmbeddingError, InputError, ModelTooShortError, TandemError
from retriever.models import CheckedModel
from retriever.models.protocol import EmbeddingModel, FloatArray


class Embedder:
    """Embeds batches with several models, which take turns.

    This is the border at which models are held to what they promise: whatever goes wrong in one is
    an `EmbeddingError` that names it, and a single bad text costs one document and not the run.

    Parameters
    ----------
    models
        By key.
    on_turn
        Called with the key of the model whose turn it is.
    """

    def __init__(
        self, models: Mapping[str, EmbeddingModel], *, on_turn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._models = {key: CheckedModel(model) for key, model in models.items()}
        self._on_turn = on_turn

    def embed(self, batch: Batch) -> EmbeddedBatch:
        """Run the models of a batch, each on the texts that none before it has failed on.

        Raises
        ------
        TandemError
            If a model cannot be used at all, such as one that is gone; failures on single texts are
            part of what is returned.
        """
        failures: dict[int, str] = {}
        vectors: dict[str, FloatArray] = {}
        seconds: dict[str, float] = {}
        for key in batch.keys:
            self._on_turn(key)
            start = time.perf_counter()
            rows = np.zeros((len(batch.texts), self._models[key].spec.dimensions), dtype=np.float32)
            wanted = np.array([i for i in range(len(batch.texts)) if i not in failures], dtype=np.intp)
            self._fill(key, batch.texts, wanted, rows, failures)
            vectors[key] = rows
            seconds[key] = time.perf_counter() - start
        return EmbeddedBatch(batch=batch, vectors=vectors, seconds=seconds, failures=failures)

    def _fill(
        self,
        key: str,
        texts: Sequence[str],
        wanted: NDArray[np.intp],
        rows: FloatArray,
        failures: dict[int, str],
    ) -> None:
        """Write the wanted rows; where the model fails, halve them until the bad texts are found."""
        if not wanted.size:
            return
        try:
            rows[wanted] = self._checked(key, [texts[i] for i in wanted])
        except (EmbeddingError, InputError, ModelTooShortError) as error:
            if wanted.size == 1:
                failures[int(wanted[0])] = str(error)
                return
            for half in np.array_split(wanted, 2):
                self._fill(key, texts, half, rows, failures)

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
