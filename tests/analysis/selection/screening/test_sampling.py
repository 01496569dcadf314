"""A sample is random, repeated by its seed, and within every larger one of the same draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.screening.sampling import (
    FEWEST_QUERIES,
    NEAR,
    NEAR_SHARE,
    Sample,
    Sampler,
    nearest_chunks,
    read_chunks,
    sample_chunk_ids,
    sample_queries,
)
from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import FloatArray
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

MODELS = {name: FakeModel(f"acme/{name}", dimensions=24) for name in ("a", "b")}
QUERIES = [f"word{i} word{i + 7} word{3 * i}" for i in range(60)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """Return a corpus of about 250 chunks."""
    rng = np.random.default_rng(5)
    documents = [
        Document(doc_id=f"d{i}", text=" ".join(f"word{word}" for word in rng.integers(120, size=40)))
        for i in range(60)
    ]
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents, store, "c", models=list(MODELS.values()), chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as opened:
        yield opened


def all_ids(corpus: Corpus) -> list[str]:
    return [chunk.chunk_id for chunks in corpus.chunks() for chunk in chunks]


def vectors(queries: Sequence[str]) -> dict[str, FloatArray]:
    return {key: model.embed_queries(queries) for key, model in MODELS.items()}


def sampler(corpus: Corpus, queries: Sequence[str] | None, *, most: int, seed: int = 1) -> Sampler:
    return Sampler(corpus, queries, most=most, rng=np.random.default_rng(seed))


def near(corpus: Corpus, queries: Sequence[str], n: int) -> list[list[str]]:
    return nearest_chunks(corpus, vectors(queries), n)


def near_chunks(corpus: Corpus, chunk_ids: Sequence[str], n: int) -> list[list[str]]:
    stored = corpus.vectors_of(chunk_ids)
    rows = {key: np.array([stored[chunk_id][key] for chunk_id in chunk_ids]) for key in MODELS}
    return nearest_chunks(corpus, rows, n)


def test_a_smaller_sample_of_one_seed_is_the_beginning_of_a_larger_one(corpus: Corpus) -> None:
    large = sample_chunk_ids(corpus, 100, rng=np.random.default_rng(3))
    assert sample_chunk_ids(corpus, 40, rng=np.random.default_rng(3)) == large[:40]
    assert len(set(large)) == 100
    assert set(large) <= set(all_ids(corpus))
    assert sample_chunk_ids(corpus, 100, rng=np.random.default_rng(4)) != large


def test_every_chunk_is_drawn_about_as_often(corpus: Corpus) -> None:
    ids = all_ids(corpus)
    counts = dict.fromkeys(ids, 0)
    draws, n = 400, len(ids) // 4
    for seed in range(draws):
        for chunk_id in sample_chunk_ids(corpus, n, rng=np.random.default_rng(seed)):
            counts[chunk_id] += 1
    expected, deviation = draws / 4, np.sqrt(draws / 4 * 3 / 4)
    assert max(abs(count - expected) for count in counts.values()) < 5 * deviation


def test_a_corpus_smaller_than_the_sample_gives_all_its_chunks(corpus: Corpus) -> None:
    assert set(sample_chunk_ids(corpus, 10_000, rng=np.random.default_rng(0))) == set(all_ids(corpus))


def test_queries_are_drawn_once_each_in_an_order_that_the_seed_repeats() -> None:
    drawn = sample_queries([*QUERIES, *QUERIES], rng=np.random.default_rng(2))
    assert sorted(drawn) == sorted(QUERIES)
    assert sample_queries(QUERIES, 9, rng=np.random.default_rng(2)) == drawn[:9]
    with pytest.raises(InputError, match="got a blank one"):
        sample_queries(["basil", " "], rng=np.random.default_rng(2))


def test_the_chunks_near_queries_are_those_of_the_stored_models_in_turns(corpus: Corpus) -> None:
    found = near(corpus, QUERIES[:6], 4)
    stored = corpus.read_vectors(list(MODELS))
    for place, ids in enumerate(found):
        key = ("a", "b")[place % 2]
        scores = stored.by_model[key] @ vectors(QUERIES[:6])[key][place]
        best = np.argsort(-scores, kind="stable")[:4]
        assert ids == [stored.chunk_ids[column] for column in best]


def test_a_sample_has_the_chunks_near_its_queries_and_others_at_random(corpus: Corpus) -> None:
    sample = sampler(corpus, QUERIES, most=128).draw(64, lambda queries, n: near(corpus, queries, n))
    assert len(sample.chunk_ids) == len(set(sample.chunk_ids)) == 64
    assert FEWEST_QUERIES <= len(sample.queries) == len(sample.near)
    assert sample.n_near <= NEAR_SHARE * 64 or len(sample.queries) == FEWEST_QUERIES
    expected = near(corpus, sample.queries, NEAR)
    assert [[sample.chunk_ids[place] for place in places] for places in sample.near] == expected
    assert {place for places in sample.near for place in places} == set(range(sample.n_near))


@pytest.mark.parametrize("queries", [QUERIES, None], ids=["queries", "chunks that ask"])
def test_a_larger_sample_has_all_that_the_smaller_one_had(corpus: Corpus, queries: list[str] | None) -> None:
    drawn = sampler(corpus, queries, most=128)
    find = near_chunks if queries is None else near
    samples = [drawn.draw(size, lambda asked, n: find(corpus, asked, n)) for size in (32, 64, 128)]
    for small, large in pairwise(samples):
        assert small.queries == large.queries[: len(small.queries)]
        assert set(small.chunk_ids) <= set(large.chunk_ids)


def test_chunks_that_stand_in_for_queries_are_not_searched(corpus: Corpus) -> None:
    drawn = sampler(corpus, None, most=64)
    sample = drawn.draw(64, lambda asked, n: near_chunks(corpus, asked, n))
    assert drawn.asks_chunks
    assert set(sample.queries) <= set(all_ids(corpus))
    assert set(sample.queries).isdisjoint(sample.chunk_ids)
    assert all(len(places) >= NEAR - 2 for places in sample.near)


def test_a_sample_as_large_as_the_corpus_asks_all_queries(corpus: Corpus) -> None:
    whole = sampler(corpus, QUERIES, most=2048)
    sample = whole.draw(whole.most, lambda queries, n: near(corpus, queries, n))
    assert whole.most == corpus.count_chunks()
    assert set(sample.chunk_ids) == set(all_ids(corpus))
    assert set(sample.queries) == set(QUERIES)


def test_chunks_are_read_by_their_ids(corpus: Corpus) -> None:
    ids = all_ids(corpus)[:5]
    assert {chunk_id: chunk.chunk_id for chunk_id, chunk in read_chunks(corpus, ids).items()} == {
        chunk_id: chunk_id for chunk_id in ids
    }


def test_too_little_to_sample_is_refused(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="queries: expected at least 8 different ones, got 2"):
        sampler(corpus, ["basil", "thyme", "basil"], most=64)
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    few = [Document(doc_id=f"d{i}", text=f"word{i}") for i in range(20)]
    ingest(few, store, "few", models=[MODELS["a"]])
    with (
        Corpus.open(store, "few") as opened,
        pytest.raises(InputError, match=r"expected at least 32 chunks .* got 20"),
    ):
        sampler(opened, QUERIES, most=64)


@given(n_queries=st.integers(1, 30), n_others=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_half_a_sample_has_half_the_queries_what_is_near_them_and_half_of_the_rest(
    n_queries: int, n_others: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    near = tuple(tuple(rng.permutation(n_queries)[:3].tolist()) for _ in range(n_queries))
    sample = Sample(
        queries=tuple(f"q{i}" for i in range(n_queries)),
        chunk_ids=tuple(f"c{i}" for i in range(n_queries + n_others)),
        near=near,
        n_near=n_queries,
    )
    queries, chunks = sample.half(rng)
    assert len(set(queries)) == len(queries) == (n_queries + 1) // 2
    near_them = {place for query in queries for place in near[query]}
    assert {place for place in chunks if place < n_queries} == near_them
    assert sum(place >= n_queries for place in chunks) == (n_others + 1) // 2
    assert chunks == sorted(set(chunks))
