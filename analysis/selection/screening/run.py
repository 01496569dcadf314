"""Which few of many models to embed a corpus with, from a sample of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from analysis.arrays import ScoreArray
from analysis.evaluation import ModelVectors, PairSimilarity, compare
from analysis.selection.screening.models import Load, ScreenedModel, Source, Unscreened
from analysis.selection.screening.record import Screening, ScreeningProgress, ScreeningRound
from analysis.selection.screening.sampling import FEWEST_CHUNKS, Sample, Sampler, nearest_chunks, read_chunks
from analysis.selection.screening.stability import Evidence, SampledVectors, chance_missing
from retriever.combine import spread
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelError, StoreCorruptError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.records import Chunk

KEEP = 3
"""How many models to keep: a pair, and one more to choose it from."""

RISK = 0.05
SMALLEST = 128
LARGEST = 2048

_PAIR = 2
_SPREAD_ROWS = 1000
_NO_SPREAD = 1e-6


def screen(  # noqa: PLR0913  # all but the first three by name
    corpus: Corpus,
    models: Sequence[EmbeddingModel | str],
    queries: Sequence[str] | None,
    *,
    rng: np.random.Generator,
    keep: int = KEEP,
    risk: float = RISK,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
    seconds: float | None = None,
    evidence: Evidence | None = None,
    load: Load = load_model,
    on_progress: Callable[[ScreeningProgress], None] | None = None,
) -> Screening:
    """Find the few of many models that are worth embedding a corpus with, on a sample of it.

    A sample is drawn query by query: the chunks nearest to each by the vectors that are stored, and others
    at random (a sample that is random alone hardly has what answers a query). Each candidate embeds it, one
    model after the other, those of the corpus only the queries. Each is judged by how well it agrees with
    the others. The sample is doubled, and what is embedded is kept, until the best model is among
    those kept with the chance that is asked for; the chance is that of samples drawn again, see
    `SampledVectors.replicates`.

    The risk is about the evidence: that a model is kept which agrees best with the others on the whole
    corpus. That the evidence itself is wrong is not part of it.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    models
        Candidates, at least two: models, or what names one, of the corpus or for `load`. A model that
        the corpus is embedded with is not embedded again.
    queries
        At least eight, such as users ask; None for random chunks in their place.
    rng
        Draws the sample and the replicates.
    keep
        How many models to keep, at least two; of fewer all are kept.
    risk
        At which chance that the best model is not kept the sample is large enough, in (0, 1).
    smallest, largest
        Chunks of the first and of the last sample, from 32 on.
    seconds
        No sample is begun that would not be done by then, going by the ones before; None for no limit.
        The first one is always done.
    evidence
        Of quality; None for `analysis.selection.evidence.consensus_ndcg`.
    load
        Loads a model that is named: with another backend, for instance. A model is used once for each
        sample and then let go of.
    on_progress
        Told of each step.

    Raises
    ------
    InputError
        If an option is out of range, a model comes twice, or there is too little to sample.
    ModelError
        If fewer than two models can be screened; no stored model can embed the queries.
    StoreCorruptError
        If a chunk lacks a vector.
    """
    _check_options(models, keep=keep, risk=risk, smallest=smallest, largest=largest)
    return _Screener(
        corpus,
        [ScreenedModel(Source.of(corpus, model, load)) for model in models],
        Sampler(corpus, queries, most=largest, rng=rng),
        rng=rng,
        keep=keep,
        target=risk,
        evidence=_consensus() if evidence is None else evidence,
        on_progress=on_progress,
    ).run(smallest, seconds)


class _Screener:
    """Grows a sample, and embeds it with all candidates that can."""

    def __init__(  # noqa: PLR0913  # those of screen
        self,
        corpus: Corpus,
        models: Sequence[ScreenedModel],
        sampler: Sampler,
        *,
        rng: np.random.Generator,
        keep: int,
        target: float,
        evidence: Evidence,
        on_progress: Callable[[ScreeningProgress], None] | None,
    ) -> None:
        self._corpus = corpus
        self._models = list(models)
        self._sampler = sampler
        self._rng = rng
        self._keep = keep
        self._target = target
        self._evidence = evidence
        self._on_progress = on_progress
        self._guides = [model for model in models if model.source.stored is not None]
        self._chunks: dict[str, Chunk] = {}
        self._near: dict[str, Sequence[str]] = {}
        self._unscreened: list[Unscreened] = []
        self._rounds: list[ScreeningRound] = []
        self._start = time.perf_counter()

    def run(self, smallest: int, limit: float | None) -> Screening:
        """Double the sample until the risk is low enough, all is sampled, or time is up."""
        size = min(smallest, self._sampler.most)
        vectors, kept = self._round(size)
        while self._rounds[-1].risk > self._target and size < self._sampler.most and self._has_time(limit):
            size = min(2 * size, self._sampler.most)
            vectors, kept = self._round(size)
        paces = {model.key: model.seconds_per_1000_chunks for model in self._models}
        return Screening(
            corpus=self._corpus.name,
            rounds=tuple(self._rounds),
            kept=kept,
            target=self._target,
            similarities=_similarities(vectors),
            stored=tuple(model.key for model in self._models if model.source.stored is not None),
            unscreened=tuple(self._unscreened),
            seconds_per_1000_chunks={key: pace for key, pace in paces.items() if pace is not None},
            embedded={model.key: model.embedded_chunks for model in self._models if model.embedded_chunks},
            seconds=self._seconds,
        )

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _has_time(self, limit: float | None) -> bool:
        """Tell whether a sample twice as large, which takes about as long as all before, would be in time."""
        return limit is None or 2 * self._seconds <= limit

    def _round(self, size: int) -> tuple[SampledVectors, tuple[str, ...]]:
        """Look at a sample of so many chunks; return its vectors, and the models to keep."""
        sample = self._sampler.draw(size, self._nearest)
        self._read(sample.chunk_ids)
        vectors = self._embed(sample, size)
        quality = vectors.evidence()
        order = np.argsort(-quality, kind="stable")
        kept = order[: self._keep].tolist()
        replicates = vectors.replicates(self._rng)
        self._rounds.append(
            ScreeningRound(
                chunks=len(sample.chunk_ids),
                queries=len(sample.queries),
                quality={vectors.keys[place]: float(quality[place]) for place in order},
                risk=chance_missing(replicates, kept),
                pair_risk=chance_missing(replicates, kept, best=_PAIR),
                seconds=self._seconds,
            )
        )
        return vectors, tuple(vectors.keys[place] for place in kept)

    def _nearest(self, queries: Sequence[str], n: int) -> list[Sequence[str]]:
        """Return the ids of the chunks near each query; each query is searched once."""
        new = [query for query in queries if query not in self._near]
        if new:
            self._guide(*self._texts_and_chunks(new))
            vectors = {guide.key: self._query_vectors(guide, new) for guide in self._guides}
            self._near |= zip(new, nearest_chunks(self._corpus, vectors, n), strict=True)
        return [self._near[query] for query in queries]

    def _guide(self, texts: Sequence[str], chunks: Sequence[Chunk]) -> None:
        """Let the guides embed what is to be searched; one that cannot is left out.

        Candidates that are stored are the guides, as they have to embed it anyway; where there are none,
        or none is left, any models of the corpus.
        """
        error = self._failed_guides(texts, chunks)
        if not self._guides:
            self._guides = [ScreenedModel(Source.of(self._corpus, key)) for key in self._corpus.manifest.keys]
            error = self._failed_guides(texts, chunks)
        if not self._guides and error is not None:
            raise error

    def _failed_guides(self, texts: Sequence[str], chunks: Sequence[Chunk]) -> ModelError | None:
        """Return why the last of the guides that failed did; None where none has."""
        last = None
        for guide in list(self._guides):
            try:
                guide.embed(texts, chunks, self._reported(guide, 0))
            except ModelError as error:
                last = error
                self._guides.remove(guide)
                if guide in self._models:
                    self._leave_out(guide, str(error))
        return last

    def _texts_and_chunks(self, queries: Sequence[str]) -> tuple[Sequence[str], Sequence[Chunk]]:
        """Return what is to be embedded as queries, and as chunks, so that these can be asked."""
        if not self._sampler.asks_chunks:
            return queries, ()
        self._read(queries)
        return (), [self._chunks[chunk_id] for chunk_id in queries]

    def _query_vectors(self, model: ScreenedModel, queries: Sequence[str]) -> ScoreArray:
        return model.chunks(queries) if self._sampler.asks_chunks else model.queries(queries)

    def _read(self, chunk_ids: Sequence[str]) -> None:
        missing = [chunk_id for chunk_id in chunk_ids if chunk_id not in self._chunks]
        self._chunks |= read_chunks(self._corpus, missing)
        gone = [chunk_id for chunk_id in missing if chunk_id not in self._chunks]
        if gone:
            raise StoreCorruptError(
                f"corpus {self._corpus.name!r} at {self._corpus.location}: expected chunk {gone[0]}, which "
                f"was there a moment ago, got none: another run changes it. Screen again when that is done."
            )

    def _embed(self, sample: Sample, size: int) -> SampledVectors:
        """Embed a sample with each model that can; each is let go of before the next is loaded."""
        texts, asking = self._texts_and_chunks(sample.queries)
        chunks = [*asking, *(self._chunks[chunk_id] for chunk_id in sample.chunk_ids)]
        spreads: dict[str, float] = {}
        for model in list(self._models):
            try:
                model.embed(texts, chunks, self._reported(model, size), taken=spreads)
                spreads[model.key] = _spread(model, sample)
            except ModelError as error:
                self._leave_out(model, str(error))
        return SampledVectors(
            sample,
            queries={model.key: self._query_vectors(model, sample.queries) for model in self._models},
            chunks={model.key: model.chunks(sample.chunk_ids) for model in self._models},
            spreads=spreads,
            evidence=self._evidence,
        )

    def _leave_out(self, model: ScreenedModel, reason: str) -> None:
        self._models.remove(model)
        self._unscreened.append(Unscreened(name=model.source.name, reason=reason))
        if len(self._models) < _PAIR:
            reasons = " ".join(f"{one.name}: {one.reason}" for one in self._unscreened)
            raise ModelError(
                f"screening: expected at least two models that can be screened, got {len(self._models)}. "
                f"{reasons}"
            )

    def _reported(self, model: ScreenedModel, size: int) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            if self._on_progress is not None:
                self._on_progress(
                    ScreeningProgress(sample=size, model=model.source.name, done=done, total=total)
                )

        return report


def _spread(model: ScreenedModel, sample: Sample) -> float:
    """Return the spread of a model's cosines between random chunks.

    Raises
    ------
    ModelError
        If it has none: all vectors are the same.
    """
    others = sample.chunk_ids[sample.n_near :]
    ids = others if len(others) >= FEWEST_CHUNKS else sample.chunk_ids
    found = spread(model.chunks(ids[:_SPREAD_ROWS]))
    if found < _NO_SPREAD:
        raise ModelError(
            f"model {model.source.name}: expected different vectors for different chunks, got the same for "
            f"all of {min(len(ids), _SPREAD_ROWS)}. Leave it out."
        )
    return found


def _similarities(vectors: SampledVectors) -> tuple[PairSimilarity, ...]:
    models = [
        ModelVectors(key=key, queries=vectors.queries[key], chunks=vectors.chunks[key])
        for key in vectors.keys
    ]
    names = [f"query {number}" for number in range(len(vectors.sample.queries))]
    return compare(models, query_ids=names, chunk_documents=vectors.sample.chunk_ids).similarities


def _consensus() -> Evidence:
    from analysis.selection.evidence.consensus import consensus_ndcg

    return consensus_ndcg


def _check_options(
    models: Sequence[EmbeddingModel | str], *, keep: int, risk: float, smallest: int, largest: int
) -> None:
    names = [model if isinstance(model, str) else model.spec.name for model in models]
    if len(names) < _PAIR or len(set(names)) < len(names):
        raise InputError(
            f"models: expected at least two different ones, got {', '.join(names) or 'none'}. Name each "
            f"candidate once."
        )
    if keep < _PAIR:
        raise InputError(f"keep: expected at least 2 models, which make a pair, got {keep}.")
    if not 0 < risk < 1:
        raise InputError(f"risk: expected a chance between 0 and 1, got {risk}. {RISK} is usual.")
    if not FEWEST_CHUNKS <= smallest <= largest:
        raise InputError(
            f"sample: expected sizes from {FEWEST_CHUNKS} chunks on, the smallest first, got {smallest} and "
            f"{largest}."
        )
