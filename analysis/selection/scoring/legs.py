"""Legs: what gives every chunk a score for a query, a model's cosines or BM25, block by block of queries.

Options are sums of legs, so whatever is measured of options is measured from the scores of a few legs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.arrays import AnyFloatArray, IntArray, ScoreArray
from analysis.evaluation.search import Documents
from analysis.selection.scoring.bm25 import lexical_leg
from analysis.stored import MappedVectors, query_vectors, stored_vectors
from retriever.corpus import Corpus
from retriever.errors import InputError, ShapeError
from retriever.models.protocol import EmbeddingModel
from retriever.records import LEXICAL

CHUNKS_FOR_QUERIES = 200
"""How many chunks stand in for queries where there are none."""

_CONVERTED_ROWS = 8192
_FEWEST_DOCUMENTS = 2


class Leg(Protocol):
    """Scores every chunk for every query."""

    @property
    def key(self) -> str:
        """That of a model of the corpus, or ``"bm25"``."""
        ...

    def scores(self, rows: slice) -> ScoreArray:
        """Return the scores of a block of queries for all chunks.

        Parameters
        ----------
        rows
            Which queries; what lies beyond the last gives no rows.

        Returns
        -------
        float32, shape (n_rows, n_chunks)
            Finite. The caller may write into it.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DenseLeg:
    """One model: its score is the cosine.

    Attributes
    ----------
    key
        That of the model in the corpus.
    queries : float32, shape (n_queries, d)
        Unit rows.
    chunks : float32 or float16, shape (n_chunks, d)
        Unit rows. May be a memory map.
    """

    key: str
    queries: ScoreArray
    chunks: AnyFloatArray

    def __post_init__(self) -> None:
        shapes = self.queries.shape, self.chunks.shape
        if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:  # noqa: PLR2004  # rows
            raise ShapeError(
                f"leg {self.key}: expected rows of queries and chunks of equal dimensions, got shapes "
                f"{shapes[0]} and {shapes[1]}. Embed both with the same model."
            )

    def scores(self, rows: slice) -> ScoreArray:
        """Return the cosines of a block of queries, see `Leg`."""
        queries = self.queries[rows]
        if self.chunks.dtype == np.float32:
            whole: ScoreArray = np.matmul(queries, self.chunks.T)
            return whole
        found = np.empty((len(queries), len(self.chunks)), dtype=np.float32)
        for start in range(0, len(self.chunks), _CONVERTED_ROWS):
            part = slice(start, start + _CONVERTED_ROWS)
            np.matmul(queries, self.chunks[part].astype(np.float32).T, out=found[:, part])
        return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CorpusLegs:
    """The legs of a corpus for some queries; valid within the context that gave it.

    Attributes
    ----------
    legs
        Models in the order of the corpus, then BM25 where asked for.
    documents
        Of the chunks.
    chunk_documents
        Document id of each chunk, in the order of the columns of scores: that of the ids of chunks.
    spreads
        By leg, for calibrated weights; a model has none where the corpus has too few chunks.
    """

    legs: tuple[Leg, ...]
    documents: Documents
    chunk_documents: tuple[str, ...]
    spreads: Mapping[str, float]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the legs."""
        return tuple(leg.key for leg in self.legs)


@contextmanager
def corpus_legs(
    corpus: Corpus,
    keys: Sequence[str],
    queries: Sequence[str],
    *,
    with_lexical: bool,
    models: Mapping[str, EmbeddingModel] | None = None,
) -> Iterator[CorpusLegs]:
    """Give the legs of a corpus for some queries; the vectors lie in temporary files within the context.

    Only the queries are embedded. BM25 vectors are those that are stored; where there are none, they
    are made from the stored texts as `tandem deploy` would make them, and nothing is written.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    keys
        Which models, by any of their names.
    queries
        Texts.
    with_lexical
        Whether to give BM25 as the last leg.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.

    Raises
    ------
    InputError
        If there are no queries, or a model is not in the corpus.
    ModelMismatchError
        If a model is not the one that was stored.
    StoreCorruptError
        If a chunk lacks a vector, or the corpus was changed meanwhile.
    StoreError
        If the files cannot be written: the disk is full.
    """
    if not queries:
        raise InputError("queries: expected at least one, got none. Give the texts of some queries.")
    chosen = corpus.manifest.ordered(keys)
    vectors = query_vectors(corpus, chosen, queries, given=models)
    with stored_vectors(corpus, chosen) as stored:
        yield _legs(corpus, stored, vectors, queries if with_lexical else None)


@contextmanager
def chunk_legs(
    corpus: Corpus, keys: Sequence[str], *, n: int, rng: np.random.Generator, with_lexical: bool
) -> Iterator[tuple[CorpusLegs, IntArray]]:
    """Give the legs of a corpus for some of its own chunks in the place of queries; nothing is embedded.

    Parameters
    ----------
    corpus, keys, with_lexical
        As in `corpus_legs`.
    n
        How many chunks, at least 1; all where there are fewer.
    rng
        Draws them.

    Yields
    ------
    CorpusLegs
        As `corpus_legs` gives them.
    int64, shape (n_queries,)
        The document of each drawn chunk, which it must not find, see `analysis.rankings.rank_documents`.

    Raises
    ------
    InputError
        If there are fewer than two documents, or a model is not in the corpus.
    StoreCorruptError, StoreError
        As in `corpus_legs`.
    """
    chosen = corpus.manifest.ordered(keys)
    with stored_vectors(corpus, chosen) as stored:
        if not stored.doc_ids:
            raise InputError(f"corpus {corpus.name!r}: expected chunks, got none. Ingest first.")
        n_chunks = len(stored.doc_ids)
        rows = np.sort(rng.choice(n_chunks, size=min(n, n_chunks), replace=False))
        vectors = {key: np.array(chunks[rows]) for key, chunks in stored.chunks.items()}
        found = _legs(corpus, stored, vectors, _texts_of(corpus, rows) if with_lexical else None)
        if found.documents.chunks.n_documents < _FEWEST_DOCUMENTS:
            raise InputError(
                f"corpus {corpus.name!r}: expected at least two documents, to ask chunks of one for the "
                f"others, got {found.documents.ids[0]} alone. Give queries."
            )
        yield found, found.documents.chunks.document[rows]


def _legs(
    corpus: Corpus,
    stored: MappedVectors,
    queries: Mapping[str, ScoreArray],
    texts: Sequence[str] | None,
) -> CorpusLegs:
    """Put legs together from vectors of chunks and of queries; with BM25 where the queries have texts."""
    spreads = {key: corpus.manifest.spreads[key] for key in stored.chunks if key in corpus.manifest.spreads}
    legs: list[Leg] = [
        DenseLeg(key=key, queries=queries[key], chunks=chunks) for key, chunks in stored.chunks.items()
    ]
    if texts is not None:
        leg, spread = lexical_leg(corpus, texts, n_chunks=len(stored.doc_ids))
        legs.append(leg)
        spreads |= {} if spread is None else {LEXICAL: spread}
    return CorpusLegs(
        legs=tuple(legs),
        documents=Documents.of(stored.doc_ids),
        chunk_documents=stored.doc_ids,
        spreads=spreads,
    )


def _texts_of(corpus: Corpus, rows: IntArray) -> list[str]:
    """Return the texts of these chunks, counted in the order of their ids."""
    drawn = set(rows.tolist())
    chunks = (chunk for block in corpus.chunks() for chunk in block)
    return [chunk.embedded_text for row, chunk in enumerate(chunks) if row in drawn]
