"""What differs between a corpus and its copy: points, and the records beside them.

A server reads numbers from JSON, and the last digit of a payload's may come back otherwise; the numbers of a
float32 vector do not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from retriever.border import difference
from retriever.corpus.record import CorpusRecord
from retriever.errors import CorpusExistsError
from retriever.store.protocol import Point, SparseVector, Vector

_LAST_DIGIT = 1e-12
_HALF = 1e-3  # half precision has 11 bits,
_HALF_NEAR_0 = 1e-6  # and next to 0 steps of 6e-8
_LONGEST = 60


def alike(one: Point, other: Point, *, rounded: Collection[str] = ()) -> bool:
    """Return whether two points have the same payload and the same vectors.

    Vectors are compared exactly, those of `rounded` as far as half precision goes: engines may round
    them when they are written or when they are read.
    """
    return (
        one.vectors.keys() == other.vectors.keys()
        and all(
            _same_vector(one.vectors[name], other.vectors[name], rounded=name in rounded)
            for name in one.vectors
        )
        and same_json(one.payload, other.payload)
    )


def same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same, up to the last digit of their fractions."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_LAST_DIGIT)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def size_of(point: Point) -> int:
    """Return the bytes of a point: vectors as they are in memory, the payload as JSON."""
    vectors = sum(vector.nbytes for vector in point.vectors.values())
    return vectors + len(json.dumps(dict(point.payload), ensure_ascii=False).encode())


def different_records(wanted: CorpusRecord, found: CorpusRecord, *, whole: bool) -> list[str]:
    """Return in words what keeps `found` from being the record of a copy; empty if nothing does.

    One that is not whole must only be of the same chunks and models: the rest is still to come.
    """
    mine, theirs = wanted.manifest, found.manifest
    differences = [
        f"model {key} ({difference(mine.model(key), theirs.model(key))})"
        for key in mine.keys
        if key in theirs.keys and mine.model(key).fingerprint != theirs.model(key).fingerprint
    ]
    fields: dict[str, tuple[Any, Any]] = {"chunker": (mine.chunker.fingerprint, theirs.chunker.fingerprint)}
    if whole:
        fields |= {"models": (mine.keys, theirs.keys), **_rest(wanted, found)}
    return differences + [
        f"{name} (expected {_short(one)}, found {_short(other)})"
        for name, (one, other) in fields.items()
        if not same_json(one, other)
    ]


def different_corpus(name: str, location: str, differences: Sequence[str]) -> CorpusExistsError:
    """Return that there is another corpus of this name."""
    return CorpusExistsError(
        f"corpus {name!r} at {location}: expected none, or this very one, but there is one that differs in "
        f"{'; '.join(differences)}. Choose another name for the copy (--as), or delete that one."
    )


def _rest(wanted: CorpusRecord, found: CorpusRecord) -> dict[str, tuple[Any, Any]]:
    """Return by name what else the two records say, as JSON values."""
    mine, theirs = ({**one.to_json(), **one.manifest.to_json()} for one in (wanted, found))
    names = (mine.keys() | theirs.keys()) - {"manifest", "models", "chunker", "dropping", "copied_from"}
    return {name: (mine.get(name), theirs.get(name)) for name in sorted(names)}


def _same_vector(one: Vector, other: Vector, *, rounded: bool) -> bool:
    if isinstance(one, SparseVector) and isinstance(other, SparseVector):
        return _by_index(one) == _by_index(other)
    if isinstance(one, SparseVector) or isinstance(other, SparseVector) or one.shape != other.shape:
        return False
    return (
        bool(np.allclose(one, other, rtol=_HALF, atol=_HALF_NEAR_0))
        if rounded
        else np.array_equal(one, other)
    )


def _by_index(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
