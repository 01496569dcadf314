"""One deployment of one corpus, ready to be searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retriever import lexical, payload
from retriever.combine import Weighting, parts_of
from retriever.corpus import Corpus
from retriever.deployments import check_served, resolve_weights
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import LEXICAL, Deployment, Hit
from retriever.search.context import best_per_document, with_neighbours
from retriever.search.dense import DenseLegs
from retriever.search.explain import with_ranks
from retriever.search.fusion import DEPTH, fuse
from retriever.search.lexical_leg import SummedLegs, lexical_ranking
from retriever.search.models import embed_queries, stored_models
from retriever.search.wish import EmbeddedQuery, Found, Fusion, Wish
from retriever.store.filters import Condition
from retriever.store.protocol import SparseVector


class Searcher:
    """Serves one deployment of one corpus.

    Parameters
    ----------
    corpus
        An open corpus.
    deployment
        What to serve, from `retriever.deployments`.
    models
        The embedding models by key. Those left out are loaded as they were at ingest. Each is
        checked against the manifest, so vectors of one model never meet queries of another.

    Raises
    ------
    ModelMismatchError
        If a model is not the one that was stored.
    ModelNotFoundError
        If a model cannot be loaded from where it was at ingest.
    StoreCorruptError
        If the corpus lacks the vectors of the deployment.
    """

    def __init__(
        self,
        corpus: Corpus,
        deployment: Deployment,
        *,
        models: Mapping[str, EmbeddingModel] | None = None,
    ) -> None:
        check_served(corpus.manifest, deployment)
        self.corpus = corpus
        self.deployment = deployment
        self._models = stored_models(corpus, deployment.combination.keys, given=models)

    def search(  # noqa: PLR0913  # what may be asked for
        self,
        queries: Sequence[str],
        *,
        k: int,
        where: Condition | None = None,
        weights: Weighting | None = None,
        fusion: Fusion = "sum",
        per_document: bool = False,
        neighbours: int = 0,
        explain: bool = False,
    ) -> list[list[Hit]]:
        """Return the `k` best chunks per query, best first; `k` of 0 gives empty lists.

        Parameters
        ----------
        queries
            Texts.
        k, where, weights, fusion, per_document, neighbours, explain
            See `retriever.search.wish.Wish`.

        Raises
        ------
        InputError
            If `k` is negative, or another wish cannot be met.
        """
        wish = Wish(
            k=k,
            where=where,
            weights=weights,
            fusion=fusion,
            per_document=per_document,
            neighbours=neighbours,
            explain=explain,
        )
        return [[_hit(found) for found in ranking] for ranking in self.find(self.embed(queries), wish)]

    def embed(self, queries: Sequence[str]) -> list[EmbeddedQuery]:
        """Return what the legs of the deployment search for."""
        if not queries:
            return []
        rows = embed_queries(self._models, queries)
        by_part = dict(zip(self.deployment.models, parts_of(rows, self.deployment.models), strict=True))
        tokens = self._tokens(queries)
        return [
            EmbeddedQuery(vectors={part: rows[i] for part, rows in by_part.items()}, tokens=tokens[i])
            for i in range(len(queries))
        ]

    def find(self, queries: Sequence[EmbeddedQuery], wish: Wish) -> list[list[Found]]:
        """Search for what `embed` returned, or for means of such; see `search`."""
        if wish.k == 0 or not queries:
            return [[] for _ in queries]
        shares = self._shares(wish.weights)
        wish = replace(wish, where=self.corpus.resolved(wish.where))
        if wish.per_document:
            rankings = [self._per_document(query, wish, shares) for query in queries]
        else:
            rankings = self._ranked(queries, wish, shares)
        return [self._finished(query, found, wish) for query, found in zip(queries, rankings, strict=True)]

    def warm_up(self) -> None:
        """Embed a query and read the vectors now, so that the first search takes as long as any other."""
        self.embed(["warm up"])
        self.corpus.prepare(self.deployment.combination)

    def _shares(self, weights: Weighting | None) -> dict[str, float]:
        if weights is None:
            return self.deployment.shares
        return resolve_weights(self.corpus.manifest, self.deployment.legs, weights)

    def _ranked(
        self, queries: Sequence[EmbeddedQuery], wish: Wish, shares: Mapping[str, float]
    ) -> list[list[Found]]:
        if wish.fusion != "sum":
            legs = self._by_leg(queries, k=max(wish.k, DEPTH), where=wish.where)
            return [
                fuse({leg: rankings[i] for leg, rankings in legs.items()}, wish.fusion, k=wish.k)
                for i in range(len(queries))
            ]
        dense = self._dense(shares)
        weight = shares.get(LEXICAL, 0.0)
        if not weight:
            return dense.search(queries, k=wish.k, where=wish.where)
        scale = self.corpus.manifest.lexical_scale
        summed = SummedLegs(self.corpus, dense, self.deployment.combination.keys, weight / scale)
        return summed.search(queries, k=wish.k, where=wish.where)

    def _per_document(self, query: EmbeddedQuery, wish: Wish, shares: Mapping[str, float]) -> list[Found]:
        def search(k: int) -> list[Found]:
            return self._ranked([query], replace(wish, k=k), shares)[0]

        return best_per_document(search, k=wish.k)

    def _by_leg(
        self, queries: Sequence[EmbeddedQuery], *, k: int, where: Condition | None
    ) -> dict[str, list[list[Found]]]:
        """Return the first `k` chunks of each query under each leg alone."""
        legs = {
            part: self._dense({part: 1.0}).search(queries, k=k, where=where)
            for part in self.deployment.models
        }
        if LEXICAL in self.deployment.legs:
            legs[LEXICAL] = [self._lexical(query, k=k, where=where) for query in queries]
        return legs

    def _dense(self, shares: Mapping[str, float]) -> DenseLegs:
        weights = [shares.get(part, 0.0) for part in self.deployment.models]
        return DenseLegs(self.corpus, self.deployment.combination, weights)

    def _lexical(self, query: EmbeddedQuery, *, k: int, where: Condition | None) -> list[Found]:
        return [
            Found(
                point_id=scored.point.point_id,
                score=scored.score,
                payload=scored.point.payload,
                contributions={LEXICAL: scored.score},
            )
            for scored in lexical_ranking(self.corpus, query.tokens, k=k, where=where)
        ]

    def _finished(self, query: EmbeddedQuery, found: Sequence[Found], wish: Wish) -> list[Found]:
        if wish.explain:
            found = with_ranks(self.corpus, self.deployment.combination, query, found, where=wish.where)
        ranked = [replace(one, rank=rank) for rank, one in enumerate(found, start=1)]
        return with_neighbours(self.corpus, ranked, reach=wish.neighbours)

    def _tokens(self, queries: Sequence[str]) -> Sequence[SparseVector | None]:
        spec = self.corpus.manifest.lexical if LEXICAL in self.deployment.legs else None
        if spec is None:
            return [None] * len(queries)
        return [lexical.encode_query(query, spec) for query in queries]


def mean_query(queries: Sequence[EmbeddedQuery]) -> EmbeddedQuery:
    """Return the query whose scores are the means of the scores of these.

    Raises
    ------
    InputError
        If there is none.
    """
    if not queries:
        raise InputError("query: expected a text to search for, got an empty one.")
    first, *others = queries
    if not others:
        return first
    vectors: dict[str, FloatArray] = {
        part: np.array([query.vectors[part] for query in queries]).mean(axis=0) for part in first.vectors
    }
    return EmbeddedQuery(vectors=vectors, tokens=_mean_tokens([query.tokens for query in queries]))


def _mean_tokens(tokens: Sequence[SparseVector | None]) -> SparseVector | None:
    known = [one for one in tokens if one is not None]
    if not known:
        return None
    indices, places = np.unique(np.concatenate([one.indices for one in known]), return_inverse=True)
    values = np.bincount(
        places, weights=np.concatenate([one.values for one in known]), minlength=len(indices)
    )
    return SparseVector(indices=indices, values=(values / len(tokens)).astype(np.float32))


def _hit(found: Found) -> Hit:
    return Hit(
        chunk=payload.to_chunk(found.payload),
        rank=found.rank,
        score=found.score,
        contributions=found.contributions,
        ranks=found.ranks,
        before=tuple(map(payload.to_chunk, found.before)),
        after=tuple(map(payload.to_chunk, found.after)),
        approximate=found.approximate,
    )
