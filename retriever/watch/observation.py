"""What is kept of a watched query: numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from retriever.records import Deployment, fingerprint_of

K = 10
"""How many of the first chunks are looked at; fixed, so that observations of any time can be compared."""

_DIGITS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """How one query was answered, by the first `K` chunks of its deployment at the deployment's weights.

    Attributes
    ----------
    time
        When it was answered, in UTC.
    deployment
        Which deployment answered, see `deployment_id`.
    serves
        The name of that deployment.
    first
        Score of the first chunk.
    mean
        Mean score of the chunks.
    gap
        Score of the first chunk less that of the last.
    contributions
        What each leg gives to `mean`; together they are it.
    jaccard
        How many chunks two legs share among the first `K` of each alone, over how many both have: in
        [0, 1], the mean over all pairs of legs. None where there is only one leg.
    rank_similarity
        The same with ranks, see `retriever.watch.measuring.rank_similarity`.
    disjoint
        Whether no two legs share a chunk; None where there is only one leg.
    lost
        How many queries before it were to be observed as well, and were not: too many waited, or measuring
        them failed.
    texts
        What was asked; empty unless it was to be kept.
    """

    time: datetime
    deployment: str
    serves: str
    first: float
    mean: float
    gap: float
    contributions: Mapping[str, float]
    jaccard: float | None
    rank_similarity: float | None
    disjoint: bool | None
    lost: int = 0
    texts: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes a record that is equal to six digits."""
        value: dict[str, Any] = {
            "time": self.time.isoformat(timespec="milliseconds"),
            "deployment": self.deployment,
            "serves": self.serves,
            "first": round(self.first, _DIGITS),
            "mean": round(self.mean, _DIGITS),
            "gap": round(self.gap, _DIGITS),
            "contributions": {leg: round(share, _DIGITS) for leg, share in self.contributions.items()},
            "jaccard": _rounded(self.jaccard),
            "rank_similarity": _rounded(self.rank_similarity),
            "disjoint": self.disjoint,
        }
        if self.lost:
            value["lost"] = self.lost
        if self.texts:
            value["texts"] = list(self.texts)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Observation:
        """Read what `to_json` wrote.

        Raises
        ------
        AttributeError, KeyError, TypeError, ValueError
            If it is anything else.
        """
        time = datetime.fromisoformat(value["time"])
        if time.tzinfo is None:
            raise ValueError(f"time: expected an offset from UTC, got {value['time']!r}")
        return cls(
            time=time,
            deployment=str(value["deployment"]),
            serves=str(value["serves"]),
            first=float(value["first"]),
            mean=float(value["mean"]),
            gap=float(value["gap"]),
            contributions={str(leg): float(share) for leg, share in value["contributions"].items()},
            jaccard=_number(value["jaccard"]),
            rank_similarity=_number(value["rank_similarity"]),
            disjoint=None if value["disjoint"] is None else bool(value["disjoint"]),
            lost=int(value.get("lost", 0)),
            texts=tuple(map(str, value.get("texts", ()))),
        )


def deployment_id(deployment: Deployment, recorded: Sequence[Deployment]) -> str:
    """Return 16 hexadecimal digits that tell one deployment of a corpus from every other.

    Parameters
    ----------
    deployment
        What answers.
    recorded
        The deployments of its corpus. One of these is another one when it is deployed again, at another
        time; what a retriever serves without it being deployed is the same in every process.
    """
    identity = deployment if deployment in recorded else replace(deployment, created="", evidence={})
    return fingerprint_of(identity.to_json())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
