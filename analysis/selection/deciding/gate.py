"""What a verdict must reach, as a user states it: ``gain>=0.01 at 95%``, ``ndcg>=0.4 at 90%``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from analysis.evaluation import CUTOFF
from analysis.resampling import lower_bound
from analysis.selection.deciding.decision import OptionVerdict
from analysis.selection.record import Option
from analysis.verdict import count
from retriever.errors import InputError

Gated: TypeAlias = Literal["gain", "ndcg"]

CONFIDENCE = 0.95
"""Of a gate that names none."""

_FORM = re.compile(
    r"\s*(?P<measure>[^\W\d_]+)\s*(?P<sign>>=?)\s*(?P<bound>[+-]?(?:\d+\.?\d*|\.\d+))"
    r"(?:\s+at\s+(?P<percent>\d+(?:\.\d+)?)\s*%)?\s*"
)
_EXPECTED = "expected gain or ndcg, > or >=, a number from -1 to 1, and how sure, as 'gain>=0.01 at 95%'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A bound that what is served must reach.

    Attributes
    ----------
    measure
        ``"gain"`` in NDCG@10 over the best single model, or ``"ndcg"``, NDCG@10 itself.
    bound
        In [-1, 1].
    is_strict
        Whether the bound itself is too little.
    confidence
        In (0, 1).
    """

    measure: Gated
    bound: float
    is_strict: bool
    confidence: float

    @property
    def minimum_gain(self) -> float:
        """What an option must gain so that deciding and gating ask for the same; 0 for a gate on NDCG@10."""
        return max(0.0, self.bound) if self.measure == "gain" else 0.0

    def admits(self, value: float) -> bool:
        """Return whether a value reaches the bound."""
        return value > self.bound if self.is_strict else value >= self.bound

    def __str__(self) -> str:
        """Return the form that `read_gate` reads."""
        return (
            f"{self.measure}{'>' if self.is_strict else '>='}{self.bound:g} at {100 * self.confidence:.10g}%"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """Whether a gate was met.

    Attributes
    ----------
    gate
        What was asked.
    is_met
        Whether the lower bound reaches it.
    lower_bound
        Of the gated measure of the option that is to be served, one-sided, at the confidence of the gate,
        corrected for how many options were looked at.
    sentence
        The same in one sentence.
    """

    gate: Gate
    is_met: bool
    lower_bound: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "gate": str(self.gate),
            "met": self.is_met,
            "lower_bound": self.lower_bound,
            "sentence": self.sentence,
        }


def read_gate(text: str) -> Gate:
    """Read a gate as a user states it.

    Parameters
    ----------
    text
        ``gain>=0.01 at 95%``: ``gain`` or ``ndcg``, ``>`` or ``>=``, a number, and how sure; `CONFIDENCE`
        where that is left out. Blanks do not count.

    Raises
    ------
    InputError
        If it has another form, or a number is out of range.

    Examples
    --------
    >>> str(read_gate("gain > 0"))
    'gain>0 at 95%'
    """
    match = _FORM.fullmatch(text)
    if match is None or match["measure"] not in {"gain", "ndcg"}:
        raise InputError(f"gate: {_EXPECTED}, got {text!r}.")
    bound = float(match["bound"])
    confidence = CONFIDENCE if match["percent"] is None else float(match["percent"]) / 100
    if not -1 <= bound <= 1:
        raise InputError(f"gate: {_EXPECTED}, got the number {bound:g} in {text!r}. NDCG is at most 1.")
    if not 0 < confidence < 1:
        raise InputError(
            f"gate: {_EXPECTED}, got {match['percent']}% in {text!r}. Name more than 0% and less than 100%."
        )
    return Gate(
        measure="gain" if match["measure"] == "gain" else "ndcg",
        bound=bound,
        is_strict=match["sign"] == ">",
        confidence=confidence,
    )


def check_gate(
    gate: Gate,
    verdict: OptionVerdict,
    *,
    rng: np.random.Generator,
    option: Option | None = None,
    n_resamples: int | None = None,
) -> GateResult:
    """Say whether what is to be served reaches a gate.

    The one-sided lower bound of `analysis.resampling.lower_bound` must reach it: the bounds of all
    options that were looked at hold together at the confidence of the gate, so it does not matter that
    the best-looking one was picked. The best single model gains nothing over itself: its gain is
    exactly 0.

    Parameters
    ----------
    gate
        See `read_gate`. To decide for the same purpose, give `decide_options` its `confidence` and its
        `minimum_gain`.
    verdict
        On judged queries.
    rng
        Source of the resamples; equal generators give equal results.
    option
        What is to be served, one of those measured; None for what the verdict serves.
    n_resamples
        Of the bootstrap; None for as many as the number of options asks for.
    """
    of_gain = gate.measure == "gain"
    served = verdict.served if option is None else verdict.measured_of(option)
    single = verdict.best_single
    n_looks = max(1, verdict.n_options) if of_gain else len(verdict.measured)
    if of_gain and served.label == single.label:
        bound = 0.0
    else:
        zero = np.zeros((1, verdict.n_queries))
        bound = lower_bound(
            served.ndcg,
            np.stack([one.ndcg for one in verdict.singles]) if of_gain else zero,
            rng=rng,
            confidence=gate.confidence,
            n_looks=n_looks,
            n_resamples=n_resamples,
        )
    is_met = gate.admits(bound)
    what = f"gains {bound:+.3f} over {single.label}" if of_gain else f"has NDCG@{CUTOFF} {bound:.3f}"
    return GateResult(
        gate=gate,
        is_met=is_met,
        lower_bound=bound,
        sentence=(
            f"Gate {gate} {'met' if is_met else 'not met'}: {served.label} {what} at least (one-sided lower "
            f"bound at {100 * gate.confidence:.4g} % on {count(verdict.n_queries, 'query', 'queries')}, "
            f"corrected for {count(n_looks, 'option', 'options')} looked at)."
        ),
    )
