"""What a selection would do and cost, before it does anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from analysis.evaluation.search import Documents
from analysis.selection.record import Option
from analysis.selection.scoring.candidates import enumerate_options
from analysis.selection.scoring.legs import DenseLeg
from analysis.selection.scoring.scoreboard import rank
from analysis.selection.screening.models import Load, Source, check_lengths
from analysis.selection.screening.run import LARGEST, SMALLEST
from analysis.selection.screening.sampling import (
    CHUNKS_PER_QUERY,
    read_chunks,
    sample_chunk_ids,
    sample_queries,
)
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.records import LEXICAL, Chunk, ModelSpec

MEASURED_TEXTS = 8
"""How many chunks, and at most how many queries, a model embeds for the estimate, after one of each."""

_TRIED_QUERIES, _TRIED_CHUNKS = 8, 2000
_BYTES_PER_NUMBER = 4

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """At least and at most so much: a screening ends when its order is stable."""

    least: float
    most: float

    def to_json(self) -> list[float]:
        """Return JSON values."""
        return [self.least, self.most]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """What one model would do.

    Attributes
    ----------
    name
        What the user calls it.
    key
        Its key; None where it was not loaded, so that it is not known.
    stored
        Whether the corpus has its vectors.
    problem
        Why it cannot take part; None where nothing is known that speaks against it.
    queries
        How many queries it would embed, at most.
    chunks
        How many sampled chunks it would embed: 0 where they are stored.
    load_seconds
        How long loading it took; None where it was not loaded.
    seconds_per_1000_chunks, milliseconds_per_query
        As measured on a few texts or given; None where not known.
    corpus_chunks
        How many chunks it would embed if the corpus were to have its vectors: 0 where it has.
    bytes_per_chunk
        Of its vectors in float32; None where its size is not known.
    """

    name: str
    key: str | None
    stored: bool
    problem: str | None
    queries: int
    chunks: Range
    load_seconds: float | None
    seconds_per_1000_chunks: float | None
    milliseconds_per_query: float | None
    corpus_chunks: int
    bytes_per_chunk: int | None

    @property
    def seconds(self) -> Range | None:
        """To load it and to embed what a selection needs; None where its pace is not known."""
        per_chunk, per_query = self.seconds_per_1000_chunks, self.milliseconds_per_query
        if (per_chunk is None and self.chunks.most) or per_query is None:
            return None
        fixed = (self.load_seconds or 0.0) + per_query * self.queries / 1000
        pace = (per_chunk or 0.0) / 1000
        return Range(least=fixed + pace * self.chunks.least, most=fixed + pace * self.chunks.most)

    @property
    def corpus_seconds(self) -> float | None:
        """To embed the whole corpus with it; None where its pace is not known."""
        if not self.corpus_chunks:
            return 0.0
        pace = self.seconds_per_1000_chunks
        return None if pace is None else pace * self.corpus_chunks / 1000

    @property
    def corpus_bytes(self) -> int | None:
        """Its vectors of the whole corpus would take; None where their size is not known."""
        return None if self.bytes_per_chunk is None else self.bytes_per_chunk * self.corpus_chunks

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        seconds = self.seconds
        return {
            "name": self.name,
            "key": self.key,
            "stored": self.stored,
            "problem": self.problem,
            "queries": self.queries,
            "chunks": self.chunks.to_json(),
            "load_seconds": self.load_seconds,
            "seconds_per_1000_chunks": self.seconds_per_1000_chunks,
            "milliseconds_per_query": self.milliseconds_per_query,
            "seconds": None if seconds is None else seconds.to_json(),
            "corpus_chunks": self.corpus_chunks,
            "corpus_seconds": self.corpus_seconds,
            "corpus_bytes": self.corpus_bytes,
            "bytes_per_chunk": self.bytes_per_chunk,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionPlan:
    """What a selection would do.

    Attributes
    ----------
    corpus
        Its name.
    chunks
        How many it has.
    models
        In the order given.
    options
        How many options of the stored models would be measured; 0 where there are none.
    option_seconds
        How long measuring them would take: as tried on a few random vectors.
    temporary_bytes
        Of the files that vectors of the stored models are read into meanwhile.
    embedded
        How many texts each model has embedded for this estimate, at most; 0 where nothing was measured.
    """

    corpus: str
    chunks: int
    models: tuple[ModelPlan, ...]
    options: int
    option_seconds: float
    temporary_bytes: int
    embedded: int

    @property
    def screens(self) -> bool:
        """Whether there is a model that the corpus has no vectors of: then a sample is embedded first."""
        return any(not model.stored for model in self.models)

    @property
    def seconds(self) -> Range | None:
        """How long it would take in all; None where the pace of a model is not known."""
        times = [model.seconds for model in self.models if model.problem is None]
        known = [one for one in times if one is not None]
        if len(known) < len(times):
            return None
        return Range(
            least=self.option_seconds + sum(one.least for one in known),
            most=self.option_seconds + sum(one.most for one in known),
        )

    @property
    def note(self) -> str:
        """What the estimate rests on, in one sentence."""
        if not self.embedded:
            return (
                "Nothing was embedded for this estimate: times are given where the pace of a model is known."
            )
        return (
            f"Estimated from at most {self.embedded} texts that each model has embedded just now: real times "
            f"may be half of it, or twice."
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        seconds = self.seconds
        return {
            "corpus": self.corpus,
            "chunks": self.chunks,
            "screens": self.screens,
            "models": [model.to_json() for model in self.models],
            "options": self.options,
            "option_seconds": self.option_seconds,
            "temporary_bytes": self.temporary_bytes,
            "seconds": None if seconds is None else seconds.to_json(),
            "embedded": self.embedded,
            "note": self.note,
        }


def plan_selection(  # noqa: PLR0913  # all but the first two by name
    corpus: Corpus,
    models: Sequence[EmbeddingModel | str],
    *,
    queries: Sequence[str] | int,
    rng: np.random.Generator,
    lexical: bool = True,
    measure: bool = True,
    paces: Mapping[str, float] | None = None,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
    load: Load = load_model,
) -> SelectionPlan:
    """Say what a selection among these models would do and cost; nothing is written.

    Parameters
    ----------
    corpus
        An open corpus.
    models
        Candidates, as in `screen`.
    queries
        Texts, or how many would be made of the corpus.
    rng
        Draws what is embedded for the estimate.
    lexical
        Whether BM25 would take part.
    measure
        Whether each model is loaded and embeds at most nine chunks and nine queries. Without, no model is
        loaded, and times are known only where `paces` has them.
    paces
        Seconds per 1,000 chunks by key or name, where they are known already: from a `Screening`, say.
        They stand before what is measured.
    smallest, largest
        As in `screen`.
    load
        As in `screen`.

    Raises
    ------
    InputError
        If there is no model, or the corpus has no chunks.
    """
    if not models:
        raise InputError("models: expected at least one candidate, got none. Name some.")
    n_chunks = corpus.count_chunks()
    if not n_chunks:
        raise InputError(
            f"corpus {corpus.name!r}: expected chunks to select models for, got none. Ingest first."
        )
    trial = _Trial.of(corpus, queries, rng=rng) if measure else None
    planner = _Planner(
        corpus,
        n_chunks=n_chunks,
        n_queries=queries if isinstance(queries, int) else len(set(queries)),
        sample=Range(least=min(smallest, n_chunks), most=min(largest, n_chunks)),
        paces=paces or {},
    )
    planned = [planner.plan(Source.of(corpus, model, load), trial) for model in models]
    stored = [one.key for one in planned if one.stored and one.key is not None]
    dimensions = {key: corpus.manifest.model(key).dimensions for key in stored}
    options = _options(stored, lexical=lexical) if stored else ()
    return SelectionPlan(
        corpus=corpus.name,
        chunks=n_chunks,
        models=tuple(planned),
        options=len(options),
        option_seconds=_option_seconds(options, dimensions, n_queries=planner.n_queries, n_chunks=n_chunks),
        temporary_bytes=_BYTES_PER_NUMBER * n_chunks * sum(dimensions.values()),
        embedded=0 if trial is None else trial.n_texts,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """What a model took, or why it cannot take part."""

    spec: ModelSpec | None = None
    problem: str | None = None
    load_seconds: float | None = None
    seconds_per_1000_chunks: float | None = None
    milliseconds_per_query: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """A few texts to measure models on."""

    chunks: Sequence[Chunk]
    queries: Sequence[str]
    longest: int

    @classmethod
    def of(cls, corpus: Corpus, queries: Sequence[str] | int, *, rng: np.random.Generator) -> _Trial:
        ids = sample_chunk_ids(corpus, MEASURED_TEXTS, rng=rng)
        chunks = list(read_chunks(corpus, ids).values())
        asked = (
            [_beginning(chunk.text) for chunk in chunks]
            if isinstance(queries, int)
            else list(sample_queries(queries, MEASURED_TEXTS, rng=rng))
        )
        return cls(chunks=chunks, queries=asked, longest=corpus.manifest.chunker.max_tokens)

    @property
    def n_texts(self) -> int:
        """How many texts a model embeds, the two that come first included."""
        return len(self.chunks) + len(self.queries) + 2

    def measure(self, source: Source) -> _Measured:
        """Load a model and embed the texts, after one of each that does not count."""
        try:
            model, load_seconds = _timed(source.open)
            if source.stored is None:
                check_lengths(model, self.chunks, longest=self.longest)
            texts = [chunk.embedded_text for chunk in self.chunks]
            model.embed_chunks(texts[:1])
            model.embed_queries(self.queries[:1])
            _, chunk_seconds = _timed(partial(model.embed_chunks, texts))
            _, query_seconds = _timed(partial(model.embed_queries, self.queries))
        except ModelError as error:
            return _Measured(problem=str(error))
        return _Measured(
            spec=model.spec,
            load_seconds=load_seconds,
            seconds_per_1000_chunks=1000 * chunk_seconds / len(texts),
            milliseconds_per_query=1000 * query_seconds / len(self.queries),
        )


class _Planner:
    """Plans one model after the other."""

    def __init__(
        self, corpus: Corpus, *, n_chunks: int, n_queries: int, sample: Range, paces: Mapping[str, float]
    ) -> None:
        self._corpus = corpus
        self._n_chunks = n_chunks
        self.n_queries = n_queries
        self._sample = sample
        self._paces = paces

    def plan(self, source: Source, trial: _Trial | None) -> ModelPlan:
        stored = None if source.stored is None else self._corpus.manifest.model(source.stored)
        given = None if source.given is None else source.given.spec
        measured = _Measured() if trial is None else trial.measure(source)
        spec = stored or given or measured.spec
        names = {source.name} if spec is None else {source.name, spec.key, spec.name}
        known = next((self._paces[name] for name in names if name in self._paces), None)
        return ModelPlan(
            name=source.name,
            key=None if spec is None else spec.key,
            stored=stored is not None,
            problem=measured.problem,
            queries=self.n_queries
            if stored
            else min(self.n_queries, int(self._sample.most) // CHUNKS_PER_QUERY),
            chunks=Range(least=0, most=0) if stored else self._sample,
            load_seconds=measured.load_seconds,
            seconds_per_1000_chunks=measured.seconds_per_1000_chunks if known is None else known,
            milliseconds_per_query=measured.milliseconds_per_query,
            corpus_chunks=0 if stored else self._n_chunks,
            bytes_per_chunk=None if spec is None else _BYTES_PER_NUMBER * spec.dimensions,
        )


def _options(keys: Sequence[str], *, lexical: bool) -> tuple[Option, ...]:
    """Return the options that would be measured, at weights that only stand for those they will have."""
    alike = dict.fromkeys([*keys, LEXICAL], 1.0)
    return enumerate_options(keys, alike, quality=alike, lexical=lexical)


def _option_seconds(
    options: Sequence[Option], dimensions: Mapping[str, int], *, n_queries: int, n_chunks: int
) -> float:
    """Rank a few random vectors by all options, and reckon from that; BM25 is tried as one more model."""
    if not options:
        return 0.0
    rng = np.random.default_rng(0)
    tried = min(_TRIED_CHUNKS, n_chunks)
    sizes = {**dimensions, LEXICAL: 1} if any(LEXICAL in option.legs for option in options) else dimensions
    legs = [
        DenseLeg(
            key=key,
            queries=rng.normal(size=(_TRIED_QUERIES, size)).astype(np.float32),
            chunks=rng.normal(size=(tried, size)).astype(np.float32),
        )
        for key, size in sizes.items()
    ]
    documents = Documents.of([str(number) for number in range(tried)])
    _, seconds = _timed(partial(rank, legs, options, documents))
    return seconds * n_queries / _TRIED_QUERIES * n_chunks / tried


def _beginning(text: str) -> str:
    return " ".join(text.split()[:12])


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start
