"""The scan of 8-bit numbers: what it rules out is never among the best, and it never outlives a write."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retriever.errors import ShapeError, StoreCorruptError
from retriever.models.protocol import FloatArray
from retriever.store import embedded, scan, scan_keeper
from retriever.store.embedded import EmbeddedCollection, EmbeddedStore
from retriever.store.filters import HasId, HasVector
from retriever.store.protocol import Point
from retriever.store.scan import ExactScan
from retriever.store.scan_batches import SharedPass
from retriever.store.scan_levels import QueryLevels, encode_rows

RECORD = {"manifest": {"corpus": "c"}, "deployments": []}
SIZE = 24
ROWS = 400

SEARCH_AND_END = """
import sys
import numpy as np
from retriever.store import embedded
from retriever.store.embedded import EmbeddedStore
embedded._WORTH_A_SCAN = 1
collection = EmbeddedStore(sys.argv[1]).open("c")
scroll = collection.scroll
collection.scroll = lambda **given: scroll(**given | {"batch": 1})
for _ in range(3):
    collection.search(np.ones((1, 24), dtype=np.float32), vector="a", k=3)
print("being made" if collection._shard.scans._builds else "made")
"""


def name_of(row: int) -> str:
    return str(uuid.UUID(int=row))


def scan_of(rows: FloatArray, *, block: int = 64) -> ExactScan:
    names = [name_of(i) for i in range(len(rows))]
    blocks = ((names[i : i + block], rows[i : i + block]) for i in range(0, len(rows), block))
    return ExactScan(blocks, rows=len(rows), size=rows.shape[1])


def candidate_rows(found: Sequence[str] | None) -> set[int]:
    assert found is not None
    return {uuid.UUID(name).int for name in found}


def scores_of(rows: FloatArray, query: FloatArray) -> NDArray[np.float64]:
    """Return dot products in float64, each summed alike, so that equal rows score alike."""
    return (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1)


def best_of(rows: FloatArray, query: FloatArray, k: int) -> set[int]:
    """Return, by brute force, all rows that score the k-th highest or higher."""
    scores = scores_of(rows, query)
    kth = np.sort(scores)[::-1][min(k, len(rows)) - 1]
    return set(np.flatnonzero(scores >= kth).tolist())


def units(rows: NDArray[np.float64]) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def normal(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return units(rng.normal(size=(rows, size)))


def narrow_cone(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return units(rng.normal(size=(rows, size)) + 2)


def clusters(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    centres = rng.normal(size=(4, size))
    return units(centres[rng.integers(4, size=rows)] + 1e-4 * rng.normal(size=(rows, size)))


def duplicates(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return normal(rng, 3, size)[rng.integers(3, size=rows)]


def ties(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return rng.integers(-1, 2, size=(rows, size)).astype(np.float32)


def outlier_dimension(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    values = rng.normal(size=(rows, size))
    values[:, 0] *= 200
    return units(values)


def outlier_row(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    values = normal(rng, rows, size)
    values[rng.integers(rows)] *= np.float32(1e6)
    return values


def constant(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return np.full((rows, size), rng.normal(), dtype=np.float32)


def zeros(_: np.random.Generator, rows: int, size: int) -> FloatArray:
    return np.zeros((rows, size), dtype=np.float32)


def tiny(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return (rng.normal(size=(rows, size)) * 1e-41).astype(np.float32)


def huge(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    return (rng.normal(size=(rows, size)) * 1e37).astype(np.float32)


KINDS = (
    normal,
    narrow_cone,
    clusters,
    duplicates,
    ties,
    outlier_dimension,
    outlier_row,
    constant,
    zeros,
    tiny,
    huge,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 300),
    size=st.integers(1, 70),
    queries=st.integers(1, 10),
    k=st.integers(1, 330),
    length=st.sampled_from([1.0, 1e-30, 0.3, 40.0, 1e30]),
)
def test_the_candidates_hold_all_that_brute_force_in_float64_finds(
    kind: Callable[[np.random.Generator, int, int], FloatArray],
    seed: int,
    rows: int,
    size: int,
    queries: int,
    k: int,
    length: float,
) -> None:
    rng = np.random.default_rng(seed)
    stored = kind(rng, rows, size)
    asked = normal(rng, queries, size) * np.float32(length)
    asked[0] = stored[0] * np.float32(min(length, 1.0))
    found = scan_of(stored).candidates(asked, k=k)
    for query, names in zip(asked, found, strict=True):
        assert best_of(stored, query, k) <= candidate_rows(names)


@pytest.mark.parametrize("kind", KINDS)
def test_no_score_is_outside_its_bounds(
    kind: Callable[[np.random.Generator, int, int], FloatArray],
) -> None:
    rng = np.random.default_rng(3)
    stored = kind(rng, 500, 96)
    asked = normal(rng, 8, 96)
    made = scan_of(stored)
    queries = QueryLevels(asked, made._direction)
    lower, upper = made._bounds(slice(0, 500), queries)
    _, facts = encode_rows(stored, made._direction)
    unit = np.linalg.norm(facts[:, 1:], axis=1).max() or 1.0
    for i, query in enumerate(asked):
        exact = scores_of(stored, query) / np.linalg.norm(query.astype(np.float64)) / unit
        assert (lower[:, i] - made._slack <= exact).all()
        assert (exact <= upper[:, i] + made._slack).all()
        assert (upper[:, i] - lower[:, i]).max() < 0.1


def test_few_candidates_are_left_of_many_rows() -> None:
    rng = np.random.default_rng(1)
    stored = narrow_cone(rng, 20_000, 128)
    asked = units(stored[:70].astype(np.float64) + 0.05 * rng.normal(size=(70, 128)))
    found = scan_of(stored).candidates(asked, k=10)
    for query, names in zip(asked, found, strict=True):
        rows = candidate_rows(names)
        assert best_of(stored, query, 10) <= rows
        assert len(rows) < 100


def test_blocks_of_rows_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    stored, asked = normal(rng, 3_000, 32), normal(rng, 9, 32)
    whole = [candidate_rows(names) for names in scan_of(stored).candidates(asked, k=5)]
    monkeypatch.setattr(scan, "_CELLS", 600)
    monkeypatch.setattr(scan, "_PER_THREAD", 1_000)
    monkeypatch.setenv("TANDEM_THREADS", "3")
    monkeypatch.setattr(scan, "_GATHERED", 7)
    in_blocks = [candidate_rows(names) for names in scan_of(stored, block=7).candidates(asked, k=5)]
    for query, rows in zip(asked, in_blocks, strict=True):
        assert best_of(stored, query, 5) <= rows
    assert max(map(len, in_blocks)) < 60
    assert max(map(len, whole)) < 60


def test_too_many_candidates_are_none_and_counted() -> None:
    rng = np.random.default_rng(4)
    equal = np.repeat(normal(rng, 1, 16), 1_500, axis=0)
    made = scan_of(np.concatenate([equal, normal(rng, 100, 16)]))
    assert made.candidates(equal[:1], k=3) == [None]
    assert made.candidates(-equal[:1], k=3) != [None]
    assert (made.searches, made.unproven) == (2, 1)


def test_rows_that_the_first_level_cannot_tell_apart_are_not_gathered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "_GATHERED", 10)
    rng = np.random.default_rng(5)
    stored = np.concatenate([np.repeat(normal(rng, 1, 16), 80, axis=0), normal(rng, 300, 16)])
    assert scan_of(stored).candidates(stored[:1], k=3) == [None]


def test_an_empty_scan_has_no_candidates() -> None:
    made = ExactScan(iter([]), rows=0, size=4)
    assert made.candidates(np.ones((2, 4), dtype=np.float32), k=3) == [[], []]
    assert made.candidates(np.ones((0, 4), dtype=np.float32), k=3) == []


def test_it_takes_little_more_than_a_byte_per_number() -> None:
    made = scan_of(normal(np.random.default_rng(6), 100, 768))
    assert made.nbytes <= 1.05 * 100 * 768


@pytest.mark.parametrize(
    ("block", "rows", "expected"),
    [
        (np.ones((3, 4), np.float32), 3, r"shape \(3, 5\)"),
        (np.ones((3, 5), np.float64), 3, "float32"),
        (np.ones((2, 5), np.float32), 3, r"shape \(3, 5\)"),
        (np.ones((3, 5), np.float32), 2, "at most 2 more"),
        (np.ones((3, 5), np.float32), 4, "expected 4 vectors, got 3"),
        (np.full((3, 5), np.nan, np.float32), 3, "finite"),
        (np.full((3, 5), np.inf, np.float32), 3, "finite"),
    ],
)
def test_rows_that_are_not_as_announced_are_refused(block: FloatArray, rows: int, expected: str) -> None:
    with pytest.raises(ShapeError, match=expected):
        ExactScan([([name_of(i) for i in range(3)], block)], rows=rows, size=5)


@pytest.mark.parametrize("query", [np.ones((1, 3)), np.ones(4), np.full((1, 4), np.nan), [[1, 1, 1, np.inf]]])
def test_queries_that_would_spoil_those_of_others_are_refused(query: object) -> None:
    made = scan_of(np.ones((5, 4), dtype=np.float32))
    with pytest.raises(ShapeError, match="queries"):
        made.candidates(np.asarray(query, dtype=np.float32), k=1)


@pytest.mark.parametrize("size", [1, 2, 3, 31, 33, 255, 768, 4096, 65_536])
@pytest.mark.parametrize("queries", [1, 3, 8, 11])
def test_the_kernels_sum_without_error_at_the_extremes(size: int, queries: int) -> None:
    rng = np.random.default_rng(size)
    for low, high in ((127, 128), (-127, -126), (-127, 128)):
        rows = rng.integers(low, high, size=(9, size), dtype=np.int8)
        levels = rng.integers(low, high, size=(queries, size), dtype=np.int8)
        expected = rows.astype(np.int64) @ levels.T.astype(np.int64)
        np.testing.assert_array_equal(scan._dots(rows, levels), expected)


# ── callers that share a pass ────────────────────────────────────────────────────────────────────────────


class Held:
    """Doubles numbers; its first call waits until `others` have come."""

    def __init__(self, others: int) -> None:
        self.calls: list[int] = []
        self.others = others
        self.shared = SharedPass(self.double, at_once=8)

    def double(self, items: Sequence[int]) -> list[int]:
        self.calls.append(len(items))
        while len(self.calls) == 1 and len(self.shared._waiting) < self.others:
            time.sleep(0.001)
        if -1 in items:
            raise ShapeError("expected no -1, got one. Leave it out.")
        return [2 * item for item in items]


def test_callers_that_wait_share_the_next_call() -> None:
    held = Held(others=11)
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda i: held.shared([i]), range(12))) == [[2 * i] for i in range(12)]
    assert held.calls == [1, 8, 3]


def test_a_caller_with_more_than_fits_a_call_gets_all_results() -> None:
    held = Held(others=0)
    assert held.shared(range(20)) == [2 * i for i in range(20)]
    assert held.calls == [8, 8, 4]
    assert held.shared([]) == []


def test_what_a_call_raises_reaches_all_its_callers_and_no_other() -> None:
    held = Held(others=2)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(held.shared, [1])
        while not held.calls:
            time.sleep(0.001)
        second, third = pool.submit(held.shared, [-1]), pool.submit(held.shared, [3])
        assert first.result() == [2]
        for failed in (second, third):
            with pytest.raises(ShapeError):
                failed.result()
    assert held.shared([5]) == [10]


def test_a_caller_that_is_stopped_leaves_the_others_served() -> None:
    calls: list[Sequence[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        calls.append(items)
        while len(calls) == 1 and len(shared._waiting) < 2:
            time.sleep(0.001)
        if len(calls) == 2 or not items:
            raise KeyboardInterrupt
        return [2 * item for item in items]

    shared = SharedPass(run, at_once=8)
    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(shared, [i]) for i in range(3)]
        stopped = [caller for caller in callers if isinstance(caller.exception(), KeyboardInterrupt)]
    assert len(stopped) == 1
    assert [caller.result() for caller in callers if caller not in stopped] == [
        [2 * i] for i, caller in enumerate(callers) if caller not in stopped
    ]


# ── the scans of an embedded collection ──────────────────────────────────────────────────────────────────


def points_of(rows: FloatArray, *, start: int = 0) -> list[Point]:
    return [
        Point(point_id=name_of(start + i), payload={"doc_id": f"d{i % 7}", "n": i}, vectors={"a": row})
        for i, row in enumerate(rows)
    ]


@pytest.fixture
def stored() -> FloatArray:
    return narrow_cone(np.random.default_rng(7), ROWS, SIZE)


@pytest.fixture
def collection(
    tmp_path: Path, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedCollection]:
    """Return a collection that is scanned though it is small, as soon as it is asked."""
    monkeypatch.setattr(embedded, "_WORTH_A_SCAN", 1)
    monkeypatch.setattr(scan_keeper, "_QUIET_S", 0.0)
    collection = EmbeddedStore(tmp_path).create("c", vectors={"a": SIZE}, record=RECORD)
    collection.upsert(points_of(stored))
    yield collection
    collection.close()


def kept(collection: EmbeddedCollection, vector: str = "a") -> ExactScan | None:
    return collection._shard.scans._kept.get(vector)


def prepared(collection: EmbeddedCollection, vector: str = "a") -> ExactScan:
    collection.prepare(vector)
    made = kept(collection, vector)
    assert made is not None
    return made


def found_in(collection: EmbeddedCollection, query: FloatArray, k: int = 10) -> list[tuple[str, float]]:
    (found,) = collection.search(query[None], vector="a", k=k)
    return [(hit.point.point_id, hit.score) for hit in found]


def test_a_search_finds_the_same_with_a_scan_as_without(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    queries = np.concatenate([3 * stored[:20], normal(np.random.default_rng(8), 20, SIZE)])

    def found() -> list[object]:
        return collection.search(queries, vector="a", k=7)  # type: ignore[return-value]

    without = found()
    made = prepared(collection)
    assert found() == without
    assert (made.searches, made.unproven) == (40, 0)
    for hits, query in zip(without, queries, strict=True):
        assert {uuid.UUID(hit.point.point_id).int for hit in hits} == best_of(stored, query, 7)  # type: ignore[attr-defined]


def test_payload_and_vectors_come_as_asked_with_a_scan(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    prepared(collection)
    ((hit,),) = collection.search(stored[5:6], vector="a", k=1, with_vectors=("a",))
    assert hit.point.point_id == name_of(5)
    assert hit.point.payload == {"doc_id": "d5", "n": 5}
    np.testing.assert_array_equal(hit.point.vectors["a"], stored[5])
    assert collection.search(stored[5:6], vector="a", k=1)[0][0].point.vectors == {}


def test_k_beyond_the_collection_returns_every_point_with_a_scan(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    prepared(collection)
    assert len(found_in(collection, stored[0], k=5_000)) == ROWS


def test_an_unproven_search_is_done_by_the_engine(
    collection: EmbeddedCollection, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = found_in(collection, stored[0])
    made = prepared(collection)
    monkeypatch.setattr(scan, "_MOST_CANDIDATES", -10)
    assert found_in(collection, stored[0]) == expected
    assert (made.searches, made.unproven) == (1, 1)


def test_a_search_with_a_condition_is_left_to_the_engine(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    made = prepared(collection)
    (found,) = collection.search(stored[:1], vector="a", k=3, where=HasId(ids=(name_of(9),)))
    assert [hit.point.point_id for hit in found] == [name_of(9)]
    assert made.searches == 0


def test_points_without_the_vector_are_left_out(collection: EmbeddedCollection) -> None:
    collection.upsert([Point(point_id=name_of(9_999), payload={}, vectors={})])
    assert len(prepared(collection)) == ROWS


WRITES: dict[str, Callable[[EmbeddedCollection, FloatArray], None]] = {
    "a point is added": lambda c, row: c.upsert(points_of(row[None], start=9_000)),
    "a point is replaced": lambda c, row: c.upsert([Point(point_id=name_of(3), vectors={"a": row})]),
    "a vector is replaced": lambda c, row: c.update_vectors([Point(point_id=name_of(3), vectors={"a": row})]),
    "a payload is replaced": lambda c, _: c.update_payloads([Point(point_id=name_of(3), payload={"n": -1})]),
    "points are deleted": lambda c, _: c.delete(HasId(ids=(name_of(0), name_of(1)))),
    "a vector is added to the layout": lambda c, _: c.add_vector("b", 4),
    "the vector is dropped": lambda c, _: c.drop_vector("a"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_drops_the_scan_and_is_seen_by_the_next_search(
    collection: EmbeddedCollection,
    stored: FloatArray,
    write: Callable[[EmbeddedCollection, FloatArray], None],
) -> None:
    prepared(collection)
    other = EmbeddedStore(collection._folder.parent).open("c")
    write(other, stored[0] * np.float32(2))
    other.close()
    assert kept(collection) is None
    if not collection.count(HasVector(name="a")):
        return
    after = [
        (point.point_id, scores_of(np.array([point.vectors["a"]]), stored[0])[0])
        for page in collection.scroll(with_vectors=("a",))
        for point in page
    ]
    expected = {name for name, _ in sorted(after, key=lambda pair: (-pair[1], pair[0]))[:10]}
    assert {name for name, _ in found_in(collection, stored[0])} == expected
    prepared(collection)
    assert {name for name, _ in found_in(collection, stored[0])} == expected


def test_a_search_that_a_write_overtakes_is_done_again(
    collection: EmbeddedCollection, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(collection)
    find = made.candidates

    def overtaken(queries: FloatArray, *, k: int) -> list[list[str] | None]:
        found = find(queries, k=k)
        collection.upsert(points_of(2 * stored[:1], start=9_000))
        return found

    monkeypatch.setattr(made, "candidates", overtaken)
    assert found_in(collection, stored[0])[0][0] == name_of(9_000)


def test_a_scan_that_a_write_overtakes_is_not_kept(
    collection: EmbeddedCollection, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = collection._rows

    def overtaken(vector: str) -> scan_keeper.Rows | None:
        rows = read(vector)
        collection.upsert(points_of(stored[:1], start=9_000))
        return rows

    monkeypatch.setattr(collection, "_rows", overtaken)
    collection.prepare("a")
    assert kept(collection) is None
    monkeypatch.undo()
    monkeypatch.setattr(embedded, "_WORTH_A_SCAN", 1)
    assert len(prepared(collection)) == ROWS + 1


def test_a_write_under_way_keeps_a_scan_from_being_kept(collection: EmbeddedCollection) -> None:
    with collection._shard.scans.writing():
        collection.prepare("a")
        assert kept(collection) is None
    prepared(collection)


def test_a_scan_begun_during_a_write_is_not_kept_when_the_write_is_over(
    collection: EmbeddedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = collection._shard.scans.writing()
    read = collection._rows

    def overtaken(vector: str) -> scan_keeper.Rows | None:
        rows = read(vector)
        writing.__exit__(None, None, None)
        return rows

    writing.__enter__()
    monkeypatch.setattr(collection, "_rows", overtaken)
    collection.prepare("a")
    assert collection._shard.scans._kept == {}


def test_some_searches_bring_a_scan_about(collection: EmbeddedCollection, stored: FloatArray) -> None:
    for _ in range(2):
        found_in(collection, stored[0])
    assert not collection._shard.scans._builds
    assert kept(collection) is None
    deadline = time.monotonic() + 60
    while kept(collection) is None and time.monotonic() < deadline:
        found_in(collection, stored[0])
    assert kept(collection) is not None


def test_no_scan_is_begun_until_writes_have_been_quiet(
    collection: EmbeddedCollection, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_keeper, "_QUIET_S", 1e9)
    for _ in range(5):
        found_in(collection, stored[0])
    assert not collection._shard.scans._builds
    assert kept(collection) is None


def test_few_points_have_no_scan(
    collection: EmbeddedCollection, stored: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_WORTH_A_SCAN", ROWS + 1)
    collection.prepare("a")
    assert collection._shard.scans._kept == {"a": None}
    assert found_in(collection, stored[3], k=1)[0][0] == name_of(3)


def test_a_vector_kept_in_float16_has_no_scan(collection: EmbeddedCollection, stored: FloatArray) -> None:
    collection.add_vector("half", SIZE, storage="float16")
    collection.update_vectors([Point(point_id=name_of(i), vectors={"half": stored[i]}) for i in range(ROWS)])
    collection.prepare("half")
    assert collection._shard.scans._kept == {"half": None}


def test_a_scan_that_cannot_be_made_is_told_and_not_tried_again(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    collection.upsert([Point(point_id=name_of(3), vectors={"a": np.full(SIZE, np.nan, dtype=np.float32)})])
    with pytest.raises(ShapeError, match="finite"):
        collection.prepare("a")
    assert collection._shard.scans._kept == {"a": None}
    assert found_in(collection, stored[5], k=1)[0][0] == name_of(5)


def test_closing_waits_for_a_scan_that_is_being_made(
    collection: EmbeddedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = collection._rows

    def slow(vector: str) -> scan_keeper.Rows | None:
        reading.set()
        go_on.wait(60)
        return read(vector)

    monkeypatch.setattr(collection, "_rows", slow)
    with ThreadPoolExecutor(2) as pool:
        made = pool.submit(collection.prepare, "a")
        assert reading.wait(60)
        closed = pool.submit(collection.close)
        time.sleep(0.05)
        assert not closed.done()
        go_on.set()
        made.result(60)
        closed.result(60)
    collection._shard.scans.prepare("a", read)
    assert kept(collection) is None


def test_a_process_may_end_while_a_scan_is_being_made(collection: EmbeddedCollection) -> None:
    collection.close()
    ran = subprocess.run(
        [sys.executable, "-c", SEARCH_AND_END, str(collection._folder.parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "being made\n", "")


def test_searches_beside_a_writer_see_all_that_was_written_before_them(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    """Each point written is a better hit than all before it, so a search must find it or a later one."""
    query = stored[0]
    written = [0]
    stop = threading.Event()

    def write() -> None:
        try:
            for i in range(1, 60):
                collection.upsert(points_of(query[None] * np.float32(1 + i), start=10_000 + i))
                written[0] = i
                if i % 10 == 0:
                    collection.prepare("a")
                time.sleep(0.002)
        finally:
            stop.set()

    def read() -> int:
        searches = 0
        while not stop.is_set():
            before = written[0]
            best = uuid.UUID(found_in(collection, query)[0][0]).int
            assert best >= 10_000 + before or before == 0
            searches += 1
        return searches

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(5)]
        pool.submit(write).result(120)
        assert all(reader.result(60) > 0 for reader in readers)


def test_threads_that_search_at_once_each_get_their_own_answer(
    collection: EmbeddedCollection, stored: FloatArray
) -> None:
    made = prepared(collection)

    def nearest(i: int) -> str:
        return found_in(collection, stored[i], k=1 + i % 5)[0][0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(nearest, range(200))) == [name_of(i) for i in range(200)]
    assert (made.searches, made.unproven) == (200, 0)


def test_a_corrupt_layout_is_told_by_prepare(collection: EmbeddedCollection) -> None:
    (collection._folder / "storage.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"storage\.json"):
        collection.prepare("a")
