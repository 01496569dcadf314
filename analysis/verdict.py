"""Deploy, do not combine, or not enough evidence: what an evaluation allows to say.

A claim of gain always comes with its interval and with how many candidates were looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from analysis.arrays import FloatArray
from analysis.evaluation import CUTOFF, Candidate, Evaluation
from analysis.resampling import (
    N_RESAMPLES,
    Interval,
    bootstrap_gains,
    check_confidence,
    holm,
    queries_needed,
)

Decision: TypeAlias = Literal["deploy", "do not combine", "not enough evidence"]

_SHOWN_P = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateGain:
    """How much a pair candidate gains over the best single model of all that were evaluated.

    Attributes
    ----------
    candidate
        The pair at certain weights.
    gain
        In NDCG@10, with its two-sided interval, which is not corrected for the number of candidates.
    p_value
        One-sided, for "gains no more than the minimum gain".
    adjusted_p_value
        The same after Holm's correction over all candidates looked at; it decides.
    """

    candidate: Candidate
    gain: Interval
    p_value: float
    adjusted_p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.candidate.to_json(),
            "gain": self.gain.to_json(),
            "p_value": self.p_value,
            "adjusted_p_value": self.adjusted_p_value,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What to serve, and why.

    Attributes
    ----------
    decision
        ``"deploy"`` a pair, ``"do not combine"``, or ``"not enough evidence"`` for either.
    sentence
        The same in one sentence with its figures.
    serve
        The pair to deploy; the best single model where the decision is another.
    best_single
        The single model with the highest NDCG@10; the first of equals.
    gains
        Of every pair candidate looked at, in the order of the evaluation.
    n_queries
        Queries with judgements.
    queries_needed
        About how many in total would decide; None unless there is not enough evidence.
    confidence
        Of the intervals and of the decision, in (0, 1).
    minimum_gain
        What a pair had to exceed, in NDCG@10.
    """

    decision: Decision
    sentence: str
    serve: Candidate
    best_single: Candidate
    gains: tuple[CandidateGain, ...]
    n_queries: int
    queries_needed: int | None
    confidence: float
    minimum_gain: float

    @property
    def n_candidates(self) -> int:
        """How many pair candidates were looked at: every pair counts once per weighting."""
        return len(self.gains)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; fit to be kept as the evidence of a deployment."""
        return {
            "decision": self.decision,
            "sentence": self.sentence,
            "serve": self.serve.to_json(),
            "best_single": self.best_single.to_json(),
            "gains": [gain.to_json() for gain in self.gains],
            "candidates": self.n_candidates,
            "queries": self.n_queries,
            "queries_needed": self.queries_needed,
            "confidence": self.confidence,
            "minimum_gain": self.minimum_gain,
        }


def decide(
    evaluation: Evaluation,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    minimum_gain: float = 0.0,
    n_resamples: int = N_RESAMPLES,
) -> Verdict:
    """Say whether a pair should be served instead of the best single model.

    - *deploy*: a pair candidate has an adjusted p-value below ``1 - confidence``; of several the one
      with the highest NDCG@10.
    - *do not combine*: the best pair candidate gains no more than `minimum_gain`, or there is none.
    - *not enough evidence*: it gains more, but this may be chance.

    Parameters
    ----------
    evaluation
        At least one single model; pairs or none.
    rng
        Source of the resamples; equal generators give equal verdicts.
    confidence
        In (0, 1).
    minimum_gain
        In NDCG@10 over the best single model; what two models must bring to be worth their cost.
    n_resamples
        Of the bootstrap.

    Raises
    ------
    ShapeError
        If confidence or n_resamples are out of range.
    """
    check_confidence(confidence)
    gains = _gains(
        evaluation, rng=rng, confidence=confidence, minimum_gain=minimum_gain, n_resamples=n_resamples
    )
    single = evaluation.best_single
    proven = [gain for gain in gains if gain.adjusted_p_value < 1 - confidence]
    best = max(proven or gains, key=lambda gain: gain.gain.estimate, default=None)
    decision = _decision(best, is_proven=bool(proven), minimum_gain=minimum_gain)
    needed = None
    if best is not None and decision == "not enough evidence":
        needed = queries_needed(
            _over(best.candidate, single),
            confidence=confidence,
            n_candidates=len(gains),
            minimum_gain=minimum_gain,
        )
    return Verdict(
        decision=decision,
        sentence=_sentence(evaluation, decision, best, needed=needed, minimum_gain=minimum_gain),
        serve=best.candidate if best is not None and decision == "deploy" else single,
        best_single=single,
        gains=gains,
        n_queries=len(evaluation.query_ids),
        queries_needed=needed,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )


def _gains(
    evaluation: Evaluation,
    *,
    rng: np.random.Generator,
    confidence: float,
    minimum_gain: float,
    n_resamples: int,
) -> tuple[CandidateGain, ...]:
    if not evaluation.pairs:
        return ()
    gains = bootstrap_gains(
        np.stack([pair.ndcg for pair in evaluation.pairs]),
        np.stack([single.ndcg for single in evaluation.singles]),
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )
    adjusted = holm([gain.p_value for gain in gains]).tolist()
    return tuple(
        CandidateGain(candidate=pair, gain=gain.interval, p_value=gain.p_value, adjusted_p_value=p_value)
        for pair, gain, p_value in zip(evaluation.pairs, gains, adjusted, strict=True)
    )


def _decision(best: CandidateGain | None, *, is_proven: bool, minimum_gain: float) -> Decision:
    if is_proven:
        return "deploy"
    if best is None or best.gain.estimate <= minimum_gain:
        return "do not combine"
    return "not enough evidence"


def _over(candidate: Candidate, single: Candidate) -> FloatArray:
    return candidate.ndcg - single.ndcg


def _sentence(
    evaluation: Evaluation,
    decision: Decision,
    best: CandidateGain | None,
    *,
    needed: int | None,
    minimum_gain: float,
) -> str:
    single, queries = evaluation.best_single, _count(len(evaluation.query_ids), "query", "queries")
    if best is None:
        return (
            f"Do not combine: only single models were evaluated, of which {single.label} is the best with "
            f"NDCG@{CUTOFF} {single.mean:.3f} on {queries}."
        )
    advice = {
        "deploy": f"Deploy {best.candidate.label}: it",
        "do not combine": f"Do not combine: {best.candidate.label}, the best pair,",
        "not enough evidence": f"Not enough evidence to combine: {best.candidate.label}, the best pair,",
    }[decision]
    required = f", where more than {minimum_gain:+.3f} is required" if minimum_gain else ""
    outlook = "" if needed is None else f"; about {_rounded(needed)} queries in total would decide"
    return (
        f"{advice} has NDCG@{CUTOFF} {best.candidate.mean:.3f} against {single.mean:.3f} of the best single "
        f"model {single.label}, {_figures(best)}{required}, on {queries}, with "
        f"{_looked_at(evaluation)} looked at{outlook}."
    )


def _figures(best: CandidateGain) -> str:
    gain = best.gain
    p_value = best.adjusted_p_value
    shown = f"p < {_SHOWN_P}" if p_value < _SHOWN_P else f"p = {p_value:.3f}"
    return (
        f"a gain of {gain.estimate:+.3f} ({100 * gain.confidence:.4g} % interval {gain.low:+.3f} to "
        f"{gain.high:+.3f}, adjusted {shown})"
    )


def _looked_at(evaluation: Evaluation) -> str:
    pairs = {candidate.models for candidate in evaluation.pairs}
    candidates = _count(len(evaluation.pairs), "candidate", "candidates")
    return f"{candidates} from {_count(len(pairs), 'pair', 'pairs')}"


def _rounded(number: int) -> str:
    """Round up to two digits: an order of magnitude shall not look like a measurement."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{-(-number // unit) * unit:,}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
