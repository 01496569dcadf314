"""Texts in any case: what no engine can look for, expressed by the values that are stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from retriever.store.filters import AllOf, AnyOf, Condition, HasTextInAnyCase, Matches, NoneOf

_STEP = re.compile(r'"(?P<quoted>[^"]+)"|(?P<name>[^."\[\]]+)|\[(?P<index>\d*)\]')

Payloads = Callable[[Sequence[str]], Iterable[Mapping[str, Any]]]
"""Yields these top-level fields of every stored payload."""


def resolved(where: Condition | None, payloads: Payloads) -> Condition | None:
    """Return a condition that engines know and that holds for the same chunks as they are now.

    Each part that looks for a text in any case reads the field of all chunks, and becomes the condition
    that the field has one of the values in which the text was found. All else stays as it is.
    """
    match where:
        case HasTextInAnyCase(key=key, text=text):
            return Matches(key=key, values=tuple(sorted(_containing(text, key, payloads))))
        case AllOf(parts=parts):
            return AllOf(parts=_each(parts, payloads))
        case AnyOf(parts=parts):
            return AnyOf(parts=_each(parts, payloads))
        case NoneOf(parts=parts):
            return NoneOf(parts=_each(parts, payloads))
        case _:
            return where


def _each(parts: Sequence[Condition], payloads: Payloads) -> tuple[Condition, ...]:
    return tuple(part for one in parts if (part := resolved(one, payloads)) is not None)


def _containing(text: str, key: str, payloads: Payloads) -> set[str]:
    """Return the values of a field that contain a text, as LlamaIndex compares them: in small letters."""
    steps = list(_STEP.finditer(key))
    small = text.lower()
    values = {value for payload in payloads([steps[0].group()]) for value in _texts_at(payload, steps)}
    return {value for value in values if small in value.lower()}


def _texts_at(payload: Mapping[str, Any], steps: Sequence[re.Match[str]]) -> Iterator[str]:
    """Yield the texts at a path as the engines follow it: a list is followed by ``[]`` and at the end."""
    found: list[Any] = [payload]
    for step in steps:
        name = step["quoted"] or step["name"]
        if name is not None:
            found = [value[name] for value in found if isinstance(value, Mapping) and name in value]
        else:
            lists = [value for value in found if isinstance(value, list)]
            number = slice(None) if step["index"] == "" else slice(int(step["index"]), int(step["index"]) + 1)
            found = [element for value in lists for element in value[number]]
    for value in found:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield one
