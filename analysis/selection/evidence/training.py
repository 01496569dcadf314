"""Which public models were trained on which public collections, as far as their makers say.

A model that has seen the questions of a collection looks better on it than it is on other texts. What is
known is in ``analysis/selection/data/trained_on.json``, with where it is said. That nothing is known of a
model does not mean that it has not seen a collection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from analysis.selection.evidence.published import bare_name

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingWarning:
    """A model was trained on the collection that it is measured on.

    Attributes
    ----------
    model
        Its name, as it was given.
    collection
        The public collection that this one is, or is taken from.
    source
        Where its makers say so.
    """

    model: str
    collection: str
    source: str

    def __str__(self) -> str:
        """Return a sentence for a user."""
        return (
            f"{self.model} was trained on {self.collection}: here it looks better than it is on other texts "
            f"({self.source})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": self.model,
            "collection": self.collection,
            "source": self.source,
            "message": str(self),
        }


def training_warnings(model_names: Sequence[str], collection: str | None) -> tuple[TrainingWarning, ...]:
    """Return a warning for each model that is known to have been trained on this collection.

    Parameters
    ----------
    model_names
        Full names or keys, matched without organisation and case.
    collection
        What it is called: ``"hotpotqa"``, ``"hotpotqa-hipporag"``, ``"BeIR/nq"``. A name is known by the
        words in it. None, or a name that is not known, gives no warning.
    """
    known = _known()
    found = None if collection is None else _collection(collection, known["collections"])
    if found is None:
        return ()
    sources = {
        bare_name(model): entry["source"]
        for entry in known["entries"]
        if found in entry["collections"]
        for model in entry["models"]
    }
    return tuple(
        TrainingWarning(model=name, collection=found, source=sources[bare_name(name)])
        for name in model_names
        if bare_name(name) in sources
    )


def _collection(name: str, aliases: Mapping[str, Sequence[str]]) -> str | None:
    """Return the known collection whose name stands in this one: the longest, climate-fever is not fever."""
    words = f"-{'-'.join(_WORD.findall(name.lower()))}-"
    found = [
        (len(alias), collection)
        for collection, written in aliases.items()
        for alias in written
        if f"-{alias}-" in words
    ]
    return max(found)[1] if found else None


@lru_cache(maxsize=1)
def _known() -> dict[str, Any]:
    text = files("analysis.selection").joinpath("data", "trained_on.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known
