"""What a screening of models found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.evaluation import PairSimilarity
from analysis.selection.screening.models import Unscreened


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreeningProgress:
    """How far a screening is: which sample, which model, how many of its chunks are embedded."""

    sample: int
    model: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreeningRound:
    """What one sample said.

    Attributes
    ----------
    chunks, queries
        How many were in the sample.
    quality
        Evidence of the quality of each model, best first.
    risk
        Chance that the best model is not among those kept, in [0, 1].
    pair_risk
        Chance that one of the two best is not.
    seconds
        Since the screening began.
    """

    chunks: int
    queries: int
    quality: Mapping[str, float]
    risk: float
    pair_risk: float
    seconds: float

    @property
    def order(self) -> tuple[str, ...]:
        """The models, best first."""
        return tuple(self.quality)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "chunks": self.chunks,
            "queries": self.queries,
            "order": list(self.order),
            "quality": dict(self.quality),
            "risk": self.risk,
            "pair_risk": self.pair_risk,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Screening:
    """What a screening found.

    Attributes
    ----------
    corpus
        Its name.
    rounds
        The samples, each twice as large as the one before; the last one decides.
    kept
        The models to embed the corpus with, best first.
    target
        The risk at which it was to stop.
    similarities
        Of all pairs, on the last sample. CKA is nearly that of the whole corpus; overlaps are higher than
        there, those with weak models most, since there is less to confuse.
    stored
        Those of the candidates that the corpus is embedded with.
    unscreened
        Candidates that could not be screened.
    seconds_per_1000_chunks
        Of each model that has embedded chunks, as measured while it did.
    embedded
        How many chunks each of these has embedded.
    seconds
        In all.
    """

    corpus: str
    rounds: tuple[ScreeningRound, ...]
    kept: tuple[str, ...]
    target: float
    similarities: tuple[PairSimilarity, ...]
    stored: tuple[str, ...]
    unscreened: tuple[Unscreened, ...]
    seconds_per_1000_chunks: Mapping[str, float]
    embedded: Mapping[str, int]
    seconds: float

    @property
    def last(self) -> ScreeningRound:
        """The largest sample."""
        return self.rounds[-1]

    @property
    def risk(self) -> float:
        """Chance that the best model by this evidence on the whole corpus is not kept, in [0, 1]."""
        return self.last.risk

    @property
    def is_stable(self) -> bool:
        """Whether the risk is as low as it was to be."""
        return self.risk <= self.target

    @property
    def to_embed(self) -> tuple[str, ...]:
        """Those kept that the corpus is not embedded with yet."""
        return tuple(key for key in self.kept if key not in self.stored)

    @property
    def sentence(self) -> str:
        """What to do, in one sentence."""
        kept = ", ".join(self.kept)
        todo = f"embed it with {', '.join(self.to_embed)}" if self.to_embed else "it is embedded with them"
        missing = "under 1 %" if self.risk < 0.01 else f"{self.risk:.0%}"  # noqa: PLR2004  # no false precision
        return (
            f"Of {len(self.last.order)} models keep {kept} for corpus {self.corpus!r} ({todo}): on "
            f"{self.last.chunks:,} chunks and {self.last.queries:,} queries the chance that the best one is "
            f"not among them is {missing}"
            + ("." if self.is_stable else f", more than the {self.target:.0%} that were asked for.")
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "corpus": self.corpus,
            "kept": list(self.kept),
            "to_embed": list(self.to_embed),
            "risk": self.risk,
            "pair_risk": self.last.pair_risk,
            "target": self.target,
            "stable": self.is_stable,
            "rounds": [one.to_json() for one in self.rounds],
            "similarities": [one.to_json() for one in self.similarities],
            "stored": list(self.stored),
            "unscreened": [one.to_json() for one in self.unscreened],
            "seconds_per_1000_chunks": dict(self.seconds_per_1000_chunks),
            "embedded": dict(self.embedded),
            "seconds": self.seconds,
            "sentence": self.sentence,
        }
