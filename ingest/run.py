"""One ingest run: bring a corpus to the state of its source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest.collection import CollectionWriter, Counts
from ingest.documents import FailedDocument, documents_from
from ingest.opening import OpenedCorpus, open_for_writing
from ingest.vectors import Embedder
from retriever.errors import SourceError
from retriever.models.protocol import EmbeddingModel
from retriever.records import Document
from retriever.store.protocol import VectorStore

_DOCUMENTS_AT_A_TIME = 64


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
    written_chunks, written_tokens
        Chunks written, and their tokens.
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
    written_chunks: int
    written_tokens: int
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
    chunk_tokens: int | None = None,
    overlap_tokens: int | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
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
    chunk_tokens, overlap_tokens
        None means as the corpus is, or 256 and 0 for a new one.
    on_progress
        Called after every few documents.

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
    """
    documents = _nonempty(source, name)
    with open_for_writing(
        store,
        name,
        models,
        combine=combine,
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap_tokens,
    ) as opened:
        for keys in combine:
            opened.corpus.add_combination(keys)
        return _run(documents, opened, on_progress)


def _run(
    documents: Iterable[Document | FailedDocument],
    opened: OpenedCorpus,
    on_progress: Callable[[Counts], None],
) -> IngestSummary:
    start = time.perf_counter()
    corpus = opened.corpus
    embedder = Embedder(opened.models)
    writer = CollectionWriter(corpus, opened.chunker, embedder, guards=opened.guards, on_progress=on_progress)
    seen: set[str] = set()
    for group in _groups(documents_from(_readable(documents, writer.counts)), writer.counts):
        seen.update(document.doc_id for document in group)
        writer.write(group)
    for key in corpus.manifest.keys:
        writer.fill(key)
        on_progress(writer.counts)
    for keys in corpus.manifest.combinations:
        corpus.add_combination(keys)
    corpus.flush()
    corpus.measure_spreads()
    counts = writer.counts
    seen.update(failed.doc_id for failed in counts.failed if failed.doc_id is not None)
    return IngestSummary(
        corpus=corpus.name,
        location=corpus.location,
        new=counts.new,
        changed=counts.changed,
        unchanged=counts.unchanged,
        failed=tuple(counts.failed),
        elsewhere=len(corpus.document_ids() - seen),
        written_chunks=counts.written_chunks,
        written_tokens=counts.written_tokens,
        chunks=corpus.count_chunks(),
        models={
            key: ModelTiming(texts=embedder.texts[key], seconds=embedder.seconds[key])
            for key in opened.models
        },
        seconds=time.perf_counter() - start,
    )


def _nonempty(source: Iterable[Document | FailedDocument], name: str) -> Iterator[Document | FailedDocument]:
    """Return all items of `source` after checking that there is one."""
    items = iter(source)
    first = next(items, None)
    if first is None:
        raise SourceError(f"corpus {name!r}: expected documents, the source has none.")

    def whole() -> Iterator[Document | FailedDocument]:
        yield first
        yield from items

    return whole()


def _readable(items: Iterable[Document | FailedDocument], counts: Counts) -> Iterator[Document]:
    """Yield the documents; the others go to `counts`."""
    for item in items:
        if isinstance(item, FailedDocument):
            counts.failed.append(item)
        else:
            yield item


def _groups(items: Iterable[Document | FailedDocument], counts: Counts) -> Iterator[list[Document]]:
    """Yield documents in groups; the others go to `counts`."""
    group: list[Document] = []
    for document in _readable(items, counts):
        group.append(document)
        if len(group) == _DOCUMENTS_AT_A_TIME:
            yield group
            group = []
    if group:
        yield group
