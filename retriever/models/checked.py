"""The one border at which vectors of a model are checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retriever.errors import EmbeddingError, InputError
from retriever.models.protocol import EmbeddingModel, FloatArray, Tokenizer
from retriever.records import ModelSpec

_UNIT_TOLERANCE = 1e-3  # half-precision arithmetic stays below this, a forgotten normalisation does not
_ZERO = 1e-12
_EXCERPT = 60


class CheckedModel:
    """Any embedding model, held to its promises.

    For models that are not ours. A row that is nearly a unit vector is made exactly one; anything
    else that breaks the promise of `EmbeddingModel` is an `EmbeddingError`.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._model.spec

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer."""
        return self._model.tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        queries = as_texts(texts)
        return _promised(self._model.embed_queries(queries), texts=queries, spec=self.spec)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        chunks = as_texts(texts)
        return _promised(self._model.embed_chunks(chunks), texts=chunks, spec=self.spec)


def as_texts(texts: Sequence[str]) -> list[str]:
    """Return `texts` as a list.

    Raises
    ------
    InputError
        If it is one string, whose characters would be embedded as texts; or one of them is no text: it
        has half a surrogate pair, which no encoding knows.
    """
    if isinstance(texts, str):
        raise InputError(
            f"texts: expected a list of strings, got one string ({_excerpt(texts)}); wrap it in []"
        )
    for position, text in enumerate(texts):
        if not _is_text(text):
            raise InputError(
                f"texts: expected Unicode text, got {_excerpt(text)} for text {position} of {len(texts)}. If "
                "it was cut in the middle of a character, cut it elsewhere; else leave it out."
            )
    return list(texts)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unit_rows(vectors: NDArray[np.floating], *, texts: Sequence[str], spec: ModelSpec) -> FloatArray:
    """Return the vectors of a model as unit rows.

    Parameters
    ----------
    vectors : float, shape (n_texts, dimensions)
        Of any length; left as they are.
    texts, spec
        What was embedded and by which model: for the message.

    Returns
    -------
    float32, shape (n_texts, dimensions)

    Raises
    ------
    EmbeddingError
        If the shape is wrong, a value is not finite or a row is zero (a static model finds no token
        of a text in its vocabulary).
    """
    _check_shape(vectors, texts=texts, spec=spec)
    rows = vectors.astype(np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    infinite = np.asarray(~np.isfinite(rows).all(axis=1))
    _refuse(infinite, "finite numbers", "NaN or infinity", texts=texts, spec=spec)
    _refuse(norms[:, 0] < _ZERO, "a direction", "a zero vector", texts=texts, spec=spec)
    units: FloatArray = (rows / norms).astype(np.float32)
    return units


def _promised(vectors: FloatArray, *, texts: list[str], spec: ModelSpec) -> FloatArray:
    _check_shape(vectors, texts=texts, spec=spec)
    if vectors.dtype != np.float32:
        raise EmbeddingError(f"model {spec.name!r}: expected float32 vectors, got {vectors.dtype}")
    norms = np.linalg.norm(vectors, axis=1)
    long_or_short = np.isfinite(norms) & (norms >= _ZERO) & (np.abs(norms - 1) > _UNIT_TOLERANCE)
    _refuse(long_or_short, "a unit vector", "another length", texts=texts, spec=spec)
    return unit_rows(vectors, texts=texts, spec=spec)


def _check_shape(vectors: NDArray[np.floating], *, texts: Sequence[str], spec: ModelSpec) -> None:
    expected = (len(texts), spec.dimensions)
    if vectors.shape != expected:
        raise EmbeddingError(
            f"model {spec.name!r}: expected vectors of shape {expected} for {len(texts)} texts, "
            f"got {vectors.shape}"
        )


def _refuse(
    bad: NDArray[np.bool_], expected: str, got: str, *, texts: Sequence[str], spec: ModelSpec
) -> None:
    if not bad.any():
        return
    position = int(np.argmax(bad))
    raise EmbeddingError(
        f"model {spec.name!r}: expected {expected} for every text, got {got} for text {position} of "
        f"{len(texts)} ({_excerpt(texts[position])}). Leave this text out, or use another model."
    )


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…")
