"""What a `TandemRetriever` was told, as a record and as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilters
from pydantic import ValidationError

from retriever.combine import Weighting
from retriever.errors import InputError
from retriever.llama.filters import as_ids, to_condition
from retriever.search import Fusion, Wish
from retriever.serving import Serving
from retriever.store.space import writing_file

_FORMAT = 1
_CANDIDATES_EACH = 5
_POSTPROCESSORS = "node_postprocessors"


@dataclass(frozen=True, kw_only=True)
class RetrieverSettings:
    """The options of a retriever that say what is asked; see `retriever.llama.retriever.TandemRetriever`."""

    similarity_top_k: int
    filters: MetadataFilters | None = None
    node_ids: tuple[str, ...] | None = None
    doc_ids: tuple[str, ...] | None = None
    weights: Weighting | None = None
    fusion: Fusion = "sum"
    per_document: bool = False
    neighbours: int = 0
    explain: bool = False
    candidates: int | None = None

    def wish(self, *, is_postprocessed: bool) -> Wish:
        """Return what is asked of a search.

        Raises
        ------
        InputError
            If an option has no such value, or candidates are fewer than nodes.
        """
        k = self.similarity_top_k
        if self.candidates is not None and (self.candidates < k or not is_postprocessed):
            raise InputError(
                f"candidates: expected node_postprocessors and at least the {k} nodes that are wanted, got "
                f"{self.candidates}{'' if is_postprocessed else ' and no postprocessors'}."
            )
        if is_postprocessed:
            k = _CANDIDATES_EACH * k if self.candidates is None else self.candidates
        return Wish(
            k=k,
            where=to_condition(self.filters, node_ids=self.node_ids, doc_ids=self.doc_ids),
            weights=self.weights,
            fusion=self.fusion,
            per_document=self.per_document,
            neighbours=self.neighbours,
            explain=self.explain,
        )

    def options(self) -> dict[str, Any]:
        """Return the options by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes equal settings."""
        filters = None if self.filters is None else self.filters.model_dump(mode="json")
        weights = dict(self.weights) if isinstance(self.weights, Mapping) else self.weights
        return {**self.options(), "filters": filters, "weights": weights}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RetrieverSettings:
        """Read what `to_json` wrote."""
        given = dict(value)
        if given.get("filters") is not None:
            given["filters"] = MetadataFilters.model_validate(given["filters"])
        for name in ("node_ids", "doc_ids"):
            if given.get(name) is not None:
                given[name] = as_ids(name, given[name])
        return cls(**given)


def write_settings(
    path: Path, serving: Serving, settings: RetrieverSettings, postprocessors: Sequence[str]
) -> None:
    """Write a retriever to a file; see `retriever.llama.retriever.TandemRetriever.persist`."""
    location = serving.corpus.location
    value = {
        "format": _FORMAT,
        "corpus": serving.corpus.name,
        "url" if "://" in location else "store": location,
        "serve": serving.serve,
        "settings": settings.to_json(),
        _POSTPROCESSORS: list(postprocessors),
    }
    with writing_file(path):
        path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_settings(path: Path, *, given: Mapping[str, Any]) -> tuple[dict[str, Any], RetrieverSettings]:
    """Return where the corpus of a file lies, as parameters, and the settings; `given` are other options.

    Raises
    ------
    InputError
        If it is no such file, or its postprocessors are not among what is given.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            raise InputError(
                f"{path}: expected a retriever of format {_FORMAT}, got {value['format']!r}. "
                "Upgrade tandem-rag, or write it again with this release."
            )
        settings = RetrieverSettings.from_json(value["settings"])
        place = {name: value[name] for name in ("corpus", "store", "url", "serve") if name in value}
        postprocessors = list(value[_POSTPROCESSORS])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"{path}: expected a file that TandemRetriever.persist wrote, got {type(error).__name__}: {error}"
        ) from error
    if len(given.get(_POSTPROCESSORS, ())) != len(postprocessors):
        raise InputError(
            f"{path}: expected {_POSTPROCESSORS} of the kinds {', '.join(postprocessors) or 'none'}, as when "
            f"it was written, got {len(given.get(_POSTPROCESSORS, ()))}. Give them to load."
        )
    return place, settings
