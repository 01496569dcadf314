"""What is collected from a store is what was measured there, with hashes that tell what they are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect import Collection, collect_results
from analysis.judgements import Judgements
from analysis.results.record import CollectionFacts, Results, Settings
from analysis.stored import evaluate_corpus
from ingest import ingest
from retriever.corpus import Corpus
from retriever.errors import InputError, JudgementsError, ModelMismatchError
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

MODELS = {
    name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 24), ("b", 16), ("c", 12))
}
QUERIES = {f"q{i}": f"word{i} word{i + 1}" for i in range(8)}
JUDGEMENTS = Judgements(queries=QUERIES, qrels={query: {f"d{i}": 1} for i, query in enumerate(QUERIES)})


def documents(*, extra: str = "") -> list[Document]:
    return [
        Document(doc_id=f"d{i}", text=" ".join(f"word{i + j}" for j in range(6)) + extra) for i in range(20)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedStore:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents(), store, "one", models=list(MODELS.values()))
    ingest(documents(extra=" more"), store, "two", models=[MODELS["a"], MODELS["b"]])
    return store


def judged(name: str, **options: bool) -> Collection:
    return Collection(corpus=name, judgements=JUDGEMENTS, **options)


def facts_of(store: EmbeddedStore, collection: Collection) -> CollectionFacts:
    return collect_results(store, [collection], models=MODELS).collections[0].facts


@pytest.fixture(scope="module")
def results(store: EmbeddedStore) -> Results:
    return collect_results(store, [judged("one"), judged("two")], models=MODELS, grid=(0.4,), cost=True)


def test_every_number_is_that_of_the_evaluation_of_the_corpus(store: EmbeddedStore, results: Results) -> None:
    for collection in results.collections:
        with Corpus.open(store, collection.facts.name) as corpus:
            given = {key: MODELS[key] for key in corpus.manifest.keys}
            expected = evaluate_corpus(corpus, JUDGEMENTS, models=given, grid=(0.4,))
            assert collection.evaluation.to_json() == expected.to_json()
            assert collection.facts.spreads == corpus.manifest.spreads
        assert collection.query_texts == QUERIES
        assert (collection.facts.documents, collection.facts.chunks, collection.facts.queries) == (20, 20, 8)


def test_models_are_those_of_any_collection_with_their_cost(results: Results) -> None:
    assert [model.key for model in results.models] == ["a", "b", "c"]
    for model in results.models:
        assert model.fingerprint == MODELS[model.key].spec.fingerprint
        assert model.bytes_per_chunk == 4 * MODELS[model.key].spec.dimensions
        assert model.seconds_per_1000_chunks is not None
        assert model.seconds_per_1000_chunks > 0
        assert model.milliseconds_per_query is not None
        assert model.milliseconds_per_query > 0
    assert [single.name for single in results.collections[1].evaluation.singles] == ["a", "b"]


def test_what_was_not_measured_is_none(store: EmbeddedStore) -> None:
    (model, *_) = collect_results(store, [judged("one")], models=MODELS).models
    assert model.seconds_per_1000_chunks is model.milliseconds_per_query is None


def test_a_hash_changes_with_what_it_is_of_and_with_nothing_else(store: EmbeddedStore) -> None:
    first = facts_of(store, judged("one"))
    assert facts_of(store, judged("one", drop_own=True)) == replace(first, drop_own=True)
    turned = Judgements(
        queries=dict(reversed(QUERIES.items())), qrels=dict(reversed(JUDGEMENTS.qrels.items()))
    )
    assert facts_of(store, Collection(corpus="one", judgements=turned)) == first  # the order is no matter
    qrels = {**JUDGEMENTS.qrels, "q0": {"d0": 2}}
    other = facts_of(store, Collection(corpus="one", judgements=Judgements(queries=QUERIES, qrels=qrels)))
    assert other == replace(first, qrels_hash=other.qrels_hash)
    assert other.qrels_hash != first.qrels_hash
    asked = {**QUERIES, "q0": "word9"}
    other = facts_of(
        store, Collection(corpus="one", judgements=Judgements(queries=asked, qrels=JUDGEMENTS.qrels))
    )
    assert other == replace(first, queries_hash=other.queries_hash)
    assert other.queries_hash != first.queries_hash
    assert facts_of(store, judged("two")).corpus_hash != first.corpus_hash


def test_without_judgements_models_are_compared(store: EmbeddedStore) -> None:
    asked, silent = (
        collect_results(store, [Collection(corpus="one", queries=queries)], models=MODELS).collections[0]
        for queries in (QUERIES, {})
    )
    for collection in (asked, silent):
        assert collection.evaluation.singles == collection.evaluation.pairs == ()
        assert collection.facts.qrels_hash == ""
        assert len(collection.evaluation.similarities) == 3
    assert asked.evaluation.similarities[0].k == 10
    assert silent.evaluation.similarities[0].overlaps == ()


def test_chosen_models_and_settings_are_used(store: EmbeddedStore) -> None:
    chosen = collect_results(
        store, [judged("one")], keys=["c", "a"], models=MODELS, settings=Settings(ks=(3, 4), seed=5)
    )
    assert [model.key for model in chosen.models] == ["a", "c"]
    assert [overlap.k for overlap in chosen.collections[0].evaluation.similarities[0].overlaps] == [3, 4]
    assert chosen.settings.seed == 5


def test_each_corpus_is_announced_while_it_is_open(store: EmbeddedStore) -> None:
    seen = []

    def look(corpus: Corpus, collection: Collection) -> None:
        seen.append((collection.corpus, len(corpus.document_ids())))

    collect_results(store, [judged("two"), judged("one")], models=MODELS, on_open=look)
    assert seen == [("two", 20), ("one", 20)]


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    for name, dimensions in (("one", 8), ("two", 9)):
        ingest(documents(), store, name, models=[FakeModel("acme/a", dimensions=dimensions)])
    models = {"a": FakeModel("acme/a", dimensions=8)}
    with pytest.raises(
        ModelMismatchError, match="corpus 'two': expected the model a as in the corpora before"
    ):
        collect_results(store, [judged("one"), judged("two")], models=models)


REFUSED: dict[str, tuple[Callable[[], list[Collection]], type[Exception], str]] = {
    "nothing": (list, InputError, "expected at least one corpus and each once, got none"),
    "a corpus twice": (lambda: [judged("one"), judged("one")], InputError, "each once, got one, one"),
    "judgements of another corpus": (
        lambda: [
            Collection(corpus="one", judgements=Judgements(queries={"q": "word1"}, qrels={"q": {"x": 1}}))
        ],
        JudgementsError,
        "got only others",
    ),
}


@pytest.mark.parametrize(("collections", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_collected_is_refused(
    store: EmbeddedStore,
    collections: Callable[[], list[Collection]],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        collect_results(store, collections(), models=MODELS)


def test_a_cutoff_too_deep_for_one_corpus_is_refused_before_anything_is_measured(
    store: EmbeddedStore,
) -> None:
    opened: list[str] = []
    with pytest.raises(InputError, match=r"k: expected at most 20, .* corpus 'one', got 21"):
        collect_results(
            store,
            [judged("one"), judged("two")],
            models=MODELS,
            settings=Settings(ks=(5, 21)),
            on_open=lambda corpus, _: opened.append(corpus.name),
        )
    assert opened == []
