"""Deployments: what a corpus serves, chosen, recorded, read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from retriever.combine import calibrated_weights, checked_weights, equal_weights
from retriever.corpus import Corpus
from retriever.errors import DeploymentNotFoundError, InputError, ModelMismatchError, StoreCorruptError
from retriever.records import COMBINED, CorpusManifest, Deployment
from retriever.store.filters import AnyOf, missing_vector

Weighting: TypeAlias = Literal["calibrated", "equal"] | Mapping[str, float]
"""How the models of a deployment count: by a rule, or by explicit weights that sum to 1."""


def resolve_weights(manifest: CorpusManifest, keys: Sequence[str], weighting: Weighting) -> dict[str, float]:
    """Return one weight per model.

    ``"calibrated"``: one over the spread of each model's cosines in this corpus; ``"equal"``: the
    paper's; a mapping: these, checked, by key, name or source of each model.

    Raises
    ------
    InputError
        If the weights are not one per model, or calibration has nothing to go by.
    """
    if isinstance(weighting, Mapping):
        return checked_weights(keys, {manifest.resolve(name): share for name, share in weighting.items()})
    if weighting == "equal" or len(keys) == 1:
        return equal_weights(keys)
    if weighting == "calibrated":
        return calibrated_weights(keys, manifest.spreads)
    raise InputError(f"weights: expected 'calibrated', 'equal' or numbers, got {weighting!r}.")


def deploy(
    corpus: Corpus,
    models: Sequence[str],
    *,
    weighting: Weighting = "calibrated",
    evidence: Mapping[str, Any] | None = None,
) -> Deployment:
    """Serve these models of the corpus together (or one alone) from now on.

    The concatenated vectors are built from the stored ones where they are missing; nothing is
    embedded. `evidence` (JSON values) is kept with the record. Deploying again what is served, on
    the same evidence, changes nothing.

    Raises
    ------
    InputError
        If the corpus has no vectors of a model, or the weights or the evidence do not fit.
    StoreCorruptError
        If a chunk lacks a vector of one of the models: it would never be found.
    """
    manifest = corpus.manifest
    keys = manifest.ordered(models)
    _check_complete(corpus, keys)
    weights = resolve_weights(manifest, keys, weighting)
    if len(keys) > 1:
        corpus.add_combination(keys)
        corpus.flush()
    deployment = Deployment(
        corpus=corpus.name,
        models=keys,
        weights=tuple(weights[key] for key in keys),
        weighting=weighting if isinstance(weighting, str) else "explicit",
        fingerprints=tuple(manifest.model(key).fingerprint for key in keys),
        evidence=_as_json(evidence or {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    served = corpus.deployments[-1] if corpus.deployments else None
    if served is not None and replace(served, created=deployment.created) == deployment:
        return served
    corpus.add_deployment(deployment)
    return deployment


def current_deployment(corpus: Corpus) -> Deployment:
    """Return what the corpus serves.

    Raises
    ------
    DeploymentNotFoundError
        If nothing has been deployed.
    ModelMismatchError
        If a model it names is no longer the one of the corpus.
    """
    if not corpus.deployments:
        raise DeploymentNotFoundError(
            f"corpus {corpus.name!r} at {corpus.location}: expected a deployment, found none. "
            f"Make one with `tandem deploy {COMBINED.join(corpus.manifest.keys)}`."
        )
    deployment = corpus.deployments[-1]
    for key, fingerprint in zip(deployment.models, deployment.fingerprints, strict=True):
        stored = corpus.manifest.model(key)
        if stored.fingerprint != fingerprint:
            raise ModelMismatchError(
                f"deployment {deployment.vector!r}: expected model {key} with fingerprint {fingerprint}, "
                f"the corpus now has {stored.fingerprint}. Deploy again."
            )
    return deployment


def _check_complete(corpus: Corpus, keys: Sequence[str]) -> None:
    lacking = corpus.count_chunks(AnyOf(parts=tuple(missing_vector(key) for key in keys)))
    if lacking:
        raise StoreCorruptError(
            f"corpus {corpus.name!r} at {corpus.location}: expected vectors of {COMBINED.join(keys)} "
            f"for every chunk, {lacking:,} of {corpus.count_chunks():,} chunks lack one. "
            "Run the same `ingest run` again to complete it."
        )


def _as_json(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as it will be read back, so that the same evidence is recognised."""
    try:
        values: dict[str, Any] = json.loads(json.dumps(dict(evidence)))
    except (TypeError, ValueError) as error:
        raise InputError(f"evidence: expected JSON values, got: {error}.") from error
    return values
