"""LlamaIndex's metadata filters as conditions of the store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from retriever.errors import InputError
from retriever.store.filters import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    HasId,
    HasText,
    IsEmpty,
    NoneOf,
    equals,
    of_documents,
)


def to_condition(
    filters: MetadataFilters | None,
    *,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
) -> Condition | None:
    """Return the condition that all of these hold; None where nothing is restricted.

    Raises
    ------
    InputError
        If an operator or a value cannot be expressed exactly, or a node id is not a UUID.
    """
    parts: list[Condition] = []
    if filters is not None:
        parts.append(_group(filters))
    if node_ids is not None:
        parts.append(HasId(ids=tuple(_uuid(node_id) for node_id in node_ids)))
    if doc_ids is not None:
        parts.append(of_documents(doc_ids))
    return AllOf(parts=tuple(parts)) if parts else None


def _group(filters: MetadataFilters) -> Condition:
    parts = tuple(
        _group(part) if isinstance(part, MetadataFilters) else _single(part) for part in filters.filters
    )
    match filters.condition:
        case FilterCondition.OR:
            return AnyOf(parts=parts)
        case FilterCondition.NOT:
            return NoneOf(parts=parts)
        case _:  # AND is LlamaIndex's default, also where the condition is None
            return AllOf(parts=parts)


def _single(filter_: MetadataFilter) -> Condition:
    make = _BY_OPERATOR.get(filter_.operator)
    if make is None:
        known = ", ".join(operator.value for operator in _BY_OPERATOR)
        raise InputError(
            f"filter on {filter_.key!r}: expected an operator that is exact in Qdrant ({known}), "
            f"got {filter_.operator.value!r}."
        )
    return make(filter_.key, filter_.value)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"filter on {key!r}: expected a number to compare with, got {value!r}.")
    return value


def _values(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple | set):
        raise InputError(f"filter on {key!r}: expected a list of values, got {value!r}.")
    return list(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"filter on {key!r}: expected a text, got {value!r}.")
    return value


def _any(key: str, value: Any) -> Condition:
    return AnyOf(parts=tuple(equals(key, one) for one in _values(key, value)))


def _all(key: str, value: Any) -> Condition:
    return AllOf(parts=tuple(equals(key, one) for one in _values(key, value)))


def _contains(key: str, value: Any) -> Condition:
    element = equals(key, value)
    return AnyOf(parts=(element, HasText(key=key, text=value))) if isinstance(value, str) else element


_BY_OPERATOR: Mapping[FilterOperator, Callable[[str, Any], Condition]] = {
    FilterOperator.EQ: equals,
    FilterOperator.NE: lambda key, value: NoneOf(parts=(equals(key, value),)),
    FilterOperator.GT: lambda key, value: Between(key=key, gt=_number(key, value)),
    FilterOperator.GTE: lambda key, value: Between(key=key, gte=_number(key, value)),
    FilterOperator.LT: lambda key, value: Between(key=key, lt=_number(key, value)),
    FilterOperator.LTE: lambda key, value: Between(key=key, lte=_number(key, value)),
    FilterOperator.IN: _any,
    FilterOperator.NIN: lambda key, value: NoneOf(parts=(_any(key, value),)),
    FilterOperator.ANY: _any,
    FilterOperator.ALL: _all,
    FilterOperator.CONTAINS: _contains,
    FilterOperator.TEXT_MATCH: lambda key, value: HasText(key=key, text=_text(key, value)),
    FilterOperator.IS_EMPTY: lambda key, _: AnyOf(parts=(IsEmpty(key=key), equals(key, ""))),
}


def _uuid(node_id: str) -> str:
    try:
        return str(uuid.UUID(node_id))
    except ValueError as error:
        raise InputError(f"node_ids: expected UUIDs as Tandem gives its chunks, got {node_id!r}.") from error
