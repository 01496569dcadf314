"""Conditions on stored points, independent of the engine that evaluates them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = str | int | bool

_EXACT_IN_A_FLOAT = 2**53


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The payload field (or one element of it, if it is a list) equals one of `values`."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherThan:
    """The payload field (or one element of it) has a value that is none of `values`, all of one type."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """The numeric payload field lies within the bounds that are given."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HasText:
    """The payload field (or one element of it) contains this text as a substring, case included.

    A server understands it from version 1.20 on; an older one refuses the request.
    """

    key: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HasTextInAnyCase:
    """As `HasText`, whatever the case.

    No engine can look for that: `retriever.any_case.resolved` puts what they know in its place.
    """

    key: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HasWords:
    """The payload field (or one element of it) contains every word of this text, in any order and case.

    Words are runs of letters and digits; a text without one is contained in nothing.
    """

    key: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class IsEmpty:
    """The payload field is absent, null or an empty list."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HasId:
    """The point is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HasVector:
    """The point has a vector of this name."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AllOf:
    """Every part holds; without parts, always."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyOf:
    """At least one part holds; without parts, never."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoneOf:
    """No part holds; without parts, always."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = (
    Matches
    | OtherThan
    | Between
    | HasText
    | HasTextInAnyCase
    | HasWords
    | IsEmpty
    | HasId
    | HasVector
    | AllOf
    | AnyOf
    | NoneOf
)


def equals(key: str, value: Scalar | float) -> Condition:
    """Return the condition that `key` equals `value`; 5 and 5.0 are one number.

    Engines compare fractions by ranges only, and find 5.0 by a range only where 5 is asked for.
    """
    if isinstance(value, bool | str):
        return Matches(key=key, values=(value,))
    if isinstance(value, int) and abs(value) > _EXACT_IN_A_FLOAT:
        return Matches(key=key, values=(value,))
    return Between(key=key, gte=value, lte=value)


def of_documents(doc_ids: Iterable[str]) -> Condition:
    """Return the condition that a chunk belongs to one of these documents."""
    return Matches(key="doc_id", values=tuple(doc_ids))


def missing_vector(name: str) -> Condition:
    """Return the condition that a point has no vector of this name yet."""
    return NoneOf(parts=(HasVector(name=name),))
