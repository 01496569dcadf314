"""How sure the order of models on a sample is: what other samples would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from analysis.arrays import FloatArray, ScoreArray
from analysis.evaluation.search import Documents
from analysis.selection.scoring.legs import DenseLeg, Leg
from analysis.selection.screening.sampling import Sample

HALVES = 20
"""How many halves of a sample are looked at."""

DRAWS = 50
"""How often the queries of each half are drawn again."""


class Evidence(Protocol):
    """Says of each model how good it is, query by query, as `consensus_ndcg` does."""

    def __call__(
        self, legs: Sequence[Leg], documents: Documents, *, spreads: Mapping[str, float]
    ) -> Mapping[str, FloatArray]:
        """Return numbers of shape (n_queries,) by the keys of the legs; higher is better."""
        ...


class SampledVectors:
    """The vectors of a sample by model, and what they say of the models.

    Parameters
    ----------
    sample
        Queries and chunks.
    queries, chunks : mappings of float32, shape (n, d)
        Unit rows by model key, in the order of the sample.
    spreads
        By model key.
    evidence
        Of quality.
    """

    def __init__(
        self,
        sample: Sample,
        *,
        queries: Mapping[str, ScoreArray],
        chunks: Mapping[str, ScoreArray],
        spreads: Mapping[str, float],
        evidence: Evidence,
    ) -> None:
        self.sample = sample
        self.keys = tuple(chunks)
        self.queries = queries
        self.chunks = chunks
        self._spreads = spreads
        self._evidence = evidence

    def evidence(self) -> FloatArray:
        """Return the evidence of each model, its mean over queries, shape (n_models,)."""
        every = slice(None)
        whole: FloatArray = self._per_query(every, every, self.sample.chunk_ids).mean(axis=1)
        return whole

    def replicates(self, rng: np.random.Generator) -> FloatArray:
        """Return the evidence of each model on samples that might have been drawn instead.

        Each has half of the queries, with the chunks near them and half of the others; of the evidence
        of its queries, as many are drawn with replacement. That varies about half as much again as other
        samples of the same size would. Without it the chances were too low on judged collections: a
        sample is also skewed towards what the models find that say which chunks are near.

        Returns
        -------
        float64, shape (n_replicates, n_models)
        """
        found = [self._replicates_of_a_half(rng) for _ in range(HALVES)]
        return np.concatenate(found)

    def _replicates_of_a_half(self, rng: np.random.Generator) -> FloatArray:
        queries, chunks = self.sample.half(rng)
        values = self._per_query(queries, chunks, [self.sample.chunk_ids[place] for place in chunks])
        n_queries = len(queries)
        drawn = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), size=DRAWS) / n_queries
        means: FloatArray = drawn @ values.T
        return means

    def _per_query(
        self, queries: slice | list[int], chunks: slice | list[int], chunk_ids: Sequence[str]
    ) -> FloatArray:
        """Return the evidence per model and query: each chunk is a document of its own."""
        legs = [
            DenseLeg(key=key, queries=self.queries[key][queries], chunks=self.chunks[key][chunks])
            for key in self.keys
        ]
        found = self._evidence(legs, Documents.of(chunk_ids), spreads=self._spreads)
        return np.stack([found[key] for key in self.keys])


def chance_missing(replicates: FloatArray, kept: Sequence[int], *, best: int = 1) -> float:
    """Return how often one of the `best` models of a replicate is not among those kept, in [0, 1].

    Parameters
    ----------
    replicates : float64, shape (n_replicates, n_models)
    kept
        Places of models.
    best
        How many of the best models are to be kept.
    """
    first = np.argsort(-replicates, axis=1, kind="stable")[:, :best]
    return float((~np.isin(first, kept)).any(axis=1).mean())
