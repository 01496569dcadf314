"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from ingest.chunks import ChunkSettings
from ingest.collection import Changes, Counts
from ingest.collection.counts import Failures
from ingest.collection.vanished import Vanished, objection
from ingest.collection.waiting import portions
from ingest.documents import FailedDocument, SeenIds
from ingest.executors import CutDocument
from ingest.executors.local import cut_document
from ingest.opening import Opening, prepare
from ingest.reading import Reading
from ingest.vectors import Batch, Embedder
from retriever.models.protocol import EmbeddingModel
from retriever.payload import text_hash
from retriever.records import Chunk, Document
from retriever.store.filters import missing_vector
from retriever.store.protocol import VectorStore

_SAMPLE = 64
_SAMPLE_SECONDS = 3.0
_TEXTS_AT_A_TIME = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingWork:
    """What one model would embed: distinct texts, their tokens, and the seconds that is estimated to take.

    `seconds` is None where there is nothing to measure it on.
    """

    texts: int
    tokens: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRun:
    """What a run would do.

    Attributes
    ----------
    corpus, location
        Which corpus of which store.
    exists, recreated
        Whether it is there, and whether it would be deleted and made anew.
    new, changed, removed
        Ids of documents; `removed` only where pruning is asked for.
    unchanged, elsewhere
        How many documents would stay as they are, and how many of the corpus the source does not have.
    failed
        Documents that would not be stored, as far as that can be said without embedding them.
    prune_refused
        Why nothing would be pruned although that is asked for; None where that is not so.
    new_chunks, reused_chunks, removed_chunks
        Chunks to write; of these, those that would be given the vectors of an equal text; and chunks to
        delete, those of a corpus that is made anew not counted.
    embed
        By model key; models that would embed nothing are left out.
    sampled
        How many texts were embedded to estimate the time, with the model that got through most.
    """

    corpus: str
    location: str
    exists: bool
    recreated: bool
    new: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]
    unchanged: int
    elsewhere: int
    failed: Sequence[FailedDocument]
    prune_refused: str | None
    new_chunks: int
    reused_chunks: int
    removed_chunks: int
    embed: Mapping[str, EmbeddingWork]
    sampled: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, `seconds` included."""
        return {**asdict(self), "seconds": self.seconds}

    @property
    def seconds(self) -> float | None:
        """How long all models together would take; None where that is not known."""
        times = [work.seconds for work in self.embed.values()]
        known = [seconds for seconds in times if seconds is not None]
        return sum(known) if len(known) == len(times) else None


def dry_run(  # noqa: PLR0913  # all but the first three by name
    source: Iterable[Document | FailedDocument],
    store: VectorStore,
    name: str,
    *,
    models: Sequence[EmbeddingModel],
    combine: Sequence[Sequence[str]] = (),
    chunks: ChunkSettings | None = None,
    prune: bool = False,
    recreate: bool = False,
) -> DryRun:
    """Return what `ingest.run.ingest` would do with the same arguments; nothing is written.

    All documents are read, compared and cut, and a few of their chunks are embedded to see how long
    that takes. What only embedding would tell, such as a model that fails on a text, is not known. And a
    text that moves from one document to another far behind it may have to be embedded, which counts as
    reused here: by then the chunk it was stored in may be deleted.

    Raises
    ------
    TandemError
        As `ingest.run.ingest` would.
    """
    with (
        prepare(store, name, models, combine=combine, settings=chunks, recreate=recreate) as opening,
        SeenIds() as seen,
        SeenIds() as texts,
    ):
        return _Rehearsal(opening, store.location, seen, texts, prune=prune).over(source)


@dataclass(kw_only=True, slots=True)
class _Work:
    """Texts to embed so far, and a random sample of them."""

    texts: int = 0
    tokens: int = 0
    sample: list[str] = field(default_factory=list)

    def add(self, text: str, tokens: int, rng: np.random.Generator) -> None:
        self.texts += 1
        self.tokens += tokens
        if len(self.sample) < _SAMPLE:
            self.sample.append(text)
        elif (place := int(rng.integers(self.texts))) < _SAMPLE:
            self.sample[place] = text


class _Rehearsal:
    """Goes through the stages of a run and notes what each would do."""

    def __init__(
        self, opening: Opening, location: str, seen: SeenIds, texts: SeenIds, *, prune: bool
    ) -> None:
        self._opening = opening
        self._corpus = opening.corpus
        self._location = location
        self._seen = seen
        self._texts = texts
        self._prune = prune
        self._counts = Counts()
        self._failures = Failures(self._counts, lambda _: None)
        self._new: list[str] = []
        self._changed: list[str] = []
        self._new_chunks = self._reused_chunks = 0
        self._gone: set[str] = set()  # ids of stored chunks that would be deleted
        self._work = {key: _Work() for key in opening.models}
        self._sampled = 0
        self._rng = np.random.default_rng(0)

    def over(self, source: Iterable[Document | FailedDocument]) -> DryRun:
        reading = Reading(source, self._opening.name, self._failures, self._seen)
        changes = Changes(self._corpus, self._opening.chunker.spec, self._counts, self._failures, Lock())
        for group in changes.among(reading.groups()):
            cut = [
                cut_document(document, self._opening.name, self._opening.chunker, self._opening.guards)
                for document in group
            ]
            self._note(cut, changes)
        removed, elsewhere, refused = self._vanished()
        for key in self._opening.models:
            self._note_fills(key)
        embed = {key: self._estimate(key, work) for key, work in self._work.items() if work.texts}
        return DryRun(
            corpus=self._opening.name,
            location=self._location,
            exists=self._opening.exists,
            recreated=self._opening.exists and self._corpus is None,
            new=self._new,
            changed=self._changed,
            removed=removed,
            unchanged=self._counts.unchanged,
            elsewhere=elsewhere,
            failed=self._counts.failed,
            prune_refused=refused,
            new_chunks=self._new_chunks,
            reused_chunks=self._reused_chunks,
            removed_chunks=len(self._gone),
            embed=embed,
            sampled=self._sampled,
        )

    def _note(self, group: Sequence[CutDocument], changes: Changes) -> None:
        fresh: list[Chunk] = []
        for cut in group:
            change = changes.take(cut.document.doc_id)
            if cut.reason is not None:
                self._failures.fail(cut.document.doc_id, cut.reason)
                continue
            (self._new if change.stored is None else self._changed).append(cut.document.doc_id)
            self._gone |= change.stored_ids - {chunk.chunk_id for chunk in cut.chunks}
            fresh += [chunk for chunk in cut.chunks if chunk.chunk_id not in change.stored_ids]
        self._new_chunks += len(fresh)
        for portion in portions(fresh):
            self._note_texts(portion)

    def _note_texts(self, chunks: Sequence[Chunk]) -> None:
        known = self._stored_texts([chunk.embedded_text for chunk in chunks])
        for chunk in chunks:
            text = chunk.embedded_text
            if text in known or self._texts.add(text_hash(text), "") is not None:
                self._reused_chunks += 1
            else:
                for work in self._work.values():
                    work.add(text, chunk.token_count, self._rng)

    def _stored_texts(self, texts: Sequence[str]) -> frozenset[str]:
        """Return those of these texts that the store has vectors of, by every model."""
        if self._corpus is None or set(self._opening.models) != set(self._corpus.manifest.keys):
            return frozenset()
        return frozenset(self._corpus.vectors_by_text(list(dict.fromkeys(texts)), tuple(self._work)))

    def _vanished(self) -> tuple[list[str], int, str | None]:
        """Return the documents to prune, how many stay, and why they do if they should not."""
        refused = objection(self._counts) if self._prune else None
        if self._corpus is None:
            return [], 0, refused
        vanished = Vanished(self._corpus, self._seen, self._counts)
        if not self._prune or refused is not None:
            return [], sum(1 for _ in vanished.ids()), refused
        removed = list(vanished.ids())
        for portion in portions(removed):
            stored = self._corpus.stored_documents(portion)
            self._gone |= {chunk_id for one in stored.values() for chunk_id in one.chunk_ids}
        return removed, 0, None

    def _note_fills(self, key: str) -> None:
        """Note the stored chunks that stay and have no vector of this model, nor has any of their text."""
        if self._corpus is None:
            return
        is_stored = key in self._corpus.manifest.keys
        for chunks in self._corpus.chunks(missing_vector(key) if is_stored else None):
            staying = {
                chunk.embedded_text: chunk.token_count for chunk in chunks if chunk.chunk_id not in self._gone
            }
            known = self._corpus.vectors_by_text(list(staying), [key]) if is_stored else {}
            for text, tokens in staying.items():
                text_id = text_hash(text)
                is_new = text not in known and text_id not in self._texts
                if is_new and self._texts.add(f"{key} {text_id}", "") is None:
                    self._work[key].add(text, tokens, self._rng)

    def _estimate(self, key: str, work: _Work) -> EmbeddingWork:
        """Embed some of the sample and reckon from them how long all texts take."""
        embedder = Embedder(self._opening.models)
        embedder.embed(Batch(texts=tuple(work.sample[:1]), keys=(key,)))  # a first call is no measure
        texts, seconds = 0, 0.0
        for part in portions(work.sample, _TEXTS_AT_A_TIME):
            embedded = embedder.embed(Batch(texts=tuple(part), keys=(key,)))
            texts += len(part) - len(embedded.failures)
            seconds += embedded.seconds[key]
            if seconds > _SAMPLE_SECONDS:
                break
        self._sampled = max(self._sampled, texts)
        estimate = seconds / texts * work.texts if texts else None
        return EmbeddingWork(texts=work.texts, tokens=work.tokens, seconds=estimate)
