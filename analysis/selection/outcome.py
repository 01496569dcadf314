"""What a selection found: a row per option, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from analysis.evaluation import CUTOFF
from analysis.resampling import Interval
from analysis.selection.deciding.decision import OptionGain, OptionVerdict
from analysis.selection.deciding.gate import GateResult
from analysis.selection.record import Cost, Option


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One option, what is expected of it, what was measured of it, what it takes.

    Attributes
    ----------
    option
        What could be served.
    expected, deviation
        NDCG@10 and its standard deviation, from evidence that needs no judgement and from what is judged.
    expected_gain, gain_deviation
        Over the single model that is expected to be best.
    measured
        NDCG@10 on judged queries with its interval; None without judgements.
    gain
        Measured, over the best single model; None of single models, and without judgements.
    cost
        See `Cost`.
    is_affordable
        Whether it is within the budget.
    on_front
        Whether no other option is as good at no more cost: measured quality, or expected where there is none.
    """

    option: Option
    expected: float
    deviation: float
    expected_gain: float
    gain_deviation: float
    measured: Interval | None
    gain: OptionGain | None
    cost: Cost
    is_affordable: bool
    on_front: bool

    @property
    def quality(self) -> float:
        """NDCG@10, measured or else expected."""
        return self.expected if self.measured is None else self.measured.estimate

    @property
    def chance(self) -> float:
        """How likely it is better than the best single model, by all that is known; 0 of that one itself."""
        if not self.gain_deviation:
            return float(self.expected_gain > 0)
        return NormalDist().cdf(self.expected_gain / self.gain_deviation)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.option.to_json(),
            "expected": self.expected,
            "expected_deviation": self.deviation,
            "expected_gain": self.expected_gain,
            "expected_gain_deviation": self.gain_deviation,
            "chance": self.chance,
            "measured": None if self.measured is None else self.measured.to_json(),
            "gain": None if self.gain is None else self.gain.to_json(),
            "cost": self.cost.to_json(),
            "affordable": self.is_affordable,
            "on_front": self.on_front,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What a corpus should serve.

    Attributes
    ----------
    corpus
        Its name.
    rows
        Every option looked at.
    quality
        Evidence by leg: agreement with the consensus of the others, in [0, 1].
    judged_queries, queries
        How many were judged, and how many asked in all.
    made_queries
        Whether the queries are chunks of the corpus, for want of others.
    verdict
        On judged queries; None without.
    recommended
        What to serve: what the verdict says, or the best guess where there is no verdict or it is open.
    gate
        Whether what is served reaches it; None if there is none.
    warnings
        What else should be known before acting, one sentence each.
    """

    corpus: str
    rows: tuple[Row, ...]
    quality: Mapping[str, float]
    judged_queries: int
    queries: int
    made_queries: bool
    verdict: OptionVerdict | None
    recommended: Option
    gate: GateResult | None
    warnings: tuple[str, ...]

    @property
    def is_decided(self) -> bool:
        """Whether judged queries bear out what is recommended."""
        return self.verdict is not None and self.verdict.decision != "not enough evidence"

    @property
    def best_guess(self) -> Row:
        """The row of what is recommended."""
        return next(row for row in self.rows if row.option.label == self.recommended.label)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence; the best guess where there is none, called so."""
        if self.verdict is None:
            return f"No query is judged, so this is a guess: {self._guess()}. Judge 50 queries to know more."
        if self.is_decided:
            return self.verdict.sentence
        return f"{self.verdict.sentence} Best guess meanwhile: {self._guess()}."

    def evidence(self) -> dict[str, Any]:
        """Return what is kept with a deployment of what is recommended."""
        return {
            "selected": self.sentence,
            "decided": self.is_decided,
            "expected": self.best_guess.to_json(),
            "agreement": dict(self.quality),
            "queries": self.queries,
            "judged_queries": self.judged_queries,
            "made_queries": self.made_queries,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "corpus": self.corpus,
            "sentence": self.sentence,
            "decided": self.is_decided,
            "recommended": self.recommended.to_json(),
            "options": [row.to_json() for row in self.rows],
            "agreement": dict(self.quality),
            "queries": self.queries,
            "judged_queries": self.judged_queries,
            "made_queries": self.made_queries,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            "gate": None if self.gate is None else self.gate.to_json(),
            "warnings": list(self.warnings),
        }

    def _guess(self) -> str:
        row = self.best_guess
        singles = [one for one in self.rows if one.option.is_single]
        single = max(singles, key=lambda one: one.expected)
        if row.option.is_single:
            return f"{row.option.label} alone, with NDCG@{CUTOFF} of about {row.expected:.2f}"
        half = NormalDist().inv_cdf(0.9) * row.gain_deviation
        return (
            f"{row.option.label}, about {row.expected_gain:+.3f} NDCG@{CUTOFF} over {single.option.label} "
            f"(80 % interval {row.expected_gain - half:+.3f} to {row.expected_gain + half:+.3f}, chance of "
            f"a gain {row.chance:.0%})"
        )
