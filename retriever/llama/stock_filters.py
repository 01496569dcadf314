"""Filters of the Qdrant client as conditions: all that LlamaIndex's own `QdrantVectorStore` builds."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from retriever.errors import InputError
from retriever.store.filters import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    HasId,
    HasVector,
    HasWords,
    IsEmpty,
    Matches,
    NoneOf,
    OtherThan,
)

_KNOWN = (
    "must, should and must_not of FieldCondition (match by MatchValue, MatchText, MatchAny or MatchExcept; "
    "range by Range), IsEmptyCondition, HasIdCondition, HasVectorCondition and Filter"
)


def as_condition(given: models.Filter | None) -> Condition | None:
    """Return a filter of the Qdrant client as a condition; None, and a filter without parts, as None.

    Raises
    ------
    InputError
        If a part of it has no counterpart, or an id is no UUID.
    """
    parts = [] if given is None else _parts(given)
    return AllOf(parts=tuple(parts)) if parts else None


def _parts(given: models.Filter) -> list[Condition]:
    if given.min_should is not None:
        raise _unknown(given.min_should)
    parts = _conditions(given.must)
    if should := _conditions(given.should):
        parts.append(AnyOf(parts=tuple(should)))
    if must_not := _conditions(given.must_not):
        parts.append(NoneOf(parts=tuple(must_not)))
    return parts


def _conditions(given: Any) -> list[Condition]:
    """Return the conditions of a clause: none, one, or a list of them."""
    if given is None:
        return []
    return [_condition(one) for one in (given if isinstance(given, list) else [given])]


def _condition(given: Any) -> Condition:
    match given:
        case models.Filter():
            return AllOf(parts=tuple(_parts(given)))
        case models.FieldCondition():
            return _of_field(given)
        case models.IsEmptyCondition():
            return IsEmpty(key=given.is_empty.key)
        case models.HasIdCondition():
            return HasId(ids=_uuids(given.has_id))
        case models.HasVectorCondition():
            return HasVector(name=given.has_vector)
        case _:
            raise _unknown(given)


def _of_field(given: models.FieldCondition) -> Condition:
    tests = given.model_dump(exclude={"key"}, exclude_none=True)
    if len(tests) != 1:
        raise _unknown(given)
    match given.match or given.range:
        case models.MatchValue(value=value):
            return Matches(key=given.key, values=(value,))
        case models.MatchAny(any=values):
            return Matches(key=given.key, values=tuple(values))
        case models.MatchExcept(except_=values):
            return OtherThan(key=given.key, values=_distinct(values))
        case models.MatchText(text=text):
            return HasWords(key=given.key, text=text)
        case models.Range(gt=gt, gte=gte, lt=lt, lte=lte):
            return Between(key=given.key, gt=gt, gte=gte, lt=lt, lte=lte)
        case _:
            raise _unknown(given)


def _distinct(values: Sequence[Any]) -> Any:
    return tuple(dict.fromkeys(values))


def _uuids(ids: Sequence[Any]) -> tuple[str, ...]:
    try:
        return tuple(str(uuid.UUID(str(one))) for one in ids)
    except ValueError as error:
        raise InputError(f"node_ids: expected UUIDs as Tandem gives its chunks, got {ids!r}.") from error


def _unknown(given: Any) -> InputError:
    return InputError(
        f"filter: expected {_KNOWN}, got {given!r}. Search through `TandemRetriever`, or serve the "
        "corpus from a Qdrant server (`tandem copy`)."
    )
