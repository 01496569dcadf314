"""What comes of watching: whether live queries are still those of the time of deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from retriever.errors import GateNotMetError, InputError
from retriever.watch.baselines import BaselineSource

WatchStatus: TypeAlias = Literal["steady", "drifted", "not enough queries"]

MEASURES: Mapping[str, str] = {
    "first_score": "score of the first hit",
    "agreement": "agreement of the legs",
    "disagreement": "queries on which the legs share no chunk",
}
"""What is tested, in words."""

_SHOWN_P = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchSettings:
    """When queries are enough, and what counts as another distribution.

    Attributes
    ----------
    confidence
        How likely nothing is called drifted in one look where nothing has changed, all tests together.
        0.99, because one looks often.
    minimum_shift
        How many of the queries must lie elsewhere for it to matter, in [0, 1]: with many queries, any
        difference is significant. 0.1 is every tenth.
    minimum_queries
        How many must be on each side before anything is said.
    first_queries
        How many live queries are the time of deployment, where no queries were given for it.
    window
        How many of the latest live queries are compared with it: what changed yesterday would be lost among
        those of a year.

    Raises
    ------
    InputError
        If a number is out of range, or so few first queries could never be enough.
    """

    confidence: float = 0.99
    minimum_shift: float = 0.1
    minimum_queries: int = 50
    first_queries: int = 200
    window: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError(
                f"confidence: expected a number between 0 and 1, got {self.confidence}. 0.99 is usual."
            )
        if not 0 <= self.minimum_shift <= 1:
            raise InputError(
                f"minimum_shift: expected a share of the queries, 0 to 1, got {self.minimum_shift}."
            )
        if self.minimum_queries < 1:
            raise InputError(f"minimum_queries: expected at least 1, got {self.minimum_queries}.")
        for name in ("first_queries", "window"):
            if getattr(self, name) < self.minimum_queries:
                raise InputError(
                    f"{name}: expected at least the {self.minimum_queries} of minimum_queries, got "
                    f"{getattr(self, name)}."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A distribution: its mean, and what a tenth, half and nine tenths of the queries stay below."""

    mean: float
    low: float
    median: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One measure at the time of deployment and now.

    Attributes
    ----------
    measure
        One of `MEASURES`.
    baseline, live
        Its values; of ``"disagreement"`` the mean is the share of queries.
    shift
        How many of the queries lie elsewhere: the largest distance between the two distribution functions,
        in [0, 1]; of ``"disagreement"`` the difference of the shares, in [-1, 1].
    interval
        Of that difference, at the confidence of the settings; None for the others.
    p_value
        Two-sided, for "both are of one distribution".
    adjusted_p_value
        After Holm's correction over the tests of the report; it decides.
    is_drifted
        Whether the shift is established, and large enough to matter.
    """

    measure: str
    baseline: Summary
    live: Summary
    shift: float
    interval: tuple[float, float] | None
    p_value: float
    adjusted_p_value: float
    is_drifted: bool

    @property
    def words(self) -> str:
        """What changed, from what to what."""
        said = MEASURES[self.measure]
        shown = "p < 0.001" if self.adjusted_p_value < _SHOWN_P else f"p = {self.adjusted_p_value:.3f}"
        if self.measure == "disagreement":
            return f"{said}: {_percent(self.baseline.mean)} to {_percent(self.live.mean)} ({shown})"
        return (
            f"{said}: median {self.baseline.median:.3f} to {self.live.median:.3f} "
            f"({_percent(self.shift)} of the queries lie elsewhere, {shown})"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchReport:
    """What the log of a deployment says.

    Attributes
    ----------
    status
        ``"steady"``, ``"drifted"``, or ``"not enough queries"`` for either.
    sentence
        The same in words, with what to do.
    corpus, serves, deployment
        Names of corpus and deployment, and which one it is among those of this name.
    source
        Where the time of deployment is from: ``"queries"`` or ``"live"``.
    baseline_queries, live_queries
        How many are compared.
    more
        How many more are needed before anything is said; 0 where there are enough.
    first, last
        Times of the live queries that are compared, ISO 8601; None where there are none.
    changes
        The tests, one where one leg serves alone, else three; none before there are enough queries.
    others
        What is not tested, before and now, by name: ``"mean_score"`` and ``"gap"`` of the first chunks,
        ``"rank_similarity"`` of the legs, and ``"contribution LEG"``.
    lost
        Of the live queries, how many were to be observed and were not.
    broken
        Lines of the log that could not be read.
    settings
        What was asked.
    """

    status: WatchStatus
    sentence: str
    corpus: str
    serves: str
    deployment: str
    source: BaselineSource
    baseline_queries: int
    live_queries: int
    more: int
    first: str | None
    last: str | None
    changes: tuple[Change, ...]
    others: Mapping[str, tuple[Summary, Summary]]
    lost: int
    broken: int
    settings: WatchSettings

    @property
    def is_drifted(self) -> bool:
        """Whether live queries are no longer those of the time of deployment."""
        return self.status == "drifted"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        value = asdict(self)
        value["changes"] = [asdict(change) for change in self.changes]
        value["others"] = {
            name: {"baseline": asdict(before), "live": asdict(now)}
            for name, (before, now) in self.others.items()
        }
        return value


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


class DriftAlarm(GateNotMetError):  # noqa: N818  # it is an alarm: nothing has failed
    """Live queries are no longer those of the time of deployment; `report` says in what they differ."""

    def __init__(self, report: WatchReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return f"corpus {self.report.corpus!r}, deployment {self.report.serves}: {self.report.sentence}"
