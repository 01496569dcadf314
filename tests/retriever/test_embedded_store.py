"""The embedded engine under real faults: other processes, kills, half-made folders, broken files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    InputError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from retriever.store import embedded_shards, space
from retriever.store.embedded import EmbeddedCollection, EmbeddedStore
from retriever.store.filters import HasVector
from retriever.store.kinds import Dense
from retriever.store.layout import ServerLayout
from retriever.store.place import open_store
from retriever.store.protocol import Point, SparseVector

RECORD = {"manifest": {"corpus": "c"}, "deployments": []}
SIZES = {"a": 2}

HOLD = """
import sys
from retriever.store.embedded import EmbeddedStore
collection = EmbeddedStore(sys.argv[1]).open("c")
print("open", flush=True)
sys.stdin.read()
"""

WRITE = """
import sys, uuid
import numpy as np
from retriever.store.embedded import EmbeddedCollection, EmbeddedStore
from retriever.store.place import open_store
from retriever.store.protocol import Point
collection = EmbeddedStore(sys.argv[1]).open("c")
for i in range(10**9):
    ids = [str(uuid.UUID(int=10 * i + j)) for j in range(10)]
    vectors = {"a": np.ones(2, np.float32)}
    collection.upsert([Point(point_id=id, payload={"n": i}, vectors=vectors) for id in ids])
    print(i, flush=True)
"""

CREATE = """
import os, signal, sys
from retriever.store import embedded
class Killed(dict):
    def items(self):
        os.kill(os.getpid(), signal.SIGKILL)
record = {"manifest": Killed(corpus="c"), "deployments": []}
embedded.EmbeddedStore(sys.argv[1]).create("c", vectors={"a": 2}, record=record)
"""


def python(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def points(count: int) -> list[Point]:
    return [
        Point(point_id=str(uuid.UUID(int=i)), payload={"n": i}, vectors={"a": np.ones(2, np.float32)})
        for i in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedStore:
    return EmbeddedStore(tmp_path / "store")


def make(store: EmbeddedStore, name: str = "c", *, count: int = 3) -> Path:
    """Create a corpus with some points, close it and return its folder."""
    collection = store.create(name, vectors=SIZES, record=RECORD)
    collection.upsert(points(count))
    collection.close()
    return Path(store.location) / name


def test_a_second_process_is_refused_and_told_what_to_do(store: EmbeddedStore, tmp_path: Path) -> None:
    make(store)
    with python(HOLD, tmp_path / "store") as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "open\n"
        for refused in (store.open, store.drop):
            with pytest.raises(StoreLockedError, match=r"the only process.*Stop that process, or .*server"):
                refused("c")
        with pytest.raises(CorpusExistsError):
            store.create("c", vectors=SIZES, record=RECORD)
        assert store.names() == ["c"]  # which needs no lock
        holder.stdin.close()
    with_it_gone = store.open("c")
    assert with_it_gone.count() == 3
    with_it_gone.close()


def test_openers_in_one_process_share_what_they_write(store: EmbeddedStore) -> None:
    make(store)
    one, other = store.open("c"), EmbeddedStore(store.location).open("c")
    one.upsert(points(5))
    assert other.count() == 5
    one.close()
    one.close()
    assert other.count() == 5
    other.close()
    with pytest.raises(StoreError, match="embedded engine failed"):
        other.count()


def test_an_open_corpus_is_not_dropped_under_its_opener(store: EmbeddedStore) -> None:
    make(store)
    collection = store.open("c")
    with pytest.raises(StoreLockedError, match="this process has it open"):
        store.drop("c")
    assert collection.count() == 3
    collection.close()
    store.drop("c")
    assert store.names() == []
    assert not (Path(store.location) / "c").exists()


def test_threads_read_and_write_at_the_same_time(store: EmbeddedStore) -> None:
    collection = store.create("c", vectors=SIZES, record=RECORD)
    every = points(400)
    done = threading.Event()

    def write(part: int) -> None:
        for start in range(0, 100, 10):
            collection.upsert(every[100 * part + start : 100 * part + start + 10])

    def read() -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            hits = collection.search(np.ones((1, 2), np.float32), vector="a", k=500)[0]
            assert all(hit.point.payload["n"] == uuid.UUID(hit.point.point_id).int for hit in hits)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for writer in [pool.submit(write, part) for part in range(4)]:
            writer.result()
        done.set()
        assert all(reader.result() for reader in readers)
    assert collection.count() == 400
    collection.close()


def test_a_killed_writer_loses_nothing_that_was_acknowledged(store: EmbeddedStore, tmp_path: Path) -> None:
    make(store, count=0)
    with python(WRITE, tmp_path / "store") as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        acknowledged = 20 + sum(line.endswith("\n") for line in writer.stdout)
    collection = store.open("c")
    stored = {uuid.UUID(point.point_id).int for batch in collection.scroll() for point in batch}
    assert stored >= set(range(10 * acknowledged))
    assert len(stored) <= 10 * (acknowledged + 1)  # and no more than the one write that was under way
    collection.close()


def test_a_creation_that_was_killed_is_invisible_and_can_be_repeated(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    with python(CREATE, tmp_path / "store") as creator:
        assert creator.wait() == -signal.SIGKILL
    assert (tmp_path / "store" / "c" / "shard").is_dir()
    assert store.names() == []
    with pytest.raises(CorpusNotFoundError, match="found no corpus"):
        store.open("c")
    assert make(store).name in store.names()


@pytest.mark.parametrize("left", ["nothing", "an empty shard", "a broken shard", "a draft of the record"])
def test_whatever_a_creation_left_behind_it_can_be_repeated(store: EmbeddedStore, left: str) -> None:
    folder = Path(store.location) / "c"
    if left == "nothing":
        folder.mkdir(parents=True)
    elif left == "an empty shard":
        (folder / "shard").mkdir(parents=True)
    else:
        make(store)
        (folder / "tandem.json").rename(folder / "tandem.new")
    if left == "a broken shard":
        (folder / "shard" / "edge_config.json").write_text("{")
    assert store.names() == []
    collection = store.create("c", vectors={"a": 2, "b": 3}, record=RECORD)
    assert collection.count() == 0
    assert collection.read_record() == RECORD
    collection.close()


def test_a_creation_that_fails_leaves_nothing_open(store: EmbeddedStore) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.create("c", vectors=SIZES, record={"manifest": object()})
    assert store.names() == []
    make(store)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedCollection, Path]]:
    """Return a collection and the file of its record, to be overwritten."""
    store = EmbeddedStore(tmp_path_factory.mktemp("damaged"))
    collection = store.create("c", vectors=SIZES, record=RECORD)
    yield collection, Path(store.location) / "c" / "tandem.json"
    collection.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"3", b"null", b'"text"', b"\xef\xbb\xbf{}", b"\x00", b'{"a": "\xe4"}']
)
def test_a_record_that_is_no_json_object_is_refused_by_its_path(
    damaged: tuple[EmbeddedCollection, Path], content: bytes
) -> None:
    collection, path = damaged
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"c/tandem\.json: expected the JSON record"):
        collection.read_record()


def test_a_corpus_without_a_readable_record_can_be_dropped(store: EmbeddedStore) -> None:
    (make(store) / "tandem.json").write_text("{")
    store.drop("c")
    assert store.names() == []


@pytest.mark.parametrize("damage", ["deleted", "emptied", "configuration broken"])
def test_a_shard_that_cannot_be_opened_is_refused_and_can_be_dropped(
    store: EmbeddedStore, damage: str
) -> None:
    shard = make(store) / "shard"
    if damage == "configuration broken":
        (shard / "edge_config.json").write_text("{")
    else:
        shutil.rmtree(shard)
    if damage == "emptied":
        shard.mkdir()
    with pytest.raises(StoreCorruptError, match=r"c: the embedded engine failed.*restore the folder"):
        store.open("c")
    store.drop("c")
    assert store.names() == []


def test_the_record_is_replaced_by_a_rename_and_a_draft_left_behind_is_no_harm(store: EmbeddedStore) -> None:
    folder = make(store)
    (folder / "tandem.new").write_text('{"manifest": ')
    collection = store.open("c")
    assert collection.read_record() == RECORD
    before = (folder / "tandem.json").stat().st_ino
    collection.write_record({**RECORD, "deployments": [1]})
    assert (folder / "tandem.json").stat().st_ino != before
    assert not (folder / "tandem.new").exists()
    assert json.loads((folder / "tandem.json").read_text())["deployments"] == [1]
    collection.close()


def test_readers_of_the_record_see_the_old_or_the_new_one(store: EmbeddedStore) -> None:
    make(store)
    collection = store.open("c")
    done = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            record = collection.read_record()
            assert record["a"] == record["b"]
            seen.add(record["a"])

    collection.write_record({"a": -1, "b": -1})
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for i in range(100):
            collection.write_record({"a": i, "filler": "x" * 10_000, "b": i})
        done.set()
        reader.result()
    assert len(seen) > 1
    collection.close()


def test_other_folders_and_files_around_are_no_corpora(store: EmbeddedStore) -> None:
    folder = make(store)
    around = Path(store.location)
    for name in (".hidden", "two words", "copy (1)", "-dash"):
        (around / name).mkdir()
        shutil.copy(folder / "tandem.json", around / name)
    (around / "empty").mkdir()
    (around / "notes.txt").write_text("x")
    (around / "tandem.json").write_text("{}")
    assert store.names() == ["c"]


def test_a_store_that_is_not_there_has_no_corpora_and_is_not_made_by_looking(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "never" / "made")
    assert store.names() == []
    with pytest.raises(CorpusNotFoundError):
        store.open("c")
    assert not (tmp_path / "never").exists()


def test_a_store_is_opened_by_its_folder_or_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_store().location == str(tmp_path / "tandem-store")
    assert open_store("here").location == str(tmp_path / "here")
    assert open_store("~/store").location == str(tmp_path / "home" / "store")
    with pytest.raises(InputError, match="got both: here and http://127"):
        open_store("here", url="http://127.0.0.1:1")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="expected a folder that can be written"):
        EmbeddedStore(tmp_path / "file").create("c", vectors=SIZES, record=RECORD)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="expected a folder that can be written"):
            EmbeddedStore(tmp_path / "store").create("c", vectors=SIZES, record=RECORD)
    finally:
        tmp_path.chmod(0o700)


def test_a_relative_path_and_a_link_are_one_store(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    (tmp_path / "link").symlink_to("store")
    monkeypatch.chdir(tmp_path)
    opened = [EmbeddedStore(path).open("c") for path in ("store", "./link", tmp_path / "store")]
    assert [collection.count() for collection in opened] == [3, 3, 3]
    for collection in opened:
        collection.close()


def test_what_the_engine_refuses_is_a_store_error(store: EmbeddedStore) -> None:
    make(store)
    collection = store.open("c")
    query = np.ones((1, 2), np.float32)
    with pytest.raises(StoreError, match="zz"):
        collection.search(query, vector="zz", k=1)
    with pytest.raises(StoreError, match="expected dim: 2, got 3"):
        collection.search(np.ones((1, 3), np.float32), vector="a", k=1)
    with pytest.raises(StoreError, match="No point with id"):
        collection.update_vectors([Point(point_id=str(uuid.UUID(int=99)), vectors={"a": query[0]})])
    collection.close()


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (ServerLayout(shards=2), "got shards=2"),
        (ServerLayout(shards=1, replicas=3), "got shards=1, replicas=3"),
        (ServerLayout(on_disk=False), "got on_disk=False"),
    ],
)
def test_a_layout_that_only_a_server_can_have_is_refused_by_name(
    tmp_path: Path, layout: ServerLayout, words: str
) -> None:
    with pytest.raises(InputError, match=rf"{words}\. Leave it out"):
        open_store(tmp_path, layout=layout)


@pytest.mark.parametrize("layout", [None, ServerLayout(), ServerLayout(on_disk=True)])
def test_a_folder_is_read_from_disk_anyway(tmp_path: Path, layout: ServerLayout | None) -> None:
    assert open_store(tmp_path, layout=layout).names() == []


def test_the_name_of_the_opener_lies_beside_the_shard_while_it_is_open(store: EmbeddedStore) -> None:
    lock = make(store) / "tandem.lock"
    assert not lock.exists()
    one, other = store.open("c"), store.open("c")
    assert (json.loads(lock.read_text())["pid"], json.loads(lock.read_text())["purpose"]) == (
        os.getpid(),
        "open",
    )
    with one.lock("ingest"):
        assert json.loads(lock.read_text())["purpose"] == "ingest"
    assert json.loads(lock.read_text())["purpose"] == "open"
    one.close()
    assert lock.exists()
    other.close()
    assert not lock.exists()


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, "an unknown process \\(it left no name\\)"),
        ("", "it left no name"),
        ("[1]", "it left no name"),
        ('{"pid": 1}', "it left no name"),
        ("ended", "an unknown process .*of one that has ended: process"),
        ("elsewhere", r"but process \d+ of ada on another-host \(tandem, ingest since then\) has"),
    ],
)
def test_a_name_that_cannot_be_that_of_the_holder_is_not_given_out_as_one(
    store: EmbeddedStore, tmp_path: Path, left: str | None, words: str
) -> None:
    lock = make(store) / "tandem.lock"
    with python("import os; print(os.getpid())", tmp_path) as process:
        assert process.stdout is not None
        ended = int(process.stdout.readline())
    holder = {"user": "ada", "program": "tandem", "purpose": "ingest", "since": "then", "pid": ended}
    if left == "ended":
        left = json.dumps({**holder, "host": socket.gethostname()})
    elif left == "elsewhere":
        left = json.dumps({**holder, "host": "another-host"})
    with python(HOLD, tmp_path / "store") as opener:
        assert opener.stdout is not None
        assert opener.stdin is not None
        assert opener.stdout.readline() == "open\n"
        if left is None:
            lock.unlink()
        else:
            lock.write_text(left)
        with pytest.raises(StoreLockedError, match=words):
            store.open("c")
        opener.stdin.close()


def test_without_room_on_the_disk_nothing_is_written_and_a_corpus_can_still_be_dropped(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    collection = store.open("c")
    for room, refused in (
        (space.TO_WRITE - 1, lambda: collection.upsert(points(1))),
        (space.TO_WRITE - 1, lambda: collection.update_vectors(points(1))),
        (space.TO_WRITE - 1, lambda: collection.update_payloads(points(1))),
        (space.TO_WRITE - 1, lambda: collection.add_vector("b", 2)),
        (space.TO_WRITE - 1, lambda: store.create("d", vectors=SIZES, record=RECORD)),
        (space.TO_WRITE + 1000, lambda: collection.upsert(points(1000))),
    ):
        monkeypatch.setattr(space, "free_bytes", lambda _, room=room: room)
        with pytest.raises(
            StoreFullError, match=r"128 MiB of room.*found 12\d MiB.*full.*[Mm]ake room and run"
        ):
            refused()
    collection.flush()  # without merging, which would take a copy
    assert collection.count() == 3
    collection.close()
    monkeypatch.setattr(space, "free_bytes", lambda _: space.TO_OPEN - 1)
    with pytest.raises(StoreFullError, match="64 MiB"):
        store.open("c")
    store.drop("c")
    assert store.names() == []


def test_without_room_a_corpus_that_another_process_has_open_is_not_dropped(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    with python(HOLD, tmp_path / "store") as opener:
        assert opener.stdout is not None
        assert opener.stdin is not None
        assert opener.stdout.readline() == "open\n"
        with monkeypatch.context() as full:
            full.setattr(space, "free_bytes", lambda _: 0)
            with pytest.raises(StoreLockedError, match=f"process {opener.pid}"):
                store.drop("c")
        opener.stdin.close()
    collection = store.open("c")
    assert collection.count() == 3
    collection.close()


def test_a_record_that_finds_no_room_leaves_the_old_one(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    collection = store.open("c")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreFullError, match=r"tandem\.json.*disk is full"):
            collection.write_record({"manifest": 2})
    assert collection.read_record() == RECORD
    collection.close()


ADD_AND_DIE = """
import os, signal, sys
import numpy as np
from retriever.store import embedded, embedded_shards
from retriever.store.protocol import Point
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
folder, kind, moment = sys.argv[1:]
collection = embedded.EmbeddedStore(folder).open("c")
if moment == "before it is added":
    embedded.EmbeddedCollection._update = die
elif moment == "before it is reopened":
    embedded_shards.SharedShard.reopen = die
elif moment == "while it is reopened":
    embedded_shards._load = die
if kind == "sparse":
    collection.add_sparse_vector("b")
else:
    collection.add_vector("b", 64, storage=kind)
die()
"""


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("sparse", "before it is added"),
        ("sparse", "after it was added"),
        ("float16", "before it is added"),
        ("float16", "after it was added"),
        ("int8", "before it is reopened"),
        ("int8", "while it is reopened"),
        ("binary", "before it is added"),
        ("binary", "after it was added"),
    ],
)
def test_a_kill_while_a_vector_is_added_leaves_a_corpus_to_which_it_can_be_added(
    store: EmbeddedStore, tmp_path: Path, kind: str, moment: str
) -> None:
    make(store, count=20)
    with subprocess.Popen([sys.executable, "-c", ADD_AND_DIE, tmp_path / "store", kind, moment]) as process:
        assert process.wait() == -signal.SIGKILL
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 64)).astype(np.float32)
    places = np.arange(64, dtype=np.uint32)
    for _ in range(2):  # also as it is found by the next process
        collection = store.open("c")
        if kind == "sparse":
            collection.add_sparse_vector("b")
            vectors = [SparseVector(indices=places, values=np.abs(row)) for row in rows]
        else:
            collection.add_vector("b", 64, storage=kind)
            vectors = list(rows)
        collection.update_vectors(
            [Point(point_id=str(uuid.UUID(int=i)), vectors={"b": vector}) for i, vector in enumerate(vectors)]
        )
        collection.flush()
        assert collection.count(HasVector(name="a")) == collection.count(HasVector(name="b")) == 20
        if kind != "sparse":
            found = collection.search(rows[:3], vector="b", k=1, approximate=True)
            assert [hits[0].point.payload["n"] for hits in found] == [0, 1, 2]
        collection.close()


def quantizations(folder: Path, name: str) -> list[object]:
    """Return the compact representations of a vector that the segments of a corpus have."""
    segments = (json.loads(file.read_text()) for file in folder.glob("shard/segments/*/segment.json"))
    found = (segment["config"]["vector_data"][name]["quantization_config"] for segment in segments)
    return [one for one in found if one is not None]


@pytest.mark.parametrize("storage", ["int8", "binary"])
def test_what_is_flushed_is_scanned_in_its_compact_representation(store: EmbeddedStore, storage: str) -> None:
    size, count = 8192, 700  # the engine merges from 10 MB on
    folder = make(store, count=count)
    collection = store.open("c")
    collection.add_vector("b", size, storage=storage)
    rows = np.random.default_rng(0).normal(size=(count, size)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for start in range(0, count, 100):
        collection.update_vectors(
            [Point(point_id=str(uuid.UUID(int=i)), vectors={"b": rows[i]}) for i in range(start, start + 100)]
        )
    collection.flush()
    assert quantizations(folder, "b")
    assert not quantizations(folder, "a")
    for _ in range(2):
        queries = rows[:5] + rows[5:10]
        scores = queries @ rows.T
        exact = collection.search(queries, vector="b", k=20)
        compact = collection.search(queries, vector="b", k=20, approximate=True)
        for row, hits, candidates in zip(scores, exact, compact, strict=True):
            assert {hit.point.payload["n"] for hit in hits} == set(np.argsort(-row)[:20].tolist())
            found = [hit.point.payload["n"] for hit in candidates]
            np.testing.assert_allclose([hit.score for hit in candidates], row[found], atol=1e-3)
            assert {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}.intersection(found)
        # Random directions differ little, and of what differs little, one bit a dimension shows little.
        differ = [
            {h.point.point_id for h in a} != {h.point.point_id for h in b}
            for a, b in zip(exact, compact, strict=True)
        ]
        assert any(differ) or storage == "int8"
        collection.close()
        collection = store.open("c")
    collection.drop_vector("b")
    assert collection.count() == count
    collection.close()


def test_searches_go_on_while_a_shard_is_reopened(store: EmbeddedStore) -> None:
    make(store, count=50)
    collection = store.open("c")
    done = threading.Event()

    def read() -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            assert len(collection.search(np.ones((1, 2), np.float32), vector="a", k=100)[0]) == 50
            assert sum(len(found) for found in collection.scroll(batch=7)) == 50
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for i in range(3):
                collection.add_vector(f"b{i}", 4, storage="int8")
        finally:
            done.set()
        assert all(reader.result() for reader in readers)
    collection.close()


def test_a_record_of_storages_that_cannot_be_read_is_refused_by_its_path(store: EmbeddedStore) -> None:
    folder = make(store)
    collection = store.open("c")
    collection.add_vector("b", 4, storage="binary")
    collection.close()
    (folder / "storage.json").write_text("{")
    with pytest.raises(StoreCorruptError, match=r"c/storage\.json: expected the JSON record of how vectors"):
        store.open("c")


def test_a_shard_that_cannot_be_reopened_says_so_and_opens_later(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    collection = store.open("c")
    with monkeypatch.context() as patched:
        patched.setattr(embedded_shards, "read_layout", lambda _: {"zz": Dense(size=3)})
        with pytest.raises(StoreCorruptError, match="incompatible"):
            collection.add_vector("b", 4, storage="int8")
    with pytest.raises(StoreError):
        collection.count()
    collection.close()
    collection = store.open("c")
    assert collection.count() == 3
    collection.close()


def test_a_corpus_of_an_earlier_release_has_no_record_of_storages_and_opens(store: EmbeddedStore) -> None:
    folder = make(store)
    collection = store.open("c")
    collection.add_vector("b", 4)
    collection.close()
    (folder / "storage.json").unlink()
    collection = store.open("c")
    collection.add_vector("b", 4)
    assert collection.count() == 3
    collection.close()


@pytest.mark.parametrize("known", [{"a"}, {"a", "b", "c"}])
def test_a_layout_that_lags_behind_the_segments_or_runs_ahead_is_read_from_them(
    tmp_path: Path, known: set[str]
) -> None:
    """What a kill while a vector is added or deleted leaves; the engine by itself refuses to open it."""
    store = EmbeddedStore(tmp_path)
    collection = store.create("c", vectors={"a": 4}, record={})
    collection.add_vector("b", 3)
    point = Point(
        point_id="00000000-0000-0000-0000-000000000001",
        vectors={"a": np.ones(4, dtype=np.float32), "b": np.ones(3, dtype=np.float32)},
    )
    collection.upsert([point])
    collection.flush()
    collection.close()
    path = tmp_path / "c" / "shard" / "edge_config.json"
    config = json.loads(path.read_text())
    config["vectors"] = {name: config["vectors"].get(name, config["vectors"]["a"]) for name in known}
    path.write_text(json.dumps(config))
    for _ in range(2):
        reopened = store.open("c")
        assert reopened.count(HasVector(name="b")) == 1
        (hits,) = reopened.search(np.ones((1, 3), dtype=np.float32), vector="b", k=1)
        assert hits[0].score == pytest.approx(3)
        reopened.close()
