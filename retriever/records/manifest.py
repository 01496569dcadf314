"""What a corpus was made with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from retriever.errors import InputError, StoreCorruptError
from retriever.records.combination import COMBINED, LEXICAL, TRUNCATED, Combination, split_part
from retriever.records.identity import NOT_A_RECORD, without_defaults
from retriever.records.specs import ChunkerSpec, LexicalSpec, ModelSpec

FORMAT_VERSION = 1
"""Version of what is written into a store; a reader refuses a newer one by name."""

_ALIKE = 0.75  # names at least so alike may be mistyped for each other

_CORPUS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_corpus_name(name: str) -> bool:
    """Return whether `name` can name a folder and a collection everywhere."""
    return _CORPUS_NAME.fullmatch(name) is not None


def check_corpus_name(name: str) -> str:
    """Return `name` if it can name a folder and a collection everywhere.

    Raises
    ------
    InputError
        If it is empty, too long, or has other characters than letters, digits, ``.``, ``_``, ``-``.
    """
    if not is_corpus_name(name):
        raise InputError(
            f"corpus name: expected 1 to 128 letters, digits, '.', '_' or '-', starting with a letter "
            f"or digit, got {name!r}"
        )
    return name


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusManifest:
    """What a corpus was made with; lies in the store beside the vectors.

    Attributes
    ----------
    corpus
        Its name.
    chunker
        How its documents were cut.
    models
        The models of its vectors, in the order they were added.
    combinations
        The concatenated vectors it keeps, made from those of its models.
    spreads
        Standard deviation of the cosines between sampled chunks, by model key; measured after
        ingest. The default weights are one over these. ``"bm25"`` is that of the lexical leg, on the
        scale of its scores divided by `lexical_scale`.
    counting
        Models that were dropped since, but whose tokenizers still count when documents are cut.
    lexical
        How its BM25 vectors are made; None where it has none.
    lexical_scale
        The BM25 score that a typical best hit has; scores of the lexical leg are divided by it.
    format_version
        Version of the layout.
    """

    corpus: str
    chunker: ChunkerSpec
    models: tuple[ModelSpec, ...]
    combinations: tuple[Combination, ...] = ()
    spreads: Mapping[str, float] = field(default_factory=dict)
    counting: tuple[ModelSpec, ...] = ()
    lexical: LexicalSpec | None = None
    lexical_scale: float = 1.0
    format_version: int = FORMAT_VERSION

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its models, in order."""
        return tuple(model.key for model in self.models)

    def model(self, key: str) -> ModelSpec:
        """Return the model of this key.

        Raises
        ------
        InputError
            If the corpus has no vectors of it.
        """
        for spec in self.models:
            if spec.key == key:
                return spec
        raise InputError(
            f"corpus {self.corpus!r}: expected one of its models ({', '.join(self.keys)}), got {key!r}. "
            + self._meant(key)
        )

    def _meant(self, name: str) -> str:
        """Return what to do about a name that no model has."""
        if "," in name:
            return f"Join models with {COMBINED!r}: {name.replace(',', COMBINED)}."
        known = [one for spec in self.models for one in (spec.key, spec.name, spec.source)]
        close = get_close_matches(name, known, n=1, cutoff=_ALIKE)
        return f"Did you mean {close[0]!r}?" if close else "Add the model with `ingest run`."

    def resolve(self, name: str) -> str:
        """Return the key of the model that is called `name`: its key, full name or source.

        Raises
        ------
        InputError
            If the corpus has no vectors of it.
        """
        for spec in self.models:
            if name in {spec.key, spec.name, spec.source}:
                return spec.key
        return self.model(name).key

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return these parts by key, in the order of the manifest: A+B and B+A are one combination.

        Each is a model, whole or its first dimensions (``A@128``).

        Raises
        ------
        InputError
            If there is none, a model is unknown or comes twice, or has fewer dimensions than asked for.
        """
        if not names:
            raise InputError(
                f"combination: expected models of corpus {self.corpus!r} ({', '.join(self.keys)}), got none."
            )
        by_key = dict(self._part(name) for name in names)
        if len(by_key) != len(names):
            raise InputError(f"combination: expected different models, got {COMBINED.join(names)}")
        return tuple(by_key[key] for key in self.keys if key in by_key)

    def _part(self, name: str) -> tuple[str, str]:
        """Return the model key and the name of a part that is called `name`."""
        if any(name in {spec.key, spec.name, spec.source} for spec in self.models):  # also one with an @
            key = self.resolve(name)
            return key, key
        called, dimensions = split_part(name)
        spec = self.model(self.resolve(called))
        if dimensions is None or dimensions == spec.dimensions:
            return spec.key, spec.key
        if dimensions > spec.dimensions:
            raise InputError(
                f"combination: expected at most the {spec.dimensions} dimensions of {spec.key}, got {name!r}."
            )
        return spec.key, f"{spec.key}{TRUNCATED}{dimensions}"

    def size(self, part: str) -> int:
        """Return the dimensions of a part of a combination."""
        key, dimensions = split_part(part)
        return self.model(key).dimensions if dimensions is None else dimensions

    @property
    def derived(self) -> tuple[str, ...]:
        """The names of the vectors that are made from others or from text, not embedded."""
        lexical = () if self.lexical is None else (LEXICAL,)
        return (*(combination.vector for combination in self.combinations), *lexical)

    def without(self, key: str) -> CorpusManifest:
        """Return the manifest without a model and its combinations.

        The chunks stay as they are, so where no other model has its tokenizer it goes on counting.
        """
        gone = self.model(key)
        models = tuple(model for model in self.models if model is not gone)
        counts = gone.tokenizer in self.chunker.tokenizers
        shared = gone.tokenizer in {model.tokenizer for model in (*models, *self.counting)}
        return replace(
            self,
            models=models,
            combinations=tuple(one for one in self.combinations if key not in one.keys),
            spreads={other: value for other, value in self.spreads.items() if other != key},
            counting=(*self.counting, gone) if counts and not shared else self.counting,
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal manifest."""
        value = without_defaults(self, ["counting", "lexical", "lexical_scale"])
        value["combinations"] = [combination.to_json() for combination in self.combinations]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CorpusManifest:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreCorruptError
            If it was written by a newer release, or is not a manifest.
        """
        try:
            found = value.get("format_version")
            if found != FORMAT_VERSION:
                raise StoreCorruptError(
                    f"manifest: expected format version {FORMAT_VERSION}, got {found!r}. "
                    "Upgrade tandem-rag, or ingest again with this release."
                )
            chunker = dict(value["chunker"])
            chunker["tokenizers"] = tuple(chunker["tokenizers"])
            return cls(
                corpus=value["corpus"],
                chunker=ChunkerSpec(**chunker),
                models=tuple(ModelSpec(**model) for model in value["models"]),
                combinations=tuple(Combination.from_json(one) for one in value["combinations"]),
                spreads=dict(value["spreads"]),
                counting=tuple(ModelSpec(**model) for model in value.get("counting", ())),
                lexical=LexicalSpec(**value["lexical"]) if value.get("lexical") else None,
                lexical_scale=value.get("lexical_scale", 1.0),
            )
        except NOT_A_RECORD as error:
            raise StoreCorruptError(f"manifest: expected the fields of a manifest, got {value!r}") from error
