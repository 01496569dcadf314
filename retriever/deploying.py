"""Deploying: the vectors of a combination are made, what they lose is measured, the choice is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from retriever import lexical
from retriever.combine import Weighting
from retriever.corpus import Corpus
from retriever.deployments import as_json, dense_names, legs_of, planned, resolve_weights
from retriever.errors import StoreCorruptError
from retriever.losses import is_spared, measured_loss
from retriever.records import COMBINED, FULL_STORAGE, LEXICAL, LOSS, Combination, Deployment
from retriever.store.filters import AnyOf, missing_vector


def deploy(  # noqa: PLR0913  # what a deployment is
    corpus: Corpus,
    models: Sequence[str],
    *,
    weighting: Weighting = "calibrated",
    storage: str = FULL_STORAGE,
    evidence: Mapping[str, Any] | None = None,
    anew: bool = False,
) -> Deployment:
    """Serve these models of the corpus together (or one alone) from now on.

    The concatenated vectors are built from the stored ones where they are missing; nothing is
    embedded. Readers go on beside it, and see the old deployment or the new one. Deploying again what
    is served, on the same evidence, changes nothing unless `anew` is set.

    Parameters
    ----------
    corpus
        An open corpus.
    models
        Models by any of their names, each whole or its first dimensions (``"A@128"``), and ``"bm25"``
        for the lexical leg beside at least one of them.
    weighting
        See `retriever.deployments.resolve_weights`.
    storage
        What the engine scans: ``"float32"``, or ``"float16"``, ``"int8"``, ``"binary"``, which take less
        memory and find candidates; scores are exact all the same.
    evidence
        JSON values that are kept with the record. Where fewer bits or dimensions are searched than the
        models have, what that loses is measured and kept as ``"loss"``.
    anew
        Record it again where it is what is served: a watch begins anew with it.

    Raises
    ------
    InputError
        If the corpus has no vectors of a model, or the weights or the evidence do not fit.
    StoreCorruptError
        If a chunk lacks a vector of one of the models: it would never be found.
    """
    wished = Combination(corpus.manifest.ordered(dense_names(models)), storage)
    _check_complete(corpus, wished.keys)
    as_json(evidence or {})
    if weighting != "calibrated":  # which may have something to measure first
        resolve_weights(corpus.manifest, legs_of(wished, models), weighting)
    if LEXICAL in models and corpus.manifest.lexical is None:
        corpus.add_lexical(lexical.measured(corpus.texts()))
    combination = corpus.add_combination(dense_names(models), storage=storage)
    if any(leg not in corpus.manifest.spreads for leg in legs_of(combination, models)):
        corpus.measure_spreads()
    corpus.flush()
    deployment = planned(corpus, models, weighting=weighting, storage=storage, evidence=evidence)
    deployment = _with_loss(corpus, deployment)
    served = corpus.served
    if served is not None and not anew and replace(served, created=deployment.created) == deployment:
        return served
    if deployment in corpus.deployments:  # of the same second; its time tells it from the other
        deployment = replace(deployment, created=datetime.now(UTC).isoformat())
    corpus.add_deployment(deployment)
    return deployment


def _with_loss(corpus: Corpus, deployment: Deployment) -> Deployment:
    """Return a deployment with what it loses as evidence, where it searches less than its models have."""
    if not is_spared(deployment):
        return deployment
    loss = measured_loss(corpus, deployment.combination, deployment.weights)
    return replace(deployment, evidence={**deployment.evidence, LOSS: loss.to_json()})


def _check_complete(corpus: Corpus, keys: Sequence[str]) -> None:
    lacking = corpus.count_chunks(AnyOf(parts=tuple(missing_vector(key) for key in keys)))
    if lacking:
        raise StoreCorruptError(
            f"corpus {corpus.name!r} at {corpus.location}: expected vectors of {COMBINED.join(keys)} "
            f"for every chunk, {lacking:,} of {corpus.count_chunks():,} chunks lack one. "
            "Run the same `ingest run` again to complete it."
        )
