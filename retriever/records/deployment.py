"""What a corpus serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retriever.errors import StoreCorruptError
from retriever.records.combination import COMBINED, FULL_STORAGE, LEXICAL, Combination
from retriever.records.identity import NOT_A_RECORD, without_defaults

LOSS = "loss"
"""Where the evidence of a deployment keeps what fewer bits or dimensions cost, see `retriever.losses`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What a corpus serves: which models, at which weights, and why.

    Attributes
    ----------
    corpus
        Name of the corpus.
    models
        Parts of the combination, in the order of the manifest; one or more. Each is a model key, or
        the first dimensions of one (``"A@128"``).
    weights
        One per part, each at least 0. A score is ``Σ weight·cosine``, in [-1, 1].
    weighting
        Where the weights come from: ``"calibrated"``, ``"equal"`` or ``"explicit"``.
    fingerprints
        Of the models, in the same order, at the time of deployment.
    evidence
        What it was chosen on: JSON values, empty where a user decided.
    created
        ISO 8601 time in UTC.
    storage
        What the engine scans, see `Combination`; scores are exact whatever it is.
    lexical_weight
        Weight of the BM25 score, divided by the `lexical_scale` of the manifest; 0 where it has no
        part. Together with `weights` the sum is 1.
    lexical_fingerprint
        Of how the BM25 vectors were made, at the time of deployment; empty where they have no part.
    """

    corpus: str
    models: tuple[str, ...]
    weights: tuple[float, ...]
    weighting: str
    fingerprints: tuple[str, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    storage: str = FULL_STORAGE
    lexical_weight: float = 0.0
    lexical_fingerprint: str = ""

    @property
    def combination(self) -> Combination:
        """What it searches: of its models together."""
        return Combination(self.models, self.storage)

    @property
    def vector(self) -> str:
        """The named vector it searches."""
        return self.combination.vector

    @property
    def legs(self) -> tuple[str, ...]:
        """What a score is the sum over: its parts, and ``"bm25"`` where that has a part."""
        return (*self.models, LEXICAL) if self.lexical_fingerprint else self.models

    @property
    def name(self) -> str:
        """What is said after ``tandem deploy``: ``A+B``, ``A+B+bm25``."""
        return COMBINED.join(self.legs)

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each leg."""
        weights = (*self.weights, self.lexical_weight) if self.lexical_fingerprint else self.weights
        return dict(zip(self.legs, weights, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal record."""
        return without_defaults(self, ["storage", "lexical_weight", "lexical_fingerprint"])

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Deployment:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreCorruptError
            If it is not a deployment record.
        """
        try:
            given = dict(value)
            for name in ("models", "weights", "fingerprints"):
                given[name] = tuple(given[name])
            return cls(**given)
        except NOT_A_RECORD as error:
            raise StoreCorruptError(f"deployment: expected the fields of a record, got {value!r}") from error
