"""What an evaluation is given, checked once: the search trusts what passed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.arrays import AnyFloatArray, check_floats, check_rows
from analysis.evaluation.record import ModelVectors
from analysis.rankings import check_k
from retriever.errors import InputError, ShapeError

DEFAULT_K = 10

_UNIT_TOLERANCE = 1e-3  # vectors kept in float16 are that far from unit length
_BLOCK_ROWS = 8192
_FEWEST_MODELS = 2


def check_models(models: Sequence[ModelVectors], *, n_queries: int, n_chunks: int) -> None:
    """Check the vectors of each model against the others, the queries and the chunks.

    Raises
    ------
    InputError
        If there is no model, or one twice.
    ShapeError
        If an array is not of finite unit rows of a type that is expected, or has another number of
        queries, chunks or dimensions.
    """
    keys = [model.key for model in models]
    if not keys or len(set(keys)) != len(keys):
        raise InputError(
            f"models: expected at least one model and each once, got {', '.join(keys) or 'none'}. "
            f"Name different models."
        )
    for model in models:
        check_floats(model.chunks[:1], name=f"chunks of {model.key}", ndim=2)
        _check_type(model.chunks, name=f"chunks of {model.key}", allowed=(np.float32, np.float16))
        _check_rows(model.chunks, name=f"chunks of {model.key}", expected=n_chunks, of="chunk")
        _check_type(model.queries, name=f"queries of {model.key}", allowed=(np.float32,))
        if model.queries.shape[1] != model.chunks.shape[1]:
            raise ShapeError(
                f"vectors of {model.key}: expected queries and chunks of equal dimensions, got "
                f"{model.queries.shape[1]} and {model.chunks.shape[1]}. Embed both with the same model."
            )
        if n_queries or len(model.queries):
            _check_rows(model.queries, name=f"queries of {model.key}", expected=n_queries, of="query")


def check_pairing(keys: Sequence[str]) -> None:
    """Raise InputError unless there are models to pair."""
    if len(keys) < _FEWEST_MODELS:
        raise InputError(
            f"models: expected at least two for pairs, got {', '.join(keys) or 'none'}. Name another model, "
            f"or measure this one without pairs."
        )


def check_different(model: ModelVectors) -> None:
    """Raise ShapeError if a model gives every chunk the same vector: its similarity has no meaning."""
    starts = range(0, len(model.chunks), _BLOCK_ROWS)
    if all((model.chunks[start : start + _BLOCK_ROWS] == model.chunks[0]).all() for start in starts):
        raise ShapeError(
            f"chunks of {model.key}: expected different vectors, got {len(model.chunks):,} equal ones. Look "
            f"whether the model is broken, or the corpus is of one text; or leave this model out."
        )


def checked_ks(ks: Sequence[int] | None, *, n_chunks: int) -> tuple[int, ...]:
    """Return the cutoffs of overlaps; None is `DEFAULT_K`, or `n_chunks` where that is smaller.

    Raises
    ------
    ShapeError
        If one is below 1 or above the number of chunks that every query may find.
    InputError
        If there is none, or one twice.
    """
    if ks is None:
        return (min(DEFAULT_K, n_chunks),)
    if not ks or len(set(ks)) < len(ks):
        raise InputError(
            f"ks: expected at least one cutoff and each once, got {', '.join(map(str, ks)) or 'none'}. "
            f"{DEFAULT_K} is usual."
        )
    for k in ks:
        check_k(k)
        if k > n_chunks:
            raise ShapeError(
                f"k: expected a cutoff of at most {n_chunks}, the number of chunks that every query may "
                f"find, got {k}. All models find the same chunks there. Lower k, or leave it out."
            )
    return tuple(ks)


def _check_type(vectors: AnyFloatArray, *, name: str, allowed: Sequence[type]) -> None:
    array = np.asanyarray(vectors)
    if array.ndim != 2:  # noqa: PLR2004  # rows of numbers
        check_floats(array, name=name, ndim=2)
    if array.dtype not in allowed:
        names = " or ".join(kind.__name__ for kind in allowed)
        raise ShapeError(f"{name}: expected {names}, got {array.dtype}. Convert them once, when read.")


def _check_rows(vectors: AnyFloatArray, *, name: str, expected: int, of: str) -> None:
    check_rows(name=name, got=len(vectors), expected=expected, of=of)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS].astype(np.float32, copy=False)
        with np.errstate(over="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not np.isfinite(lengths).all():
            check_floats(vectors, name=name, ndim=2)
        worst = int(np.abs(lengths - 1).argmax())
        if abs(lengths[worst] - 1) > _UNIT_TOLERANCE:
            raise ShapeError(
                f"{name}: expected rows of length 1, got {lengths[worst]:.4f} in row {start + worst}. "
                f"Normalise them: other lengths turn cosines into something else."
            )
