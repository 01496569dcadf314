from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import current_deployment, resolve_weights, rollback, serving_number
from retriever.errors import (
    DeploymentNotFoundError,
    InputError,
    ModelMismatchError,
    StoreCorruptError,
)
from retriever.records import Chunk, Combination
from retriever.search import Searcher
from retriever.store.filters import HasVector
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel


@pytest.fixture
def models(alpha: FakeModel, beta: FakeModel) -> dict[str, FakeModel]:
    return {"alpha": alpha, "beta": beta}


def test_a_deployment_is_served_after_reopening(corpus: Corpus, any_store: VectorStore) -> None:
    deployed = deploy(corpus, ["alpha", "beta"], weighting="equal")
    assert deployed.models == ("alpha", "beta")
    assert deployed.weights == (0.5, 0.5)
    assert deployed.fingerprints == tuple(model.fingerprint for model in corpus.manifest.models)
    assert datetime.fromisoformat(deployed.created) <= datetime.now(UTC)
    with Corpus.open(any_store, corpus.name) as reopened:
        assert current_deployment(reopened) == deployed
        assert reopened.manifest.combinations == (Combination(("alpha", "beta")),)


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


@pytest.mark.parametrize("source", ["acme/pinned@v1.5", "acme/pinned@refs/pr/1"])
def test_weights_follow_a_model_whose_source_is_pinned(
    make_corpus: Callable[..., Corpus], any_store: VectorStore, beta: FakeModel, source: str
) -> None:
    pinned = FakeModel("acme/pinned", dimensions=24)
    pinned._spec = replace(pinned.spec, source=source)
    with make_corpus(any_store, "pinned", [pinned, beta]) as corpus:
        deployed = deploy(corpus, [source, "beta"], weighting={source: 0.75, "beta": 0.25})
        assert deployed.shares == {"pinned": 0.75, "beta": 0.25}
        cut = deploy(corpus, [f"{source}@8", "beta"], weighting={f"{source}@8": 0.75, "beta": 0.25})
        assert cut.shares == {"pinned@8": 0.75, "beta": 0.25}


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


def test_what_is_served_is_recorded_anew_where_that_is_asked_for(corpus: Corpus) -> None:
    first, second, third = (deploy(corpus, ["alpha", "beta"], anew=True) for _ in range(3))
    assert corpus.deployments == (first, second, third)
    assert len({one.created for one in corpus.deployments}) == 3
    assert first == replace(third, created=first.created)
    assert deploy(corpus, ["alpha", "beta"]) == third


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
        with pytest.raises(InputError, match="three different chunks, or use equal weights"):
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


# ── going back, dropping, replacing ──────────────────────────────────────────────────────────────────────


def test_rolling_back_serves_the_one_before_and_every_earlier_one_by_its_number(
    corpus: Corpus, any_store: VectorStore
) -> None:
    first = deploy(corpus, ["alpha"])
    second = deploy(corpus, ["alpha", "beta"])
    third = deploy(corpus, ["beta"])
    assert rollback(corpus) == second
    with Corpus.open(any_store, corpus.name) as reopened:
        assert current_deployment(reopened) == second
        assert serving_number(reopened) == 2
        assert rollback(reopened) == first
        with pytest.raises(DeploymentNotFoundError, match="before the one that is served, there are 3"):
            rollback(reopened)
        assert rollback(reopened, to=3) == third
        for number in (0, 4, -1):
            with pytest.raises(InputError, match=f"one of 3 deployments, got number {number}"):
                rollback(reopened, to=number)
    fourth = deploy(corpus, ["alpha", "beta"], weighting="equal")
    assert (corpus.served, corpus.deployments) == (fourth, (first, second, third, fourth))


def test_rolling_back_never_leads_to_what_had_been_rolled_back_from(corpus: Corpus) -> None:
    good = deploy(corpus, ["alpha"])
    bad = deploy(corpus, ["beta"])
    assert rollback(corpus) == good
    next_one = deploy(corpus, ["alpha", "beta"])
    assert corpus.deployments == (bad, good, next_one)
    assert rollback(corpus) == good


def test_there_is_nothing_to_roll_back_to_where_nothing_was_served(shared_corpus: Corpus) -> None:
    with pytest.raises(DeploymentNotFoundError, match="there are 0"):
        rollback(shared_corpus)


def test_dropping_deletes_a_vector_and_its_deployments_and_no_other(
    corpus: Corpus, any_store: VectorStore
) -> None:
    deploy(corpus, ["alpha", "beta"])
    deploy(corpus, ["alpha", "beta"], storage="float16")
    kept = deploy(corpus, ["alpha", "bm25"])
    with pytest.raises(InputError, match=r"expected a vector that is not served, but alpha\+bm25 is"):
        corpus.drop_derived("bm25")
    with pytest.raises(InputError, match=r"made for a deployment \(alpha\+beta, .*got 'alpha'"):
        corpus.drop_derived("alpha")
    corpus.drop_derived("alpha+beta")
    with Corpus.open(any_store, corpus.name) as reopened:
        assert reopened.manifest.derived == ("alpha+beta~float16", "bm25")
        assert [one.vector for one in reopened.deployments] == ["alpha+beta~float16", "alpha"]
        assert reopened.served == kept
        assert reopened.count_chunks(HasVector(name="alpha+beta~float16")) == 40
        deploy(reopened, ["beta"])
        reopened.drop_derived("bm25")
        assert reopened.manifest.lexical is None
        assert "bm25" not in reopened.manifest.spreads
        assert deploy(reopened, ["alpha", "beta"]).vector == "alpha+beta"  # made again
        assert reopened.count_chunks(HasVector(name="alpha+beta")) == 40


def test_one_half_of_a_served_pair_is_replaced_while_the_other_stays(
    corpus: Corpus, any_store: VectorStore, chunks: tuple[Chunk, ...], models: Any, gamma: FakeModel
) -> None:
    deploy(corpus, ["alpha", "beta"])
    reader = Searcher(corpus, current_deployment(corpus), models=models)
    expected = reader.search(["warm soil"], k=5)
    with Corpus.open(any_store, corpus.name) as writer:
        writer.add_models([gamma.spec])
        rows = gamma.embed_chunks([chunk.text for chunk in chunks])
        writer.write_vectors("gamma", [chunk.chunk_id for chunk in chunks], rows)
        writer.measure_spreads()
        assert reader.search(["warm soil"], k=5) == expected
        deploy(writer, ["alpha", "gamma"])
        assert reader.search(["warm soil"], k=5) == expected  # until it looks again
        writer.drop_derived("alpha+beta")
        writer.drop_model("beta")
        assert writer.manifest.keys == ("alpha", "gamma")
        assert current_deployment(writer).models == ("alpha", "gamma")


def test_what_is_ingested_later_has_all_vectors_in_the_same_write(
    corpus: Corpus, chunks: tuple[Chunk, ...], models: Any
) -> None:
    deploy(corpus, ["alpha", "beta", "bm25"], storage="float16")
    late = replace(chunks[0], chunk_id=str(uuid.uuid4()), doc_id="late", text="A walrus sleeps.")
    corpus.write(
        [late],
        {key: model.embed_chunks([late.text]) for key, model in models.items()},
        document_hash={"late": "h"},
        chunk_count={"late": 1},
    )
    for name in ("alpha", "beta", "alpha+beta~float16", "bm25"):
        assert corpus.count_chunks(HasVector(name=name)) == 41
    (hits,) = Searcher(corpus, current_deployment(corpus), models=models).search(["walrus"], k=1)
    assert hits[0].chunk == late
    assert hits[0].contributions["bm25"] > 0


def test_the_scale_of_words_stays_while_a_deployment_rests_on_it(
    corpus: Corpus,
) -> None:
    deploy(corpus, ["alpha", "bm25"])
    scale = corpus.manifest.lexical_scale
    corpus.delete_documents([f"doc-{i}" for i in range(9)])
    corpus.measure_spreads()
    assert corpus.manifest.lexical_scale == scale


def test_a_deployment_whose_vector_was_taken_away_is_told(corpus: Corpus) -> None:
    deploy(corpus, ["alpha", "beta"])
    corpus._save(manifest=replace(corpus.manifest, combinations=()))
    with pytest.raises(StoreCorruptError, match=r"expected vectors 'alpha\+beta', the corpus has none"):
        current_deployment(corpus)


def test_words_made_otherwise_are_refused_by_name(corpus: Corpus) -> None:
    deploy(corpus, ["alpha", "bm25"])
    spec = corpus.manifest.lexical
    assert spec is not None
    with pytest.raises(ModelMismatchError, match="expected BM25 vectors made with"):
        corpus.add_lexical(replace(spec, k1=2.0))
    corpus._save(manifest=replace(corpus.manifest, lexical=replace(spec, k1=2.0)))
    with pytest.raises(ModelMismatchError, match="expected BM25 vectors with fingerprint"):
        current_deployment(corpus)


@pytest.mark.parametrize("legs", [["bm25", "alpha", "bm25"], ["alpha", "alpha@8"], ["alpha@0"]])
def test_legs_that_are_none_or_come_twice_are_refused(shared_corpus: Corpus, legs: list[str]) -> None:
    before = shared_corpus.manifest
    with pytest.raises(InputError, match="combination: expected"):
        deploy(shared_corpus, legs)
    assert shared_corpus.manifest == before


def test_a_storage_that_is_none_is_refused_and_nothing_is_changed(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="'int4'"):
        deploy(corpus, ["alpha", "beta"], storage="int4")
    assert corpus.manifest.derived == ()
    assert corpus.served is None
