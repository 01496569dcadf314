"""Our conditions in the words of the Qdrant client."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import models

from retriever.store import filters


def as_filter(where: filters.Condition | None) -> models.Filter | None:
    """Return a condition as a filter of the client; None is none."""
    return None if where is None else required_filter(where)


def required_filter(where: filters.Condition) -> models.Filter:
    """Return a condition as a filter of the client."""
    condition = _condition(where)
    return condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])


def _condition(  # noqa: C901, PLR0911  # one case and one return per kind of condition
    where: filters.Condition,
) -> (
    models.Filter
    | models.FieldCondition
    | models.HasIdCondition
    | models.HasVectorCondition
    | models.IsEmptyCondition
):
    match where:
        case filters.Matches(key=key, values=values):
            return _matches(key, values)
        case filters.OtherThan(key=key, values=values):
            return models.FieldCondition(
                key=key, match=models.MatchExcept.model_validate({"except": list(values)})
            )
        case filters.Between(key=key, gt=gt, gte=gte, lt=lt, lte=lte):
            return models.FieldCondition(key=key, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
        case filters.HasText(key=key, text=text):
            return models.FieldCondition(key=key, match=models.MatchSubstring(substring=text))
        case filters.HasTextInAnyCase():
            raise TypeError(f"expected a condition that was resolved, got {where}")
        case filters.HasWords(key=key, text=text):
            return models.FieldCondition(key=key, match=models.MatchText(text=text))
        case filters.IsEmpty(key=key):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case filters.HasId(ids=ids):
            return models.HasIdCondition(has_id=list(ids))
        case filters.HasVector(name=name):
            return models.HasVectorCondition(has_vector=name)
        case filters.AllOf(parts=parts):
            return models.Filter(must=[_condition(part) for part in parts])
        case filters.AnyOf(parts=parts):
            return models.Filter(should=[_condition(part) for part in parts]) if parts else _NEVER
        case filters.NoneOf(parts=parts):
            return models.Filter(must_not=[_condition(part) for part in parts])


def _matches(key: str, values: Sequence[filters.Scalar]) -> models.Filter | models.FieldCondition:
    texts = [value for value in values if isinstance(value, str)]
    if 1 < len(texts) == len(values):  # one condition for many values is read from an index at once
        return models.FieldCondition(key=key, match=models.MatchAny(any=texts))
    matches = [models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in values]
    return models.Filter(should=list(matches)) if matches else _NEVER


_NEVER = models.Filter(must=[models.HasIdCondition(has_id=[])])
