"""A corpus that is copied is the same corpus, on whichever engine, or is refused until it is."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import typer
from qdrant_client import QdrantClient, models

from retriever import console
from retriever.commands.copy import copy as copy_command
from retriever.copying import CHECKED, CopyReport, copier, copy
from retriever.corpus import Corpus
from retriever.corpus.record import CorpusRecord
from retriever.deploying import deploy
from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    CorpusUnfinishedError,
    InputError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
)
from retriever.records import Chunk, ChunkerSpec
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.store.filters import HasId
from retriever.store.protocol import Point, SparseVector, VectorStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

SERVER_URL = os.environ.get("TANDEM_TEST_QDRANT_URL")
API_KEY = os.environ.get("QDRANT_API_KEY")
on_a_server = pytest.mark.skipif(SERVER_URL is None, reason="TANDEM_TEST_QDRANT_URL names no Qdrant server")

CHUNKS = 300
"""More than are in one batch, and than are checked."""

QUERIES = ["warm soil and basil", "the ferry at noon", "copper wire"]
Make: TypeAlias = Callable[[str], VectorStore]
Maker: TypeAlias = Callable[..., Corpus]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Make]:
    """Return what makes an empty store of an engine."""
    servers: list[ServerStore] = []

    def make(kind: str) -> VectorStore:
        if kind == "embedded":
            return EmbeddedStore(tmp_path / uuid.uuid4().hex)
        if kind == "memory":
            return ServerStore(QdrantClient(":memory:"), location=f":memory: {uuid.uuid4().hex}")
        assert SERVER_URL is not None
        servers.append(ServerStore.connect(SERVER_URL, api_key=API_KEY))
        assert servers[-1].names() == []
        return servers[-1]

    yield make
    for server in servers:
        for name in server.names():
            server.drop(name)


@pytest.fixture(scope="session")
def many_chunks(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks for several batches, of documents of their own."""
    return [
        replace(
            chunks[i % len(chunks)],
            chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"many {i}")),
            doc_id=f"many-{i // 10}",
            index=i % 10,
            text=f"{chunks[i % len(chunks)].text} Number {i}.",
        )
        for i in range(CHUNKS)
    ]


@pytest.fixture(scope="module")
def made(
    make_corpus: Maker, many_chunks: list[Chunk], alpha: FakeModel, beta: FakeModel
) -> Callable[[VectorStore], None]:
    """Return what makes a corpus with every kind of vector and two deployments."""

    def make(store: VectorStore) -> None:
        with make_corpus(store, "guide", [alpha, beta], chunks=many_chunks) as corpus:
            deploy(corpus, ["alpha", "beta"], weighting={"alpha": 0.7, "beta": 0.3}, evidence={"queries": 7})
            deploy(corpus, ["alpha", "beta", "bm25"])

    return make


@pytest.fixture(scope="module")
def fill(
    tmp_path_factory: pytest.TempPathFactory, made: Callable[[VectorStore], None]
) -> Callable[[VectorStore], None]:
    """Return what puts this corpus into a store: into a folder by copying its files, which is quicker."""
    folder = tmp_path_factory.mktemp("filled")
    made(EmbeddedStore(folder))

    def fill(store: VectorStore) -> None:
        if isinstance(store, EmbeddedStore):
            shutil.copytree(folder / "guide", Path(store.location) / "guide")
        else:
            made(store)

    return fill


def points_of(store: VectorStore, name: str) -> dict[str, Point]:
    collection = store.open(name)
    manifest = CorpusRecord.from_json(collection.read_record()).manifest
    vectors = [*manifest.keys, *manifest.derived]
    found = {point.point_id: point for points in collection.scroll(with_vectors=vectors) for point in points}
    collection.close()
    return found


def numbers(vectors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
        if isinstance(vector, SparseVector)
        else vector.tolist()
        for name, vector in vectors.items()
    }


def assert_same(source: VectorStore, target: VectorStore, name: str = "guide", copied: str = "guide") -> None:
    """Assert that both hold the same points, float32 numbers exactly, and the same record but its name."""
    mine, theirs = points_of(source, name), points_of(target, copied)
    assert mine.keys() == theirs.keys()
    for point_id, point in mine.items():
        assert point.payload == theirs[point_id].payload
        assert numbers(point.vectors) == numbers(theirs[point_id].vectors)
    with Corpus.open(source, name) as one, Corpus.open(target, copied) as other:
        assert replace(one.manifest, corpus=copied) == other.manifest
        assert tuple(replace(each, corpus=copied) for each in one.deployments) == other.deployments
        assert other.name == copied


def hits(store: VectorStore, name: str, models: Sequence[FakeModel]) -> list[list[tuple[str, float]]]:
    with Corpus.open(store, name) as corpus:
        assert corpus.served is not None
        searcher = Searcher(corpus, corpus.served, models={model.spec.key: model for model in models})
        rankings = searcher.search(QUERIES, k=10)
    return [[(hit.chunk.chunk_id, hit.score) for hit in ranking] for ranking in rankings]


PAIRS = [
    ("embedded", "embedded"),
    ("embedded", "memory"),
    ("memory", "embedded"),
    ("memory", "memory"),
    pytest.param("embedded", "server", marks=on_a_server),
    pytest.param("server", "embedded", marks=on_a_server),
]


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_a_copy_has_the_same_chunks_vectors_deployments_and_finds_the_same(
    engine: Make, fill: Callable[..., None], here: str, there: str, alpha: FakeModel, beta: FakeModel
) -> None:
    source, target = engine(here), engine(there)
    fill(source)
    report = copy(source, target, "guide")
    assert_same(source, target)
    before, after = (hits(store, "guide", [alpha, beta]) for store in (source, target))
    for mine, theirs in zip(before, after, strict=True):
        assert [one for one, _ in mine] == [one for one, _ in theirs]
        assert [score for _, score in mine] == pytest.approx([score for _, score in theirs], abs=1e-6)
    assert target.names() == ["guide"]
    assert report == CopyReport(
        corpus="guide",
        source=source.location,
        name="guide",
        target=target.location,
        chunks=CHUNKS,
        sent=CHUNKS,
        bytes=report.bytes,
        checked=CHECKED,
        seconds=report.seconds,
    )
    assert report.bytes > CHUNKS * 4 * 2 * (24 + 16)  # of models and of their combination; and payloads


@pytest.mark.parametrize(("here", "there"), PAIRS[:2])
def test_copying_what_is_there_sends_nothing_and_compares_everything(
    engine: Make, fill: Callable[..., None], here: str, there: str
) -> None:
    source, target = engine(here), engine(there)
    fill(source)
    copy(source, target, "guide")
    again = copy(source, target, "guide")
    assert (again.chunks, again.sent, again.bytes, again.checked) == (CHUNKS, 0, 0, CHUNKS)


@pytest.mark.parametrize("storage", ["float16", "int8", "binary"])
def test_vectors_that_are_stored_with_fewer_bits_are_copied_as_such(
    engine: Make, fill: Callable[..., None], storage: str
) -> None:
    source, target = engine("embedded"), engine("embedded")
    fill(source)
    with Corpus.open(source, "guide") as corpus:
        corpus.add_combination(["alpha", "beta"], storage=storage)
    copy(source, target, "guide")
    assert_same(source, target)
    assert copy(source, target, "guide").sent == 0


def test_there_and_back_again_is_the_same_corpus(engine: Make, fill: Callable[..., None]) -> None:
    first, between, last = engine("embedded"), engine("memory"), engine("embedded")
    fill(first)
    copy(first, between, "guide", name="guide-2")
    copy(between, last, "guide-2", name="guide")
    assert_same(first, last)
    assert_same(first, between, copied="guide-2")


def test_within_one_store_a_copy_has_another_name(engine: Make, fill: Callable[..., None]) -> None:
    store = engine("embedded")
    fill(store)
    copy(store, store, "guide", name="twin")
    assert store.names() == ["guide", "twin"]
    assert_same(store, store, copied="twin")
    with pytest.raises(InputError, match=r"another store or another name, got corpus 'guide' .* twice"):
        copy(store, store, "guide")
    with pytest.raises(InputError, match="corpus name"):
        copy(store, store, "guide", name="no/name")
    with pytest.raises(CorpusNotFoundError, match="'other', found guide"):
        copy(store, engine("memory"), "other")


def test_a_corpus_without_chunks_is_copied(engine: Make, alpha: FakeModel, beta: FakeModel) -> None:
    source, target = engine("memory"), engine("embedded")
    Corpus.create(source, "empty", chunker=ChunkerSpec(), models=[alpha.spec, beta.spec]).close()
    report = copy(source, target, "empty")
    assert (report.chunks, report.sent, report.checked) == (0, 0, 0)
    assert_same(source, target, "empty", "empty")


class CutShortError(Exception):
    """What a process that is killed does not even say."""


def cut_short_after(done: int) -> Callable[[int, int], None]:
    def tell(so_far: int, _: int) -> None:
        if so_far >= done:
            raise CutShortError

    return tell


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_a_copy_that_was_cut_short_is_refused_by_name_and_continued(
    engine: Make, fill: Callable[..., None], here: str, there: str
) -> None:
    source, target = engine(here), engine(there)
    fill(source)
    for done in (0, 256):
        with pytest.raises(CutShortError):
            copy(source, target, "guide", on_progress=cut_short_after(done))
        assert target.names() == ["guide"]
        with pytest.raises(
            CorpusUnfinishedError, match=r"found a copy of 'guide' at .*the same `tandem copy`"
        ):
            Corpus.open(target, "guide")
        with pytest.raises(CorpusUnfinishedError):
            copy(target, engine("memory"), "guide", name="a-copy-of-half")
    report = copy(source, target, "guide")
    assert report.sent == CHUNKS - 256
    assert_same(source, target)


def test_a_copy_is_continued_from_what_the_corpus_has_become(
    engine: Make, fill: Callable[..., None], many_chunks: list[Chunk]
) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)
    with pytest.raises(CutShortError):
        copy(source, target, "guide", on_progress=cut_short_after(CHUNKS))
    gone, changed = many_chunks[:20], many_chunks[20:25]
    with Corpus.open(source, "guide") as corpus:
        corpus.delete_chunks([chunk.chunk_id for chunk in gone])
        corpus.write_payloads(
            [replace(chunk, metadata={"new": True}) for chunk in changed],
            document_hash={"many-2": "another"},
            chunk_count={"many-2": 10},
        )
        deploy(corpus, ["beta"])
    report = copy(source, target, "guide")
    assert report.sent == len(changed)
    assert_same(source, target)


def test_a_copy_that_was_begun_with_other_vectors_begins_anew(
    engine: Make, fill: Callable[..., None], gamma: FakeModel, many_chunks: list[Chunk]
) -> None:
    source, target = engine("embedded"), engine("embedded")
    fill(source)
    with pytest.raises(CutShortError):
        copy(source, target, "guide", on_progress=cut_short_after(256))
    with Corpus.open(source, "guide") as corpus:
        corpus.add_models([gamma.spec])
        corpus.write_vectors(
            "gamma",
            [chunk.chunk_id for chunk in many_chunks],
            gamma.embed_chunks([chunk.text for chunk in many_chunks]),
        )
    assert copy(source, target, "guide").sent == CHUNKS
    assert_same(source, target)


def test_what_is_copied_is_locked_and_may_be_read(engine: Make, fill: Callable[..., None]) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)
    refused: list[str] = []

    def tell(*_: int) -> None:
        for store in (source, target):
            collection = store.open("guide")
            with pytest.raises(StoreLockedError) as error, collection.lock("write"):
                raise AssertionError
            refused.append(str(error.value))
            collection.close()
        with Corpus.open(source, "guide") as corpus:
            assert corpus.count_chunks() == CHUNKS

    copy(source, target, "guide", on_progress=tell)
    assert len(refused) == 6
    assert all(", copy since" in words for words in refused)
    for store in (source, target):
        with Corpus.open(store, "guide") as corpus, corpus.lock("write"):
            pass


def test_a_deployment_made_meanwhile_keeps_the_copy_unfinished(
    engine: Make, fill: Callable[..., None]
) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)

    def tell(done: int, _: int) -> None:
        if done == CHUNKS:
            with Corpus.open(source, "guide") as corpus:
                deploy(corpus, ["beta"])

    with pytest.raises(StoreError, match=r"changed while it was copied. Copy again"):
        copy(source, target, "guide", on_progress=tell)
    with pytest.raises(CorpusUnfinishedError):
        Corpus.open(target, "guide")
    assert copy(source, target, "guide").sent == 0
    assert_same(source, target)


def change_chunker(store: VectorStore) -> None:
    _change_record(
        store, lambda one: replace(one, manifest=replace(one.manifest, chunker=ChunkerSpec(version=9)))
    )


def change_model(store: VectorStore) -> None:
    def revise(record: CorpusRecord) -> CorpusRecord:
        first, *others = record.manifest.models
        manifest = replace(record.manifest, models=(replace(first, revision="sha256:other"), *others))
        return replace(record, manifest=manifest)

    _change_record(store, revise)


def _change_record(store: VectorStore, change: Callable[[CorpusRecord], CorpusRecord]) -> None:
    collection = store.open("guide")
    collection.write_record(change(CorpusRecord.from_json(collection.read_record())).to_json())
    collection.close()


def change_deployment(store: VectorStore) -> None:
    with Corpus.open(store, "guide") as corpus:
        deploy(corpus, ["beta"])


def delete_chunk(store: VectorStore) -> None:
    with Corpus.open(store, "guide") as corpus:
        corpus.delete_chunks(list(points_of(store, "guide"))[:1])


def change_payload(store: VectorStore) -> None:
    (point_id, point), *_ = points_of(store, "guide").items()
    collection = store.open("guide")
    collection.update_payloads([Point(point_id=point_id, payload={**point.payload, "page": 1.5})])
    collection.close()


def change_vector(store: VectorStore) -> None:
    (point_id, point), *_ = reversed(points_of(store, "guide").items())
    vector = point.vectors["beta"]
    assert isinstance(vector, np.ndarray)
    turned = np.nextafter(vector, np.float32(1))  # each number by its last bit
    collection = store.open("guide")
    collection.update_vectors([Point(point_id=point_id, vectors={"beta": turned})])
    collection.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_chunker, "chunker "),
        (change_model, "model alpha .*revision 'fake', got 'sha256:other'"),
        (change_deployment, "deployments .*expected .*found "),
        (delete_chunk, r"number of chunks .*expected 300, found 299"),
        (change_payload, "chunk [0-9a-f-]{36}"),
        (change_vector, "chunk [0-9a-f-]{36}"),
    ],
)
def test_another_corpus_of_that_name_is_refused_with_what_differs_and_left_alone(
    engine: Make, fill: Callable[..., None], change: Callable[[VectorStore], None], words: str
) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)
    copy(source, target, "guide")
    change(target)
    before = target.open("guide").read_record(), points_of(target, "guide")
    with pytest.raises(CorpusExistsError, match=rf"'guide' at :memory:.*differs in {words}.*\(--as\)"):
        copy(source, target, "guide")
    after = target.open("guide").read_record(), points_of(target, "guide")
    assert before[0] == after[0]
    assert before[1].keys() == after[1].keys()


@pytest.mark.parametrize("change", [change_chunker, change_model])
def test_an_unfinished_copy_of_another_corpus_is_refused_too(
    engine: Make, fill: Callable[..., None], change: Callable[[VectorStore], None]
) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)
    with pytest.raises(CutShortError):
        copy(source, target, "guide", on_progress=cut_short_after(256))
    change(source)
    with pytest.raises(CorpusExistsError, match="differs in"):
        copy(source, target, "guide")


def test_a_collection_that_tandem_did_not_make_is_left_alone(engine: Make, fill: Callable[..., None]) -> None:
    source, client = engine("embedded"), QdrantClient(":memory:")
    fill(source)
    client.create_collection(
        "guide", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
    )
    with pytest.raises(CorpusExistsError, match=r"that Tandem did not make. Choose another name"):
        copy(source, ServerStore(client, location=":memory:"), "guide")
    assert client.collection_exists("guide")


class Altering:
    """A store that changes what is written into it: all, or one point."""

    def __init__(self, store: VectorStore, alter: Callable[[Sequence[Point]], Sequence[Point]]) -> None:
        self._store = store
        self._alter = alter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, *arguments: Any, **options: Any) -> Any:
        return AlteringCollection(self._store.create(*arguments, **options), self._alter)


class AlteringCollection:
    def __init__(self, collection: Any, alter: Callable[[Sequence[Point]], Sequence[Point]]) -> None:
        self._collection = collection
        self._alter = alter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def upsert(self, points: Sequence[Point]) -> None:
        self._collection.upsert(self._alter(points))


ALTERATIONS: dict[str, tuple[Callable[[Sequence[Point]], Sequence[Point]], str]] = {
    "loses a point": (lambda points: points[1:], "expected 300 chunks, found 298"),
    "loses a vector": (
        lambda points: [replace(points[0], vectors={"alpha": points[0].vectors["alpha"]}), *points[1:]],
        "expected 300 vectors beta, found 298",
    ),
    "loses payload": (
        lambda points: [replace(point, payload={"doc_id": "d"}) for point in points],
        "expected chunk .* as it was sent",
    ),
    "swaps vectors": (
        lambda points: [
            replace(point, vectors=other.vectors) for point, other in zip(points, points[::-1], strict=True)
        ],
        "expected chunk .* as it was sent",
    ),
}


@pytest.mark.parametrize(("alter", "words"), ALTERATIONS.values(), ids=ALTERATIONS)
def test_what_is_stored_otherwise_is_noticed_before_anyone_can_read_it(
    engine: Make,
    fill: Callable[..., None],
    alter: Callable[[Sequence[Point]], Sequence[Point]],
    words: str,
) -> None:
    source, target = engine("embedded"), engine("memory")
    fill(source)
    with pytest.raises(StoreCorruptError, match=rf"copy 'guide': {words}.*stays unfinished"):
        copy(source, Altering(target, alter), "guide")
    with pytest.raises(CorpusUnfinishedError):
        Corpus.open(target, "guide")
    copy(source, target, "guide")  # without the fault, it is mended
    assert_same(source, target)


class Watched:
    """A store that remembers which points it was asked for by id."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, name: str) -> Any:
        return WatchedCollection(self._store.open(name), self.asked)


class WatchedCollection:
    def __init__(self, collection: Any, asked: list[str]) -> None:
        self._collection = collection
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def scroll(self, **options: Any) -> Any:
        if isinstance(options.get("where"), HasId):
            self._asked += options["where"].ids
        return self._collection.scroll(**options)


def test_the_chunks_that_are_checked_are_spread_over_the_whole(
    engine: Make, fill: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copier, "CHECKED", 5)
    source, target = engine("memory"), engine("memory")
    fill(source)
    watched: Any = Watched(source)
    assert copy(watched, target, "guide").checked == 5
    ids = sorted(points_of(source, "guide"))
    assert watched.asked == [ids[i] for i in (0, 74, 149, 224, 299)]


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
    app.command("copy")(copy_command)
    for name in ("TANDEM_STORE", "TANDEM_URL", "TANDEM_CORPUS", "TANDEM_TO_API_KEY", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            console.run(app, ["copy", *map(str, arguments)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_the_command_copies_into_a_folder_and_says_what_it_did(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, fill: Callable[..., None]
) -> None:
    fill(EmbeddedStore(tmp_path / "a"))
    place = ["-c", "guide", "--store", tmp_path / "a", "--to", tmp_path / "b"]
    status, out, err = run(*place)
    assert (status, err) == (0, "")
    assert out.startswith(
        f"Corpus 'guide' in {tmp_path / 'b'} is corpus 'guide' in {tmp_path / 'a'}: 300 chunks."
    )
    assert "Sent: 300 chunks, " in out
    assert out.endswith("read again and equal: 200.\n")
    assert_same(EmbeddedStore(tmp_path / "a"), EmbeddedStore(tmp_path / "b"))
    status, out, _ = run(*place, "--as", "other", "--json")
    report = json.loads(out)
    assert status == 0
    assert (report["corpus"], report["name"], report["sent"], report["checked"]) == (
        "guide",
        "other",
        300,
        200,
    )
    assert report["target"] == str(tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--to", "a"], 2, "another store or another name"),
        (["--to", "b", "-c", "other"], 2, "expected a corpus 'other', found guide"),
        (["--to", "b", "--as", "no name"], 2, "corpus name"),
        (["--to", "b", "--shards", "2"], 2, "expected none for a store in a folder, got shards=2"),
        (["--to", "http://127.0.0.1:1"], 3, "expected an answer"),
        (["--to", "ftp://somewhere"], 3, "expected a URL such as"),
        ([], 2, "Missing option"),
    ],
)
def test_what_cannot_be_copied_ends_with_the_status_that_says_so(
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_corpus: Maker,
    alpha: FakeModel,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_corpus(EmbeddedStore("a"), "guide", [alpha]).close()
    corpus = [] if "-c" in arguments else ["-c", "guide"]
    ended, _, err = run("--store", "a", *corpus, *arguments)
    assert (ended, words in " ".join(err.split())) == (status, True), err


@contextmanager
def keys_seen(*, accepted: str = "") -> Iterator[tuple[str, list[str | None]]]:
    """Serve what answers as an empty Qdrant that refuses every key but one, and remember the keys."""
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("api-key"))
            body = b'{"title": "qdrant - vector search engine", "version": "1.20.0"}'
            if self.path != "/":
                body = b'{"result": {"collections": []}, "status": "ok", "time": 0}'
            self.send_response(200 if self.path == "/" or seen[-1] == accepted else 403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_server_gets_its_own_key_and_no_other(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, make_corpus: Maker, alpha: FakeModel
) -> None:
    make_corpus(EmbeddedStore(tmp_path), "guide", [alpha]).close()
    folder = ["-c", "guide", "--store", tmp_path]
    with keys_seen() as (url, seen):
        for options, key in (
            (["--api-key", "one"], "one"),
            (["--api-key", "one", "--to-api-key", "two"], "two"),
            ([], None),
        ):
            seen.clear()
            assert run(*folder, "--to", url, *options)[0] == 3
            assert set(seen) == {key}
    with keys_seen(accepted="one") as (other, at_source), keys_seen() as (url, at_target):
        for options, key in (([], None), (["--to-api-key", "two"], "two")):
            at_target.clear()
            assert run("-c", "guide", "--url", other, "--api-key", "one", "--to", url, *options)[0] == 3
            assert set(at_source) == {"one"}
            assert set(at_target) == {key}
