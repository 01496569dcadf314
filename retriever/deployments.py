"""Deployments: what a corpus serves, chosen, recorded, read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from retriever import lexical
from retriever.combine import Weighting, calibrated_weights, checked_weights, equal_weights
from retriever.corpus import Corpus
from retriever.errors import DeploymentNotFoundError, InputError, ModelMismatchError, StoreCorruptError
from retriever.records import (
    COMBINED,
    FULL_STORAGE,
    LEXICAL,
    LOSS,
    Combination,
    CorpusManifest,
    Deployment,
    split_part,
)
from retriever.store.filters import AnyOf, missing_vector


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


def deploy(
    corpus: Corpus,
    models: Sequence[str],
    *,
    weighting: Weighting = "calibrated",
    storage: str = FULL_STORAGE,
    evidence: Mapping[str, Any] | None = None,
) -> Deployment:
    """Serve these models of the corpus together (or one alone) from now on.

    The concatenated vectors are built from the stored ones where they are missing; nothing is
    embedded. Readers go on beside it, and see the old deployment or the new one. Deploying again what
    is served, on the same evidence, changes nothing.

    Parameters
    ----------
    corpus
        An open corpus.
    models
        Models by any of their names, each whole or its first dimensions (``"A@128"``), and ``"bm25"``
        for the lexical leg beside at least one of them.
    weighting
        See `resolve_weights`.
    storage
        What the engine scans: ``"float32"``, or ``"float16"``, ``"int8"``, ``"binary"``, which take less
        memory and find candidates; scores are exact all the same.
    evidence
        JSON values that are kept with the record. Where fewer bits or dimensions are searched than the
        models have, what that loses is measured and kept as ``"loss"``.

    Raises
    ------
    InputError
        If the corpus has no vectors of a model, or the weights or the evidence do not fit.
    StoreCorruptError
        If a chunk lacks a vector of one of the models: it would never be found.
    """
    wished = Combination(corpus.manifest.ordered(_dense(models)), storage)
    _check_complete(corpus, wished.keys)
    _as_json(evidence or {})
    if weighting != "calibrated":  # which may have something to measure first
        resolve_weights(corpus.manifest, _legs(wished, models), weighting)
    if LEXICAL in models and corpus.manifest.lexical is None:
        corpus.add_lexical(lexical.measured(corpus.texts()))
    combination = corpus.add_combination(_dense(models), storage=storage)
    if any(leg not in corpus.manifest.spreads for leg in _legs(combination, models)):
        corpus.measure_spreads()
    corpus.flush()
    deployment = planned(corpus, models, weighting=weighting, storage=storage, evidence=evidence)
    deployment = _with_loss(corpus, deployment)
    served = corpus.served
    if served is not None and replace(served, created=deployment.created) == deployment:
        return served
    corpus.add_deployment(deployment)
    return deployment


def planned(
    corpus: Corpus,
    models: Sequence[str],
    *,
    weighting: Weighting = "calibrated",
    storage: str = FULL_STORAGE,
    evidence: Mapping[str, Any] | None = None,
) -> Deployment:
    """Return what `deploy` would record, with nothing written: to look at, or to search with once.

    Searching with it takes vectors that are there: those of single models are, those of a combination
    once it has been deployed or made by ``ingest run --combine``.
    """
    manifest = corpus.manifest
    combination = Combination(manifest.ordered(_dense(models)), storage)
    legs = _legs(combination, models)
    weights = resolve_weights(manifest, legs, weighting)
    keys = combination.keys
    return Deployment(
        corpus=corpus.name,
        models=combination.parts,
        weights=tuple(weights[part] for part in combination.parts),
        weighting=weighting if isinstance(weighting, str) else "explicit",
        fingerprints=tuple(manifest.model(key).fingerprint for key in keys),
        evidence=_as_json(evidence or {}),
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


def _with_loss(corpus: Corpus, deployment: Deployment) -> Deployment:
    """Return a deployment with what it loses as evidence, where it searches less than its models have."""
    from retriever.losses import is_spared, measured_loss  # it searches, for which it needs this module

    if not is_spared(deployment):
        return deployment
    loss = measured_loss(corpus, deployment.combination, deployment.weights)
    return replace(deployment, evidence={**deployment.evidence, LOSS: loss.to_json()})


def _dense(models: Sequence[str]) -> list[str]:
    dense = [name for name in models if name != LEXICAL]
    if not dense:
        raise InputError(f"combination: expected at least one model beside {LEXICAL}, got none.")
    if len(models) - len(dense) > 1:
        raise InputError(f"combination: expected different legs, got {COMBINED.join(models)}")
    return dense


def _legs(combination: Combination, models: Sequence[str]) -> tuple[str, ...]:
    return (*combination.parts, LEXICAL) if LEXICAL in models else combination.parts


def _leg(manifest: CorpusManifest, legs: Sequence[str], name: str) -> str:
    """Return the leg that a weight is given for: by its own name, or by any name of its model."""
    if name in legs:
        return name
    called, _ = split_part(name)
    key = manifest.resolve(called)
    return next((leg for leg in legs if split_part(leg)[0] == key), key)


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
