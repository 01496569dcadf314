from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deployments import current_deployment, deploy, resolve_weights
from retriever.errors import DeploymentNotFoundError, InputError, ModelMismatchError, StoreCorruptError
from retriever.records import Chunk
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel


def test_a_deployment_is_served_after_reopening(corpus: Corpus, any_store: VectorStore) -> None:
    deployed = deploy(corpus, ["alpha", "beta"], weighting="equal")
    assert deployed.models == ("alpha", "beta")
    assert deployed.weights == (0.5, 0.5)
    assert deployed.fingerprints == tuple(model.fingerprint for model in corpus.manifest.models)
    assert datetime.fromisoformat(deployed.created) <= datetime.now(UTC)
    with Corpus.open(any_store, corpus.name) as reopened:
        assert current_deployment(reopened) == deployed
        assert reopened.manifest.combinations == (("alpha", "beta"),)


def test_a_and_b_are_the_same_deployment_as_b_and_a(corpus: Corpus) -> None:
    weights = {"beta": 0.75, "alpha": 0.25}
    one = deploy(corpus, ["beta", "alpha"], weighting=weights)
    other = deploy(corpus, ["alpha", "beta"], weighting=dict(reversed(weights.items())))
    assert one is not other
    assert one == other
    assert one.weights == (0.25, 0.75)
    assert len(corpus.deployments) == 1


def test_weights_follow_a_model_however_it_is_called(corpus: Corpus) -> None:
    deployed = deploy(corpus, ["acme/beta", "fake:acme/alpha"], weighting={"acme/beta": 0.75, "alpha": 0.25})
    assert dict(zip(deployed.models, deployed.weights, strict=True)) == {"alpha": 0.25, "beta": 0.75}


def test_deploying_again_changes_nothing_and_another_choice_is_added(
    corpus: Corpus, any_store: VectorStore
) -> None:
    evidence: dict[str, Any] = {"interval": (0.01, 0.05), "by": {1: "one"}}
    first = deploy(corpus, ["alpha", "beta"], evidence=evidence)
    with Corpus.open(any_store, corpus.name) as reopened:
        assert deploy(reopened, ["alpha", "beta"], evidence=evidence) == first
        assert len(reopened.deployments) == 1
        second = deploy(reopened, ["beta"])
        deploy(reopened, ["alpha", "beta"], evidence=evidence)
        assert [one.models for one in reopened.deployments] == [first.models, second.models, first.models]


def test_evidence_is_kept_as_it_will_be_read(corpus: Corpus, any_store: VectorStore) -> None:
    evidence = {"sentence": "ä", "interval": (0.01, None), "pairs": [{"a": 1}]}
    deployed = deploy(corpus, ["alpha"], evidence=evidence)
    assert deployed.evidence == json.loads(json.dumps(evidence))
    with Corpus.open(any_store, corpus.name) as reopened:
        assert reopened.deployments[-1].evidence == deployed.evidence


def test_evidence_that_is_no_json_is_refused_and_nothing_is_deployed(shared_corpus: Corpus) -> None:
    with pytest.raises(InputError, match="evidence: expected JSON"):
        deploy(shared_corpus, ["alpha"], evidence={"model": object()})
    assert shared_corpus.deployments == ()


def test_calibrated_weights_are_the_default_and_go_by_the_spreads_of_the_corpus(
    shared_corpus: Corpus,
) -> None:
    spreads = shared_corpus.manifest.spreads
    weights = resolve_weights(shared_corpus.manifest, ("alpha", "beta"), "calibrated")
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["alpha"] / weights["beta"] == pytest.approx(spreads["beta"] / spreads["alpha"])
    assert not math.isclose(weights["alpha"], 0.5, abs_tol=1e-3)


def test_the_default_is_calibrated(corpus: Corpus) -> None:
    deployed = deploy(corpus, ["alpha", "beta"])
    assert deployed.weighting == "calibrated"
    expected = resolve_weights(corpus.manifest, ("alpha", "beta"), "calibrated")
    assert deployed.weights == tuple(expected.values())


def test_one_model_has_all_the_weight_and_needs_no_combination(corpus: Corpus) -> None:
    deployed = deploy(corpus, ["beta"])
    assert (deployed.vector, deployed.weights) == ("beta", (1.0,))
    assert corpus.manifest.combinations == ()


@pytest.mark.parametrize(
    ("models", "weighting"),
    [
        ([], "equal"),
        (["alpha", "alpha"], "equal"),
        (["alpha", "delta"], "equal"),
        (["alpha", "beta"], "best"),
        (["alpha", "beta"], {"alpha": 1.0}),
        (["alpha", "beta"], {"alpha": 0.9, "beta": 0.9}),
        (["alpha", "beta"], {"alpha": 0.5, "delta": 0.5}),
        (["alpha"], {"alpha": 0.5}),
    ],
)
def test_what_cannot_be_deployed_is_refused_and_nothing_changes(
    shared_corpus: Corpus, models: list[str], weighting: Any
) -> None:
    with pytest.raises(InputError):
        deploy(shared_corpus, models, weighting=weighting)
    assert shared_corpus.deployments == ()


def test_a_corpus_of_equal_chunks_cannot_be_calibrated(
    any_store: VectorStore,
    make_corpus: Callable[..., Corpus],
    chunks: tuple[Chunk, ...],
    alpha: FakeModel,
    beta: FakeModel,
) -> None:
    same = [replace(chunk, text="the same") for chunk in chunks[:3]]
    with make_corpus(any_store, "same", [alpha, beta], chunks=same) as corpus:
        with pytest.raises(InputError, match="two different chunks, or use equal weights"):
            deploy(corpus, ["alpha", "beta"])
        assert deploy(corpus, ["alpha", "beta"], weighting="equal").weights == (0.5, 0.5)


def test_a_corpus_that_lacks_vectors_is_not_deployed(corpus: Corpus, gamma: FakeModel) -> None:
    corpus.add_models([gamma.spec])
    with pytest.raises(StoreCorruptError, match=r"alpha\+gamma for every chunk, 40 of 40.*ingest run"):
        deploy(corpus, ["alpha", "gamma"])
    assert deploy(corpus, ["alpha", "beta"]).models == ("alpha", "beta")


def test_a_corpus_without_a_deployment_says_how_to_make_one(shared_corpus: Corpus) -> None:
    with pytest.raises(DeploymentNotFoundError, match=r"'shared'.*tandem deploy alpha\+beta"):
        current_deployment(shared_corpus)


def test_a_deployment_of_a_model_that_has_changed_since_is_not_served(corpus: Corpus) -> None:
    deployed = deploy(corpus, ["alpha"])
    corpus.add_deployment(replace(deployed, fingerprints=("0123456789abcdef",)))
    with pytest.raises(ModelMismatchError, match=rf"0123456789abcdef.*{deployed.fingerprints[0]}"):
        current_deployment(corpus)


def test_a_deployment_of_a_model_that_is_gone_is_not_served(corpus: Corpus) -> None:
    deployed = deploy(corpus, ["alpha"])
    corpus.add_deployment(replace(deployed, models=("delta",)))
    with pytest.raises(InputError, match="'delta'"):
        current_deployment(corpus)
