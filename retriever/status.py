"""What a store holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retriever.corpus import Corpus
from retriever.records import CorpusManifest, Deployment
from retriever.store.filters import missing_vector
from retriever.store.protocol import VectorStore


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusStatus:
    """One corpus: its manifest, its size, what it lacks, what it serves.

    `missing` counts, by vector name, the chunks that still have none: more than 0 after an ingest
    that was cut short. `deployment` is None where nothing has been deployed.
    """

    manifest: CorpusManifest
    documents: int
    chunks: int
    missing: Mapping[str, int]
    deployment: Deployment | None


def corpus_status(store: VectorStore, name: str) -> CorpusStatus:
    """Return the status of one corpus.

    Raises
    ------
    CorpusNotFoundError
        If the store has none of this name.
    """
    with Corpus.open(store, name) as corpus:
        manifest = corpus.manifest
        vectors = [*manifest.keys, *manifest.derived]
        return CorpusStatus(
            manifest=manifest,
            documents=len(set(corpus.stored_document_ids())),
            chunks=corpus.count_chunks(),
            missing={name: corpus.count_chunks(missing_vector(name)) for name in vectors},
            deployment=corpus.served,
        )
