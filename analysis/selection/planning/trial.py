"""What a few texts tell of the pace of models, and a few random vectors of that of ranking."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from analysis.evaluation.search import Documents
from analysis.selection.record import Option
from analysis.selection.scoring.legs import DenseLeg
from analysis.selection.scoring.scoreboard import rank
from analysis.selection.screening.models import Source, check_lengths
from analysis.selection.screening.sampling import read_chunks, sample_chunk_ids, sample_queries
from retriever.corpus import Corpus
from retriever.errors import ModelError
from retriever.records import LEXICAL, Chunk, ModelSpec

MEASURED_TEXTS = 8
"""How many chunks, and at most how many queries, a model embeds for the estimate, after one of each."""

_TRIED_QUERIES, _TRIED_CHUNKS = 8, 2000

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a model took, or why it cannot take part; None where it was not measured."""

    spec: ModelSpec | None = None
    problem: str | None = None
    load_seconds: float | None = None
    seconds_per_1000_chunks: float | None = None
    milliseconds_per_query: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A few texts to measure models on; `longest` is how many tokens a chunk of the corpus has at most."""

    chunks: Sequence[Chunk]
    queries: Sequence[str]
    longest: int

    @classmethod
    def of(cls, corpus: Corpus, queries: Sequence[str] | None, *, rng: np.random.Generator) -> Trial:
        """Draw chunks, and some of the queries; where there are none, chunks stand in."""
        ids = sample_chunk_ids(corpus, MEASURED_TEXTS, rng=rng)
        chunks = list(read_chunks(corpus, ids).values())
        asked = (
            [_beginning(chunk.text) for chunk in chunks]
            if queries is None
            else list(sample_queries(queries, MEASURED_TEXTS, rng=rng))
        )
        return cls(chunks=chunks, queries=asked, longest=corpus.manifest.chunker.max_tokens)

    @property
    def n_texts(self) -> int:
        """How many texts a model embeds, the two that come first included."""
        return len(self.chunks) + len(self.queries) + 2

    def measure(self, source: Source) -> Measured:
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
            return Measured(problem=str(error))
        return Measured(
            spec=model.spec,
            load_seconds=load_seconds,
            seconds_per_1000_chunks=1000 * chunk_seconds / len(texts),
            milliseconds_per_query=1000 * query_seconds / len(self.queries),
        )


def option_seconds(
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
