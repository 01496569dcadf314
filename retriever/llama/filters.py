"""LlamaIndex's metadata filters as conditions of the store."""

from __future__ import annotations

import math
import re
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
from retriever.payload import SOURCE_ID
from retriever.store.filters import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    HasId,
    HasText,
    HasTextInAnyCase,
    IsEmpty,
    Matches,
    NoneOf,
    equals,
    of_documents,
)

_PATH = re.compile(r"[A-Za-z0-9_-]+(\[\d*\])?(\.[A-Za-z0-9_-]+(\[\d*\])?)*")
_INTEGERS = range(-(2**63), 2**63)


def to_condition(
    filters: MetadataFilters | None,
    *,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
) -> Condition | None:
    """Return the condition that all of these hold; None where nothing is restricted.

    As everywhere in Qdrant, a list in the metadata equals a value if one of its elements does, and a
    key with dots (``"author.name"``) reaches into nested metadata. Only ``text_match_insensitive`` is none
    of an engine's own: for each question it reads the field of every chunk first.

    Parameters
    ----------
    filters
        Of the metadata, nested as deep as need be.
    node_ids
        Ids of chunks, or of the nodes (or documents) that were ingested: these stand for their chunks.
    doc_ids
        Ids of documents, or of nodes, that were ingested; or of the documents that such nodes name as
        their source.

    Raises
    ------
    InputError
        If an operator, a key or a value cannot be expressed exactly, or an id is empty.
    """
    parts: list[Condition] = []
    if filters is not None:
        parts.append(_group(filters))
    if node_ids is not None:
        parts.append(_nodes(as_ids("node_ids", node_ids)))
    if doc_ids is not None:
        parts.append(_documents(as_ids("doc_ids", doc_ids)))
    return AllOf(parts=tuple(parts)) if parts else None


def as_ids(name: str, ids: Sequence[Any]) -> tuple[str, ...]:
    """Return the ids that an option gives.

    Raises
    ------
    InputError
        If it is a text instead of a list, or an id is none.
    """
    if isinstance(ids, str):
        raise InputError(f"{name}: expected a list of ids, got the text {ids!r}. Put it into a list.")
    for one in ids:
        if not isinstance(one, str) or not one:
            raise InputError(f"{name}: expected ids of one character or more, got {one!r}. Leave it out.")
    return tuple(ids)


def _nodes(node_ids: Sequence[str]) -> Condition:
    chunk_ids = tuple(str(uuid.UUID(node_id)) for node_id in node_ids if _is_uuid(node_id))
    return AnyOf(parts=(HasId(ids=chunk_ids), of_documents(node_ids)))


def _documents(doc_ids: Sequence[str]) -> Condition:
    return AnyOf(parts=(of_documents(doc_ids), Matches(key=SOURCE_ID, values=tuple(doc_ids))))


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _group(filters: MetadataFilters) -> Condition:
    parts = tuple(
        _group(part) if isinstance(part, MetadataFilters) else _single(part) for part in filters.filters
    )
    if not parts:
        return AllOf(parts=())  # no filter restricts nothing, whatever would join them
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
    return make(_path(filter_.key), filter_.value)


def _path(key: str) -> str:
    """Return the key as Qdrant writes it: quoted where it is no plain path."""
    if _PATH.fullmatch(key):
        return key
    if not key or '"' in key:
        raise InputError(f"filter: expected a key without quotation marks, got {key!r}.")
    return f'"{key}"'


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"filter on {key}: expected a number to compare with, got {value!r}.")
    return value


def _values(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple | set):
        raise InputError(f"filter on {key}: expected a list of values, got {value!r}.")
    return list(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"filter on {key}: expected a text, got {value!r}.")
    return value


def _equals(key: str, value: Any) -> Condition:
    is_exact = value in _INTEGERS if isinstance(value, int) else isinstance(value, str | float)
    if not is_exact or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"filter on {key}: expected a text or a number to equal, got {value!r}.")
    return equals(key, value)


def _any(key: str, value: Any) -> Condition:
    return AnyOf(parts=tuple(_equals(key, one) for one in _values(key, value)))


def _all(key: str, value: Any) -> Condition:
    return AllOf(parts=tuple(_equals(key, one) for one in _values(key, value)))


def _contains(key: str, value: Any) -> Condition:
    # An element of a list or a part of a text, but not a part of an element.
    element = _equals(_elements(key), value)
    if not isinstance(value, str):
        return element
    return AnyOf(parts=(element, AllOf(parts=(HasText(key=key, text=value), _is_no_list(key)))))


def _is_empty(key: str, _: Any) -> Condition:
    return AnyOf(parts=(IsEmpty(key=key), AllOf(parts=(equals(key, ""), _is_no_list(key)))))


def _elements(key: str) -> str:
    return key if key.endswith("]") else f"{key}[]"


def _is_no_list(key: str) -> Condition:
    return IsEmpty(key=_elements(key))


_BY_OPERATOR: Mapping[FilterOperator, Callable[[str, Any], Condition]] = {
    FilterOperator.EQ: _equals,
    FilterOperator.NE: lambda key, value: NoneOf(parts=(_equals(key, value),)),
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
    FilterOperator.TEXT_MATCH_INSENSITIVE: lambda key, value: HasTextInAnyCase(
        key=key, text=_text(key, value)
    ),
    FilterOperator.IS_EMPTY: _is_empty,
}
