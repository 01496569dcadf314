"""The prompts that embedding models were trained with.

A model that was trained to see ``"query: "`` before every query still answers without it, only worse:
nothing fails. So prompts are looked up by name, and a model that nobody has described says so once.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

logger = logging.getLogger(__name__)

_DOCUMENT_KEYS = ("document", "passage", "corpus")  # the names sentence-transformers looks for, in its order


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """What to put before every query and every document, and who says so."""

    query: str
    document: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """Models that share their prompts; `names` are regular expressions for ``publisher/model``."""

    names: tuple[re.Pattern[str], ...]
    prompts: Prompts

    def knows(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in self.names)


def prompts_for(name: str) -> Prompts | None:
    """Return the prompts that the publisher of a model names, or None if the model is not known.

    Parameters
    ----------
    name
        ``"publisher/model"``, in any case. Without a publisher (a folder on disk has none) the last
        part alone decides.
    """
    return next((family.prompts for family in _families(named="/" in name) if family.knows(name)), None)


def choose_prompts(name: str, saved: Mapping[str, str]) -> Prompts:
    """Return the prompts to use for a model.

    Parameters
    ----------
    name
        As for `prompts_for`.
    saved
        The prompts that the model's own files hold, by the names of sentence-transformers. They win
        if one of them has text: sentence-transformers saves empty ones for every model, which says
        nothing.

    Returns
    -------
    Prompts
        Both empty for an unknown model; a warning says so once per name and process.
    """
    query = saved.get("query", "")
    document = next((saved[key] for key in _DOCUMENT_KEYS if key in saved), "")
    if query or document:
        return Prompts(query=query, document=document, source="the model's own files")
    known = prompts_for(name)
    if known is not None:
        return known
    _say_unknown(name)
    return Prompts(query="", document="", source="unknown model: none")


@functools.cache
def _say_unknown(name: str) -> None:
    logger.warning(
        "No prompts are known for model %r: queries and chunks are embedded as they are. If its publisher "
        "names some, put them under 'prompts' in its config_sentence_transformers.json.",
        name,
    )


@functools.cache
def _families(*, named: bool) -> tuple[_Family, ...]:
    """Read families.json; without a publisher (`named` False) only the part after it is compared."""
    text = (files(__package__) / "families.json").read_text(encoding="utf-8")
    return tuple(_family(entry, named=named) for entry in json.loads(text))


def _family(entry: Mapping[str, Any], *, named: bool) -> _Family:
    names = entry["names"] if named else [name.split("/", 1)[1] for name in entry["names"]]
    return _Family(
        names=tuple(re.compile(name, re.IGNORECASE) for name in names),
        prompts=Prompts(
            query=entry["query_prompt"], document=entry["document_prompt"], source=entry["source"]
        ),
    )
