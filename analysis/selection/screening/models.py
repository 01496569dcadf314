"""Candidate models of a screening: one in memory at a time, no text embedded twice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import numpy as np

from analysis.arrays import ScoreArray
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelMismatchError, ModelTooShortError, StoreCorruptError
from retriever.models import PACKAGED, CheckedModel, load_model
from retriever.models.packaged import short_name_of
from retriever.models.protocol import EmbeddingModel
from retriever.records import Chunk, ModelSpec
from retriever.search import stored_models

Load: TypeAlias = Callable[[str], EmbeddingModel]
"""From what names a model to the model, as `retriever.models.load_model`."""

_AT_ONCE = 32
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[^/]+)?")  # with its revision


@dataclass(frozen=True, kw_only=True, slots=True)
class Unscreened:
    """A candidate that could not be screened, and why."""

    name: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return JSON values."""
        return {"name": self.name, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a candidate comes from.

    Attributes
    ----------
    corpus
        Which corpus is screened for.
    name
        What the user calls it.
    given
        The model itself, where there is an object.
    stored
        Its key, where the corpus has its vectors.
    load
        Loads it by name, where there is no object.
    """

    corpus: Corpus
    name: str
    given: EmbeddingModel | None
    stored: str | None
    load: Load

    @classmethod
    def of(cls, corpus: Corpus, model: EmbeddingModel | str, load: Load = load_model) -> Source:
        """Take a model, or what names one: of a model of the corpus its key, full name or source."""
        if isinstance(model, str):
            return cls(corpus, model, None, stored_key(corpus, model), load)
        key = model.spec.key
        return cls(corpus, model.spec.name, model, key if key in corpus.manifest.keys else None, load)

    def open(self) -> EmbeddingModel:
        """Return the model, loaded where it is not there.

        Raises
        ------
        ModelError
            If it cannot be loaded, or is not the one that the corpus has under its key.
        """
        if self.stored is not None:
            given = None if self.given is None else {self.stored: self.given}
            return stored_models(self.corpus, [self.stored], given=given)[self.stored]
        model = self.given or self.load(self.name)
        if model.spec.key in self.corpus.manifest.keys:
            stored = self.corpus.manifest.model(model.spec.key)
            raise ModelMismatchError(
                f"model {self.name!r}: expected another key than those of corpus {self.corpus.name!r}, got "
                f"{model.spec.key!r}, which it has from {stored.source!r}. Name the stored model by its key, "
                f"or screen the other one on a corpus of its own."
            )
        return CheckedModel(model)


class ScreenedModel:
    """A candidate and the vectors it has made so far, by text and by chunk."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.embedded_chunks = 0
        self.chunk_seconds = 0.0
        self._spec: ModelSpec | None = None
        self._queries: dict[str, ScoreArray] = {}
        self._chunks: dict[str, ScoreArray] = {}

    @property
    def key(self) -> str:
        """Its key; known once it was loaded, and of a model of the corpus before."""
        if self.source.stored is not None:
            return self.source.stored
        if self._spec is None:
            raise InputError(
                f"model {self.source.name!r}: expected to be loaded before its key is asked for."
            )
        return self._spec.key

    @property
    def seconds_per_1000_chunks(self) -> float | None:
        """As measured while it embedded; None where it has embedded none."""
        return 1000 * self.chunk_seconds / self.embedded_chunks if self.embedded_chunks else None

    def embed(
        self,
        queries: Sequence[str],
        chunks: Sequence[Chunk],
        on_chunks: Callable[[int, int], None],
        *,
        taken: Collection[str] = (),
    ) -> None:
        """Make the vectors that are missing; of a model of the corpus those of chunks are read.

        Parameters
        ----------
        queries, chunks
            What vectors are wanted of.
        on_chunks
            Told how many of how many missing chunks are embedded.
        taken
            Keys of other models.

        Raises
        ------
        ModelError
            If the model cannot be loaded, has a key that is taken, would truncate a chunk, or fails on
            a text.
        """
        new_queries = [query for query in queries if query not in self._queries]
        new_chunks = [chunk for chunk in chunks if chunk.chunk_id not in self._chunks]
        if self.source.stored is not None:
            if self.source.given is not None:
                self.source.corpus.check_model(self.source.given.spec)
            self._read(self.source.stored, new_chunks)
            new_chunks = []
        if not new_queries and not new_chunks:
            return
        model = self.source.open()
        self._spec = model.spec
        if self.key in taken:
            raise ModelMismatchError(
                f"model {self.source.name!r}: expected another key than those of the other candidates, got "
                f"{self.key!r}, which one of them has. Give only one of the two."
            )
        if new_chunks:
            check_lengths(model, new_chunks, longest=self.source.corpus.manifest.chunker.max_tokens)
        if new_queries:
            self._queries |= zip(new_queries, model.embed_queries(new_queries), strict=True)
        for start in range(0, len(new_chunks), _AT_ONCE):
            on_chunks(start, len(new_chunks))
            self._embed_chunks(model, new_chunks[start : start + _AT_ONCE])
        on_chunks(len(new_chunks), len(new_chunks))

    def queries(self, texts: Sequence[str]) -> ScoreArray:
        """Return the vectors of queries, shape (n_texts, d)."""
        return np.array([self._queries[text] for text in texts], dtype=np.float32)

    def chunks(self, chunk_ids: Sequence[str]) -> ScoreArray:
        """Return the vectors of chunks, shape (n_chunks, d)."""
        return np.array([self._chunks[chunk_id] for chunk_id in chunk_ids], dtype=np.float32)

    def _embed_chunks(self, model: EmbeddingModel, chunks: Sequence[Chunk]) -> None:
        start = time.perf_counter()
        vectors = model.embed_chunks([chunk.embedded_text for chunk in chunks])
        self.chunk_seconds += time.perf_counter() - start
        self.embedded_chunks += len(chunks)
        self._chunks |= zip((chunk.chunk_id for chunk in chunks), vectors, strict=True)

    def _read(self, key: str, chunks: Sequence[Chunk]) -> None:
        points = self.source.corpus.points([chunk.chunk_id for chunk in chunks], with_vectors=[key])
        for chunk_id, point in points.items():
            if key not in point.vectors:
                raise StoreCorruptError(
                    f"corpus {self.source.corpus.name!r} at {self.source.corpus.location}: expected vectors "
                    f"of {key} for every chunk, chunk {chunk_id} has none. Run the same `ingest run` again "
                    f"to complete it."
                )
            self._chunks[chunk_id] = point.dense[key]


def check_lengths(model: EmbeddingModel, chunks: Sequence[Chunk], *, longest: int) -> None:
    """Raise `ModelTooShortError` if a model would truncate one of these chunks.

    `longest` is the most tokens a chunk of the corpus may have, which counts where the model has no
    tokenizer on this machine.
    """
    spec, tokenizer = model.spec, model.tokenizer
    if spec.max_tokens is None:
        return
    if tokenizer is None:
        most = longest
    else:
        most = max(tokenizer.count([spec.document_prompt + chunk.embedded_text for chunk in chunks]))
    if most > spec.max_tokens:
        raise ModelTooShortError(
            f"model {spec.name}: expected chunks of at most {spec.max_tokens} tokens, got one of {most}. "
            f"Have long chunks embedded in pieces (over-length windows), or leave this model out."
        )


def stored_key(corpus: Corpus, name: str) -> str | None:
    """Return the key of the model of a corpus that a key, full name or source names; None where none does."""
    for spec in corpus.manifest.models:
        if name in {spec.key, spec.name, spec.source}:
            return spec.key
    return None


def check_candidates(corpus: Corpus, names: Iterable[str]) -> None:
    """Refuse what names neither a model of a corpus nor anything that `load_model` would try to load.

    Nothing is loaded, and no hub asked whether it has a model of such a name.

    Raises
    ------
    InputError
        If a name is neither; with what it may have been meant to be.
    """
    for name in names:
        if stored_key(corpus, name) is None and not _is_loadable(name):
            known = [one for spec in corpus.manifest.models for one in (spec.key, spec.name, spec.source)]
            meant = get_close_matches(name, [*known, *PACKAGED], n=1)
            raise InputError(
                f"candidates: expected models of corpus {corpus.name!r} ({', '.join(corpus.manifest.keys)}) "
                f"or others that can be loaded ({', '.join(sorted(PACKAGED))}, a folder, or a hub name "
                f"'publisher/model'), got {name!r}. "
                + (f"Did you mean {meant[0]!r}?" if meant else "Correct the name, or leave it out.")
            )


def _is_loadable(name: str) -> bool:
    is_place = short_name_of(name) is not None or Path(name).expanduser().is_dir()
    return is_place or (_HUB_NAME.fullmatch(name) is not None and not Path(name).is_file())
