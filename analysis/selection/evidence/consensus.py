"""Agreement with the consensus: how well a ranking finds what the other legs find together.

No judgement is needed: the other legs, each over the spread of its scores so that none drowns out the rest,
are one ensemble, and its first documents stand in for relevant ones. What agrees with it is good, as long as
the others err independently of one another. Look-alikes do not: each would be judged by its own kind. So a
leg has less of a vote the more others rank like it, and hardly one on what ranks like it, see `vote_shares`.

All is judged twice: at first all legs vote alike, then each as much as it agreed with the others (a step of
what A. Dawid and A. Skene do for observers of unknown error rates, Applied Statistics 28, 1979). More rounds
would let a family of look-alikes vote itself up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.arrays import FloatArray, IntArray
from analysis.evaluation.record import CUTOFF
from analysis.evaluation.search import Documents
from analysis.rankings import NO_DOCUMENT, check_k
from analysis.selection.record import Option
from analysis.selection.scoring.legs import Leg
from analysis.selection.scoring.scoreboard import rank
from analysis.similarity.overlap import jaccard
from retriever.errors import InputError
from retriever.records import LEXICAL

_FEWEST_LEGS = 2

_POWER = 4
"""Of the agreement of a leg in a first round, where all vote alike: its vote in the second."""

_LEXICAL_VOTE = 2
"""How far the best hits of BM25 stand out in an ensemble, against those of a model.

Models learn from like data and err alike, BM25 errs otherwise. Of 1, 1.5, 2 and 3, 2 chose best from all sets
of three to seven models on seven collections, and for six of these it is what the other six would pick.
"""

_USUAL = 0.25
"""The quantile of the similarities of legs that is that of strangers."""

_BLOCK_BYTES = 2**28

_LEAST = 1e-6
"""Of a vote: where all others are exact copies of what is judged, they are still who is asked."""


def agreement_quality(
    legs: Sequence[Leg],
    documents: Documents,
    *,
    spreads: Mapping[str, float],
    depth: int = CUTOFF,
    own: IntArray | None = None,
) -> dict[str, float]:
    """Return the quality of each leg by its agreement with the others: the mean of `consensus_ndcg`."""
    found = consensus_ndcg(legs, documents, spreads=spreads, depth=depth, own=own)
    return {key: float(values.mean()) for key, values in found.items()}


def consensus_ndcg(
    legs: Sequence[Leg],
    documents: Documents,
    *,
    spreads: Mapping[str, float],
    depth: int = CUTOFF,
    own: IntArray | None = None,
) -> dict[str, FloatArray]:
    """Return NDCG of each leg's ranking of documents against the ensemble of the others, per query.

    Parameters
    ----------
    legs
        At least two, of the same queries; BM25 among them votes and is judged like a model.
    documents
        Of the chunks.
    spreads
        Of the scores of each leg. That of BM25 is measured anew on these queries.
    depth
        How many documents of the ensemble are worth something, 1/rank, and where rankings are cut.
    own : int64, shape (n_queries,)
        As in `analysis.rankings.rank_documents`.

    Returns
    -------
    dict of float64, shape (n_queries,)
        By leg, in [0, 1]; 1 is the ranking of the ensemble.

    Raises
    ------
    InputError
        If there is one leg alone, or a leg has no spread.
    ShapeError
        If a leg has another number of queries or chunks, or the depth is below 1.
    """
    check_k(depth)
    keys = [leg.key for leg in legs]
    _check_spreads(keys, spreads)
    first = rank(legs, [Option(weights={key: 1.0}) for key in keys], documents, own=own, k=depth)
    spreads = _with_lexical_spread(legs, spreads, n_chunks=documents.chunks.n_chunks)
    judge = _Judge(legs, documents, first, spreads=spreads, own=own)
    quality = judge.agreement(np.ones(len(keys))).mean(axis=1)
    return dict(zip(keys, judge.agreement(quality**_POWER), strict=True))


def look_alikes(rankings: IntArray) -> FloatArray:
    """Return how much more alike legs rank than most do.

    From the mean Jaccard similarity of their first documents: 0 at its lower quartile over all pairs and
    below, 1 where two are the same. How alike models are that have nothing in common depends on how hard the
    questions are; a quartile stays that of strangers until seven of eight legs are of one family.

    Parameters
    ----------
    rankings : int64, shape (n_legs, n_queries, k)
        At least two legs. `NO_DOCUMENT` where there is none, which is like nothing.

    Returns
    -------
    float64, shape (n_legs, n_legs)
        In [0, 1]; 1 on the diagonal.
    """
    n_legs, _, k = rankings.shape
    beyond = int(rankings.max(initial=0)) + 1
    different = beyond + np.arange(n_legs * k).reshape(n_legs, 1, k)
    filled = np.where(rankings == NO_DOCUMENT, different, rankings)
    pairs = np.triu_indices(n_legs, 1)
    similarities = np.array([jaccard(filled[a], filled[b]).mean() for a, b in zip(*pairs, strict=True)])
    usual = float(np.quantile(similarities, _USUAL))
    alike = np.eye(n_legs)
    alike[pairs] = np.clip((similarities - usual) / (1 - usual), 0, 1) if usual < 1 else 0.0
    return np.maximum(alike, alike.T)


def vote_shares(alike: FloatArray, judged: int, votes: FloatArray) -> FloatArray:
    """Return the share that each leg has in the ensemble that judges one of them.

    Its vote, over how many rank like it, itself included, so that copies of a model have one vote together;
    times how little it is like the one that is judged, so that nobody's copy is its judge.

    Parameters
    ----------
    alike : float64, shape (n_legs, n_legs)
        At least two legs, see `look_alikes`.
    judged
        Place of the leg that has no vote.
    votes : float64, shape (n_legs,)
        At least 0.

    Returns
    -------
    float64, shape (n_legs,)
        Sum 1.
    """
    apart = 1 - alike[:, judged]
    shares = np.maximum(votes, _LEAST) * np.maximum(apart, _LEAST) / alike.sum(axis=1)
    shares[judged] = 0.0
    found: FloatArray = shares / shares.sum()
    return found


class _Judge:
    """Compares the ranking of each leg with that of the ensemble of the others.

    `rankings`: int64, shape (n_legs, n_queries, depth), documents of each leg.
    """

    def __init__(
        self,
        legs: Sequence[Leg],
        documents: Documents,
        rankings: IntArray,
        *,
        spreads: Mapping[str, float],
        own: IntArray | None,
    ) -> None:
        self._legs = legs
        self._documents = documents
        self._rankings = rankings
        self._spreads = spreads
        self._alike = look_alikes(rankings)
        self._own = own

    def agreement(self, votes: FloatArray) -> FloatArray:
        """Return NDCG of each ranking, shape (n_legs, n_queries)."""
        ensembles = [self._ensemble(place, votes) for place in range(len(self._legs))]
        depth = self._rankings.shape[2]
        consensus = rank(self._legs, ensembles, self._documents, own=self._own, k=depth)
        return np.stack([_ndcg(*pair) for pair in zip(self._rankings, consensus, strict=True)])

    def _ensemble(self, judged: int, votes: FloatArray) -> Option:
        """Return the sum of the legs that are not judged, each over its spread."""
        shares = vote_shares(self._alike, judged, votes)
        weights = {
            leg.key: float(share) / self._spreads[leg.key]
            for leg, share in zip(self._legs, shares, strict=True)
            if share
        }
        total = math.fsum(weights.values())
        return Option(weights={key: weight / total for key, weight in weights.items()}, weighting="quality")


def _with_lexical_spread(
    legs: Sequence[Leg], spreads: Mapping[str, float], *, n_chunks: int
) -> Mapping[str, float]:
    """Return the spreads with one of BM25 that makes its best hits stand out twice as far as those of models.

    That of the corpus was measured with excerpts as queries. Real ones may share fewer tokens with their best
    chunk, or more, and BM25 would hardly be heard, or drown out the models.
    """
    models = [leg for leg in legs if leg.key != LEXICAL]
    lexical = [leg for leg in legs if leg.key == LEXICAL]
    if not lexical or not models:
        return spreads
    of_models = [_lift(leg, n_chunks=n_chunks) / spreads[leg.key] for leg in models]
    of_lexical = _lift(lexical[0], n_chunks=n_chunks)
    usual = _LEXICAL_VOTE * math.fsum(of_models) / len(of_models)
    return {**spreads, LEXICAL: of_lexical / usual} if of_lexical > 0 and usual > 0 else spreads


def _lift(leg: Leg, *, n_chunks: int) -> float:
    """Return how far the best chunk is above the mean one, the mean over all queries."""
    size = max(1, _BLOCK_BYTES // (4 * n_chunks))
    total, n_queries = 0.0, 0
    while len(scores := leg.scores(slice(n_queries, n_queries + size))):
        total += float((scores.max(axis=1) - scores.mean(axis=1)).sum(dtype=np.float64))
        n_queries += len(scores)
    return total / n_queries


def _ndcg(ranking: IntArray, ensemble: IntArray) -> FloatArray:
    """Return NDCG of rankings where a document at rank r of the ensemble is worth 1/r, per query.

    Both have shape (n_queries, k). A query for which the ensemble finds nothing scores 0.
    """
    ranks = np.arange(1, ensemble.shape[1] + 1)
    discounts = 1 / np.log2(ranks + 1)
    same = (ranking[:, :, None] == ensemble[:, None, :]) & (ranking[:, :, None] != NO_DOCUMENT)
    gained = np.einsum("qij,i,j->q", same, discounts, 1 / ranks)
    ideal = (ensemble != NO_DOCUMENT) @ (discounts / ranks)
    found: FloatArray = np.divide(gained, ideal, out=np.zeros(len(ideal)), where=ideal > 0)
    return found


def _check_spreads(keys: Sequence[str], spreads: Mapping[str, float]) -> None:
    if len(keys) < _FEWEST_LEGS:
        raise InputError(
            f"legs: expected at least two, of which each is judged by the others, got "
            f"{', '.join(keys) or 'none'}. Add a model, or BM25."
        )
    lacking = [key for key in keys if not spreads.get(key, 0.0) > 0]
    if lacking:
        raise InputError(
            f"spreads: expected one above 0 of every leg, got none of {', '.join(lacking)}. Ingest more than "
            f"one chunk, so that it can be measured."
        )
