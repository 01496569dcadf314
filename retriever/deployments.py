"""Deployments: what a corpus may serve and what it serves, checked before it is searched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from retriever.combine import Weighting, calibrated_weights, checked_weights, equal_weights
from retriever.corpus import Corpus
from retriever.errors import DeploymentNotFoundError, InputError, ModelMismatchError, StoreCorruptError
from retriever.records import (
    COMBINED,
    FULL_STORAGE,
    LEXICAL,
    Combination,
    CorpusManifest,
    Deployment,
    split_part,
)


def resolve_weights(manifest: CorpusManifest, legs: Sequence[str], weighting: Weighting) -> dict[str, float]:
    """Return one weight per leg; together they sum to 1.

    A score is ``Σ weight·cosine``, in [-1, 1] whatever the weights, so scores of one set of weights can
    be compared, between queries too; those of two sets cannot.

    ``"calibrated"``: one over the spread of each model's cosines in this corpus, so that each moves the
    score as far as the others; measured on stored chunks, no query needed. ``"equal"``: the paper's; the
    score is the mean cosine, and a model whose cosines spread widely decides. A mapping: these, checked,
    by key, name or source of each model, ``"bm25"`` for the lexical leg.

    Raises
    ------
    InputError
        If the weights are not one per leg, or calibration has nothing to go by.
    """
    if isinstance(weighting, Mapping):
        given = {_leg(manifest, legs, name): share for name, share in weighting.items()}
        return checked_weights(legs, given)
    if weighting == "equal" or len(legs) == 1:
        return equal_weights(legs)
    if weighting == "calibrated":
        return calibrated_weights(legs, manifest.spreads)
    raise InputError(f"weights: expected 'calibrated', 'equal' or numbers, got {weighting!r}.")


def planned(
    corpus: Corpus,
    models: Sequence[str],
    *,
    weighting: Weighting = "calibrated",
    storage: str = FULL_STORAGE,
    evidence: Mapping[str, Any] | None = None,
) -> Deployment:
    """Return what `retriever.deploying.deploy` would record, with nothing written.

    To look at, or to search with once: that takes vectors that are there. Those of single models are,
    those of a combination once it has been deployed or made by ``ingest run --combine``.
    """
    manifest = corpus.manifest
    combination = Combination(manifest.ordered(dense_names(models)), storage)
    legs = legs_of(combination, models)
    weights = resolve_weights(manifest, legs, weighting)
    keys = combination.keys
    return Deployment(
        corpus=corpus.name,
        models=combination.parts,
        weights=tuple(weights[part] for part in combination.parts),
        weighting=weighting if isinstance(weighting, str) else "explicit",
        fingerprints=tuple(manifest.model(key).fingerprint for key in keys),
        evidence=as_json(evidence or {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        storage=storage,
        lexical_weight=weights.get(LEXICAL, 0.0),
        lexical_fingerprint=manifest.lexical.fingerprint if LEXICAL in legs and manifest.lexical else "",
    )


def current_deployment(corpus: Corpus) -> Deployment:
    """Return what the corpus serves.

    Raises
    ------
    DeploymentNotFoundError
        If nothing has been deployed.
    ModelMismatchError
        If a model it names is no longer the one of the corpus.
    """
    deployment = corpus.served
    if deployment is None:
        raise DeploymentNotFoundError(
            f"corpus {corpus.name!r} at {corpus.location}: expected a deployment, found none. "
            f"Make one with `tandem deploy {COMBINED.join(corpus.manifest.keys)}`."
        )
    check_served(corpus.manifest, deployment)
    return deployment


def check_served(manifest: CorpusManifest, deployment: Deployment) -> None:
    """Refuse to serve a deployment with vectors that are not those it was made for.

    Raises
    ------
    ModelMismatchError
        If a model, or how the BM25 vectors are made, is another one by now.
    StoreCorruptError
        If its concatenated vector is no longer there.
    """
    combination = deployment.combination
    for key, fingerprint in zip(combination.keys, deployment.fingerprints, strict=True):
        stored = manifest.model(key)
        if stored.fingerprint != fingerprint:
            raise ModelMismatchError(
                f"deployment {deployment.name!r}: expected model {key} with fingerprint {fingerprint}, "
                f"the corpus now has {stored.fingerprint}. Deploy again."
            )
    lexical_now = "" if manifest.lexical is None else manifest.lexical.fingerprint
    if deployment.lexical_fingerprint not in {"", lexical_now}:
        raise ModelMismatchError(
            f"deployment {deployment.name!r}: expected BM25 vectors with fingerprint "
            f"{deployment.lexical_fingerprint}, the corpus now has {lexical_now or 'none'}. Deploy again."
        )
    if not combination.is_stored_anyway and combination not in manifest.combinations:
        raise StoreCorruptError(
            f"deployment {deployment.name!r}: expected vectors {deployment.vector!r}, the corpus has none. "
            "Deploy again: they are made from stored vectors, nothing is embedded."
        )


def rollback(corpus: Corpus, *, to: int | None = None) -> Deployment:
    """Serve an earlier deployment again, by one atomic write.

    Parameters
    ----------
    corpus
        An open corpus.
    to
        Its number in the list, from 1; None for the one before the one that is served.

    Raises
    ------
    DeploymentNotFoundError
        If there is no earlier one.
    InputError
        If there is none of this number, or its vectors have been dropped.
    ModelMismatchError
        If a model of it has changed since.
    """
    corpus.refresh()
    number = serving_number(corpus) - 1 if to is None else to
    if to is None and number < 1:
        raise DeploymentNotFoundError(
            f"corpus {corpus.name!r} at {corpus.location}: expected a deployment before the one that is "
            f"served, there are {len(corpus.deployments)}. See `tandem deployments`."
        )
    if 1 <= number <= len(corpus.deployments):
        check_served(corpus.manifest, corpus.deployments[number - 1])
    return corpus.serve(number - 1)


def serving_number(corpus: Corpus) -> int:
    """Return which deployment is served, counted from 1; 0 where none is."""
    served = corpus.served
    return 0 if served is None else corpus.serving + 1


def dense_names(models: Sequence[str]) -> list[str]:
    """Return the names but for that of the lexical leg.

    Raises
    ------
    InputError
        If no model is left, or the lexical leg is named twice.
    """
    dense = [name for name in models if name != LEXICAL]
    if not dense:
        raise InputError(f"combination: expected at least one model beside {LEXICAL}, got none.")
    if len(models) - len(dense) > 1:
        raise InputError(f"combination: expected different legs, got {COMBINED.join(models)}")
    return dense


def legs_of(combination: Combination, models: Sequence[str]) -> tuple[str, ...]:
    """Return the legs of a combination of these models, the lexical one last."""
    return (*combination.parts, LEXICAL) if LEXICAL in models else combination.parts


def _leg(manifest: CorpusManifest, legs: Sequence[str], name: str) -> str:
    """Return the leg that a weight is given for: by its own name, or by any name of its model."""
    if name in legs:
        return name
    names = {called for spec in manifest.models for called in (spec.key, spec.name, spec.source)}
    key = manifest.resolve(name if name in names else split_part(name)[0])  # a source may have an @
    return next((leg for leg in legs if split_part(leg)[0] == key), key)


def as_json(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as it will be read back, so that the same evidence is recognised.

    Raises
    ------
    InputError
        If it is not of JSON values.
    """
    try:
        values: dict[str, Any] = json.loads(json.dumps(dict(evidence)))
    except (TypeError, ValueError) as error:
        raise InputError(f"evidence: expected JSON values, got: {error}.") from error
    return values
