"""One ingest run: bring a corpus to the state of its source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Lock

from ingest.chunks import ChunkSettings
from ingest.collection import Changes, Counts, DocumentWriter, VectorFiller
from ingest.collection.counts import Failures
from ingest.collection.vanished import Vanished
from ingest.documents import FailedDocument, SeenIds
from ingest.executors import CutDocument, Executor, RayOptions, open_executor
from ingest.opening import OpenedCorpus, prepare
from ingest.reading import Reading
from ingest.threads import Ahead, Behind, aside
from ingest.vectors import EmbeddedBatch
from retriever.models.protocol import EmbeddingModel
from retriever.records import Document
from retriever.store.filters import missing_vector
from retriever.store.protocol import VectorStore

_CHUNKS_AHEAD = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTiming:
    """How long a model took: distinct texts embedded, seconds, and their ratio."""

    texts: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Texts per second; 0 where none was embedded."""
        return self.texts / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestSummary:
    """What a run did.

    Attributes
    ----------
    corpus, location
        Which corpus of which store.
    new, changed, unchanged
        Documents of the source, by what was found of them in the store.
    failed
        Documents that were not stored, or not with the vectors of every model, with the reason.
    elsewhere
        Documents of the corpus that the source does not have; they stay as they are.
    removed
        Documents that the source no longer has, and that were deleted because that was asked for.
    prune_refused
        Why none was deleted although that was asked for; None where that is not so.
    written_chunks, written_tokens
        Chunks written, and their tokens.
    reused_chunks
        Of the written chunks, those that were given the vectors of an equal text: none was embedded for
        them.
    filled
        By model key, stored chunks that were given the vectors of a model added since.
    chunks
        Chunks the corpus has now.
    models
        By key.
    seconds
        Of the whole run, loading of models excluded.
    """

    corpus: str
    location: str
    new: int
    changed: int
    unchanged: int
    failed: tuple[FailedDocument, ...]
    elsewhere: int
    removed: int
    prune_refused: str | None
    written_chunks: int
    written_tokens: int
    reused_chunks: int
    filled: Mapping[str, int]
    chunks: int
    models: Mapping[str, ModelTiming]
    seconds: float


def ingest(  # noqa: PLR0913  # all but the first three by name
    source: Iterable[Document | FailedDocument],
    store: VectorStore,
    name: str,
    *,
    models: Sequence[EmbeddingModel],
    combine: Sequence[Sequence[str]] = (),
    chunks: ChunkSettings | None = None,
    recreate: bool = False,
    prune: bool = False,
    ray: RayOptions | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
    on_failure: Callable[[FailedDocument], None] = lambda _: None,
) -> IngestSummary:
    """Bring the corpus `name` to the state of `source`.

    Only what is new or changed is embedded. Models that the corpus has and `models` leaves out are
    loaded as they were, so that every chunk has a vector of every model; models it has not seen are
    run over the chunks that are stored.

    Parameters
    ----------
    source
        Documents, read lazily. One that violates what `ingest.documents.Source` promises (an id that
        comes twice, no text) is counted as failed.
    store, name
        Where the corpus lies; it is created if it is not there.
    models
        At least one for a new corpus.
    combine
        Combinations to keep concatenated vectors of, each by model keys.
    chunks
        How to cut; None, also of each setting, means as the corpus is, or the default for a new one.
    recreate
        Drop the corpus, if it is there, with all it holds, and make it anew.
    prune
        Delete the documents of the corpus that `source` does not have. One that failed is not gone;
        and where something failed that has no id, nothing is deleted, since nobody knows what it was.
    ray
        The Ray cluster that cuts and embeds; None: this process does. Either way this process alone
        reads the source and writes the corpus.
    on_progress
        Called after every few documents and after every batch, from one thread at a time.
    on_failure
        Called with each document that fails, as soon as that is known; from any thread.

    Raises
    ------
    SourceError
        If the source has no document at all.
    InputError
        If a new corpus gets no model, or a combination is not of at least two models of the corpus.
    ModelMismatchError
        If a model, prompt or the chunking differs from what the corpus was made with.
    ModelTooShortError
        If a model would truncate chunks.
    StoreLockedError
        If another run writes to the corpus.
    """
    counts = Counts()
    failures = Failures(counts, on_failure)
    with (
        SeenIds() as seen,
        prepare(store, name, models, combine=combine, settings=chunks, recreate=recreate) as opening,
    ):
        reading = Reading(source, name, failures, seen)
        progress = _Progress(counts, on_progress)
        executor = open_executor(
            name,
            chunker=opening.chunker,
            guards=opening.guards,
            models=opening.models,
            counting=() if opening.corpus is None else opening.corpus.manifest.counting,
            ray=ray,
            on_turn=progress.turn,
        )
        with closing(executor), opening.for_writing() as opened:
            for keys in combine:
                opened.corpus.add_combination(keys)
            run = _Run(opened, executor, counts, failures, progress)
            return run.over(reading, seen, prune=prune)


class _Progress:
    """Tells how far a run is, from one thread at a time."""

    def __init__(self, counts: Counts, on_progress: Callable[[Counts], None]) -> None:
        self._counts = counts
        self._on_progress = on_progress
        self._lock = Lock()

    def tell(self) -> None:
        """Tell it now."""
        with self._lock:
            self._on_progress(self._counts)

    def turn(self, key: str) -> None:
        """Tell that it is the turn of this model."""
        self._counts.model = key
        self.tell()


class _Run:
    """The stages of a run: documents, what is gone, vectors of models added since, the end."""

    def __init__(
        self,
        opened: OpenedCorpus,
        executor: Executor,
        counts: Counts,
        failures: Failures,
        progress: _Progress,
    ) -> None:
        self._start = time.perf_counter()
        self._opened = opened
        self._executor = executor
        self._corpus = opened.corpus
        self._counts = counts
        self._failures = failures
        self._progress = progress
        self._turn = Lock()

    def over(self, reading: Reading, seen: SeenIds, *, prune: bool) -> IngestSummary:
        """Bring the corpus to the state of a source."""
        keys = self._corpus.manifest.keys
        lacking = {key: self._corpus.count_chunks(missing_vector(key)) for key in keys}
        self._counts.to_fill.update({key: count for key, count in lacking.items() if count})
        self._store(reading)
        vanished = Vanished(self._corpus, seen, self._counts)
        elsewhere, prune_refused = vanished.handle(prune=prune)
        for key in keys:
            self._fill(key)
        self._corpus.fill_derived()
        self._corpus.flush()
        self._corpus.measure_spreads()
        return self._summary(elsewhere=elsewhere, prune_refused=prune_refused)

    def _store(self, reading: Reading) -> None:
        changes = Changes(self._corpus, self._opened.chunker.spec, self._counts, self._failures, self._turn)
        writer = DocumentWriter(self._corpus, changes, self._counts, self._failures, self._turn)
        groups = self._executor.cut(changes.among(reading.groups()))
        with Ahead(groups, weight=_chunks_in, limit=_CHUNKS_AHEAD) as ahead, Behind() as behind:
            self._embed(self._executor.embed(writer.plan(self._telling(ahead))), behind, writer.write)

    def _fill(self, key: str) -> None:
        filler = VectorFiller(self._corpus, key, self._counts, self._failures, self._turn)
        with Behind() as behind:
            self._embed(self._executor.embed(filler.plan()), behind, filler.write)

    def _embed(
        self, batches: Iterable[EmbeddedBatch], behind: Behind, write: Callable[[EmbeddedBatch], None]
    ) -> None:
        for embedded in aside(batches):
            self._counts.add_time(embedded)
            behind.run(partial(write, embedded))
            self._progress.tell()
        behind.join()
        self._progress.tell()

    def _telling(self, groups: Iterable[Sequence[CutDocument]]) -> Iterator[Sequence[CutDocument]]:
        for group in groups:
            self._progress.tell()
            yield group

    def _summary(self, *, elsewhere: int, prune_refused: str | None) -> IngestSummary:
        counts = self._counts
        return IngestSummary(
            corpus=self._corpus.name,
            location=self._corpus.location,
            new=counts.new,
            changed=counts.changed,
            unchanged=counts.unchanged,
            failed=tuple(counts.failed),
            elsewhere=elsewhere,
            removed=counts.removed,
            prune_refused=prune_refused,
            written_chunks=counts.written_chunks,
            written_tokens=counts.written_tokens,
            reused_chunks=counts.reused_chunks,
            filled=dict(counts.filled),
            chunks=self._corpus.count_chunks(),
            models={
                key: ModelTiming(texts=counts.texts.get(key, 0), seconds=counts.seconds.get(key, 0.0))
                for key in self._opened.models
            },
            seconds=time.perf_counter() - self._start,
        )


def _chunks_in(group: Sequence[CutDocument]) -> int:
    return sum(len(cut.chunks) for cut in group)
