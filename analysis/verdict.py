"""Deploy, do not combine, or not enough evidence: what measured numbers allow to say.

A claim of gain always comes with its interval and with how many candidates were looked at. `conclude`
is the rule, for whatever was measured on the same queries; `decide` words it for an evaluation of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from analysis.arrays import FloatArray
from analysis.evaluation import CUTOFF, Candidate, Evaluation
from analysis.resampling import (
    ROUNDING,
    Interval,
    bootstrap_gains,
    check_confidence,
    enough_resamples,
    fewest_queries,
    holm,
    queries_needed,
)

Decision: TypeAlias = Literal["deploy", "do not combine", "not enough evidence"]

_SHOWN_P = 0.001


class Scored(Protocol):
    """Something measured query by query: all that a verdict needs to know of it."""

    @property
    def label(self) -> str:
        """What it is called."""

    @property
    def ndcg(self) -> FloatArray:
        """NDCG@10 of each query."""

    @property
    def mean(self) -> float:
        """NDCG@10, the mean over all queries."""


S = TypeVar("S", bound=Scored)


@dataclass(frozen=True, kw_only=True, slots=True)
class Significance:
    """How much something gains over the best single model of all, and how sure that is.

    Attributes
    ----------
    gain
        In NDCG@10, with its two-sided interval, which is not corrected for the number of candidates.
    p_value
        One-sided, for "gains no more than the minimum gain".
    adjusted_p_value
        The same after Holm's correction over all candidates looked at; it decides.
    """

    gain: Interval
    p_value: float
    adjusted_p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "gain": self.gain.to_json(),
            "p_value": self.p_value,
            "adjusted_p_value": self.adjusted_p_value,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateGain(Significance):
    """How much a pair candidate gains over the best single model of all that were evaluated.

    Attributes
    ----------
    candidate
        The pair at certain weights.
    """

    candidate: Candidate

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.candidate.to_json(), **Significance.to_json(self)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conclusion(Generic[S]):
    """What the numbers allow to say.

    Attributes
    ----------
    decision
        See `conclude`.
    single
        The single model with the highest NDCG@10; the first of equals.
    best
        The candidate that the decision speaks of; None if none can be served.
    tested
        One per candidate, in their order.
    queries_needed
        About how many in total would decide; None unless there is not enough evidence.
    """

    decision: Decision
    single: S
    best: S | None
    tested: tuple[Significance, ...]
    queries_needed: int | None


def highest(scored: Sequence[S]) -> S:
    """Return the one with the highest NDCG@10; the first of equals."""
    return max(scored, key=lambda one: one.mean)


def conclude(  # noqa: PLR0913  # what was measured, and what any verdict needs
    candidates: Sequence[S],
    singles: Sequence[S],
    *,
    rng: np.random.Generator,
    confidence: float,
    minimum_gain: float,
    n_resamples: int | None = None,
    can_be_served: Callable[[S], bool] = lambda _: True,
    choose: Callable[[Sequence[S]], S] = highest,
) -> Conclusion[S]:
    """Say whether a candidate should be served instead of the best single model.

    - *deploy*: a candidate that can be served has an adjusted p-value below ``1 - confidence``.
    - *do not combine*: the best such candidate gains no more than `minimum_gain`, or there is none.
    - *not enough evidence*: it gains more, but this may be chance; or there are too few queries to prove
      any gain, see `fewest_queries`, and so to say that there is none.

    Parameters
    ----------
    candidates
        What else could be served; measured on the same queries as `singles`.
    singles
        What there is without combining; at least one.
    rng, confidence, minimum_gain
        See `decide`.
    n_resamples
        Of the bootstrap; None for `enough_resamples`.
    can_be_served
        Candidates that cannot are looked at, and counted, all the same.
    choose
        Which of several proven candidates; by default the one with the highest NDCG@10.

    Raises
    ------
    ShapeError
        If confidence or n_resamples are out of range.
    """
    check_confidence(confidence)
    tested = _tested(
        candidates,
        singles,
        rng=rng,
        confidence=confidence,
        minimum_gain=minimum_gain,
        n_resamples=n_resamples,
    )
    single = highest(singles)
    servable = [(one, by) for one, by in zip(candidates, tested, strict=True) if can_be_served(one)]
    proven = [one for one, by in servable if by.adjusted_p_value < 1 - confidence]
    best = None
    if servable:
        best = choose(proven) if proven else highest([one for one, _ in servable])
    fewest = fewest_queries(max(1, len(candidates)), confidence=confidence)
    is_open = len(single.ndcg) < fewest
    decision = _decision(best, single, is_proven=bool(proven), is_open=is_open, minimum_gain=minimum_gain)
    needed = None
    if best is not None and decision == "not enough evidence":
        needed = queries_needed(
            best.ndcg - single.ndcg,
            confidence=confidence,
            n_candidates=len(candidates),
            minimum_gain=minimum_gain,
        )
        needed = fewest if needed is None else needed
    return Conclusion(decision=decision, single=single, best=best, tested=tested, queries_needed=needed)


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
    n_resamples: int | None = None,
) -> Verdict:
    """Say whether a pair should be served instead of the best single model.

    - *deploy*: a pair candidate has an adjusted p-value below ``1 - confidence``; of several the one
      with the highest NDCG@10.
    - *do not combine*: the best pair candidate gains no more than `minimum_gain`, or there is none.
    - *not enough evidence*: it gains more, but this may be chance, or there are too few queries.

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
        Of the bootstrap; None for as many as the number of candidates asks for.

    Raises
    ------
    ShapeError
        If confidence or n_resamples are out of range.
    """
    found = conclude(
        evaluation.pairs,
        evaluation.singles,
        rng=rng,
        confidence=confidence,
        minimum_gain=minimum_gain,
        n_resamples=n_resamples,
    )
    gains = tuple(
        CandidateGain(
            candidate=pair,
            gain=by.gain,
            p_value=by.p_value,
            adjusted_p_value=by.adjusted_p_value,
        )
        for pair, by in zip(evaluation.pairs, found.tested, strict=True)
    )
    return Verdict(
        decision=found.decision,
        sentence=_sentence(evaluation, found, minimum_gain=minimum_gain),
        serve=found.best if found.best is not None and found.decision == "deploy" else found.single,
        best_single=found.single,
        gains=gains,
        n_queries=len(evaluation.query_ids),
        queries_needed=found.queries_needed,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )


def _tested(  # noqa: PLR0913  # the options of conclude
    candidates: Sequence[Scored],
    singles: Sequence[Scored],
    *,
    rng: np.random.Generator,
    confidence: float,
    minimum_gain: float,
    n_resamples: int | None,
) -> tuple[Significance, ...]:
    if not candidates:
        return ()
    draws = enough_resamples(len(candidates), confidence=confidence) if n_resamples is None else n_resamples
    gains = bootstrap_gains(
        np.stack([one.ndcg for one in candidates]),
        np.stack([one.ndcg for one in singles]),
        rng=rng,
        n_resamples=draws,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )
    adjusted = holm([gain.p_value for gain in gains]).tolist()
    return tuple(
        Significance(gain=gain.interval, p_value=gain.p_value, adjusted_p_value=p_value)
        for gain, p_value in zip(gains, adjusted, strict=True)
    )


def _decision(
    best: Scored | None, single: Scored, *, is_proven: bool, is_open: bool, minimum_gain: float
) -> Decision:
    if is_proven:
        return "deploy"
    if best is None or (best.mean - single.mean <= minimum_gain + ROUNDING and not is_open):
        return "do not combine"
    return "not enough evidence"


def _sentence(evaluation: Evaluation, found: Conclusion[Candidate], *, minimum_gain: float) -> str:
    queries = count(len(evaluation.query_ids), "query", "queries")
    if found.best is None:
        return (
            f"Do not combine: only single models were evaluated, of which {found.single.label} is the best "
            f"with NDCG@{CUTOFF} {found.single.mean:.3f} on {queries}."
        )
    advice = {
        "deploy": f"Deploy {found.best.label}: it",
        "do not combine": f"Do not combine: {found.best.label}, the best pair,",
        "not enough evidence": f"Not enough evidence to combine: {found.best.label}, the best pair,",
    }[found.decision]
    by = next(by for pair, by in zip(evaluation.pairs, found.tested, strict=True) if pair is found.best)
    return (
        f"{advice} {comparison(found.best, found.single, by, minimum_gain=minimum_gain)}, on {queries}, with "
        f"{_looked_at(evaluation)} looked at{outlook(found.queries_needed)}."
    )


def comparison(best: Scored, single: Scored, by: Significance, *, minimum_gain: float) -> str:
    """Return in words how the best candidate compares with the best single model."""
    required = f", where more than {minimum_gain:+.3f} is required" if minimum_gain else ""
    return (
        f"has NDCG@{CUTOFF} {best.mean:.3f} against {single.mean:.3f} of the best single model "
        f"{single.label}, {figures(by)}{required}"
    )


def figures(by: Significance) -> str:
    """Return a gain in words, with its interval and its adjusted p-value."""
    gain = by.gain
    return (
        f"a gain of {gain.estimate:+.3f} ({100 * gain.confidence:.4g} % interval {gain.low:+.3f} to "
        f"{gain.high:+.3f}, adjusted {shown_p(by.adjusted_p_value)})"
    )


def shown_p(p_value: float) -> str:
    """Return a p-value in words."""
    return f"p < {_SHOWN_P}" if p_value < _SHOWN_P else f"p = {p_value:.3f}"


def outlook(needed: int | None) -> str:
    """Return in words how many queries would decide; empty if that is not known."""
    return "" if needed is None else f"; about {_rounded(needed)} queries in total would decide"


def count(number: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many}"


def _looked_at(evaluation: Evaluation) -> str:
    pairs = {candidate.models for candidate in evaluation.pairs}
    candidates = count(len(evaluation.pairs), "candidate", "candidates")
    return f"{candidates} from {count(len(pairs), 'pair', 'pairs')}"


def _rounded(number: int) -> str:
    """Round up to two digits: an order of magnitude shall not look like a measurement."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{-(-number // unit) * unit:,}"
