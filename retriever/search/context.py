"""What stands around hits: one chunk per document, and the neighbours of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from retriever.corpus import Corpus
from retriever.payload import OWN_FIELD, document_of
from retriever.search.wish import Found
from retriever.store.filters import AllOf, AnyOf, Between, Condition, of_documents

_INDEX = f"{OWN_FIELD}.index"
_STEP = 4


def best_per_document(search: Callable[[int], list[Found]], *, k: int) -> list[Found]:
    """Return the best chunk of each of the `k` best documents.

    `search` returns so many of the best chunks; it is asked for more until there are `k` documents, or no
    more chunks.
    """
    wanted = _STEP * k
    while True:
        found = search(wanted)
        best: dict[str, Found] = {}
        for one in found:
            best.setdefault(document_of(one.payload), one)
        if len(best) >= k or len(found) < wanted:
            return list(best.values())[:k]
        wanted *= _STEP


def with_neighbours(corpus: Corpus, found: Sequence[Found], *, reach: int) -> list[Found]:
    """Return hits with the chunks before and after each, at most `reach` on each side."""
    if not reach or not found:
        return list(found)
    around = AnyOf(parts=tuple(_around(one, reach) for one in found))
    by_place = {_place(payload): payload for payload in corpus.payloads(around)}

    def near(one: Found, steps: range) -> tuple[Mapping[str, Any], ...]:
        doc_id, index = _place(one.payload)
        places = [(doc_id, index + step) for step in steps]
        return tuple(by_place[place] for place in places if place in by_place)

    return [
        replace(one, before=near(one, range(-reach, 0)), after=near(one, range(1, reach + 1)))
        for one in found
    ]


def _around(found: Found, reach: int) -> Condition:
    doc_id, index = _place(found.payload)
    near = Between(key=_INDEX, gte=index - reach, lte=index + reach)
    return AllOf(parts=(of_documents([doc_id]), near))


def _place(payload: Mapping[str, Any]) -> tuple[str, int]:
    return payload["doc_id"], payload[OWN_FIELD]["index"]
