"""A server that goes away is told by a typed error, soon; when it is back, the same objects go on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from retriever.errors import CorpusNotFoundError, StoreUnreachableError
from retriever.store.protocol import Collection, Point
from retriever.store.server import ServerStore
from retriever.store.server_client import Patience

NAME = "away"
SIZE = 8
POINTS = 30
QUERY = np.eye(1, SIZE, dtype=np.float32)
THREADS = 12

A_MINUTE = 60
"""How long the Qdrant client waits by itself; what is told before that is told by ours."""


def points(count: int = POINTS) -> list[Point]:
    rows = np.random.default_rng(5).normal(size=(count, SIZE)).astype(np.float32)
    return [
        Point(point_id=str(uuid.UUID(int=i + 1)), payload={"n": i}, vectors={"a": row})
        for i, row in enumerate(rows)
    ]


@pytest.fixture
def store(wire: Any) -> ServerStore:
    return ServerStore.connect(wire.url, patience=Patience(seconds=0.5))


@pytest.fixture
def collection(store: ServerStore) -> Iterator[Collection]:
    collection = store.create(NAME, vectors={"a": SIZE}, record={"manifest": {}})
    collection.upsert(points())
    yield collection
    store.drop(NAME)


def found(collection: Collection) -> list[str]:
    (ranking,) = collection.search(QUERY, vector="a", k=5)
    return [hit.point.point_id for hit in ranking]


def test_a_server_that_is_killed_is_told_soon_and_used_again_when_it_is_back(
    wire: Any, collection: Collection
) -> None:
    expected = found(collection)
    assert len(expected) == 5
    for _ in range(3):
        wire.cut()
        start = time.monotonic()
        for ask in (lambda: found(collection), collection.count, collection.read_record):
            with pytest.raises(
                StoreUnreachableError, match=rf"{wire.url}: expected an answer.*Check that the server runs"
            ):
                ask()
        assert time.monotonic() - start < A_MINUTE
        wire.mend()
        assert found(collection) == expected
        assert collection.count() == POINTS


def test_a_server_that_no_longer_answers_is_told_after_the_time_a_search_may_take(
    wire: Any, collection: Collection
) -> None:
    expected = found(collection)
    hasty = ServerStore.connect(wire.url, patience=Patience(seconds=0.5, seconds_searching=1.0)).open(NAME)
    wire.freeze()
    start = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="expected an answer, got: timed out"):
        found(hasty)
    assert 1.0 <= time.monotonic() - start < A_MINUTE
    wire.thaw()
    assert found(collection) == expected


def test_of_many_threads_each_gets_the_right_answer_or_the_error(wire: Any, collection: Collection) -> None:
    expected = found(collection)
    ended = threading.Event()

    def ask(_: int) -> tuple[int, int]:
        right = away = 0
        while not ended.is_set():
            try:
                assert found(collection) == expected
                right += 1
            except StoreUnreachableError:
                away += 1
        assert found(collection) == expected
        return right, away

    with ThreadPoolExecutor(THREADS) as pool:
        asked = [pool.submit(ask, i) for i in range(THREADS)]
        try:
            for _ in range(2):
                time.sleep(0.5)
                wire.cut()
                time.sleep(2)
                wire.mend()
        finally:
            ended.set()
        counts = [one.result() for one in asked]
    assert all(right for right, _ in counts)
    assert any(away for _, away in counts)


def test_a_writer_waits_for_the_server_and_a_search_beside_it_does_not(
    wire: Any, collection: Collection
) -> None:
    with collection.lock("write"):
        wire.cut()
        mended = threading.Timer(3, wire.mend)
        mended.start()
        with pytest.raises(StoreUnreachableError):
            found(collection)
        collection.upsert(points(POINTS + 5)[POINTS:])
        mended.join()
    assert collection.count() == POINTS + 5


def test_nothing_is_connected_to_a_server_that_is_away(wire: Any) -> None:
    wire.cut()
    with pytest.raises(StoreUnreachableError, match="Check that the server runs and the URL is right"):
        ServerStore.connect(wire.url)
    wire.mend()
    with pytest.raises(CorpusNotFoundError, match="'nothing'"):
        ServerStore.connect(wire.url).open("nothing")
