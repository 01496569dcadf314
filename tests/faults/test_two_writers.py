"""Two writers of one corpus at once: the second is refused and told who the first is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from retriever.corpus import Corpus
from retriever.errors import StoreError, StoreLockedError
from retriever.records import ChunkerSpec
from retriever.store.embedded import EmbeddedStore
from retriever.store.place import open_store
from retriever.store.protocol import Point
from retriever.store.server import ServerCollection, ServerStore
from retriever.store.server_lease import LEASES, Lease, Leases
from retriever.testing import FakeModel

SERVER_URL = os.environ.get("TANDEM_TEST_QDRANT_URL")
API_KEY = os.environ.get("QDRANT_API_KEY")
on_a_server = pytest.mark.skipif(SERVER_URL is None, reason="TANDEM_TEST_QDRANT_URL names no Qdrant server")

NAME = "two-writers"
RECORD = {"manifest": {"corpus": NAME}, "deployments": []}

WRITER = """
import os, sys
from retriever.corpus import Corpus
from retriever.store.place import open_store
place = {"url": sys.argv[1], "api_key": os.environ.get("QDRANT_API_KEY")}
store = open_store(**place) if "://" in sys.argv[1] else open_store(sys.argv[1])
corpus = Corpus.open(store, "two-writers")
with corpus.lock():
    print("writing", flush=True)
    sys.stdin.read()
corpus.close()
"""


def writer(place: str | Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def create(store: Any) -> None:
    Corpus.create(store, NAME, chunker=ChunkerSpec(), models=[FakeModel().spec]).close()


# ── embedded ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_process_is_told_which_one_writes_the_folder(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    create(store)
    with writer(tmp_path) as first:
        words = (
            rf"process {first.pid} of \S+ on {socket.gethostname()} \(-c, ingest since 20.*Stop that process"
        )
        for refused in (store.open, store.drop):
            with pytest.raises(StoreLockedError, match=words):
                refused(NAME)
        first.communicate("")
    with Corpus.open(store, NAME) as corpus, corpus.lock():
        assert corpus.count_chunks() == 0


def test_a_corpus_that_is_in_use_hides_no_other(tmp_path: Path, command: Callable[..., Any]) -> None:
    store = EmbeddedStore(tmp_path)
    create(store)
    Corpus.create(store, "free", chunker=ChunkerSpec(), models=[FakeModel().spec]).close()
    with writer(tmp_path) as first:
        shown = command("status", "--store", tmp_path)
        told = command("status", "--store", tmp_path, "--json").json
        assert command("status", "--store", tmp_path, "--corpus", NAME).status == 3
        first.communicate("")
    assert (shown.status, shown.err) == (0, "")
    assert "corpus free" in shown.out
    assert f"process {first.pid}" in shown.out
    assert ([one["manifest"]["corpus"] for one in told["corpora"]], [*told["in_use"]]) == (["free"], [NAME])


def test_a_writer_of_a_folder_that_was_killed_is_in_nobody_s_way(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    create(store)
    with writer(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / NAME / "tandem.lock").exists()  # its name; its lock ended with it
    with Corpus.open(store, NAME) as corpus, corpus.lock():
        assert corpus.count_chunks() == 0
    assert not (tmp_path / NAME / "tandem.lock").exists()


def test_of_many_threads_one_writes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    create(store)
    assert_one_of_many_has_the_lock(lambda: store)


def assert_one_of_many_has_the_lock(stores: Any) -> None:
    inside, most, refused = [0], [0], [0]
    counting = threading.Lock()

    def attempt(_: int) -> None:
        with Corpus.open(stores(), NAME) as corpus:
            try:
                with corpus.lock():
                    with counting:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    time.sleep(0.02)
                    with counting:
                        inside[0] -= 1
            except StoreLockedError:
                refused[0] += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(40)))
    assert most == [1]
    assert refused[0] > 0


# ── leases, with the in-memory client in place of a server ───────────────────────────────────────────────
#
# It honours the condition of an upsert as documented. That a server decides two upserts at the same
# moment one after the other is shown below, where there is a server.


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def store(client: QdrantClient) -> ServerStore:
    store = ServerStore(client, location="memory")
    store._leases = Leases(client, "memory", seconds=0.8)
    store.create(NAME, vectors={"a": 2}, record=RECORD)
    return store


def opened(store: ServerStore) -> ServerCollection:
    return store.open(NAME)


def point(i: int) -> Point:
    return Point(point_id=f"{i:08x}-0000-5000-8000-000000000000", vectors={"a": np.ones(2, np.float32)})


def killed(store: ServerStore, purpose: str = "ingest") -> Lease:
    """Take a lease as a process that is killed then: nobody renews it or gives it back."""
    holder = store._leases
    with holder.hold(NAME, purpose) as model:  # so that there is room for leases
        pass
    lease = Lease(holder, NAME, model.holder)
    lease.take()
    return lease


def test_a_lease_is_renewed_for_as_long_as_its_holder_lives(store: ServerStore) -> None:
    first, second = opened(store), opened(store)
    with first.lock("ingest"):
        deadline = time.monotonic() + 3 * store._leases.seconds
        while time.monotonic() < deadline:
            with pytest.raises(StoreLockedError, match="unless it is renewed"), second.lock("other"):
                raise AssertionError
            time.sleep(0.1)
        first.upsert([point(1)])
    with second.lock("other"):
        second.upsert([point(2)])
    assert first.count() == 2


def test_a_writer_that_was_killed_is_in_the_way_until_its_lease_ends_and_the_refusal_says_so(
    client: QdrantClient, store: ServerStore
) -> None:
    store._leases = Leases(client, "memory", seconds=60.0)
    killed(store)
    words = (
        rf"memory, corpus '{NAME}': .*process {os.getpid()} of .*ingest since.*"
        r"ends in (59|60) s unless .*no longer than that"
    )
    for refused in (lambda: opened(store).lock("other").__enter__(), lambda: store.drop(NAME)):
        with pytest.raises(StoreLockedError, match=words):
            refused()
    assert store.names() == [NAME]


def test_a_lease_that_has_ended_is_taken_over_and_its_holder_learns_of_it(store: ServerStore) -> None:
    late = opened(store)
    late._lease = lease = killed(store)
    time.sleep(1.1 * store._leases.seconds)
    with opened(store).lock("the next"):
        for write in (
            lambda: late.upsert([point(1)]),
            lambda: late.update_vectors([point(1)]),
            lambda: late.update_payloads([point(1)]),
            lambda: late.write_record(RECORD),
            lambda: late.add_vector("b", 2),
            lambda: late.drop_vector("b"),
        ):
            with pytest.raises(
                StoreLockedError, match=r"lease was lost.*the next since.*Run the same command"
            ):
                write()
        store._leases._give_back(lease)  # what it does when it ends: it must not free another's lease
        with pytest.raises(StoreLockedError), opened(store).lock("a third"):
            raise AssertionError
    assert late.count() == 0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock here counts while a machine sleeps")
def test_a_holder_whose_machine_slept_learns_that_its_lease_has_ended(
    client: QdrantClient, store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._leases = Leases(client, "memory", seconds=60.0)
    late = opened(store)
    late._lease = killed(store)
    wall, since_boot = time.time, time.clock_gettime
    monkeypatch.setattr(time, "time", lambda: wall() + 100)  # and `monotonic` has stood still
    monkeypatch.setattr(time, "clock_gettime", lambda clock: since_boot(clock) + 100)
    with opened(store).lock("the next"), pytest.raises(StoreLockedError, match=r"lease was lost.*the next"):
        late.upsert([point(1)])
    assert late.count() == 0


def test_a_lease_that_was_taken_and_given_back_by_another_is_lost_all_the_same(store: ServerStore) -> None:
    late = opened(store)
    late._lease = killed(store)
    time.sleep(1.1 * store._leases.seconds)
    with opened(store).lock("the next"):
        pass
    with pytest.raises(StoreLockedError, match="given back by another writer"):
        late.upsert([point(1)])
    with opened(store).lock("a third"):  # and asking for it did not bring it back
        pass


def test_a_lease_that_ended_while_nobody_wanted_it_is_taken_up_again(store: ServerStore) -> None:
    late = opened(store)
    late._lease = killed(store)
    time.sleep(1.1 * store._leases.seconds)
    late.upsert([point(1)])
    with pytest.raises(StoreLockedError), opened(store).lock("other"):
        raise AssertionError


def test_a_renewal_that_fails_once_is_made_up_for(
    store: ServerStore,
    client: QdrantClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = iter([StoreError("away"), StoreError("away")])
    put = Leases.put

    def sometimes(leases: Leases, *arguments: Any) -> dict[str, Any]:
        failure = next(failures, None) if threading.current_thread() is not threading.main_thread() else None
        if failure is not None:
            raise failure
        return put(leases, *arguments)

    first = opened(store)
    with first.lock("ingest"):
        monkeypatch.setattr(Leases, "put", sometimes)
        time.sleep(1.2 * store._leases.seconds)
        first.upsert([point(1)])
    assert "was not renewed: away" in caplog.text
    assert client.count(LEASES).count == 0


def test_leases_are_no_corpus_and_leave_nothing_behind(client: QdrantClient, store: ServerStore) -> None:
    with opened(store).lock("ingest"):
        assert store.names() == [NAME]
        assert client.count(LEASES).count == 1
    assert client.count(LEASES).count == 0
    assert store.names() == [NAME]


def test_two_that_create_the_room_for_leases_at_once_both_have_it(
    client: QdrantClient, store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "collection_exists", _first_no(client.collection_exists))
    with opened(store).lock("ingest"):
        assert client.count(LEASES).count == 1


def _first_no(exists: Any) -> Any:
    answers = iter([False])
    return lambda name: next(answers, None) is None and exists(name)


# ── leases, on a server ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server_store() -> Iterator[Any]:
    store = open_store(url=SERVER_URL, api_key=API_KEY)
    create(store)
    yield store
    store.drop(NAME)


@on_a_server
def test_a_second_process_is_told_which_one_writes_on_the_server(server_store: Any) -> None:
    assert SERVER_URL is not None
    with writer(SERVER_URL) as first:
        words = rf"process {first.pid} of \S+ on {socket.gethostname()} \(-c, ingest since"
        with (
            Corpus.open(server_store, NAME) as corpus,
            pytest.raises(StoreLockedError, match=words),
            corpus.lock(),
        ):
            raise AssertionError
        first.communicate("")
    with Corpus.open(server_store, NAME) as corpus, corpus.lock():
        assert corpus.count_chunks() == 0


@on_a_server
@pytest.mark.usefixtures("server_store")
def test_of_many_clients_one_writes() -> None:
    assert_one_of_many_has_the_lock(lambda: open_store(url=SERVER_URL, api_key=API_KEY))


@on_a_server
def test_a_server_checks_the_condition_where_it_applies_the_upsert(server_store: Any) -> None:
    client: QdrantClient = server_store._client
    with server_store._leases.hold("room", "test"):
        pass
    point_id = "00000000-0000-5000-8000-000000000001"

    def take(i: int) -> None:
        never = models.Filter(must=[models.HasIdCondition(has_id=[])])
        mine = models.PointStruct(id=point_id, vector={}, payload={"token": str(i)})
        client.upsert(LEASES, [mine], wait=True, update_filter=never)

    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(take, range(200)))
        first = client.retrieve(LEASES, [point_id])[0].payload
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(take, range(200, 400)))
        assert client.retrieve(LEASES, [point_id])[0].payload == first
    finally:
        client.delete(LEASES, models.PointIdsList(points=[point_id]))
