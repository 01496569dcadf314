"""What an option takes: time to embed, room for its vectors, time to answer.

Each model is measured by itself. What a query of several models waits for is between the slowest of
them, since they embed at the same time, and the sum of all, since they share the cores; how far from
the first is measured on the two slowest models. A search takes a while whatever it scans, and more the
more bytes it scans; both are measured on the smallest and the largest model of the corpus, by searching.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import median

from analysis.arrays import IntArray
from analysis.rankings import best_columns
from analysis.selection.record import Cost, Option
from analysis.selection.scoring.bm25 import LexicalLeg
from retriever import lexical
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import LEXICAL, Combination, LexicalSpec
from retriever.search import stored_models
from retriever.search.dense import DenseLegs
from retriever.search.fusion import DEPTH
from retriever.search.lexical_leg import SummedLegs
from retriever.search.models import embed_queries
from retriever.search.wish import EmbeddedQuery
from retriever.store.protocol import SparseVector

_CHUNKS = 64
_QUERIES = 16
_WARM_UP = 2
_K = 10
_FLOAT_BYTES = 4
_ENTRY_BYTES = 8  # a place and a value
_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingCost:
    """What it takes to embed: chunks many at once, queries one by one."""

    seconds_per_1000_chunks: float
    milliseconds_per_query: float


def embedding_cost(model: EmbeddingModel, chunks: Sequence[str], queries: Sequence[str]) -> EmbeddingCost:
    """Embed chunks in one go and queries one by one, after a few that do not count.

    Parameters
    ----------
    model
        What embeds.
    chunks, queries
        Texts, at least one of each.
    """
    return _embedding_cost(model.embed_chunks, model.embed_queries, chunks, queries)


def sample_texts(corpus: Corpus, queries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the chunks and the queries that costs are measured on; chunks stand in where there are none.

    Raises
    ------
    InputError
        If the corpus has no chunks.
    """
    chunks = list(islice(corpus.texts(), _CHUNKS))
    if not chunks:
        raise InputError(
            f"corpus {corpus.name!r}: expected chunks to measure costs on, got none. Ingest first."
        )
    return chunks, list(queries[:_QUERIES]) or chunks[:_WARM_UP]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchCost:
    """What a search takes, in milliseconds.

    Attributes
    ----------
    fixed
        Whatever is scanned.
    per_byte
        For each byte per chunk of the vector that is scanned, with all chunks of the corpus.
    deeper
        More, where the first hundred chunks are wanted: for fusions, and beside BM25.
    lexical
        By BM25.
    """

    fixed: float
    per_byte: float
    deeper: float
    lexical: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """The costs of legs, from which those of options follow.

    Attributes
    ----------
    embedding
        By leg.
    bytes_per_chunk
        Of the vectors in float32, by leg; BM25 by its stored entries.
    shared
        Which part of the time of the faster models is added to that of the slowest when they embed one
        query at the same time, in [0, 1].
    search
        Of this corpus.
    """

    embedding: Mapping[str, EmbeddingCost]
    bytes_per_chunk: Mapping[str, float]
    shared: float
    search: SearchCost

    def of(self, option: Option) -> Cost:
        """Return what an option takes.

        Raises
        ------
        InputError
            If one of its legs was not measured.
        """
        unknown = [leg for leg in option.legs if leg not in self.embedding]
        if unknown:
            raise InputError(
                f"costs: expected legs among {', '.join(self.embedding)}, got {', '.join(unknown)}. Measure "
                f"the costs of every leg that an option has."
            )
        return Cost(
            seconds_per_1000_chunks=sum(self.embedding[leg].seconds_per_1000_chunks for leg in option.legs),
            bytes_per_chunk=sum(self.bytes_per_chunk[leg] for leg in option.legs),
            milliseconds_per_query=self._embedding_of_a_query(option) + self._search_of_a_query(option),
        )

    def _embedding_of_a_query(self, option: Option) -> float:
        times = [self.embedding[model].milliseconds_per_query for model in option.models]
        slowest = max(times, default=0.0)
        words = self.embedding[LEXICAL].milliseconds_per_query if LEXICAL in option.legs else 0.0
        return slowest + self.shared * (sum(times) - slowest) + words

    def _search_of_a_query(self, option: Option) -> float:
        n_bytes = sum(self.bytes_per_chunk[model] for model in option.models)
        n_searches = len(option.models) if option.fusion != "sum" else min(1, len(option.models))
        is_deep = option.fusion != "sum" or LEXICAL in option.legs
        dense = (
            n_searches * (self.search.fixed + is_deep * self.search.deeper) + self.search.per_byte * n_bytes
        )
        return dense + (self.search.lexical if LEXICAL in option.legs else 0.0)


def measure_costs(
    corpus: Corpus,
    keys: Sequence[str],
    queries: Sequence[str],
    *,
    lexical_leg: LexicalLeg | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
) -> Costs:
    """Measure what models of a corpus take: 64 stored chunks and 16 queries are embedded by each.

    No more than three models are in memory at a time. Nothing is written; the engine may keep the vectors
    of two models in memory until the next write, as it does when these are served.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    keys
        Which models, by any of their names.
    queries
        Texts; chunks stand in where there are none.
    lexical_leg
        BM25, where options have it, as `corpus_legs` gives it. Where the corpus keeps no BM25 vectors, a
        search by them is estimated from the time that this leg takes in this process.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.

    Raises
    ------
    InputError
        If the corpus has no chunks, or a model is not in it.
    ModelMismatchError
        If a model is not the one that was stored.
    """
    chosen = corpus.manifest.ordered(keys)
    chunks, asked = sample_texts(corpus, queries)
    embedding: dict[str, EmbeddingCost] = {}
    rows: dict[str, FloatArray] = {}
    slowest: dict[str, EmbeddingModel] = {}
    for key in chosen:
        given = {key: models[key]} if models and key in models else None
        slowest |= stored_models(corpus, [key], given=given)
        embedding[key] = embedding_cost(slowest[key], chunks, asked)
        rows[key] = slowest[key].embed_queries(asked)
        by_time = sorted(slowest, key=lambda one: -embedding[one].milliseconds_per_query)
        slowest = {one: slowest[one] for one in by_time[:_AT_ONCE]}
    sizes = {key: float(_FLOAT_BYTES * corpus.manifest.model(key).dimensions) for key in chosen}
    shared = _shared({key: (slowest[key], embedding[key].milliseconds_per_query) for key in slowest}, asked)
    search = _Searches(corpus, rows).cost(sizes)
    if lexical_leg is not None:
        spec = corpus.manifest.lexical or lexical.measured(chunks)
        tokens = [lexical.encode_query(query, spec) for query in asked]
        embedding[LEXICAL] = _embedding_cost(
            partial(lexical.encode_chunks, spec=spec), partial(_encode_queries, spec=spec), chunks, asked
        )
        sizes[LEXICAL] = _ENTRY_BYTES * lexical_leg.n_entries / lexical_leg.n_chunks
        taken = _Searches(corpus, rows).lexical(tokens, lexical_leg, deeper=search.deeper)
        search = replace(search, lexical=taken)
    return Costs(embedding=embedding, bytes_per_chunk=sizes, shared=shared, search=search)


def _embedding_cost(
    embed_chunks: Callable[[Sequence[str]], object],
    embed_queries: Callable[[Sequence[str]], object],
    chunks: Sequence[str],
    queries: Sequence[str],
) -> EmbeddingCost:
    embed_chunks(chunks[:_WARM_UP])
    embed_queries(queries[:1])
    spent = _seconds(partial(embed_chunks, chunks))
    return EmbeddingCost(
        seconds_per_1000_chunks=1000 * spent / len(chunks),
        milliseconds_per_query=_median_milliseconds(partial(embed_queries, [one]) for one in queries),
    )


def _encode_queries(queries: Sequence[str], spec: LexicalSpec) -> list[SparseVector]:
    return [lexical.encode_query(query, spec) for query in queries]


def _shared(slowest: Mapping[str, tuple[EmbeddingModel, float]], queries: Sequence[str]) -> float:
    """Return how much of the time of the faster of two models is added to that of the slower, in [0, 1]."""
    if len(slowest) < _AT_ONCE:
        return 1.0
    models = {key: model for key, (model, _) in slowest.items()}
    embed_queries(models, queries[:1])
    together = _median_milliseconds(partial(embed_queries, models, [one]) for one in queries)
    less, more = sorted(alone for _, alone in slowest.values())
    return min(1.0, max(0.0, (together - more) / less)) if less else 1.0


class _Searches:
    """Searches a corpus for embedded queries, one by one, by one leg at a time.

    `rows`: the vectors of the queries by model key.
    """

    def __init__(self, corpus: Corpus, rows: Mapping[str, FloatArray]) -> None:
        self._corpus = corpus
        self._rows = rows

    def cost(self, sizes: Mapping[str, float]) -> SearchCost:
        """Measure the smallest and the largest model, and lay a line through them."""
        small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        times = {key: self._dense(key, k=_K) for key in dict.fromkeys([small, large])}
        fixed, per_byte = _line((sizes[small], times[small]), (sizes[large], times[large]))
        deeper = self._dense(large, k=DEPTH) - times[large]
        return SearchCost(fixed=fixed, per_byte=per_byte, deeper=max(0.0, deeper))

    def lexical(self, tokens: Sequence[SparseVector], leg: LexicalLeg, *, deeper: float) -> float:
        """Measure what BM25 takes beside a model that gives its first hundred chunks.

        Where nothing is stored to be searched: scoring in this process, and reading as many chunks again.
        """
        if self._corpus.manifest.lexical is None:
            rows = range(min(_QUERIES, leg.n_queries))
            return deeper + _median_milliseconds(partial(_first_by, leg, row) for row in rows)
        key = next(iter(self._rows))
        legs = SummedLegs(self._corpus, self._legs(key), [key], 1.0)
        found = _median_milliseconds(
            partial(legs.search, [replace(query, tokens=one)], k=_K)
            for query, one in zip(self._queries(key), tokens, strict=True)
        )
        return max(0.0, found - self._dense(key, k=DEPTH))

    def _dense(self, key: str, *, k: int) -> float:
        self._corpus.prepare(Combination((key,)))
        legs = self._legs(key)
        queries = self._queries(key)
        legs.search(queries[:1], k=k)
        return _median_milliseconds(partial(legs.search, [query], k=k) for query in queries)

    def _legs(self, key: str) -> DenseLegs:
        return DenseLegs(self._corpus, Combination((key,)), [1.0])

    def _queries(self, key: str) -> list[EmbeddedQuery]:
        return [EmbeddedQuery(vectors={key: row}) for row in self._rows[key]]


def _first_by(leg: LexicalLeg, row: int) -> IntArray:
    return best_columns(leg.scores(slice(row, row + 1)), min(DEPTH, leg.n_chunks))


def _line(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """Return what is fixed and what each byte adds, neither below 0, through two (bytes, milliseconds)."""
    (few, short), (many, long) = small, large
    per_byte = (long - short) / (many - few) if many > few else long / many
    per_byte = min(max(0.0, per_byte), long / many)
    return long - per_byte * many, per_byte


def _median_milliseconds(works: Iterable[Callable[[], object]]) -> float:
    return 1000 * median(_seconds(work) for work in works)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
