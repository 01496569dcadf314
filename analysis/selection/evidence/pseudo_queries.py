"""Queries that a corpus is asked about itself, and how well each model answers them.

A pseudo-query has the words of the document that it shall find, which would be trivial: the chunks that it
was taken from stand in the ranking with what is left of them, embedded again. Nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from analysis.arrays import IntArray, ScoreArray
from analysis.judgements import Judgements
from analysis.selection.record import Option
from analysis.selection.scoring.bm25 import LexicalLeg
from analysis.selection.scoring.legs import CorpusLegs, DenseLeg, Leg, corpus_legs
from analysis.selection.scoring.scoreboard import measure
from retriever import lexical
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.search import stored_models
from retriever.store.protocol import SparseVector

Kind: TypeAlias = Literal["titles", "sentences", "llm"]

StandIns: TypeAlias = Mapping[str, Mapping[str, str | None]]
"""By query id and chunk id, the text that stands in for the chunk; None where it is left out."""

_FROM: Mapping[Kind, str] = {"titles": "title of", "sentences": "sentence of", "llm": "question on"}

_OPPOSITE = -1.0
"""The cosine of a chunk that is left out: no other is below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoQueries:
    """Queries made from a corpus, with what they shall find.

    Attributes
    ----------
    kind
        Where they come from.
    judgements
        Their texts, and grade 1 for the document that each was made from.
    stand_ins
        What takes the place of chunks that would be found by their words alone, or that answer as well as
        the document that is judged.
    failed
        How many answers of a language model could not be used.
    """

    kind: Kind
    judgements: Judgements
    stand_ins: StandIns = field(default_factory=dict)
    failed: int = 0

    @classmethod
    def of(
        cls, kind: Kind, texts: Mapping[str, str], stand_ins: StandIns | None = None, *, failed: int = 0
    ) -> PseudoQueries:
        """Make them of one query per document; `texts` and `stand_ins` are by document id."""
        query_ids = {doc_id: f"{_FROM[kind]} {doc_id}" for doc_id in texts}
        return cls(
            kind=kind,
            judgements=Judgements(
                queries={query_ids[doc_id]: text for doc_id, text in texts.items()},
                qrels={query_id: {doc_id: 1} for doc_id, query_id in query_ids.items()},
            ),
            stand_ins={query_ids[doc_id]: edits for doc_id, edits in (stand_ins or {}).items()},
            failed=failed,
        )


def check_wanted(n: int, *, usual: int) -> None:
    """Refuse to make fewer queries than one.

    Raises
    ------
    InputError
        If `n` is below 1.
    """
    if n < 1:
        raise InputError(f"n: expected at least one query, got {n}. {usual} are usual.")


def pseudo_quality(
    corpus: Corpus,
    queries: PseudoQueries,
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    with_lexical: bool = True,
) -> dict[str, float]:
    """Return NDCG@10 of each leg on pseudo-queries; parameters and errors as in `pseudo_legs`."""
    with pseudo_legs(corpus, queries, keys=keys, models=models, with_lexical=with_lexical) as found:
        singles = [Option(weights={key: 1.0}) for key in found.keys]
        measured = measure(found.legs, singles, found.documents, queries.judgements)
    return {key: one.mean for key, one in zip(found.keys, measured, strict=True)}


@contextmanager
def pseudo_legs(
    corpus: Corpus,
    queries: PseudoQueries,
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    with_lexical: bool = True,
) -> Iterator[CorpusLegs]:
    """Give the legs of a corpus for pseudo-queries, with the stand-ins in the places of their chunks.

    Parameters
    ----------
    corpus
        The corpus that they were made from.
    queries
        See `title_queries`, `sentence_queries`, `llm_queries`.
    keys
        Which models; None for all.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.
    with_lexical
        Whether to give BM25 as the last leg.

    Raises
    ------
    InputError, ModelMismatchError, StoreCorruptError, StoreError
        As in `corpus_legs`.
    """
    texts = queries.judgements.texts
    chosen = corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys)
    places = _Places.of(corpus, queries)
    with corpus_legs(corpus, chosen, texts, with_lexical=with_lexical, models=models) as found:
        yield replace(
            found, legs=tuple(_edited(leg, corpus, texts, places, models=models) for leg in found.legs)
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EditedLeg:
    """A leg some of whose scores are others.

    Attributes
    ----------
    leg
        The leg.
    rows, columns : int64, shape (n_edits,)
        Query and chunk of each other score; rows ascend.
    values : float32, shape (n_edits,)
        The other scores.
    """

    leg: Leg
    rows: IntArray
    columns: IntArray
    values: ScoreArray

    @property
    def key(self) -> str:
        """That of the leg."""
        return self.leg.key

    def scores(self, rows: slice) -> ScoreArray:
        """Return the scores of a block of queries, see `Leg`."""
        found = self.leg.scores(rows)
        start = rows.start or 0
        first, last = np.searchsorted(self.rows, [start, start + len(found)])
        found[self.rows[first:last] - start, self.columns[first:last]] = self.values[first:last]
        return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Places:
    """Where stand-ins stand: for edit i the query `rows[i]`, the chunk `columns[i]`, the text `texts[i]`."""

    rows: IntArray
    columns: IntArray
    texts: tuple[str | None, ...]

    @classmethod
    def of(cls, corpus: Corpus, queries: PseudoQueries) -> _Places:
        edits = [
            (row, chunk_id, text)
            for row, query_id in enumerate(queries.judgements.query_ids)
            for chunk_id, text in queries.stand_ins.get(query_id, {}).items()
        ]
        column = _columns(corpus, {chunk_id for _, chunk_id, _ in edits})
        return cls(
            rows=np.array([row for row, _, _ in edits], dtype=np.int64),
            columns=np.array([column[chunk_id] for _, chunk_id, _ in edits], dtype=np.int64),
            texts=tuple(text for _, _, text in edits),
        )

    @property
    def different(self) -> dict[str, int]:
        """Each text once, with its number."""
        found = dict.fromkeys(text for text in self.texts if text is not None)
        return {text: number for number, text in enumerate(found)}


def _columns(corpus: Corpus, chunk_ids: set[str]) -> dict[str, int]:
    """Return the column of each of these chunks: columns are in the order of chunk ids."""
    if not chunk_ids:
        return {}
    every = (point.point_id for points in corpus.complete_blocks([]) for point in points)
    return {chunk_id: column for column, chunk_id in enumerate(every) if chunk_id in chunk_ids}


def _edited(
    leg: Leg,
    corpus: Corpus,
    queries: Sequence[str],
    places: _Places,
    *,
    models: Mapping[str, EmbeddingModel] | None,
) -> Leg:
    if isinstance(leg, DenseLeg):
        values = _cosines(leg, corpus, places, models=models)
    elif isinstance(leg, LexicalLeg):
        values = _lexical_scores(leg, corpus, queries, places)
    else:
        return leg
    return EditedLeg(leg=leg, rows=places.rows, columns=places.columns, values=values)


def _cosines(
    leg: DenseLeg, corpus: Corpus, places: _Places, *, models: Mapping[str, EmbeddingModel] | None
) -> ScoreArray:
    values = np.full(len(places.rows), _OPPOSITE, dtype=np.float32)
    number = places.different
    if not number:
        return values
    given = {leg.key: models[leg.key]} if models and leg.key in models else None
    vectors = stored_models(corpus, [leg.key], given=given)[leg.key].embed_chunks(list(number))
    for edit, text in enumerate(places.texts):
        if text is not None:
            values[edit] = leg.queries[places.rows[edit]] @ vectors[number[text]]
    return values


def _lexical_scores(leg: LexicalLeg, corpus: Corpus, queries: Sequence[str], places: _Places) -> ScoreArray:
    values = np.zeros(len(places.rows), dtype=np.float32)
    number = places.different
    if not number:
        return values
    spec = corpus.manifest.lexical or lexical.measured(corpus.texts())
    vectors = lexical.encode_chunks(list(number), spec)
    for edit, text in enumerate(places.texts):
        if text is not None:
            row = int(places.rows[edit])
            weights = _token_weights(leg, row, lexical.encode_query(queries[row], spec))
            values[edit] = _product(weights, vectors[number[text]])
    return values


def _token_weights(leg: LexicalLeg, row: int, query: SparseVector) -> dict[int, float]:
    """Return what a token of a query counts: the leg has it by column, and columns are in order of tokens."""
    entries = slice(leg.queries.indptr[row], leg.queries.indptr[row + 1])
    in_order = np.argsort(leg.queries.indices[entries])
    weights = leg.queries.data[entries][in_order]
    return dict(zip(np.sort(query.indices).tolist(), weights.tolist(), strict=True))


def _product(weights: Mapping[int, float], chunk: SparseVector) -> float:
    pairs = zip(chunk.indices.tolist(), chunk.values.tolist(), strict=True)
    return math.fsum(weights.get(token, 0.0) * value for token, value in pairs)
