"""The border of a corpus: what may be written into it or asked of it.

Checked here once and nowhere below, because the embedded engine would accept nearly anything: NaN,
vectors of the wrong size, half a point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retriever.errors import ModelMismatchError, ShapeError
from retriever.models.protocol import FloatArray
from retriever.records import LEXICAL, ModelSpec

_UNIT_TOLERANCE = 1e-3


def check_vectors(model: ModelSpec, vectors: FloatArray | None, *, rows: int) -> None:
    """Refuse vectors that are not `rows` unit rows of this model.

    Raises
    ------
    ShapeError
        If there are none, or their type, shape or lengths differ.
    """
    expected = (rows, model.dimensions)
    if vectors is None or vectors.shape != expected or vectors.dtype != np.float32:
        found = "none" if vectors is None else f"{vectors.dtype} of shape {vectors.shape}"
        raise ShapeError(f"vectors of {model.key}: expected float32 of shape {expected}, got {found}.")
    # A row with NaN or infinity has no finite length and fails the same comparison.
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _UNIT_TOLERANCE))
    if len(wrong):
        raise ShapeError(
            f"vectors of {model.key}: expected rows of length 1, got {lengths[wrong[0]]:.4g} in row "
            f"{wrong[0]} ({len(wrong)} of {rows} rows). Normalise what the model returns."
        )


def check_queries(vector: str, queries: FloatArray, *, size: int) -> None:
    """Refuse queries that cannot be compared with the named vector of this size.

    Raises
    ------
    ShapeError
        If type or shape differ, or a number is not finite: the embedded engine would find nothing,
        and say nothing.
    """
    found = f"{queries.dtype} of shape {queries.shape}"
    if queries.shape != (len(queries), size) or queries.dtype != np.float32:
        raise ShapeError(f"queries of {vector}: expected float32 of shape (any, {size}), got {found}.")
    if not np.isfinite(queries).all():
        raise ShapeError(f"queries of {vector}: expected finite numbers, got NaN or infinity.")


def check_distinct(models: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return `models` if each has a key of its own.

    Raises
    ------
    ModelMismatchError
        If two would be stored under one name, or one under that of the lexical vectors.
    """
    by_key: dict[str, ModelSpec] = {}
    for model in models:
        if model.key == LEXICAL:
            raise ModelMismatchError(f"models: expected another name than {LEXICAL}, which stands for words.")
        other = by_key.setdefault(model.key, model)
        if other is not model:
            raise ModelMismatchError(
                f"models: expected different names, got {other.name} and {model.name}, "
                f"which would both be stored as {model.key!r}. Leave one out."
            )
    return tuple(models)


def difference(stored: ModelSpec, given: ModelSpec) -> str:
    """Return what differs between two models in words: what was expected and what was given."""
    changed = [
        f"{name} {getattr(stored, name)!r}, got {getattr(given, name)!r}"
        for name in stored.__dataclass_fields__
        if name != "source" and getattr(stored, name) != getattr(given, name)
    ]
    return "expected " + "; ".join(changed)
