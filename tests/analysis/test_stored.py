"""What is measured on a corpus is what its stored vectors give, by brute force and by searching."""

from __future__ import annotations

import resource
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document as LlamaDocument

from analysis.evaluation import Candidate, Evaluation
from analysis.judgements import Judgements
from analysis.similarity import cka
from analysis.stored import compare_corpus, evaluate_corpus
from ingest import ChunkSettings, ingest
from ingest.documents import documents_from
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import (
    InputError,
    JudgementsError,
    ModelMismatchError,
    StoreCorruptError,
    StoreError,
)
from retriever.records import Document
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

N_DOCUMENTS, N_QUERIES = 60, 25
ENOUGH_CHUNKS = 80
"""No document has more than eight, so these are of ten documents at least."""
MODELS = {
    name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 24), ("b", 16), ("c", 12))
}
WORDS = [f"word{i}" for i in range(120)]


def text(rng: np.random.Generator, words: int) -> str:
    return " ".join(str(word) for word in rng.choice(WORDS, size=words))


def documents() -> list[Document]:
    """Of one to eight chunks each."""
    rng = np.random.default_rng(12)
    return [Document(doc_id=f"d{i}", text=text(rng, int(rng.integers(5, 60)))) for i in range(N_DOCUMENTS)]


@pytest.fixture(scope="module")
def judgements() -> Judgements:
    rng = np.random.default_rng(11)
    queries = {f"q{i}": text(rng, 5) for i in range(N_QUERIES - 1)}
    queries["d3"] = documents()[3].text  # a query that is a document, as in ArguAna
    return Judgements(
        queries=queries,
        qrels={
            query: {f"d{i}": int(rng.integers(0, 3)) for i in (3, *rng.integers(N_DOCUMENTS, size=8))}
            for query in queries
        },
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """All documents, three models."""
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents(), store, "c", models=list(MODELS.values()), chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as corpus:
        yield corpus


@pytest.fixture(scope="module")
def evaluation(corpus: Corpus, judgements: Judgements) -> Evaluation:
    return evaluate_corpus(corpus, judgements, models=MODELS)


def candidates(evaluation: Evaluation) -> tuple[Candidate, ...]:
    return (*evaluation.singles, *evaluation.pairs)


def measured(run: dict[str, dict[str, float]], judgements: Judgements) -> list[float]:
    results = pytrec_eval.RelevanceEvaluator(judgements.qrels, {"ndcg_cut.10"}).evaluate(run)
    return [results[query]["ndcg_cut_10"] for query in judgements.query_ids]


def brute_force(
    corpus: Corpus, weights: Mapping[str, float], judgements: Judgements, *, drop_own: bool = False
) -> list[float]:
    """Σ w·cos in double precision over all stored vectors, the best chunk of each document, trec_eval."""
    stored = corpus.read_vectors(list(weights))
    scores = sum(
        weight
        * MODELS[key].embed_queries(judgements.texts).astype(np.float64)
        @ stored.by_model[key].astype(np.float64).T
        for key, weight in weights.items()
    )
    run: dict[str, dict[str, float]] = {query: {} for query in judgements.query_ids}
    for query, row in zip(judgements.query_ids, np.asarray(scores), strict=True):
        for doc_id, score in zip(stored.doc_ids, row.tolist(), strict=True):
            if not (drop_own and doc_id == query):
                run[query][doc_id] = max(score, run[query].get(doc_id, -9.0))
    return measured(run, judgements)


def test_there_is_one_candidate_per_model_and_two_per_pair(evaluation: Evaluation) -> None:
    assert [candidate.label for candidate in candidates(evaluation)] == [
        *("a", "b", "c"),
        *(f"{pair} ({weighting})" for pair in ("a+b", "a+c", "b+c") for weighting in ("equal", "calibrated")),
    ]
    assert evaluation.n_documents == N_DOCUMENTS
    assert evaluation.n_chunks > 2 * N_DOCUMENTS


def test_no_document_has_more_chunks_than_this_file_counts_on(corpus: Corpus) -> None:
    assert max(Counter(corpus.read_vectors(["a"]).doc_ids).values()) <= ENOUGH_CHUNKS // 10


def test_every_query_scores_what_trec_eval_gives_the_brute_force_run(
    corpus: Corpus, evaluation: Evaluation, judgements: Judgements
) -> None:
    for candidate in candidates(evaluation):
        weights = dict(zip(candidate.models, candidate.weights, strict=True))
        expected = brute_force(corpus, weights, judgements)
        assert candidate.ndcg.tolist() == pytest.approx(expected, abs=1e-9), candidate.label
        assert 0 < candidate.mean < 1


def test_every_query_scores_what_a_search_of_the_deployment_gives(
    corpus: Corpus, evaluation: Evaluation, judgements: Judgements
) -> None:
    for candidate in candidates(evaluation):
        deployment = deploy(corpus, candidate.models, weighting=candidate.weighting)
        assert deployment.weights == pytest.approx(candidate.weights)
        chosen = {key: MODELS[key] for key in candidate.models}
        rankings = Searcher(corpus, deployment, models=chosen).search(judgements.texts, k=ENOUGH_CHUNKS)
        run: dict[str, dict[str, float]] = {}
        for query, hits in zip(judgements.query_ids, rankings, strict=True):
            best: dict[str, float] = {}
            for hit in hits:
                best[hit.chunk.doc_id] = max(hit.score, best.get(hit.chunk.doc_id, -9.0))
            run[query] = best
        assert candidate.ndcg.tolist() == pytest.approx(measured(run, judgements), abs=1e-9), candidate.label


def test_calibrated_weights_are_those_of_the_manifest(corpus: Corpus, evaluation: Evaluation) -> None:
    spreads = corpus.manifest.spreads
    for candidate in evaluation.pairs:
        if candidate.weighting == "calibrated":
            products = [
                weight * spreads[key] for key, weight in zip(candidate.models, candidate.weights, strict=True)
            ]
            assert products[0] == pytest.approx(products[1])


def test_hits_on_the_query_itself_can_be_dropped(
    corpus: Corpus, evaluation: Evaluation, judgements: Judgements
) -> None:
    dropping = evaluate_corpus(corpus, judgements, models=MODELS, drop_own=True)
    for single, whole in zip(dropping.singles, evaluation.singles, strict=True):
        expected = brute_force(corpus, {single.name: 1.0}, judgements, drop_own=True)
        assert single.ndcg.tolist() == pytest.approx(expected, abs=1e-9)
        assert single.ndcg[-1] != whole.ndcg[-1]


def test_chosen_models_are_measured_alike_in_the_order_of_the_corpus(
    corpus: Corpus, evaluation: Evaluation, judgements: Judgements
) -> None:
    chosen = {key: MODELS[key] for key in ("a", "c")}
    some = evaluate_corpus(corpus, judgements, keys=["c", "acme/a"], models=chosen)
    assert [single.name for single in some.singles] == ["a", "c"]
    by_label = {candidate.label: candidate for candidate in candidates(evaluation)}
    for candidate in candidates(some):
        assert candidate.ndcg.tolist() == by_label[candidate.label].ndcg.tolist()


def test_the_order_in_which_documents_were_stored_makes_no_difference(
    evaluation: Evaluation, judgements: Judgements, tmp_path: Path
) -> None:
    store = EmbeddedStore(tmp_path)
    ingest(documents()[::-1], store, "c", models=list(MODELS.values()), chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as other:
        again = evaluate_corpus(other, judgements, models=MODELS)
    assert again.to_json() == evaluation.to_json()


def test_models_are_compared_without_judgements_and_vectors_without_queries(
    corpus: Corpus, evaluation: Evaluation, judgements: Judgements
) -> None:
    found = compare_corpus(corpus, queries=judgements.queries, models=MODELS)
    assert [one.to_json() for one in found.similarities] == [one.to_json() for one in evaluation.similarities]
    assert found.query_ids == judgements.query_ids
    assert found.singles == found.pairs == ()
    alone = compare_corpus(corpus, keys=["a", "c"])
    assert alone.query_ids == alone.similarities[0].overlaps == ()
    stored = corpus.read_vectors(["a", "c"]).by_model
    assert alone.similarities[0].cka == pytest.approx(cka(stored["a"], stored["c"]))
    with pytest.raises(InputError, match="queries: expected at least one, got none"):
        compare_corpus(corpus, queries={})


def test_options_reach_the_evaluation(corpus: Corpus, judgements: Judgements) -> None:
    found = evaluate_corpus(
        corpus, judgements, models=MODELS, pairs=[("b", "a")], ks=[3, 7], grid=[0.4], aggregate=2
    )
    assert [candidate.label for candidate in found.pairs] == ["a+b (equal)", "a+b (calibrated)", "a+b (0.40)"]
    assert [overlap.k for overlap in found.similarities[0].overlaps] == [3, 7]
    best_chunk = evaluate_corpus(corpus, judgements, models=MODELS)
    assert [single.mean for single in found.singles] != [single.mean for single in best_chunk.singles]


def test_files_of_vectors_are_removed_also_after_an_error(
    corpus: Corpus, judgements: Judgements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evaluate_corpus(corpus, judgements, models=MODELS)
    with pytest.raises(InputError, match="cutoff of at least 1"):
        evaluate_corpus(corpus, judgements, models=MODELS, ks=[0])
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_files_of_vectors_is_said(
    corpus: Corpus, judgements: Judgements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"room for the vectors of these models .* in TMPDIR"):
            evaluate_corpus(corpus, judgements, models=MODELS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_judgements_of_another_corpus_are_refused(corpus: Corpus) -> None:
    strangers = Judgements(queries={"q": "word1"}, qrels={"q": {"x1": 1}})
    with pytest.raises(JudgementsError, match="got only others: 1 \\(x1\\)"):
        evaluate_corpus(corpus, strangers, models=MODELS)


def test_models_that_are_not_those_of_the_corpus_are_refused(corpus: Corpus, judgements: Judgements) -> None:
    with pytest.raises(InputError, match="got 'd'"):
        evaluate_corpus(corpus, judgements, keys=["a", "d"], models=MODELS)
    strangers = {**MODELS, "a": FakeModel("other/a", dimensions=24)}
    with pytest.raises(ModelMismatchError, match="other/a"):
        evaluate_corpus(corpus, judgements, models=strangers)


def test_a_corpus_that_lacks_vectors_is_not_measured(any_store: VectorStore, judgements: Judgements) -> None:
    few = [Document(doc_id=f"d{i}", text=f"word{i} and more") for i in range(4)]
    ingest(few, any_store, "c", models=[MODELS["a"]])
    late = replace(MODELS["b"].spec, name="acme/late")
    with Corpus.open(any_store, "c") as corpus:
        corpus.add_models([late])

        class Late(FakeModel):
            spec = late

        models = {"a": MODELS["a"], "late": Late(dimensions=late.dimensions)}
        with pytest.raises(StoreCorruptError, match=r"vectors of late .* Run the same `ingest run` again"):
            evaluate_corpus(corpus, judgements, models=models)
        assert evaluate_corpus(corpus, judgements, keys=["a"], models={"a": MODELS["a"]}).n_chunks == 4


def test_given_nodes_are_judged_by_the_documents_that_they_are_of(
    judgements: Judgements, tmp_path: Path
) -> None:
    """A LlamaIndex node is a document to ingest; to a judge it is a part of its source."""
    splitter = SentenceSplitter(chunk_size=20, chunk_overlap=0)
    sources = [LlamaDocument(id_=one.doc_id, text=one.text) for one in documents()]
    nodes = splitter.get_nodes_from_documents(sources)
    assert len(nodes) > N_DOCUMENTS
    store = EmbeddedStore(tmp_path)
    ingest(documents_from(nodes), store, "nodes", models=list(MODELS.values()))
    with Corpus.open(store, "nodes") as corpus:
        assert corpus.document_ids() == {one.doc_id for one in documents()}
        found = evaluate_corpus(corpus, judgements, models=MODELS)
        assert (found.n_chunks, found.n_documents) == (len(nodes), N_DOCUMENTS)
        assert set(corpus.read_vectors(["a"]).doc_ids) == corpus.document_ids()
