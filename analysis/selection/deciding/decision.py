"""Which option to serve, or the best single model: the verdict on everything that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arrays import check_rows
from analysis.evaluation import CUTOFF
from analysis.resampling import bootstrap_gains
from analysis.selection.costs.pareto import dominates_in_cost
from analysis.selection.record import Cost, MeasuredOption, Option
from analysis.verdict import (
    Conclusion,
    Decision,
    Significance,
    comparison,
    conclude,
    count,
    figures,
    highest,
    outlook,
)
from retriever.errors import InputError

UNKNOWN_COST = Cost(seconds_per_1000_chunks=None, bytes_per_chunk=None, milliseconds_per_query=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionGain(Significance):
    """How much an option gains over the best single model of all that were measured.

    Attributes
    ----------
    option
        Anything but a single model; whether it can be deployed or not.
    """

    option: Option

    @property
    def chance(self) -> float:
        """How likely the gain is real: the share of resamples in which it exceeds the minimum.

        In [0, 1), and never more than few queries can tell, see `analysis.resampling.bootstrap_gains`.
        Of one option picked in advance: not corrected for how many were looked at.
        """
        return 1 - self.p_value

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.option.to_json(), **Significance.to_json(self), "chance": self.chance}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OptionVerdict:
    """What to serve, and why.

    Attributes
    ----------
    decision
        ``"deploy"`` an option, ``"do not combine"``, or ``"not enough evidence"`` for either.
    sentence
        The same in one sentence with its figures.
    warnings
        What else should be known before acting, one sentence each: above all that something which
        Tandem does not deploy was better.
    serve
        The option to deploy; the best single model where the decision is another.
    best_single
        The single model with the highest NDCG@10; the first of equals.
    passed_over
        The option with the highest NDCG@10 of those whose gain is proven, where a simpler one is served
        because it is not proven to be worse; else None.
    gains
        Of every option but the single models, in the order given.
    measured
        All options, in the order given.
    queries_needed
        About how many in total would decide; None unless there is not enough evidence.
    confidence
        Of the intervals and of the decision, in (0, 1).
    minimum_gain
        What an option had to exceed, in NDCG@10.
    """

    decision: Decision
    sentence: str
    warnings: tuple[str, ...]
    serve: Option
    best_single: Option
    passed_over: Option | None
    gains: tuple[OptionGain, ...]
    measured: tuple[MeasuredOption, ...]
    queries_needed: int | None
    confidence: float
    minimum_gain: float

    @property
    def n_queries(self) -> int:
        """Queries with judgements."""
        return len(self.measured[0].ndcg)

    @property
    def n_options(self) -> int:
        """How many options were looked at beside the single models."""
        return len(self.gains)

    @property
    def singles(self) -> tuple[MeasuredOption, ...]:
        """The single models, in the order given."""
        return tuple(one for one in self.measured if one.option.is_single)

    @property
    def served(self) -> MeasuredOption:
        """What was measured of the option to serve."""
        return self.measured_of(self.serve)

    def measured_of(self, option: Option) -> MeasuredOption:
        """Return what was measured of one of the options."""
        return next(one for one in self.measured if one.label == option.label)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the single queries; fit to be kept as the evidence of a deployment."""
        return {
            "decision": self.decision,
            "sentence": self.sentence,
            "warnings": list(self.warnings),
            "serve": self.serve.to_json(),
            "best_single": self.best_single.to_json(),
            "passed_over": None if self.passed_over is None else self.passed_over.to_json(),
            "gains": [gain.to_json() for gain in self.gains],
            "options": self.n_options,
            "queries": self.n_queries,
            "queries_needed": self.queries_needed,
            "confidence": self.confidence,
            "minimum_gain": self.minimum_gain,
        }


def decide_options(  # noqa: PLR0913  # the options of analysis.decide, and costs
    measured: Sequence[MeasuredOption],
    *,
    rng: np.random.Generator,
    costs: Mapping[str, Cost] | None = None,
    confidence: float = 0.95,
    minimum_gain: float = 0.0,
    n_resamples: int | None = None,
) -> OptionVerdict:
    """Say which option should be served instead of the best single model, if any.

    An option is deployed if it can be (`Option.is_deployable`) and its gain over the best single model
    is proven: Holm's correction counts every option looked at, deployable or not. Of several, the
    simplest that is not proven to be worse than the best of them (paired, at the same confidence):
    the fewest models; of these the fewest legs; of these none that costs more than another in every
    figure known; of these the highest NDCG@10; of these the first.

    Parameters
    ----------
    measured
        On the same queries, with different labels, at least one of them a single model.
    rng
        Source of the resamples; equal generators give equal verdicts.
    costs
        By label; None if nothing was measured. An option that is missing has unknown costs.
    confidence
        In (0, 1).
    minimum_gain
        In NDCG@10 over the best single model; what must be exceeded to be worth its cost.
    n_resamples
        Of the bootstrap; None for as many as the number of options asks for.

    Raises
    ------
    InputError
        If there is no single model, or two options have one label.
    ShapeError
        If options differ in their queries, or confidence or n_resamples are out of range.
    """
    _check(measured)
    simplest = _Simplest(rng=rng, costs=costs or {}, confidence=confidence, n_resamples=n_resamples)
    looked_at = [one for one in measured if not one.option.is_single]
    found = conclude(
        looked_at,
        [one for one in measured if one.option.is_single],
        rng=rng,
        confidence=confidence,
        minimum_gain=minimum_gain,
        n_resamples=n_resamples,
        can_be_served=lambda one: one.option.is_deployable,
        choose=simplest,
    )
    gains = {
        one.label: OptionGain(
            option=one.option, gain=by.gain, p_value=by.p_value, adjusted_p_value=by.adjusted_p_value
        )
        for one, by in zip(looked_at, found.tested, strict=True)
    }
    serve = found.best if found.best is not None and found.decision == "deploy" else found.single
    passed_over = simplest.passed_over
    return OptionVerdict(
        decision=found.decision,
        sentence=_sentence(found, gains, passed_over=passed_over, minimum_gain=minimum_gain),
        warnings=_warnings(found.single, serve, looked_at, gains),
        serve=serve.option,
        best_single=found.single.option,
        passed_over=None if passed_over is None else passed_over.option,
        gains=tuple(gains.values()),
        measured=tuple(measured),
        queries_needed=found.queries_needed,
        confidence=confidence,
        minimum_gain=minimum_gain,
    )


class _Simplest:
    """Chooses the simplest option that is not proven to be worse than the best."""

    def __init__(
        self,
        *,
        rng: np.random.Generator,
        costs: Mapping[str, Cost],
        confidence: float,
        n_resamples: int | None,
    ) -> None:
        self._rng, self._costs, self._n_resamples = rng, costs, n_resamples
        self._level = 1 - confidence
        self.passed_over: MeasuredOption | None = None

    def __call__(self, proven: Sequence[MeasuredOption]) -> MeasuredOption:
        best = highest(proven)
        rivals = [one for one in proven if one is best or not self._is_worse(one, best)]
        fewest = min(_size(one.option) for one in rivals)
        chosen = highest(self._cheapest([one for one in rivals if _size(one.option) == fewest]))
        if chosen is not best:
            self.passed_over = best
        return chosen

    def _is_worse(self, one: MeasuredOption, best: MeasuredOption) -> bool:
        draws = {} if self._n_resamples is None else {"n_resamples": self._n_resamples}
        (gain,) = bootstrap_gains(best.ndcg[None, :], one.ndcg[None, :], rng=self._rng, **draws)
        return gain.p_value < self._level

    def _cheapest(self, rivals: Sequence[MeasuredOption]) -> list[MeasuredOption]:
        dominates = dominates_in_cost([self._costs.get(one.label, UNKNOWN_COST) for one in rivals])
        return [one for one, by in zip(rivals, dominates.T, strict=True) if not by.any()]


def _size(option: Option) -> tuple[int, int]:
    return len(option.models), len(option.legs)


def _check(measured: Sequence[MeasuredOption]) -> None:
    labels = [one.label for one in measured]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(
            f"measured: expected each option once, got {', '.join(twice)} more than once. Measure options "
            f"whose labels differ."
        )
    if not any(one.option.is_single for one in measured):
        raise InputError(
            f"measured: expected at least one single model, got {', '.join(labels) or 'nothing'}. A gain is "
            f"one over the best single model: measure the models alone as well."
        )
    for one in measured:
        check_rows(name=one.label, got=len(one.ndcg), expected=len(measured[0].ndcg), of="query")


def _sentence(
    found: Conclusion[MeasuredOption],
    gains: Mapping[str, OptionGain],
    *,
    passed_over: MeasuredOption | None,
    minimum_gain: float,
) -> str:
    queries = count(len(found.single.ndcg), "query", "queries")
    looked_at = count(len(gains), "option", "options")
    if found.best is None:
        return (
            f"Do not combine: no combination that can be deployed was measured; {found.single.label} is the "
            f"best single model with NDCG@{CUTOFF} {found.single.mean:.3f} on {queries}, with {looked_at} "
            f"looked at beside the single models."
        )
    advice = {
        "deploy": f"Deploy {found.best.label}: it",
        "do not combine": f"Do not combine: {found.best.label}, the best option,",
        "not enough evidence": f"Not enough evidence to combine: {found.best.label}, the best option,",
    }[found.decision]
    compared = comparison(found.best, found.single, gains[found.best.label], minimum_gain=minimum_gain)
    return (
        f"{advice} {compared}, on {queries}, with {looked_at} looked at beside the single models"
        f"{_simpler_than(passed_over)}{outlook(found.queries_needed)}."
    )


def _simpler_than(passed_over: MeasuredOption | None) -> str:
    if passed_over is None:
        return ""
    return f"; {passed_over.label} ({passed_over.mean:.3f}) takes more and is not proven to be better"


def _warnings(
    single: MeasuredOption,
    serve: MeasuredOption,
    looked_at: Sequence[MeasuredOption],
    gains: Mapping[str, OptionGain],
) -> tuple[str, ...]:
    others = [one for one in looked_at if not one.option.is_deployable]
    alone = [one for one in others if not one.option.models and one.mean > single.mean]
    best = highest([serve, *others])
    warned = [_better_alone(one, single, gains[one.label]) for one in alone]
    if best is not serve and best not in alone:
        warned.append(_better(best, serve, single, gains[best.label]))
    return tuple(warned)


def _better_alone(one: MeasuredOption, single: MeasuredOption, gain: OptionGain) -> str:
    return (
        f"{one.label} alone is better than every model: NDCG@{CUTOFF} {one.mean:.3f} against "
        f"{single.mean:.3f} of {single.label}, {figures(gain)}. Consider it before any of the models."
    )


def _better(best: MeasuredOption, serve: MeasuredOption, single: MeasuredOption, gain: OptionGain) -> str:
    return (
        f"{best.label} is the best that was measured, but is for comparison only: NDCG@{CUTOFF} "
        f"{best.mean:.3f} against {serve.mean:.3f} of {serve.label}; over {single.label} it has "
        f"{figures(gain)}."
    )
