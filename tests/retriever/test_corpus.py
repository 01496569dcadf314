from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retriever import payload
from retriever.combine import concatenate, spread
from retriever.corpus import Corpus
from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    InputError,
    ModelMismatchError,
    ShapeError,
    StoreCorruptError,
    StoreLockedError,
)
from retriever.lexical import measured
from retriever.models.protocol import FloatArray
from retriever.records import FORMAT_VERSION, Chunk, ChunkerSpec, Combination, Deployment
from retriever.store.embedded import EmbeddedStore
from retriever.store.filters import HasVector, equals, missing_vector
from retriever.store.protocol import Point, VectorStore
from retriever.testing import FakeModel

CHUNKER = ChunkerSpec(tokenizers=("t",))


def write(corpus: Corpus, chunks: tuple[Chunk, ...], vectors: Mapping[str, FloatArray]) -> None:
    corpus.write(
        chunks,
        vectors,
        document_hash={chunk.doc_id: "h" for chunk in chunks},
        chunk_count={chunk.doc_id: 1 for chunk in chunks},
    )


def stored(corpus: Corpus, name: str) -> dict[str, FloatArray]:
    """Return the vectors of this name that are stored, by chunk id."""
    points = corpus._collection.scroll(where=HasVector(name=name), with_vectors=(name,), fields=())
    return {point.point_id: point.vectors[name] for batch in points for point in batch}


@pytest.fixture
def empty(any_store: VectorStore, alpha: FakeModel, beta: FakeModel) -> Iterator[Corpus]:
    with Corpus.create(any_store, "empty", chunker=CHUNKER, models=[alpha.spec, beta.spec]) as corpus:
        yield corpus


@pytest.fixture(scope="module")
def untouched(shared_store: VectorStore, alpha: FakeModel, beta: FakeModel) -> Iterator[Corpus]:
    """Return an empty corpus for tests in which nothing may be stored."""
    models = [alpha.spec, beta.spec]
    with Corpus.create(shared_store, "untouched", chunker=CHUNKER, models=models) as corpus:
        yield corpus


def test_a_corpus_is_opened_as_it_was_created(
    any_store: VectorStore, alpha: FakeModel, beta: FakeModel
) -> None:
    with Corpus.create(any_store, "c", chunker=CHUNKER, models=[alpha.spec, beta.spec]) as created:
        manifest = created.manifest
    assert manifest.models == (alpha.spec, beta.spec)
    with Corpus.open(any_store, "c") as opened:
        assert opened.manifest == manifest
        assert opened.deployments == ()
        assert opened.name == "c"
        assert opened.location == any_store.location
        assert opened.count_chunks() == 0


def test_a_corpus_is_created_once_and_opened_by_its_name(any_store: VectorStore, alpha: FakeModel) -> None:
    Corpus.create(any_store, "c", chunker=CHUNKER, models=[alpha.spec]).close()
    with pytest.raises(CorpusExistsError, match="'c'"):
        Corpus.create(any_store, "c", chunker=CHUNKER, models=[alpha.spec])
    with pytest.raises(CorpusNotFoundError, match=r"'d'.*found c"):
        Corpus.open(any_store, "d")


def test_two_models_of_one_key_are_refused_before_anything_is_made(
    any_store: VectorStore, alpha: FakeModel
) -> None:
    with pytest.raises(ModelMismatchError, match=r"acme/alpha and other/alpha.*'alpha'"):
        Corpus.create(any_store, "c", chunker=CHUNKER, models=[alpha.spec, FakeModel("other/alpha").spec])
    assert any_store.names() == []


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, r"manifest and deployments, got \[\]"),
        ({"manifest": {}, "deployments": []}, f"version {FORMAT_VERSION}, got None"),
        ({"manifest": 3, "deployments": []}, "fields of a manifest"),
    ],
)
def test_a_corpus_whose_record_cannot_be_read_is_refused_and_released(
    any_store: VectorStore, record: dict[str, Any], words: str
) -> None:
    any_store.create("c", vectors={"a": 2}, record=record).close()
    with pytest.raises(StoreCorruptError, match=words):
        Corpus.open(any_store, "c")
    any_store.drop("c")  # which an open corpus would not allow


def test_a_corpus_of_a_newer_release_is_refused_by_its_version(empty: Corpus, any_store: VectorStore) -> None:
    record = empty._collection.read_record()
    record["manifest"]["format_version"] = FORMAT_VERSION + 1
    empty._collection.write_record(record)
    with pytest.raises(StoreCorruptError, match=f"got {FORMAT_VERSION + 1}"):
        Corpus.open(any_store, "empty")


def test_written_chunks_come_back_with_their_vectors(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    in_order = sorted(chunks, key=lambda chunk: chunk.chunk_id)
    assert [chunk for batch in corpus.chunks() for chunk in batch] == in_order
    read = corpus.read_vectors(["alpha", "beta"])
    assert read.chunk_ids == tuple(chunk.chunk_id for chunk in in_order)
    assert read.doc_ids == tuple(chunk.doc_id for chunk in in_order)
    for model in (alpha, beta):
        expected = model.embed_chunks([chunk.text for chunk in in_order])
        assert read.by_model[model.spec.key].dtype == np.float32
        np.testing.assert_allclose(read.by_model[model.spec.key], expected, atol=1e-7)


def test_an_empty_corpus_has_empty_arrays(empty: Corpus, alpha: FakeModel) -> None:
    read = empty.read_vectors(["alpha"])
    assert read.chunk_ids == ()
    assert read.by_model["alpha"].shape == (0, alpha.spec.dimensions)
    assert list(empty.chunks()) == []
    assert empty.document_ids() == set()
    empty.measure_spreads()
    assert empty.manifest.spreads == {}


def _nan(rows: FloatArray) -> FloatArray:
    rows = rows.copy()
    rows[3, 0] = np.nan
    return rows


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _: None, "got none"),
        (lambda rows: rows[:-1], r"shape \(40, 24\), got float32 of shape \(39, 24\)"),
        (lambda rows: rows[:, :-1], r"got float32 of shape \(40, 23\)"),
        (lambda rows: rows.astype(np.float64), "got float64"),
        (lambda rows: 2 * rows, r"length 1, got 2 in row 0 \(40 of 40 rows\)"),
        (lambda rows: 0 * rows, "got 0 in row 0"),
        (_nan, r"got nan in row 3 \(1 of 40 rows\)"),
        (lambda rows: np.where(rows == rows[5, 5], np.float32(np.inf), rows), "got inf in row 5"),
    ],
    ids=["missing", "a row less", "a column less", "float64", "not unit", "zero", "nan", "infinite"],
)
def test_vectors_that_are_not_as_promised_are_refused_and_nothing_is_stored(
    untouched: Corpus,
    chunks: tuple[Chunk, ...],
    alpha: FakeModel,
    beta: FakeModel,
    spoil: Callable[[FloatArray], FloatArray | None],
    words: str,
) -> None:
    texts = [chunk.text for chunk in chunks]
    spoiled = spoil(alpha.embed_chunks(texts))
    vectors = {"beta": beta.embed_chunks(texts)}
    if spoiled is not None:
        vectors["alpha"] = spoiled
    with pytest.raises(ShapeError, match=f"vectors of alpha: .*{words}"):
        write(untouched, chunks, vectors)
    assert untouched.count_chunks() == 0


def test_vectors_of_a_model_that_the_corpus_does_not_know_are_refused_and_nothing_is_stored(
    untouched: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel, gamma: FakeModel
) -> None:
    vectors = {m.spec.key: m.embed_chunks([c.text for c in chunks]) for m in (alpha, beta, gamma)}
    with pytest.raises(ShapeError, match="those of alpha, beta, got gamma"):
        write(untouched, chunks, vectors)
    assert untouched.count_chunks() == 0


def test_no_chunks_are_written_without_complaint(
    untouched: Corpus, alpha: FakeModel, beta: FakeModel
) -> None:
    write(untouched, (), {"alpha": alpha.embed_chunks([]), "beta": beta.embed_chunks([])})
    assert untouched.count_chunks() == 0


def test_a_model_of_the_same_size_under_the_same_key_is_refused_by_both_names(corpus: Corpus) -> None:
    stored_spec = corpus.manifest.model("alpha")
    other = FakeModel("evil/alpha", dimensions=24).spec
    corpus.check_model(replace(stored_spec, source="elsewhere"))
    for refuse in (corpus.check_model, lambda spec: corpus.add_models([spec])):
        with pytest.raises(ModelMismatchError, match=r"'acme/alpha', got 'evil/alpha'"):
            refuse(other)
    with pytest.raises(ModelMismatchError, match=r"query_prompt 'query: ', got ''"):
        corpus.check_model(replace(stored_spec, query_prompt=""))


def test_nothing_is_added_if_one_of_several_models_is_refused(corpus: Corpus, gamma: FakeModel) -> None:
    with pytest.raises(ModelMismatchError):
        corpus.add_models([gamma.spec, FakeModel("evil/alpha", dimensions=24).spec])
    assert corpus.manifest.keys == ("alpha", "beta")


def test_a_model_that_was_loaded_from_elsewhere_is_found_there_from_now_on(
    corpus: Corpus, alpha: FakeModel
) -> None:
    moved = replace(alpha.spec, source="another place")
    corpus.add_models([moved])
    assert corpus.manifest.model(alpha.spec.key).source == "another place"
    assert corpus.manifest.model(alpha.spec.key).fingerprint == alpha.spec.fingerprint


def test_an_added_model_is_filled_afterwards(
    corpus: Corpus, any_store: VectorStore, chunks: tuple[Chunk, ...], gamma: FakeModel
) -> None:
    corpus.add_models([gamma.spec, corpus.manifest.model("alpha")])
    assert corpus.manifest.keys == ("alpha", "beta", "gamma")
    assert corpus.count_chunks(missing_vector("gamma")) == len(chunks)
    with pytest.raises(StoreCorruptError, match=r"vectors of gamma for every chunk.*ingest run"):
        corpus.read_vectors(["alpha", "gamma"])
    ids = [chunk.chunk_id for chunk in chunks]
    corpus.write_vectors("gamma", ids, gamma.embed_chunks([chunk.text for chunk in chunks]))
    with Corpus.open(any_store, corpus.name) as opened:
        read = opened.read_vectors(["gamma"]).by_model["gamma"]
        expected = gamma.embed_chunks([c.text for c in sorted(chunks, key=lambda chunk: chunk.chunk_id)])
        np.testing.assert_allclose(read, expected, atol=1e-7)


def test_vectors_written_afterwards_are_validated_too(corpus: Corpus, gamma: FakeModel) -> None:
    corpus.add_models([gamma.spec])
    with pytest.raises(ShapeError, match="vectors of gamma"):
        corpus.write_vectors("gamma", ["x"], np.ones((1, 24), dtype=np.float32))
    with pytest.raises(InputError, match="'delta'"):
        corpus.write_vectors("delta", ["x"], np.ones((1, 24), dtype=np.float32))
    assert corpus.count_chunks(HasVector(name="gamma")) == 0


def expected_combination(chunks: tuple[Chunk, ...], *models: FakeModel) -> dict[str, FloatArray]:
    rows = concatenate([model.embed_chunks([chunk.text for chunk in chunks]) for model in models])
    return {chunk.chunk_id: row for chunk, row in zip(chunks, rows, strict=True)}


def assert_same(found: Mapping[str, FloatArray], expected: Mapping[str, FloatArray]) -> None:
    assert found.keys() == expected.keys()
    for chunk_id, row in expected.items():
        np.testing.assert_allclose(found[chunk_id], row, atol=1e-6)


def test_a_combination_is_made_from_stored_vectors(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    corpus.add_combination(["beta", "alpha"])
    assert corpus.manifest.combinations == (Combination(("alpha", "beta")),)
    assert_same(stored(corpus, "alpha+beta"), expected_combination(chunks, alpha, beta))
    corpus.add_combination(["alpha", "beta"])
    assert corpus.manifest.combinations == (Combination(("alpha", "beta")),)


def test_a_combination_larger_than_one_batch_is_made_whole(
    any_store: VectorStore, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    many = tuple(
        replace(chunk, chunk_id=f"{i:08x}-0000-5000-8000-{j:012x}")
        for i in range(14)
        for j, chunk in enumerate(chunks)
    )
    with Corpus.create(any_store, "many", chunker=CHUNKER, models=[alpha.spec, beta.spec]) as corpus:
        texts = [chunk.text for chunk in many]
        write(corpus, many, {"alpha": alpha.embed_chunks(texts), "beta": beta.embed_chunks(texts)})
        corpus.add_combination(["alpha", "beta"])
        assert len(many) == 560
        assert_same(stored(corpus, "alpha+beta"), expected_combination(many, alpha, beta))


def test_a_combination_that_was_cut_short_is_completed_by_the_next_attempt(
    corpus: Corpus, any_store: VectorStore, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    corpus.add_combination(["alpha", "beta"])
    # What an interruption leaves: the vector in the layout and the manifest, and some rows.
    corpus._collection.drop_vector("alpha+beta")
    corpus._collection.add_vector("alpha+beta", 40)
    expected = expected_combination(chunks, alpha, beta)
    some = [chunk.chunk_id for chunk in chunks[:7]]
    corpus._collection.update_vectors(
        [Point(point_id=chunk_id, vectors={"alpha+beta": expected[chunk_id]}) for chunk_id in some]
    )
    assert corpus.count_chunks(missing_vector("alpha+beta")) == 33
    with Corpus.open(any_store, corpus.name) as reopened:
        reopened.add_combination(["alpha", "beta"])
        assert_same(stored(reopened, "alpha+beta"), expected)


def test_a_combination_whose_vector_was_added_but_not_recorded_is_made_all_the_same(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    corpus._collection.add_vector("alpha+beta", 40)
    corpus.add_combination(["alpha", "beta"])
    assert_same(stored(corpus, "alpha+beta"), expected_combination(chunks, alpha, beta))


def test_chunks_written_later_get_their_combined_vectors_in_the_same_write(
    empty: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    empty.add_combination(["alpha", "beta"])
    texts = [chunk.text for chunk in chunks]
    write(empty, chunks, {"alpha": alpha.embed_chunks(texts), "beta": beta.embed_chunks(texts)})
    assert_same(stored(empty, "alpha+beta"), expected_combination(chunks, alpha, beta))


def test_chunks_written_after_another_opener_added_a_combination_get_it_too(
    empty: Corpus,
    any_store: VectorStore,
    chunks: tuple[Chunk, ...],
    alpha: FakeModel,
    beta: FakeModel,
    gamma: FakeModel,
) -> None:
    with Corpus.open(any_store, empty.name) as other:
        other.add_models([gamma.spec])
        other.add_combination(["alpha", "beta"])
        other.add_combination(["alpha", "gamma"])  # of a model that the writer does not know of
    texts = [chunk.text for chunk in chunks]
    write(empty, chunks, {"alpha": alpha.embed_chunks(texts), "beta": beta.embed_chunks(texts)})
    assert empty.manifest.combinations == (Combination(("alpha", "beta")),)
    assert_same(stored(empty, "alpha+beta"), expected_combination(chunks, alpha, beta))
    with Corpus.open(any_store, empty.name) as reopened:
        assert reopened.manifest.combinations == (
            Combination(("alpha", "beta")),
            Combination(("alpha", "gamma")),
        )


def test_a_combination_of_three_is_in_the_order_of_the_manifest(
    any_store: VectorStore,
    make_corpus: Callable[..., Corpus],
    chunks: tuple[Chunk, ...],
    alpha: FakeModel,
    beta: FakeModel,
    gamma: FakeModel,
) -> None:
    models = [gamma, alpha, beta]
    with make_corpus(any_store, "three", models, combine=[["alpha", "beta", "gamma"]]) as corpus:
        assert_same(stored(corpus, "gamma+alpha+beta"), expected_combination(chunks, *models))


@pytest.mark.parametrize("keys", [[], ["alpha", "alpha"], ["alpha", "delta"], ["alpha@25"], ["alpha@x"]])
def test_a_combination_needs_known_models_and_no_more_dimensions_than_they_have(
    untouched: Corpus, keys: list[str]
) -> None:
    with pytest.raises(InputError):
        untouched.add_combination(keys)
    assert untouched.manifest.combinations == ()


def test_stored_documents_tell_the_whole_from_the_half(
    empty: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    written = chunks[:30]  # doc-0 to doc-5 have three chunks of it, the others two
    texts = [chunk.text for chunk in written]
    empty.write(
        written,
        {"alpha": alpha.embed_chunks(texts), "beta": beta.embed_chunks(texts)},
        document_hash={chunk.doc_id: f"hash {chunk.doc_id}" for chunk in written},
        chunk_count={chunk.doc_id: 3 for chunk in written},
    )
    found = empty.stored_documents(["doc-0", "doc-6", "never"])
    assert found.keys() == {"doc-0", "doc-6"}
    assert found["doc-0"].complete
    assert found["doc-0"].document_hash == "hash doc-0"
    assert found["doc-0"].chunk_ids == {chunk.chunk_id for chunk in written if chunk.doc_id == "doc-0"}
    assert not found["doc-6"].complete
    assert len(found["doc-6"].chunk_ids) == 2
    assert empty.stored_documents([]) == {}


def test_a_document_of_two_versions_is_not_complete(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    assert corpus.stored_documents(["doc-0"])["doc-0"].complete
    (first,) = (chunk for chunk in chunks if chunk.doc_id == "doc-0" and chunk.index == 0)
    corpus.write(
        [first],
        {"alpha": alpha.embed_chunks([first.text]), "beta": beta.embed_chunks([first.text])},
        document_hash={"doc-0": "another hash"},
        chunk_count={"doc-0": 4},
    )
    assert not corpus.stored_documents(["doc-0"])["doc-0"].complete


def test_deleted_documents_are_gone_and_unknown_ones_no_error(
    corpus: Corpus, chunks: tuple[Chunk, ...]
) -> None:
    corpus.delete_documents(["doc-0", "doc-1", "never"])
    corpus.delete_documents([])
    left = {chunk.doc_id for chunk in chunks} - {"doc-0", "doc-1"}
    assert corpus.document_ids() == left
    assert corpus.count_chunks() == sum(chunk.doc_id in left for chunk in chunks)


def test_deleted_chunks_are_gone_and_unknown_ones_no_error(corpus: Corpus, chunks: tuple[Chunk, ...]) -> None:
    corpus.delete_chunks({chunks[0].chunk_id, "00000000-0000-0000-0000-000000000000"})
    corpus.delete_chunks(())
    assert {chunk.chunk_id for batch in corpus.chunks() for chunk in batch} == {
        chunk.chunk_id for chunk in chunks[1:]
    }


def test_chunks_are_counted_and_listed_by_condition(corpus: Corpus) -> None:
    assert corpus.count_chunks(equals("lang", "de")) == 13
    assert sum(len(batch) for batch in corpus.chunks(equals("page", 7))) == 1


def test_known_vectors_are_those_of_chunks_that_have_all_of_them(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, gamma: FakeModel
) -> None:
    ids = [chunk.chunk_id for chunk in chunks[:3]]
    found = corpus.vectors_of([*ids, "00000000-0000-0000-0000-000000000000"])
    assert found.keys() == set(ids)
    np.testing.assert_allclose(found[ids[0]]["alpha"], alpha.embed_chunks([chunks[0].text])[0], atol=1e-7)
    assert corpus.vectors_of([]) == {}
    corpus.add_models([gamma.spec])
    corpus.write_vectors("gamma", ids[:1], gamma.embed_chunks([chunks[0].text]))
    assert corpus.vectors_of(ids).keys() == {ids[0]}


def test_spreads_are_those_of_the_stored_vectors_and_are_kept(corpus: Corpus, any_store: VectorStore) -> None:
    read = corpus.read_vectors(["alpha", "beta"])
    expected = {key: spread(rows) for key, rows in read.by_model.items()}
    assert corpus.manifest.spreads == pytest.approx(expected, abs=1e-6)
    with Corpus.open(any_store, corpus.name) as reopened:
        assert reopened.manifest.spreads == corpus.manifest.spreads


def test_two_openers_do_not_undo_each_others_changes(
    corpus: Corpus, any_store: VectorStore, gamma: FakeModel
) -> None:
    deployment = Deployment(
        corpus=corpus.name,
        models=("alpha",),
        weights=(1.0,),
        weighting="equal",
        fingerprints=(corpus.manifest.model("alpha").fingerprint,),
    )
    with Corpus.open(any_store, corpus.name) as other:
        corpus.add_models([gamma.spec])
        other.add_combination(["alpha", "beta"])
        corpus.add_deployment(deployment)
        other.measure_spreads()
        other.add_deployment(replace(deployment, weighting="explicit"))
    with Corpus.open(any_store, corpus.name) as reopened:
        assert reopened.manifest.keys == ("alpha", "beta", "gamma")
        assert reopened.manifest.combinations == (Combination(("alpha", "beta")),)
        assert [one.weighting for one in reopened.deployments] == ["equal", "explicit"]


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        (np.ones((1, 23), dtype=np.float32), r"float32 of shape \(any, 24\), got float32 of shape \(1, 23\)"),
        (np.ones(24, dtype=np.float32), r"got float32 of shape \(24,\)"),
        (np.ones((1, 24)), "got float64"),
        (np.full((1, 24), np.nan, dtype=np.float32), "finite"),
    ],
)
def test_queries_that_would_find_nothing_or_something_wrong_are_refused(
    shared_corpus: Corpus, queries: Any, words: str
) -> None:
    with pytest.raises(ShapeError, match=f"queries of alpha: .*{words}"):
        shared_corpus.search(queries, combination=Combination(("alpha",)), k=1)


def test_a_vector_that_the_corpus_does_not_have_is_not_searched(shared_corpus: Corpus) -> None:
    with pytest.raises(InputError, match="'delta'"):
        shared_corpus.search(
            np.ones((1, 24), dtype=np.float32), combination=Combination(("alpha", "delta")), k=1
        )
    with pytest.raises(InputError, match=r"expected a vector that is there.*got 'beta~int8'"):
        shared_corpus.search(
            np.ones((1, 24), dtype=np.float32), combination=Combination(("beta",), "int8"), k=1
        )


def deployed(*keys: str) -> Deployment:
    weights = tuple(1 / len(keys) for _ in keys)
    return Deployment(corpus="small", models=keys, weights=weights, weighting="equal", fingerprints=keys)


def test_a_dropped_model_leaves_no_trace_and_the_others_as_they_were(
    corpus: Corpus, any_store: VectorStore, chunks: tuple[Chunk, ...], gamma: FakeModel
) -> None:
    corpus.add_models([gamma.spec])
    texts = [chunk.text for chunk in chunks]
    corpus.write_vectors("gamma", [chunk.chunk_id for chunk in chunks], gamma.embed_chunks(texts))
    for keys in (("alpha", "beta"), ("alpha", "gamma"), ("beta", "gamma")):
        corpus.add_combination(keys)
    corpus.add_deployment(deployed("alpha", "beta"))
    corpus.add_deployment(deployed("alpha", "gamma"))
    kept = stored(corpus, "alpha+gamma")
    corpus.drop_model("acme/beta")
    with Corpus.open(any_store, corpus.name) as opened:
        assert opened.manifest == corpus.manifest
        assert opened.manifest.keys == ("alpha", "gamma")
        assert opened.manifest.combinations == (Combination(("alpha", "gamma")),)
        assert set(opened.manifest.spreads) == {"alpha"}
        assert opened.deployments[-1].models == ("alpha", "gamma")
        assert "dropping" not in opened._collection.read_record()
        for name in ("beta", "alpha+beta", "beta+gamma"):
            assert opened.count_chunks(HasVector(name=name)) == 0
        assert_same(stored(opened, "alpha+gamma"), kept)
        assert opened.count_chunks() == len(chunks)
        with pytest.raises(InputError, match=r"alpha, gamma\), got 'beta'"):
            opened.drop_model("beta")


def test_a_model_that_is_served_or_the_only_one_is_not_dropped(
    corpus: Corpus,
) -> None:
    corpus.add_deployment(replace(deployed("alpha", "beta"), created="2026-01-02T03:04:05+00:00"))
    with pytest.raises(
        InputError, match=r"deployment alpha\+beta of 2026-01-02.* serves beta. Deploy another"
    ):
        corpus.drop_model("beta")
    corpus.add_deployment(deployed("alpha"))
    corpus.drop_model("beta")
    with pytest.raises(InputError, match="beside alpha, it is the only one"):
        corpus.drop_model("alpha")
    assert corpus.count_chunks(HasVector(name="alpha")) == corpus.count_chunks()


@pytest.mark.parametrize("after", ["the same call", "another writer", "the model again"])
@pytest.mark.parametrize("cut_at", [0, 1])
def test_a_dropping_that_was_cut_short_is_finished_by_what_comes_next(
    corpus: Corpus,
    any_store: VectorStore,
    monkeypatch: pytest.MonkeyPatch,
    chunks: tuple[Chunk, ...],
    cut_at: int,
    after: str,
) -> None:
    corpus.add_combination(["alpha", "beta"])
    kind = type(corpus._collection)
    drop, calls = kind.drop_vector, iter(range(9))

    def cut_short(collection: Any, name: str) -> None:
        if next(calls) == cut_at:
            raise KeyboardInterrupt
        drop(collection, name)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "drop_vector", cut_short)
        with pytest.raises(KeyboardInterrupt):
            corpus.drop_model("beta")
    with Corpus.open(any_store, corpus.name) as opened:
        assert opened.manifest.keys == ("alpha",)
        opened.read_vectors(["alpha"])
        opened.add_deployment(deployed("alpha"))  # which keeps what has to be finished
        if after == "the same call":
            opened.drop_model("beta")
        elif after == "another writer":
            with opened.lock():
                pass
        if after == "the model again":  # with other dimensions, and nothing of the old vectors
            opened.add_models([FakeModel("acme/beta", dimensions=20).spec])
            assert opened.count_chunks(missing_vector("beta")) == len(chunks)
            opened.add_combination(["alpha", "beta"])
        assert opened.count_chunks(HasVector(name="beta")) == 0
        assert opened.count_chunks(HasVector(name="alpha+beta")) == 0
        assert "dropping" not in opened._collection.read_record()


@pytest.mark.parametrize("dimensions", [24, 20])
def test_a_vector_that_no_manifest_mentions_is_not_taken_for_that_of_a_model(
    corpus: Corpus,
    chunks: tuple[Chunk, ...],
    gamma: FakeModel,
    dimensions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a process leaves that ended between making room for a model and saying so in the manifest.
    save = Corpus._save

    def stop(opened: Corpus, **changes: Any) -> None:
        if "manifest" in changes:
            raise KeyboardInterrupt
        save(opened, **changes)

    with monkeypatch.context() as patched:
        patched.setattr(Corpus, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            corpus.add_models([replace(gamma.spec, dimensions=24)])
    row = FakeModel("acme/gamma", dimensions=24).embed_chunks(["another model's"])[0]
    corpus._collection.update_vectors([Point(point_id=chunks[0].chunk_id, vectors={"gamma": row})])
    model = FakeModel("acme/gamma", dimensions=dimensions)
    corpus.add_models([model.spec])
    assert corpus.count_chunks(missing_vector("gamma")) == len(chunks)
    ids, texts = [chunk.chunk_id for chunk in chunks], [chunk.text for chunk in chunks]
    corpus.write_vectors("gamma", ids, model.embed_chunks(texts))
    assert corpus.read_vectors(["gamma"]).by_model["gamma"].shape == (len(chunks), dimensions)


def test_what_is_unfinished_and_yet_part_of_the_corpus_is_not_deleted(
    corpus: Corpus, chunks: tuple[Chunk, ...]
) -> None:
    # What another process writes back that read the record a moment before a model was added.
    corpus._save(dropping=("alpha", "unknown"))
    with corpus.lock():
        assert corpus.count_chunks(missing_vector("alpha")) == 0
    assert corpus.count_chunks() == len(chunks)
    assert "dropping" not in corpus._collection.read_record()


def test_a_corpus_has_one_writer_and_is_deployed_beside_it(corpus: Corpus, any_store: VectorStore) -> None:
    with Corpus.open(any_store, corpus.name) as other:
        with corpus.lock():
            with pytest.raises(StoreLockedError, match="ingest since"), other.lock("another"):
                raise AssertionError
            with pytest.raises(StoreLockedError):
                other.drop_model("beta")
            with pytest.raises(StoreLockedError):
                any_store.drop(corpus.name)
            other.add_combination(["alpha", "beta"])
            other.add_deployment(deployed("alpha", "beta"))
        with other.lock():
            assert other.deployments == (deployed("alpha", "beta"),)
    assert corpus.deployments == ()
    with corpus.lock():
        assert corpus.manifest.combinations == (
            Combination(("alpha", "beta")),
        )  # what is there when the lock is had


SLOW: dict[str, tuple[str, Callable[[Corpus, FakeModel], object]]] = {
    "a model": ("add_vector", lambda corpus, gamma: corpus.add_models([gamma.spec])),
    "a combination": ("add_vector", lambda corpus, _: corpus.add_combination(["alpha", "beta"])),
    "bm25": ("add_sparse_vector", lambda corpus, _: corpus.add_lexical(measured(["some text"]))),
    "a dropping": ("drop_vector", lambda corpus, _: corpus.drop_model("beta")),
}


@pytest.mark.parametrize("change", SLOW)
def test_what_another_process_saves_during_a_slow_change_of_the_layout_is_kept(
    corpus: Corpus, any_store: VectorStore, gamma: FakeModel, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    method, made = SLOW[change]
    kind = type(corpus._collection)
    request, delta, calls = getattr(kind, method), FakeModel("acme/delta", dimensions=8), iter(range(9))

    def slow(collection: Any, *arguments: Any, **options: Any) -> None:
        request(collection, *arguments, **options)
        if next(calls) == 0:
            with Corpus.open(any_store, corpus.name) as other:
                other.add_deployment(deployed("alpha"))
                if change in {"a combination", "bm25"}:
                    other.add_models([delta.spec])

    with monkeypatch.context() as patched:
        patched.setattr(kind, method, slow)
        made(corpus, gamma)
    with Corpus.open(any_store, corpus.name) as opened:
        assert opened.deployments == (deployed("alpha"),)
        manifest = opened.manifest
        assert "dropping" not in opened._collection.read_record()
    assert (manifest.keys, manifest.combinations, manifest.lexical) == {
        "a model": (("alpha", "beta", "gamma"), (), None),
        "a combination": (("alpha", "beta", "delta"), (Combination(("alpha", "beta")),), None),
        "bm25": (("alpha", "beta", "delta"), (), measured(["some text"])),
        "a dropping": (("alpha",), (), None),
    }[change]


def test_vectors_are_found_by_the_text_they_were_made_from(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    texts = [chunk.text for chunk in chunks[:3]]
    found = corpus.vectors_by_text([*texts, "never stored", texts[0].upper()], ["alpha", "beta"])
    assert found.keys() == set(texts)
    for text in texts:
        assert set(found[text]) == {"alpha", "beta"}
        np.testing.assert_allclose(found[text]["alpha"], alpha.embed_chunks([text])[0], atol=1e-7)
        np.testing.assert_allclose(found[text]["beta"], beta.embed_chunks([text])[0], atol=1e-7)
    assert corpus.vectors_by_text([], ["alpha"]) == {}
    assert set(corpus.vectors_by_text(texts, ["beta"])[texts[0]]) == {"beta"}


def test_what_stands_before_a_text_tells_it_from_the_text_alone(
    corpus: Corpus, chunks: tuple[Chunk, ...], alpha: FakeModel, beta: FakeModel
) -> None:
    headed = replace(chunks[0], chunk_id="ffffffff-0000-5000-8000-000000000000", prefix="A title. ")
    vectors = {model.spec.key: model.embed_chunks([headed.embedded_text]) for model in (alpha, beta)}
    write(corpus, (headed,), vectors)
    found = corpus.vectors_by_text([headed.text, headed.embedded_text], ["alpha"])
    np.testing.assert_allclose(found[headed.embedded_text]["alpha"], vectors["alpha"][0], atol=1e-7)
    np.testing.assert_allclose(found[headed.text]["alpha"], alpha.embed_chunks([headed.text])[0], atol=1e-7)


def test_chunks_without_a_vector_of_each_model_do_not_count(
    corpus: Corpus, chunks: tuple[Chunk, ...], gamma: FakeModel
) -> None:
    corpus.add_models([gamma.spec])
    some = chunks[:2]
    rows = gamma.embed_chunks([chunk.text for chunk in some])
    corpus.write_vectors("gamma", [chunk.chunk_id for chunk in some], rows)
    texts = [chunk.text for chunk in chunks]
    assert corpus.vectors_by_text(texts, ["alpha", "gamma"]).keys() == {chunk.text for chunk in some}


def test_one_hash_is_no_proof_of_one_text(
    corpus: Corpus, chunks: tuple[Chunk, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = payload.text_hash(chunks[0].text)
    monkeypatch.setattr(payload, "text_hash", lambda _: digest)
    assert corpus.vectors_by_text(["another text"], ["alpha"]) == {}
    assert corpus.vectors_by_text(["another text", chunks[0].text], ["alpha"]).keys() == {chunks[0].text}


def test_a_text_of_very_many_chunks_does_not_hide_or_delay_the_others(
    any_store: VectorStore, chunks: tuple[Chunk, ...], alpha: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    footers = tuple(replace(chunks[0], chunk_id=f"{i:08x}-0000-5000-8000-000000000000") for i in range(700))
    last = replace(chunks[1], chunk_id="ffffffff-0000-5000-8000-000000000000")
    read: list[int] = []
    to_chunk = payload.to_chunk
    with Corpus.create(any_store, "c", chunker=CHUNKER, models=[alpha.spec]) as corpus:
        every = (*footers, last)
        write(corpus, every, {"alpha": alpha.embed_chunks([chunk.text for chunk in every])})
        monkeypatch.setattr(payload, "to_chunk", lambda value: read.append(1) or to_chunk(value))
        found = corpus.vectors_by_text([chunks[0].text, last.text, "none"], ["alpha"])
    assert found.keys() == {chunks[0].text, last.text}
    assert len(read) < 300


def test_ids_of_documents_are_streamed_also_of_one_without_its_first_chunk(
    corpus: Corpus, chunks: tuple[Chunk, ...]
) -> None:
    first = next(chunk for chunk in chunks if chunk.index == 0)
    corpus.delete_chunks([first.chunk_id])
    ids = corpus.stored_document_ids()
    assert iter(ids) is ids
    found = list(ids)
    assert len(found) == len(chunks) - 1
    assert set(found) == {chunk.doc_id for chunk in chunks} == corpus.document_ids()


def test_a_corpus_of_an_earlier_release_gets_its_indexes_when_it_is_written(
    tmp_path: Path, chunks: tuple[Chunk, ...], alpha: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddedStore(tmp_path)
    with monkeypatch.context() as earlier:
        earlier.setattr("retriever.store.embedded_shards.INDEXED_ON_DISK", ())
        corpus = Corpus.create(store, "c", chunker=CHUNKER, models=[alpha.spec])
    write(corpus, chunks, {"alpha": alpha.embed_chunks([chunk.text for chunk in chunks])})
    assert set(corpus._collection._shard.engine.info().payload_schema) == {"doc_id", payload.SOURCE_ID}  # type: ignore[attr-defined]
    with corpus.lock():
        schema = corpus._collection._shard.engine.info().payload_schema  # type: ignore[attr-defined]
    assert set(schema) == {"doc_id", payload.SOURCE_ID, payload.TEXT_HASH}
    assert corpus.vectors_by_text([chunks[0].text], ["alpha"]).keys() == {chunks[0].text}
    corpus.close()
