"""From a question to explained hits: embed with every model, combine, search once, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retriever import payload
from retriever.combine import contributions, weigh
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models import CheckedModel, load_stored
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import Deployment, Hit
from retriever.store.filters import Condition
from retriever.store.protocol import ScoredPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A hit as it is stored: what `Hit` and LlamaIndex's nodes are both made from."""

    rank: int
    score: float
    payload: Mapping[str, Any]
    contributions: Mapping[str, float]


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
    """

    def __init__(
        self,
        corpus: Corpus,
        deployment: Deployment,
        *,
        models: Mapping[str, EmbeddingModel] | None = None,
    ) -> None:
        self.corpus = corpus
        self.deployment = deployment
        self._models = stored_models(corpus, deployment.models, given=models)
        self._sizes = tuple(model.spec.dimensions for model in self._models.values())

    def search(self, queries: Sequence[str], *, k: int, where: Condition | None = None) -> list[list[Hit]]:
        """Return the `k` best chunks per query, best first; `k` of 0 gives empty lists.

        Raises
        ------
        InputError
            If `k` is negative.
        """
        if not queries:
            return []
        rankings = self.search_vectors(self.embed(queries), k=k, where=where)
        return [[_hit(found) for found in ranking] for ranking in rankings]

    def embed(self, queries: Sequence[str]) -> FloatArray:
        """Return weighted combined query vectors, float32, shape (n_queries, Σ dimensions)."""
        parts = [model.embed_queries(queries) for model in self._models.values()]
        return weigh(parts, self.deployment.weights)

    def search_vectors(
        self, queries: FloatArray, *, k: int, where: Condition | None = None
    ) -> list[list[Found]]:
        """Search with vectors that `embed` returned, or with means of such."""
        if k < 0:
            raise InputError(f"k: expected 0 or more, got {k}.")
        if k == 0:
            return [[] for _ in queries]
        rankings = self.corpus.search(queries, vector=self.deployment.vector, k=k, where=where)
        return [
            [self._found(rank, scored, query) for rank, scored in enumerate(ranking, start=1)]
            for ranking, query in zip(rankings, queries, strict=True)
        ]

    def _found(self, rank: int, scored: ScoredPoint, query: FloatArray) -> Found:
        stored = scored.point.vectors[self.deployment.vector]
        shares = contributions(query, stored, self._sizes)
        return Found(
            rank=rank,
            score=scored.score,
            payload=scored.point.payload,
            contributions=dict(zip(self.deployment.models, shares.tolist(), strict=True)),
        )


def _hit(found: Found) -> Hit:
    return Hit(
        chunk=payload.to_chunk(found.payload),
        rank=found.rank,
        score=found.score,
        contributions=found.contributions,
    )


def stored_models(
    corpus: Corpus, keys: Sequence[str], *, given: Mapping[str, EmbeddingModel] | None = None
) -> dict[str, EmbeddingModel]:
    """Return the models of these keys, loaded or as given, each checked against the manifest.

    Those given are wrapped in `CheckedModel`: a query vector that is no unit vector would give wrong
    scores that look right.

    Raises
    ------
    InputError
        If `given` names a model that is not asked for.
    ModelMismatchError
        If a model is not the one that was stored.
    """
    given = given or {}
    unused = set(given) - set(keys)
    if unused:
        raise InputError(
            f"models: expected keys among {', '.join(keys)}, got {', '.join(sorted(unused))} as well."
        )
    models: dict[str, EmbeddingModel] = {}
    for key in keys:
        stored = corpus.manifest.model(key)
        model = CheckedModel(given[key]) if key in given else load_stored(stored)
        if model.spec.key != key:
            raise InputError(f"models: expected the model {key!r}, got {model.spec.key!r} under its name.")
        corpus.check_model(model.spec)
        models[key] = model
    return models
