"""Our conditions in the words of the embedded engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import qdrant_edge as qe

from retriever.store import filters


def as_filter(where: filters.Condition | None) -> qe.Filter | None:
    """Return a condition as the engine's filter; None is none."""
    return None if where is None else required_filter(where)


def required_filter(where: filters.Condition) -> qe.Filter:
    """Return a condition as the engine's filter."""
    condition = _condition(where)
    return condition if isinstance(condition, qe.Filter) else qe.Filter(must=[condition])


def _condition(  # noqa: C901, PLR0911  # one case and one return per kind of condition
    where: filters.Condition,
) -> qe.Filter | qe.FieldCondition | qe.HasIdCondition | qe.HasVectorCondition | qe.IsEmptyCondition:
    match where:
        case filters.Matches(key=key, values=values):
            return _matches(key, values)
        case filters.OtherThan(key=key, values=values):
            return qe.FieldCondition(key, match=qe.MatchExcept(list(values)))  # type: ignore[arg-type]
        case filters.Between(key=key, gt=gt, gte=gte, lt=lt, lte=lte):
            return qe.FieldCondition(key, range=qe.RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
        case filters.HasText(key=key, text=text):
            return qe.FieldCondition(key, match=qe.MatchSubstring(text))
        case filters.HasTextInAnyCase():
            raise TypeError(f"expected a condition that was resolved, got {where}")
        case filters.HasWords(key=key, text=text):
            return qe.FieldCondition(key, match=qe.MatchText(text))
        case filters.IsEmpty(key=key):
            return qe.IsEmptyCondition(key)
        case filters.HasId(ids=ids):
            return qe.HasIdCondition(set(ids))
        case filters.HasVector(name=name):
            return qe.HasVectorCondition(name)
        case filters.AllOf(parts=parts):
            return qe.Filter(must=[_condition(part) for part in parts])
        case filters.AnyOf(parts=parts):
            return qe.Filter(should=[_condition(part) for part in parts]) if parts else _NEVER
        case filters.NoneOf(parts=parts):
            return qe.Filter(must_not=[_condition(part) for part in parts])


def _matches(key: str, values: Sequence[filters.Scalar]) -> qe.Filter | qe.FieldCondition:
    # One condition for many values: the engine reads an index, or each payload, once for all of them.
    if len(values) > 1 and all(isinstance(value, str) for value in values):
        return qe.FieldCondition(key, match=qe.MatchAny(list(values)))  # type: ignore[arg-type]
    matches = [qe.FieldCondition(key, match=_exactly(value)) for value in values]
    return qe.Filter(should=list(matches)) if matches else _NEVER


def _exactly(value: filters.Scalar) -> qe.MatchValue:
    # The engine reads a Python bool as 0 or 1, which matches numbers only; numpy's it reads as a bool.
    return qe.MatchValue(np.bool_(value) if isinstance(value, bool) else value)  # type: ignore[arg-type]


_NEVER = qe.Filter(must=[qe.HasIdCondition(set())])
