"""Whether a model is fit for a night of embedding: what it promises, tried out on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retriever.doctor.checks import Checks, Outcome, Verdict
from retriever.doctor.cost import Cost, Loading, measure, measured_loading, memory
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.records import ModelSpec

_LEAST_CHUNK_TOKENS = 16
_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The outcome of one check: what was looked at, how bad it is, what was found and what to do."""

    check: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found out about a model; `cost` is None if it could not embed."""

    spec: ModelSpec
    findings: tuple[Finding, ...]
    cost: Cost | None

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        return max((finding.verdict for finding in self.findings), default=Verdict.OK)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; verdicts are words."""
        findings = [
            {"check": one.check, "verdict": one.verdict.name.lower(), "text": one.text}
            for one in self.findings
        ]
        return {
            "model": asdict(self.spec) | {"fingerprint": self.spec.fingerprint},
            "verdict": self.verdict.name.lower(),
            "findings": findings,
            "cost": None if self.cost is None else asdict(self.cost),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """What several models cost together.

    Attributes
    ----------
    vocabularies
        Groups of model keys that share a tokenizer: a text is tokenised once for each group.
    chunks_per_second
        One model after the other; None if a cost is unknown.
    bytes_per_chunk
        Of the stored vectors of all models.
    """

    vocabularies: tuple[tuple[str, ...], ...]
    chunks_per_second: float | None
    bytes_per_chunk: int


def examine_source(
    source: str,
    *,
    backend: str | None = None,
    over_length: str = "refuse",
    chunk_tokens: int = 256,
    seconds: float = _SECONDS,
) -> Diagnosis:
    """Load a model as `load_model` does, and examine it; loading is measured too.

    Raises
    ------
    ModelError
        If it cannot be loaded.
    InputError
        As `examine`.
    """
    from retriever.models.catalog import load_model

    with measured_loading() as loading:
        model = load_model(source, backend=backend, over_length=over_length)
    return examine(model, chunk_tokens=chunk_tokens, seconds=seconds, loading=loading[0])


def examine(
    model: EmbeddingModel,
    *,
    chunk_tokens: int = 256,
    seconds: float = _SECONDS,
    loading: Loading | None = None,
) -> Diagnosis:
    """Try out what a model promises.

    Parameters
    ----------
    model
        Any model; a failing one is a finding, not an error.
    chunk_tokens
        Length of the chunks that it is to embed, special tokens included; at least 16.
    seconds
        How long to measure its rate; 0 leaves the cost out.
    loading
        What loading it took, where that was measured.

    Raises
    ------
    InputError
        If `chunk_tokens` is below 16.
    """
    if chunk_tokens < _LEAST_CHUNK_TOKENS:
        raise InputError(f"chunk tokens: expected {_LEAST_CHUNK_TOKENS} or more, got {chunk_tokens}.")
    before = memory()
    checks = Checks(model, chunk_tokens)
    findings = [_look(name, check) for name, check in checks.by_name().items()]
    cost = None
    if seconds > 0 and findings[0].verdict is not Verdict.FAIL:
        cost = measure(
            model, chunk_tokens=checks.chunk_tokens_read, seconds=seconds, before=before, loading=loading
        )
    return Diagnosis(spec=model.spec, findings=tuple(findings), cost=cost)


def together(diagnoses: Sequence[Diagnosis]) -> Together:
    """Return what several models share, and what they cost one after the other."""
    groups: dict[str, list[str]] = {}
    for one in diagnoses:
        groups.setdefault(one.spec.tokenizer or one.spec.fingerprint, []).append(one.spec.key)
    costs = [one.cost for one in diagnoses if one.cost is not None]
    rate = 1 / sum(1 / cost.chunks_per_second for cost in costs) if len(costs) == len(diagnoses) > 0 else None
    return Together(
        vocabularies=tuple(tuple(keys) for keys in groups.values()),
        chunks_per_second=rate,
        bytes_per_chunk=sum(cost.bytes_per_chunk for cost in costs),
    )


def _look(name: str, check: Callable[[], Outcome]) -> Finding:
    try:
        verdict, text = check()
    except Exception as error:  # noqa: BLE001  # a model that raises is what a doctor is for
        verdict, text = Verdict.FAIL, f"{type(error).__name__}: {error}"
    return Finding(check=name, verdict=verdict, text=text)
