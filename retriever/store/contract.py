"""What every vector store must do; run over an implementation by subclassing.

::

    class TestMyStore(VectorStoreContract):
        @pytest.fixture
        def store(self) -> VectorStore:
            return MyStore()

Call ``pytest.register_assert_rewrite("retriever.store.contract")`` before importing it, so that failures
show their values.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retriever.errors import CorpusExistsError, CorpusNotFoundError, InputError, ShapeError, StoreLockedError
from retriever.models.protocol import FloatArray
from retriever.store.filters import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    HasId,
    HasText,
    HasVector,
    HasWords,
    IsEmpty,
    Matches,
    NoneOf,
    OtherThan,
    equals,
    missing_vector,
    of_documents,
)
from retriever.store.kinds import STORAGES
from retriever.store.protocol import Collection, Point, SparseVector, VectorStore

SIZE = 16
POINTS = 40
RECORD = {"manifest": {"corpus": "c"}, "deployments": []}


def unit_rows(rows: int, size: int, *, seed: int) -> FloatArray:
    """Return random unit rows, float32, shape (rows, size)."""
    values = np.random.default_rng(seed).normal(size=(rows, size))
    units: FloatArray = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return units


def sample_points(count: int = POINTS) -> list[Point]:
    """Return points of vector "a" with a payload of each JSON type."""
    vectors = unit_rows(count, SIZE, seed=1)
    return [
        Point(
            point_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(i))),
            payload={
                "doc_id": f"d{i % 4}",
                "n": i,
                "half": i / 2,
                "text": f"Number {i} of the row",
                "tags": ["even" if i % 2 == 0 else "odd", f"t{i % 3}"],
                "big": 2**60 + i,
                "flag": i % 5 == 0,
                **({"rare": "yes"} if i == 7 else {}),
                "tandem": {"index": i, "text_hash": f"{i % 10:016x}", "nested": {"deep": [1, "ä"]}},
            },
            vectors={"a": vectors[i]},
        )
        for i in range(count)
    ]


def sparse(values: Mapping[int, float]) -> SparseVector:
    """Return a sparse vector with these values by index."""
    return SparseVector(
        indices=np.array(list(values), dtype=np.uint32),
        values=np.array(list(values.values()), dtype=np.float32),
    )


def sparse_rows(count: int = POINTS) -> list[dict[int, float]]:
    """Return values by index: few indices are common, many are rare, and every tenth row is empty."""
    rng = np.random.default_rng(7)
    rows = [
        {int(i): float(v) for i, v in zip(rng.zipf(1.5, 6), rng.uniform(0.5, 2, 6), strict=True)}
        for _ in range(count)
    ]
    return [{} if i % 10 == 9 else {index % 2**32: row[index] for index in row} for i, row in enumerate(rows)]


def sparse_scores(query: Mapping[int, float], rows: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Return the score of each point that shares an index with the query.

    The inverse document frequency is that of Lucene and Qdrant: ln(1 + (N - n + 0.5) / (n + 0.5)).
    """
    scores: dict[str, float] = {}
    for index, weight in query.items():
        holders = [point_id for point_id, row in rows.items() if index in row]
        idf = math.log(1 + (len(rows) - len(holders) + 0.5) / (len(holders) + 0.5))
        for point_id in holders:
            scores[point_id] = scores.get(point_id, 0.0) + idf * weight * rows[point_id][index]
    return scores


class VectorStoreContract:
    """One behaviour for every engine. A subclass provides the fixture `store`, empty."""

    @pytest.fixture
    def collection(self, store: VectorStore) -> Iterator[Collection]:
        """Return a collection with one named vector and the sample points."""
        collection = store.create("c", vectors={"a": SIZE}, record=RECORD)
        collection.upsert(sample_points())
        yield collection
        collection.close()

    def test_an_empty_store_has_no_names(self, store: VectorStore) -> None:
        assert store.names() == []

    def test_a_created_collection_is_listed_and_keeps_its_record(self, store: VectorStore) -> None:
        store.create("c", vectors={"a": SIZE}, record=RECORD).close()
        assert store.names() == ["c"]
        reopened = store.open("c")
        assert reopened.read_record() == RECORD
        reopened.close()

    def test_creating_twice_is_refused(self, store: VectorStore, collection: Collection) -> None:
        with pytest.raises(CorpusExistsError, match="'c'"):
            store.create("c", vectors={"a": SIZE}, record=RECORD)
        assert collection.count() == POINTS

    def test_opening_what_is_not_there_is_refused_by_name(
        self, store: VectorStore, collection: Collection
    ) -> None:
        with pytest.raises(CorpusNotFoundError, match=r"'other'.*found c"):
            store.open("other")

    @pytest.mark.parametrize("name", ["", "../up", "a/b", "ä", ".hidden", "x" * 200])
    def test_a_name_that_cannot_be_a_folder_is_refused(self, store: VectorStore, name: str) -> None:
        with pytest.raises(InputError):
            store.create(name, vectors={"a": SIZE}, record=RECORD)

    def test_a_dropped_collection_is_gone_and_can_be_made_anew(
        self, store: VectorStore, collection: Collection
    ) -> None:
        collection.close()
        store.drop("c")
        assert store.names() == []
        with pytest.raises(CorpusNotFoundError):
            store.drop("c")
        assert store.create("c", vectors={"a": SIZE}, record=RECORD).count() == 0

    def test_the_record_is_replaced_whole(self, collection: Collection) -> None:
        collection.write_record({"manifest": {"k": [1, {"x": None}]}, "deployments": [{"w": 0.25}]})
        assert collection.read_record() == {
            "manifest": {"k": [1, {"x": None}]},
            "deployments": [{"w": 0.25}],
        }

    def test_points_survive_closing_and_reopening(self, store: VectorStore, collection: Collection) -> None:
        collection.flush()
        collection.close()
        reopened = store.open("c")
        assert reopened.count() == POINTS
        reopened.close()

    def test_closing_twice_leaves_another_opener_alone(
        self, store: VectorStore, collection: Collection
    ) -> None:
        other = store.open("c")
        other.close()
        other.close()
        assert collection.count() == POINTS

    def test_search_equals_brute_force(self, collection: Collection) -> None:
        points = sample_points()
        queries = unit_rows(5, SIZE, seed=2)
        scores = queries @ np.array([point.dense["a"] for point in points]).T
        for found, row in zip(collection.search(queries, vector="a", k=10), scores, strict=True):
            best = np.argsort(-row)[:10]
            assert [hit.point.point_id for hit in found] == [points[i].point_id for i in best]
            np.testing.assert_allclose([hit.score for hit in found], row[best], atol=1e-6)

    def test_search_scores_are_plain_dot_products(self, collection: Collection) -> None:
        query = 3 * unit_rows(1, SIZE, seed=3)
        found = collection.search(query, vector="a", k=1, with_vectors=("a",))[0][0]
        assert found.score == pytest.approx(float(query[0] @ found.point.dense["a"]), abs=1e-6)

    def test_k_beyond_the_collection_returns_every_point(self, collection: Collection) -> None:
        assert len(collection.search(unit_rows(1, SIZE, seed=2), vector="a", k=1000)[0]) == POINTS

    def test_equal_scores_are_ordered_by_id(self, store: VectorStore) -> None:
        collection = store.create("c", vectors={"a": SIZE}, record=RECORD)
        vector = unit_rows(1, SIZE, seed=4)[0]
        ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(i))) for i in range(9)]
        collection.upsert([Point(point_id=i, vectors={"a": vector}) for i in ids])
        found = collection.search(vector[None], vector="a", k=9)[0]
        assert [hit.point.point_id for hit in found] == sorted(ids)

    def test_no_queries_give_no_lists(self, collection: Collection) -> None:
        assert collection.search(np.empty((0, SIZE), dtype=np.float32), vector="a", k=3) == []

    def test_payload_and_vectors_come_back_as_stored(self, collection: Collection) -> None:
        point = sample_points()[7]
        (found,) = next(collection.scroll(where=HasId(ids=(point.point_id,)), with_vectors=("a",)))
        assert found.point_id == point.point_id
        assert found.payload == point.payload
        np.testing.assert_allclose(found.dense["a"], point.dense["a"], atol=1e-7)

    def test_scroll_visits_every_point_once_in_the_order_of_ids(self, collection: Collection) -> None:
        lists = list(collection.scroll(batch=7))
        ids = [point.point_id for points in lists for point in points]
        assert ids == sorted(point.point_id for point in sample_points())
        assert max(map(len, lists)) == 7

    def test_scroll_can_leave_out_most_of_the_payload(self, collection: Collection) -> None:
        point = next(collection.scroll(fields=("tandem",)))[0]
        assert set(point.payload) == {"tandem"}
        assert point.vectors == {}

    def test_upserting_an_existing_id_replaces_it(self, collection: Collection) -> None:
        point = sample_points()[0]
        collection.upsert([Point(point_id=point.point_id, payload={"n": -1}, vectors=point.vectors)])
        assert collection.count() == POINTS
        (found,) = next(collection.scroll(where=HasId(ids=(point.point_id,))))
        assert found.payload == {"n": -1}

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (Matches(key="doc_id", values=("d1",)), lambda p: p["doc_id"] == "d1"),
            (of_documents(["d1", "d3", "none"]), lambda p: p["doc_id"] in {"d1", "d3"}),
            (of_documents([]), lambda _: False),
            (
                Matches(key="tandem.text_hash", values=(f"{3:016x}",)),
                lambda p: p["tandem"]["index"] % 10 == 3,
            ),
            (
                Matches(key="tandem.text_hash", values=tuple(f"{i:016x}" for i in (3, 4, 99))),
                lambda p: p["tandem"]["index"] % 10 in {3, 4},
            ),
            (Matches(key="n", values=(3, "d1", 4)), lambda p: p["n"] in {3, 4}),
            (equals("n", 5), lambda p: p["n"] == 5),
            (equals("n", 5.0), lambda p: p["n"] == 5),
            (equals("half", 2.5), lambda p: p["half"] == 2.5),
            (equals("half", 2), lambda p: p["half"] == 2),
            (equals("big", 2**60 + 1), lambda p: p["big"] == 2**60 + 1),
            (equals("flag", value=True), lambda p: p["flag"]),
            (Between(key="n", gte=3, lt=9), lambda p: 3 <= p["n"] < 9),
            (Between(key="half", gt=3.0, lte=9.5), lambda p: 3.0 < p["half"] <= 9.5),
            (Matches(key="tags", values=("odd",)), lambda p: "odd" in p["tags"]),
            (HasText(key="text", text="Number 1"), lambda p: "Number 1" in p["text"]),
            (HasWords(key="text", text="ROW 7"), lambda p: p["n"] == 7),
            (HasWords(key="text", text=""), lambda _: False),
            (OtherThan(key="doc_id", values=("d1", "d2")), lambda p: p["doc_id"] not in {"d1", "d2"}),
            (OtherThan(key="n", values=(3, 4)), lambda p: p["n"] not in {3, 4}),
            (OtherThan(key="tags", values=("odd", "t0")), lambda p: not {"odd", "t0"}.issuperset(p["tags"])),
            (OtherThan(key="rare", values=("no",)), lambda p: "rare" in p),
            (IsEmpty(key="rare"), lambda p: "rare" not in p),
            (HasVector(name="a"), lambda _: True),
            (missing_vector("a"), lambda _: False),
            (AllOf(parts=()), lambda _: True),
            (AnyOf(parts=()), lambda _: False),
            (NoneOf(parts=()), lambda _: True),
            (HasId(ids=()), lambda _: False),
            (
                AllOf(parts=(of_documents(["d1"]), NoneOf(parts=(Between(key="n", lt=20),)))),
                lambda p: p["doc_id"] == "d1" and p["n"] >= 20,
            ),
            (
                AnyOf(parts=(equals("n", 1), AllOf(parts=(equals("n", 2), IsEmpty(key="rare"))))),
                lambda p: p["n"] in {1, 2},
            ),
        ],
    )
    def test_a_condition_selects_what_it_says(
        self, collection: Collection, where: Condition, expected: object
    ) -> None:
        assert callable(expected)
        ids = {point.point_id for point in sample_points() if expected(point.payload)}
        assert {p.point_id for points in collection.scroll(where=where) for p in points} == ids
        assert collection.count(where) == len(ids)
        found = collection.search(unit_rows(1, SIZE, seed=2), vector="a", k=POINTS, where=where)[0]
        assert {hit.point.point_id for hit in found} == ids

    def test_deleting_by_document_leaves_the_others(self, collection: Collection) -> None:
        collection.delete(of_documents(["d1", "nobody"]))
        left = {p.payload["doc_id"] for points in collection.scroll() for p in points}
        assert left == {"d0", "d2", "d3"}

    def test_a_vector_added_later_is_empty_until_written(
        self, store: VectorStore, collection: Collection
    ) -> None:
        collection.add_vector("b", 8)
        assert collection.count(HasVector(name="b")) == 0
        assert collection.search(unit_rows(1, 8, seed=5), vector="b", k=5) == [[]]
        some = sample_points()[:3]
        rows = unit_rows(3, 8, seed=6)
        collection.update_vectors(
            [Point(point_id=p.point_id, vectors={"b": row}) for p, row in zip(some, rows, strict=True)]
        )
        assert collection.count(missing_vector("b")) == POINTS - 3
        best = collection.search(rows[:1], vector="b", k=5, with_vectors=("a", "b"))[0]
        assert best[0].point.point_id == some[0].point_id
        assert len(best) == 3
        np.testing.assert_allclose(best[0].point.dense["a"], some[0].dense["a"], atol=1e-7)
        assert best[0].point.payload == some[0].payload
        collection.close()
        reopened = store.open("c")
        assert reopened.count(HasVector(name="b")) == 3
        reopened.close()

    def test_adding_a_vector_twice_changes_nothing(self, collection: Collection) -> None:
        collection.add_vector("b", 8)
        point = sample_points()[0]
        collection.update_vectors([Point(point_id=point.point_id, vectors={"b": unit_rows(1, 8, seed=6)[0]})])
        collection.add_vector("b", 8)
        assert collection.count(HasVector(name="b")) == 1

    def test_a_dropped_vector_is_gone_from_every_point(self, collection: Collection) -> None:
        collection.add_vector("b", 8)
        collection.update_vectors(
            [Point(point_id=sample_points()[0].point_id, vectors={"b": unit_rows(1, 8, seed=6)[0]})]
        )
        collection.drop_vector("b")
        collection.drop_vector("never")
        collection.add_vector("b", 4)
        assert collection.count(HasVector(name="b")) == 0
        assert collection.count(HasVector(name="a")) == POINTS

    def test_a_dropped_vector_comes_back_empty_with_the_same_size(self, collection: Collection) -> None:
        collection.add_vector("b", 8)
        collection.update_vectors(
            [Point(point_id=sample_points()[0].point_id, vectors={"b": unit_rows(1, 8, seed=6)[0]})]
        )
        collection.drop_vector("b")
        collection.add_vector("b", 8)
        assert collection.count(HasVector(name="b")) == 0

    @pytest.fixture
    def rows(self, collection: Collection) -> dict[str, dict[int, float]]:
        """Give all but the last five sample points a sparse vector, and return these by id."""
        collection.add_sparse_vector("s")
        rows = dict(zip((point.point_id for point in sample_points()[:-5]), sparse_rows(), strict=False))
        collection.update_vectors(
            [Point(point_id=point_id, vectors={"s": sparse(row)}) for point_id, row in rows.items()]
        )
        return rows

    @pytest.mark.parametrize("query", [{1: 1.0}, {1: 1.0, 2: 0.5, 3: 2.0}, {2: 1.0, 4_000_000_000: 1.0}])
    def test_sparse_search_equals_brute_force_with_inverse_document_frequency(
        self, collection: Collection, rows: dict[str, dict[int, float]], query: dict[int, float]
    ) -> None:
        expected = sparse_scores(query, rows)
        found = collection.search_sparse(sparse(query), vector="s", k=POINTS)
        assert {hit.point.point_id for hit in found} == set(expected)
        for hit in found:
            assert hit.score == pytest.approx(expected[hit.point.point_id], rel=1e-5)
        order = [(-hit.score, hit.point.point_id) for hit in found]
        assert order == sorted(order)
        assert [hit.point.point_id for hit in collection.search_sparse(sparse(query), vector="s", k=3)] == [
            hit.point.point_id for hit in found[:3]
        ]

    def test_document_frequencies_follow_every_write(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        """Not those of an index that is cleaned up later: a score says what the corpus holds now."""
        ids = list(rows)
        collection.delete(HasId(ids=tuple(ids[:8])))
        left = {point_id: rows[point_id] for point_id in ids[8:]}
        changed = {point_id: {1: 1.0, 77: 2.0} for point_id in ids[8:12]} | {ids[12]: {}}
        collection.update_vectors(
            [Point(point_id=point_id, vectors={"s": sparse(row)}) for point_id, row in changed.items()]
        )
        point = sample_points()[-1]
        collection.upsert(
            [Point(point_id=point.point_id, payload={}, vectors={**point.vectors, "s": sparse({77: 1.0})})]
        )
        expected = sparse_scores({1: 1.0, 77: 1.0}, {**left, **changed, point.point_id: {77: 1.0}})
        found = collection.search_sparse(sparse({1: 1.0, 77: 1.0}), vector="s", k=POINTS)
        assert {hit.point.point_id: hit.score for hit in found} == pytest.approx(expected, rel=1e-5)

    def test_document_frequencies_are_of_all_points_whatever_is_searched(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        where = of_documents(["d1"])
        expected = sparse_scores({1: 1.0, 2: 1.0}, rows)
        found = collection.search_sparse(
            sparse({1: 1.0, 2: 1.0}), vector="s", k=POINTS, where=where, with_vectors=("a", "s")
        )
        assert found
        for hit in found:
            assert hit.point.payload["doc_id"] == "d1"
            assert hit.score == pytest.approx(expected[hit.point.point_id], rel=1e-5)
            assert set(hit.point.vectors) == {"a", "s"}

    def test_a_sparse_query_without_known_indices_finds_nothing(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        assert collection.search_sparse(sparse({}), vector="s", k=3) == []
        assert collection.search_sparse(sparse({123_456: 1.0}), vector="s", k=3) == []

    def test_an_empty_sparse_vector_is_one_and_a_missing_one_is_none(
        self, store: VectorStore, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        collection.flush()
        collection.close()
        reopened = store.open("c")
        assert reopened.count(HasVector(name="s")) == len(rows)
        assert reopened.count(missing_vector("s")) == 5
        for points in reopened.scroll(with_vectors=("s",)):
            for point in points:
                found = point.vectors.get("s")
                if point.point_id not in rows:
                    assert found is None
                    continue
                assert isinstance(found, SparseVector)
                assert dict(zip(found.indices.tolist(), found.values.tolist(), strict=True)) == pytest.approx(
                    rows[point.point_id]
                )
        reopened.close()

    def test_adding_a_sparse_vector_twice_changes_nothing(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        before = collection.search_sparse(sparse({1: 1.0}), vector="s", k=5)
        collection.add_sparse_vector("s")
        after = collection.search_sparse(sparse({1: 1.0}), vector="s", k=5)
        assert [hit.point.point_id for hit in after] == [hit.point.point_id for hit in before]

    def test_a_dropped_sparse_vector_is_gone_from_every_point_and_can_be_made_anew(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        collection.drop_vector("s")
        collection.drop_vector("s")
        collection.add_sparse_vector("s")
        assert collection.count(HasVector(name="s")) == 0
        assert collection.search_sparse(sparse({1: 1.0}), vector="s", k=5) == []
        assert collection.count(HasVector(name="a")) == POINTS

    def test_a_name_keeps_the_kind_it_was_added_with(self, collection: Collection) -> None:
        collection.add_sparse_vector("s")
        collection.add_vector("b", 8, storage="float16")
        for size, storage in ((4, "float16"), (8, "float32"), (8, "int8")):
            with pytest.raises(
                InputError, match=rf"'b'.*{size} numbers as {storage}; .* 8 numbers as float16"
            ):
                collection.add_vector("b", size, storage=storage)
        with pytest.raises(InputError, match=r"'s'.*8 numbers as float32; there is one that is sparse"):
            collection.add_vector("s", 8)
        with pytest.raises(InputError, match=r"'a'.*one that is sparse; there is one that is dense, 16"):
            collection.add_sparse_vector("a")
        collection.drop_vector("b")
        collection.add_vector("b", 4)
        assert collection.count(HasVector(name="b")) == 0

    def test_an_unknown_storage_is_refused(self, collection: Collection) -> None:
        with pytest.raises(InputError, match=r"expected one of float32, float16, int8, binary, got 'int4'"):
            collection.add_vector("b", 8, storage="int4")

    @pytest.mark.parametrize("storage", STORAGES)
    @pytest.mark.parametrize("approximate", [False, True])
    def test_every_storage_finds_what_was_stored(
        self, store: VectorStore, collection: Collection, storage: str, *, approximate: bool
    ) -> None:
        """To the rounding of float16; an approximate search may choose others, but gives their scores."""
        collection.add_vector("b", SIZE, storage=storage)
        collection.add_vector("b", SIZE, storage=storage)
        points = sample_points()
        collection.update_vectors(
            [Point(point_id=point.point_id, vectors={"b": point.vectors["a"]}) for point in points[:-1]]
        )
        collection.flush()
        queries = unit_rows(5, SIZE, seed=2)
        exact = {point.point_id: queries @ point.dense["a"] for point in points[:-1]}
        k = POINTS if approximate else 7
        best = -np.sort(-np.array(list(exact.values())), axis=0)[:k]
        for _ in range(2):
            answers = collection.search(
                queries, vector="b", k=k, with_vectors=("b",), approximate=approximate
            )
            for i, found in enumerate(answers):
                scores = [hit.score for hit in found]
                np.testing.assert_allclose(scores, best[:, i], atol=1e-3)
                np.testing.assert_allclose(scores, [exact[hit.point.point_id][i] for hit in found], atol=1e-3)
            hit = answers[0][0]
            stored = next(point for point in points if point.point_id == hit.point.point_id)
            np.testing.assert_allclose(hit.point.dense["b"], stored.dense["a"], atol=3e-4)
            assert collection.count(missing_vector("b")) == 1
            collection.close()
            collection = store.open("c")
        collection.drop_vector("b")
        assert collection.count(HasVector(name="a")) == POINTS
        collection.close()

    @pytest.mark.parametrize(
        ("indices", "values"),
        [
            (np.array([1, 1], np.uint32), np.ones(2, np.float32)),
            (np.array([1], np.uint32), np.ones(2, np.float32)),
            (np.array([1], np.uint32), np.array([np.nan], np.float32)),
            (np.array([1], np.int64), np.ones(1, np.float32)),
            (np.array([1], np.uint32), np.ones(1, np.float64)),
            (np.array([[1]], np.uint32), np.ones((1, 1), np.float32)),
        ],
    )
    def test_a_sparse_vector_that_is_none_is_refused_before_any_engine_sees_it(
        self, indices: NDArray[Any], values: NDArray[Any]
    ) -> None:
        with pytest.raises(ShapeError, match="sparse vector: expected"):
            SparseVector(indices=indices, values=values)

    @pytest.mark.parametrize("where", [None, of_documents(["d1", "d2"])])
    def test_counting_above_a_score_gives_the_rank_of_every_hit(
        self, collection: Collection, where: Condition | None
    ) -> None:
        query = unit_rows(1, SIZE, seed=2)
        hits = collection.search(query, vector="a", k=POINTS, where=where)[0]
        for rank, hit in enumerate(hits):
            assert collection.count_above(query[0], vector="a", score=hit.score, where=where) == rank
        assert collection.count_above(query[0], vector="a", score=-2.0, where=where) == len(hits)
        assert collection.count_above(query[0], vector="a", score=2.0, where=where) == 0

    def test_equal_scores_are_not_above_each_other(self, collection: Collection) -> None:
        twin = unit_rows(1, SIZE, seed=4)[0]
        collection.upsert([Point(point_id=str(uuid.UUID(int=i)), vectors={"a": twin}) for i in range(4)])
        best = collection.search(twin[None], vector="a", k=5)[0]
        assert collection.count_above(twin, vector="a", score=best[3].score) == 0
        assert collection.count_above(twin, vector="a", score=best[4].score) == 4

    def test_counting_above_a_score_takes_sparse_queries_too(
        self, collection: Collection, rows: dict[str, dict[int, float]]
    ) -> None:
        query = sparse({1: 1.0, 2: 1.0})
        hits = collection.search_sparse(query, vector="s", k=POINTS)
        scores = [hit.score for hit in hits]
        for hit in hits:
            above = collection.count_above(query, vector="s", score=hit.score)
            assert above == sum(score > hit.score for score in scores)
        assert collection.count_above(query, vector="s", score=0.0) == len(hits)

    def test_updating_payloads_keeps_vectors_and_leaves_nothing_of_the_old_payload(
        self, collection: Collection
    ) -> None:
        changed, other = sample_points()[7:9]
        collection.update_payloads([Point(point_id=changed.point_id, payload={"n": -7})])
        (found,) = next(collection.scroll(where=HasId(ids=(changed.point_id,)), with_vectors=("a",)))
        assert found.payload == {"n": -7}
        np.testing.assert_allclose(found.dense["a"], changed.dense["a"], atol=1e-7)
        (left,) = next(collection.scroll(where=HasId(ids=(other.point_id,))))
        assert left.payload == other.payload
        collection.update_payloads([])
        assert collection.count() == POINTS

    def test_indexes_that_are_there_are_made_again_without_a_change(self, collection: Collection) -> None:
        collection.ensure_indexes()
        collection.ensure_indexes()
        assert collection.count(Matches(key="tandem.text_hash", values=(f"{3:016x}",))) == POINTS // 10

    def test_a_second_writer_is_refused_and_told_who_the_first_is(
        self, store: VectorStore, collection: Collection
    ) -> None:
        other = store.open("c")
        with collection.lock("a purpose"):
            for second in (other, collection):
                with (
                    pytest.raises(StoreLockedError, match=rf"process {os.getpid()} .*a purpose since 2"),
                    second.lock("another"),
                ):
                    raise AssertionError
            assert other.count() == POINTS
            other.write_record({**RECORD, "deployments": [1]})
            collection.upsert(sample_points(3))
        with other.lock("another"):
            other.delete(of_documents(["d1"]))
        other.close()
        assert collection.read_record()["deployments"] == [1]

    def test_a_writer_that_failed_lets_the_next_one_in(self, collection: Collection) -> None:
        with pytest.raises(ZeroDivisionError), collection.lock("first"):
            raise ZeroDivisionError
        with collection.lock("second"):
            collection.upsert(sample_points(3))
        assert collection.count() == POINTS

    def test_two_collections_have_a_writer_each(self, store: VectorStore, collection: Collection) -> None:
        neighbour = store.create("neighbour", vectors={"a": SIZE}, record=RECORD)
        with collection.lock("one"), neighbour.lock("other"):
            neighbour.upsert(sample_points(3))
        assert neighbour.count() == 3
        neighbour.close()
        store.drop("neighbour")

    def test_a_collection_that_is_written_is_not_dropped(
        self, store: VectorStore, collection: Collection
    ) -> None:
        with collection.lock("a purpose"):
            with pytest.raises(StoreLockedError, match=rf"{os.getpid()}.*a purpose"):
                store.drop("c")
            assert collection.count() == POINTS
        assert store.names() == ["c"]
