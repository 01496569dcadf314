"""What a selection would do and cost, before it does anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.selection.planning.record import ModelPlan, Range, SelectionPlan
from analysis.selection.planning.trial import Measured, Trial, option_seconds
from analysis.selection.record import Option
from analysis.selection.scoring.candidates import enumerate_options
from analysis.selection.scoring.legs import CHUNKS_FOR_QUERIES
from analysis.selection.screening.models import Load, Source
from analysis.selection.screening.run import LARGEST, SMALLEST
from analysis.selection.screening.sampling import CHUNKS_PER_QUERY, FEWEST_QUERIES
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.records import LEXICAL

_BYTES_PER_NUMBER = 4


def plan_selection(  # noqa: PLR0913  # all but the first two by name
    corpus: Corpus,
    models: Sequence[EmbeddingModel | str],
    *,
    queries: Sequence[str] | None,
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
        Texts; None for chunks of the corpus in their place, which models of the corpus need not embed.
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
    trial = Trial.of(corpus, queries, rng=rng) if measure else None
    planner = _Planner(
        corpus,
        n_chunks=n_chunks,
        n_queries=0 if queries is None else len(set(queries)),
        sample=_sample(smallest, largest, n_chunks=n_chunks, asks_chunks=queries is None),
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
        option_seconds=option_seconds(
            options,
            dimensions,
            n_queries=min(CHUNKS_FOR_QUERIES, n_chunks) if queries is None else planner.n_queries,
            n_chunks=n_chunks,
        ),
        temporary_bytes=_BYTES_PER_NUMBER * n_chunks * sum(dimensions.values()),
        embedded=0 if trial is None else trial.n_texts,
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

    def plan(self, source: Source, trial: Trial | None) -> ModelPlan:
        stored = None if source.stored is None else self._corpus.manifest.model(source.stored)
        given = None if source.given is None else source.given.spec
        measured = Measured() if trial is None else trial.measure(source)
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


def _sample(smallest: int, largest: int, *, n_chunks: int, asks_chunks: bool) -> Range:
    """Return how many chunks a screening embeds, with those that stand in for queries."""
    least, most = (
        size + max(FEWEST_QUERIES, size // CHUNKS_PER_QUERY) if asks_chunks else size
        for size in (smallest, largest)
    )
    return Range(least=min(least, n_chunks), most=min(most, n_chunks))


def _options(keys: Sequence[str], *, lexical: bool) -> tuple[Option, ...]:
    """Return the options that would be measured, at weights that only stand for those they will have."""
    alike = dict.fromkeys([*keys, LEXICAL], 1.0)
    return enumerate_options(keys, alike, quality=alike, lexical=lexical)
