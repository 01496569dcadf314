"""BM25 as a leg: scores of all chunks as the store gives them, from the vectors of a corpus or its texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray, IntArray, ScoreArray
from retriever import lexical
from retriever.combine import lift, parts_of
from retriever.corpus import Corpus
from retriever.errors import StoreCorruptError
from retriever.records import LEXICAL, LexicalSpec
from retriever.store.protocol import SparseVector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SAMPLE = 1000
_EXCERPTS = 100
_EXCERPT_WORDS = 12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LexicalLeg:
    """BM25 as the store scores it, divided by a scale; a chunk without a token of the query scores 0.

    Attributes
    ----------
    queries : float32, sparse, shape (n_queries, n_tokens)
        Frequency of each token times its inverse document frequency, over the scale.
    by_token : float32, sparse, shape (n_tokens, n_chunks)
        What the chunks have of the tokens that some query has.
    n_entries
        How many values the vectors of all chunks have, those that no query needs included.
    """

    queries: csr_array[np.float32]
    by_token: csr_array[np.float32]
    n_entries: int

    @classmethod
    def of(
        cls, queries: Sequence[SparseVector], chunks: Iterable[SparseVector], *, scale: float = 1.0
    ) -> LexicalLeg:
        """Make it of vectors of `retriever.lexical`.

        Parameters
        ----------
        queries, chunks
            Chunks in the order of those of the other legs.
        scale
            `CorpusManifest.lexical_scale`: what a contribution at weight 1 has been divided by.
        """
        tokens = np.unique(np.concatenate([query.indices for query in queries]))
        stored = _Entries.of(chunks, tokens)
        frequencies = np.bincount(stored.columns, minlength=len(tokens))
        weights = inverse_document_frequencies(frequencies, stored.n_rows) / scale
        asked = _Entries.of(queries, tokens)
        asked.values[:] *= weights[asked.columns].astype(np.float32)
        return cls(
            queries=asked.matrix(len(tokens)),
            by_token=stored.matrix(len(tokens)).T.tocsr(),
            n_entries=stored.n_entries,
        )

    @property
    def key(self) -> str:
        """``"bm25"``."""
        return LEXICAL

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return int(self.queries.shape[0])

    @property
    def n_chunks(self) -> int:
        """How many chunks there are."""
        return int(self.by_token.shape[1])

    def scores(self, rows: slice) -> ScoreArray:
        """Return the scaled BM25 scores of a block of queries, see `analysis.selection.scoring.legs.Leg`."""
        found: ScoreArray = (self.queries[rows] @ self.by_token).toarray()
        return found


def inverse_document_frequencies(frequencies: IntArray, n_chunks: int) -> FloatArray:
    """Return ``ln(1 + (N - n + 0.5) / (n + 0.5))`` as the store does, see `PointReader.search_sparse`.

    Parameters
    ----------
    frequencies : int64, shape (n_tokens,)
        In how many chunks each token is.
    n_chunks
        How many there are, empty ones included.
    """
    found: FloatArray = np.log1p((n_chunks - frequencies + 0.5) / (frequencies + 0.5))
    return found


def lexical_leg(corpus: Corpus, queries: Sequence[str], *, n_chunks: int) -> tuple[LexicalLeg, float | None]:
    """Return the BM25 leg of a corpus for some queries, and its spread.

    Scale and spread are as the manifest has them, or as `Corpus.measure_spreads` would measure them; vectors
    are those that are stored, or made from the stored texts as `tandem deploy` would make them. Nothing is
    written.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    queries
        Texts.
    n_chunks
        How many chunks the other legs have.

    Returns
    -------
    LexicalLeg
        Of these queries.
    float or None
        Its spread; None where the corpus has too few chunks.

    Raises
    ------
    StoreCorruptError
        If a chunk lacks its vector, or the corpus was changed meanwhile.
    """
    manifest = corpus.manifest
    spec = manifest.lexical or lexical.measured(corpus.texts())
    asked = [lexical.encode_query(query, spec) for query in queries]
    is_measured = manifest.lexical is not None and LEXICAL in manifest.spreads
    excerpts = [] if is_measured else _excerpts(corpus, spec)
    leg = LexicalLeg.of([*excerpts, *asked], _chunk_vectors(corpus, spec))
    if leg.n_chunks != n_chunks:
        raise StoreCorruptError(
            f"corpus {corpus.name!r} at {corpus.location}: expected {n_chunks:,} chunks again, got "
            f"{leg.n_chunks:,}: it was changed meanwhile. Try again when nothing is ingested."
        )
    scale = manifest.lexical_scale if is_measured else _scale(leg.scores(slice(len(excerpts))))
    spread = manifest.spreads[LEXICAL] if is_measured else _spread(corpus)
    asked_for = leg.queries[len(excerpts) :]
    asked_for.data /= np.float32(scale)
    return replace(leg, queries=asked_for), spread


def _chunk_vectors(corpus: Corpus, spec: LexicalSpec) -> Iterator[SparseVector]:
    """Yield the vector of every chunk, in the order of their ids: those that are stored, if any."""
    if corpus.manifest.lexical is None:
        for chunks in corpus.chunks():
            yield from lexical.encode_chunks([chunk.embedded_text for chunk in chunks], spec)
        return
    for points in corpus.complete_blocks([LEXICAL]):
        for point in points:
            vector = point.vectors[LEXICAL]
            if isinstance(vector, SparseVector):
                yield vector


def _spread(corpus: Corpus) -> float | None:
    """Return what makes a typical best hit of BM25 stand out as far as those of the models do."""
    parts = [part for one in corpus.manifest.combinations for part in one.parts]
    sample: list[Mapping[str, ScoreArray]] = []
    for points in corpus.vector_blocks(corpus.manifest.keys):
        sample += [point.dense for point in points]
        if len(sample) >= _SAMPLE:
            break
    if len(sample) < 2:  # noqa: PLR2004  # a pair is two
        return None
    rows = {key: np.array([one[key] for one in sample[:_SAMPLE]]) for key in corpus.manifest.keys}
    lifts = [lift(part) for part in parts_of(rows, list(dict.fromkeys([*rows, *parts])))]
    found = [one for one in lifts if one]
    return 1 / float(np.mean(found)) if found else None


def _excerpts(corpus: Corpus, spec: LexicalSpec) -> list[SparseVector]:
    """Return the middle of each of the first chunks, as queries."""
    first = islice((chunk.text for chunks in corpus.chunks() for chunk in chunks), _EXCERPTS)
    return [lexical.encode_query(_excerpt(text), spec) for text in first]


def _excerpt(text: str) -> str:
    words = text.split()
    middle = max(0, (len(words) - _EXCERPT_WORDS) // 2)
    return " ".join(words[middle : middle + _EXCERPT_WORDS])


def _scale(scores: ScoreArray) -> float:
    """Return the mean score of the best other chunk of excerpts, of which row i is of chunk i."""
    np.fill_diagonal(scores, 0.0)
    best = scores.max(axis=1, initial=0.0)
    found = best[best > 0].astype(np.float64)
    return float(found.mean()) if found.size else 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Entries:
    """Those values of sparse vectors that stand at some tokens, row by row.

    `lengths`: int64, shape (n_rows,); `columns`: int64, places in the tokens, and `values`: float32, both
    of shape (Σ lengths,). `n_entries` counts those at other tokens, too.
    """

    lengths: IntArray
    columns: IntArray
    values: ScoreArray
    n_entries: int

    @classmethod
    def of(cls, vectors: Iterable[SparseVector], tokens: NDArray[np.uint32]) -> _Entries:
        """Take the values at `tokens`, ascending."""
        lengths: list[int] = []
        columns: list[IntArray] = [np.empty(0, dtype=np.int64)]
        values: list[ScoreArray] = [np.empty(0, dtype=np.float32)]
        n_entries = 0
        for vector in vectors:
            n_entries += vector.size
            places = np.searchsorted(tokens, vector.indices)
            known = (
                tokens.take(places, mode="clip") == vector.indices if len(tokens) else np.zeros(0, dtype=bool)
            )
            lengths.append(int(np.count_nonzero(known)))
            columns.append(places[known])
            values.append(vector.values[known])
        return cls(
            lengths=np.array(lengths, dtype=np.int64),
            columns=np.concatenate(columns),
            values=np.concatenate(values),
            n_entries=n_entries,
        )

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    def matrix(self, n_tokens: int) -> csr_array[np.float32]:
        """Return them as a matrix of shape (n_rows, n_tokens)."""
        from scipy.sparse import csr_array

        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        return csr_array((self.values, self.columns, starts), shape=(self.n_rows, n_tokens))
