"""What can be said of measured numbers: intervals over queries, and the verdict of each collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.evaluation import NDCG, Candidate, Evaluation
from analysis.resampling import Interval, check_confidence, resampled_means
from analysis.results.record import Settings
from analysis.verdict import CandidateGain, Verdict, decide


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """How sure the numbers of one collection are.

    Attributes
    ----------
    intervals
        Of NDCG@10, by the label of the candidate.
    verdict
        What to serve; with the gain of every pair candidate over the best single model.
    """

    intervals: dict[str, Interval]
    verdict: Verdict

    @property
    def gains(self) -> dict[str, CandidateGain]:
        """The gains of the verdict, by the label of the candidate."""
        return {gain.candidate.label: gain for gain in self.verdict.gains}


def evidence(evaluation: Evaluation, settings: Settings) -> Evidence:
    """Return intervals and verdict of an evaluation with judgements; equal settings give equal evidence.

    Raises
    ------
    ShapeError
        If the confidence is out of range.
    """
    candidates = (*evaluation.singles, *evaluation.pairs)
    return Evidence(
        intervals=dict(
            zip(
                (candidate.label for candidate in candidates),
                intervals(candidates, NDCG, settings),
                strict=True,
            )
        ),
        verdict=decide(
            evaluation,
            rng=np.random.default_rng(settings.seed),
            confidence=settings.confidence,
            minimum_gain=settings.minimum_gain,
        ),
    )


def intervals(candidates: Sequence[Candidate], measure: str, settings: Settings) -> list[Interval]:
    """Return the mean of a measure of each candidate with its interval, as `bootstrap_mean` does.

    All candidates are resampled with the same draws of queries, at once.
    """
    check_confidence(settings.confidence)
    values = np.stack([candidate.per_query[measure] for candidate in candidates])
    means = resampled_means(values, rng=np.random.default_rng(settings.seed))
    tail = (1 - settings.confidence) / 2
    lows, highs = np.quantile(means, [tail, 1 - tail], axis=1)
    return [
        Interval(estimate=float(row.mean()), low=float(low), high=float(high), confidence=settings.confidence)
        for row, low, high in zip(values, lows, highs, strict=True)
    ]
