"""What the report says of one collection, computed from its results and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.evaluation import Candidate, Pair
from analysis.report.associations import Association, adjusted_by_pair, associations
from analysis.resampling import Interval
from analysis.results.evidence import evidence
from analysis.results.record import CollectionResults, Settings
from analysis.verdict import CandidateGain, Verdict

EXTREMES = 5
"""How many wins and losses of a pair are shown with their texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One query on which the pair and the best single model differ; both values are NDCG@10."""

    query_id: str
    text: str
    single: float
    pair: float

    @property
    def gain(self) -> float:
        """What the pair adds; negative where it loses."""
        return self.pair - self.single


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Duel:
    """The best pair against the best single model, query by query.

    Attributes
    ----------
    pair
        The one that the verdict deploys; the one with the highest gain where it deploys none.
    gains : float64, shape (n_queries,)
        NDCG@10 of the pair minus that of the single model, in the order of the queries.
    wins, losses
        The largest of each, at most `EXTREMES`, largest first; equal ones in the order of the queries.
    """

    pair: CandidateGain
    gains: FloatArray
    wins: tuple[Difference, ...]
    losses: tuple[Difference, ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """On how many queries the pair wins, is equal, and loses."""
        won, lost = int((self.gains > 0).sum()), int((self.gains < 0).sum())
        return won, len(self.gains) - won - lost, lost


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quality:
    """What judgements allow to say.

    Attributes
    ----------
    verdict
        On all candidates of the collection.
    intervals
        NDCG@10 of each candidate with its interval, by label.
    duel
        None without pairs.
    associations
        How gains go with adjusted dissimilarity, by weighting and measure; empty without pairs.
    """

    verdict: Verdict
    intervals: Mapping[str, Interval]
    duel: Duel | None
    associations: tuple[Association, ...]

    @property
    def best(self) -> CandidateGain | None:
        """The pair that the report is about; None without pairs."""
        return None if self.duel is None else self.duel.pair


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Findings:
    """What the report says of one collection.

    Attributes
    ----------
    collection
        What was measured.
    quality
        None where the collection has no judgements.
    adjusted
        Adjusted dissimilarity of each pair, by similarity measure; empty without judgements.
    """

    collection: CollectionResults
    quality: Quality | None
    adjusted: Mapping[str, Mapping[Pair, float]]


def find(collection: CollectionResults, settings: Settings) -> Findings:
    """Compute what the report says of a collection; equal settings give equal findings."""
    evaluation = collection.evaluation
    if not evaluation.singles:
        return Findings(collection=collection, quality=None, adjusted={})
    found = evidence(evaluation, settings)
    best = _best(found.verdict)
    quality = Quality(
        verdict=found.verdict,
        intervals=found.intervals,
        duel=None if best is None else _duel(best, found.verdict.best_single, collection),
        associations=associations(evaluation, settings),
    )
    return Findings(
        collection=collection, quality=quality, adjusted=adjusted_by_pair(evaluation, settings.alphas)
    )


def _best(verdict: Verdict) -> CandidateGain | None:
    if verdict.decision == "deploy":
        return next(gain for gain in verdict.gains if gain.candidate is verdict.serve)
    return max(verdict.gains, key=lambda gain: gain.gain.estimate, default=None)


def _duel(best: CandidateGain, single: Candidate, collection: CollectionResults) -> Duel:
    pair = best.candidate
    gains = pair.ndcg - single.ndcg
    query_ids = collection.evaluation.query_ids
    order = np.argsort(-gains, kind="stable")
    backwards = np.argsort(gains, kind="stable")

    def at(index: int) -> Difference:
        return Difference(
            query_id=query_ids[index],
            text=collection.query_texts[query_ids[index]],
            single=float(single.ndcg[index]),
            pair=float(pair.ndcg[index]),
        )

    return Duel(
        pair=best,
        gains=gains,
        wins=tuple(at(index) for index in order[:EXTREMES].tolist() if gains[index] > 0),
        losses=tuple(at(index) for index in backwards[:EXTREMES].tolist() if gains[index] < 0),
    )
