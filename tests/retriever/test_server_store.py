"""The server engine: what a server may answer, and what it must never be asked to do."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
import uuid
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    InputError,
    StoreError,
    StoreUnreachableError,
)
from retriever.store.filters import equals
from retriever.store.layout import ServerLayout
from retriever.store.place import open_store
from retriever.store.protocol import Point, SparseVector
from retriever.store.server import ServerStore
from retriever.store.server_client import Patience

Answer: TypeAlias = tuple[int, str, bytes]
Serve: TypeAlias = Callable[[Callable[["Request"], Answer]], AbstractContextManager[str]]

KEY = "a key of our own"


class Request:
    """What a client asked for."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.method = handler.command
        self.path = handler.path.split("?")[0]
        self.key = handler.headers.get("api-key")
        self.body = handler.rfile.read(int(handler.headers.get("content-length", 0)))


def answer(value: Any, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(value).encode()


def qdrant(version: str, *, key: str | None = None) -> Callable[[Request], Answer]:
    """Return how an empty Qdrant of this version answers the first questions."""

    def serve(request: Request) -> Answer:
        if request.path == "/":
            return answer({"title": "qdrant - vector search engine", "version": version})
        if key is not None and request.key != key:
            return 401, "text/plain", b"Must provide an API key or an Authorization bearer token"
        if request.path == "/collections":
            return answer({"result": {"collections": []}, "status": "ok", "time": 0.1})
        return answer({"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.1})

    return serve


@contextmanager
def serving(reply: Callable[[Request], Answer], *, port: int = 0) -> Iterator[str]:
    """Serve `reply` on this machine and give its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, kind, body = reply(Request(self))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def store(client: QdrantClient) -> ServerStore:
    return ServerStore(client, location=":memory:")


@pytest.mark.parametrize("version", ["1.18.0", "1.20.3", "1.21.0-dev", "2.0.0"])
def test_a_recent_server_is_connected_to(version: str) -> None:
    with serving(qdrant(version)) as url:
        store = open_store(url=url)
        assert store.names() == []
        assert store.location == url
        with pytest.raises(CorpusNotFoundError, match=r"'c', found no corpus"):
            store.open("c")


@pytest.mark.parametrize("version", ["1.17.9", "0.11.0", "dev"])
def test_an_older_server_is_refused_by_its_version(version: str) -> None:
    with (
        serving(qdrant(version)) as url,
        pytest.raises(StoreError, match=rf"1\.18 or later, got {version}.*Upgrade"),
    ):
        ServerStore.connect(url)


def test_a_server_that_wants_a_key_gets_it_or_says_so() -> None:
    with serving(qdrant("1.20.0", key=KEY)) as url:
        for wrong in (None, "another"):
            with pytest.raises(
                StoreUnreachableError, match=r"valid API key.*401.*QDRANT_API_KEY or --api-key"
            ):
                ServerStore.connect(url, api_key=wrong)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert ServerStore.connect(url, api_key=KEY).names() == []
    # The client warns of a key without TLS; to this machine it does not travel.
    assert [str(one.message) for one in seen] == []


def test_a_key_that_travels_without_encryption_is_warned_of() -> None:
    with (
        pytest.warns(UserWarning, match="insecure connection"),
        pytest.raises(StoreUnreachableError, match="expected an answer"),
    ):
        ServerStore.connect("http://qdrant.invalid:6333", api_key=KEY)


def test_nothing_listening_is_told_at_once() -> None:
    with serving(qdrant("1.20.0")) as url:
        pass
    start = time.monotonic()
    with pytest.raises(StoreUnreachableError, match=rf"{url}: expected an answer.*server runs and the URL"):
        ServerStore.connect(url)
    assert time.monotonic() - start < 10  # the client's own patience is a minute


@pytest.mark.parametrize(
    "url", ["", "no url", "ftp://127.0.0.1", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(StoreUnreachableError, match="expected a URL such as"):
        open_store(url=url)


@pytest.mark.parametrize(
    "reply",
    [
        (200, "text/html", b"<html>Welcome</html>"),
        (200, "application/json", b'{"hello": "world"}'),
        (200, "application/json", b"[]"),
        (200, "application/json", b""),
        (404, "text/html", b"not here"),
        (500, "application/json", b"{}"),
        (302, "text/html", b""),
        (403, "text/plain", b"forbidden"),
    ],
    ids=lambda reply: f"{reply[0]} {reply[2].decode()}",
)
def test_something_that_is_no_qdrant_is_a_store_error(reply: Answer) -> None:
    with serving(lambda _: reply) as url, pytest.raises(StoreError, match=url):
        ServerStore.connect(url)


def test_a_server_that_fails_later_is_a_store_error() -> None:
    broken = threading.Event()

    def reply(request: Request) -> Answer:
        if broken.is_set():
            return answer({"status": {"error": "disk full"}, "time": 0}, 500)
        return qdrant("1.20.0")(request)

    with serving(reply) as url:
        store = ServerStore.connect(url)
        broken.set()
        with pytest.raises(StoreError, match="disk full"):
            store.names()


def test_a_large_write_is_cut_into_requests_that_a_server_takes() -> None:
    requests: list[bytes] = []

    def reply(request: Request) -> Answer:
        if request.method == "PUT":
            requests.append(request.body)
        return qdrant("1.20.0")(request)

    digits = np.random.default_rng(0).normal(size=8192).astype(np.float32)
    with serving(reply) as url:
        collection = ServerStore.connect(url)._collection("c")
        # Ones are short in JSON and quick; the first write shows how large a request becomes.
        for write, vector in ((collection.upsert, digits), (collection.update_vectors, np.ones_like(digits))):
            ids = [str(uuid.UUID(int=i)) for i in range(130)]
            requests.clear()
            write([Point(point_id=i, payload={"text": "x" * 2000}, vectors={"a": vector}) for i in ids])
            assert [id_ for body in requests for id_ in re.findall(rb'"id":\s*"([^"]+)"', body)] == [
                i.encode() for i in ids
            ]
            assert len(requests) == 2
            assert max(len(body) for body in requests) < 32 * 2**20  # where Qdrant's default ends
        requests.clear()
        collection.upsert([])
        assert requests == []


def test_a_collection_that_tandem_did_not_make_is_not_a_corpus_and_never_touched(
    client: QdrantClient, store: ServerStore
) -> None:
    params = models.VectorParams(size=2, distance=models.Distance.COSINE)
    for name, metadata in (("full", None), ("empty", None), ("other", {"made_by": "someone"})):
        client.create_collection(name, vectors_config=params, metadata=metadata)
    client.upsert("full", [models.PointStruct(id=1, vector=[1.0, 0.0], payload={"keep": True})])
    assert store.names() == []
    for name in ("full", "empty", "other"):
        with pytest.raises(CorpusExistsError, match=rf"{name!r}.*that Tandem did not make. Choose another"):
            store.create(name, vectors={"a": 2}, record={"manifest": {}})
        for refused in (store.open, store.drop):
            with pytest.raises(CorpusNotFoundError, match="found no corpus"):
                refused(name)
        assert client.get_collection(name).config.params.vectors == params
    assert client.retrieve("full", [1])[0].payload == {"keep": True}


def test_a_creation_that_was_cut_short_is_invisible_and_can_be_repeated(
    client: QdrantClient, store: ServerStore
) -> None:
    class Interrupted(UserDict[str, Any]):
        """A record during whose writing the process ends."""

        def keys(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.create("c", vectors={"a": 2}, record=Interrupted())
    assert client.collection_exists("c")
    assert store.names() == []
    with pytest.raises(CorpusNotFoundError):
        store.open("c")
    collection = store.create("c", vectors={"a": 3, "b": 2}, record={"manifest": {"k": 1}})
    assert collection.read_record() == {"manifest": {"k": 1}}
    assert store.names() == ["c"]
    with pytest.raises(CorpusExistsError, match="there is a corpus"):
        store.create("c", vectors={"a": 2}, record={})


def test_metadata_of_others_on_the_collection_is_kept(client: QdrantClient, store: ServerStore) -> None:
    collection = store.create("c", vectors={"a": 2}, record={"manifest": 1})
    client.update_collection("c", metadata={"owner": "search team"})
    collection.write_record({"manifest": 2})
    metadata = client.get_collection("c").config.metadata
    assert metadata == {"owner": "search team", "tandem": {"manifest": 2}}


def test_the_collection_is_laid_out_for_exact_search_by_dot_product(
    client: QdrantClient, store: ServerStore
) -> None:
    store.create("c", vectors={"a": 2}, record={}).add_vector("b", 3)
    vectors = client.get_collection("c").config.params.vectors
    assert isinstance(vectors, dict)
    assert {name: (vector.size, vector.distance) for name, vector in vectors.items()} == {
        "a": (2, models.Distance.DOT),
        "b": (3, models.Distance.DOT),
    }


def test_every_search_asks_for_exactness() -> None:
    bodies: list[Any] = []

    def reply(request: Request) -> Answer:
        if request.path.endswith("/query/batch"):
            bodies.append(json.loads(request.body))
            return answer({"result": [{"points": []}, {"points": []}], "status": "ok", "time": 0.1})
        return qdrant("1.20.0")(request)

    with serving(reply) as url:
        collection = ServerStore.connect(url)._collection("c")
        queries = np.eye(2, dtype=np.float32)
        assert collection.search(queries, vector="a", k=4, where=equals("lang", "de")) == [[], []]
    (body,) = bodies
    for search, vector in zip(body["searches"], queries.tolist(), strict=True):
        assert search["params"]["exact"] is True
        assert (search["query"], search["using"], search["limit"]) == ({"nearest": vector}, "a", 4)
        assert "lang" in json.dumps(search["filter"])


def test_a_search_of_the_compact_representation_is_rescored_by_the_server() -> None:
    bodies: list[Any] = []

    def reply(request: Request) -> Answer:
        if request.path.endswith("/query/batch"):
            bodies.append(json.loads(request.body))
            return answer({"result": [{"points": []}], "status": "ok", "time": 0.1})
        return qdrant("1.20.0")(request)

    with serving(reply) as url:
        collection = ServerStore.connect(url)._collection("c")
        collection.search(np.ones((1, 2), np.float32), vector="a", k=4, approximate=True)
    params = bodies[0]["searches"][0]["params"]
    assert not params.get("exact")
    assert params["quantization"]["rescore"] is True
    assert not params["quantization"].get("ignore")


def test_sparse_searches_ask_for_document_frequencies_of_what_is_there_now() -> None:
    bodies: list[Any] = []

    def reply(request: Request) -> Answer:
        if request.path.endswith("/points/query"):
            bodies.append(json.loads(request.body))
            return answer({"result": {"points": []}, "status": "ok", "time": 0.1})
        if request.path.endswith("/points/count"):
            return answer({"result": {"count": 7}, "status": "ok", "time": 0.1})
        return qdrant("1.20.0")(request)

    query = SparseVector(
        indices=np.array([7, 4_000_000_000], np.uint32), values=np.array([1, 0.5], np.float32)
    )
    with serving(reply) as url:
        collection = ServerStore.connect(url)._collection("c")
        assert collection.search_sparse(query, vector="s", k=4, where=equals("lang", "de")) == []
        assert collection.count_above(query, vector="s", score=1.5) == 0
    for body in bodies:
        assert body["params"] == {"exact": True, "idf": {"corpus": {}}}
        assert body["query"]["nearest"] == {"indices": [7, 4_000_000_000], "values": [1.0, 0.5]}
        assert body["using"] == "s"
    assert "lang" in json.dumps(bodies[0]["filter"])
    assert (bodies[1]["limit"], bodies[1]["score_threshold"], bodies[1]["with_payload"]) == (7, 1.5, False)


class Layouts:
    """A server with one collection, whose layout can be changed; it can lose a request."""

    def __init__(self) -> None:
        self.vectors: dict[str, Any] = {"a": {"size": 2, "distance": "Dot"}}
        self.metadata: dict[str, Any] = {}
        self.changes: list[str] = []
        self.loses = ""

    def __call__(self, request: Request) -> Answer:
        body = json.loads(request.body) if request.body else {}
        found: Any = True
        if request.path == "/collections/c" and request.method == "GET":
            found = self._info()
        elif request.path == "/collections/c" and request.method == "PATCH":
            change = "quantization" if "vectors" in body else "metadata"
            if change == self.loses:
                return 500, "text/plain", b"lost"
            self.changes.append(change)
            self.metadata.update(body.get("metadata") or {})
            for name, diff in (body.get("vectors") or {}).items():
                self.vectors[name].update(diff)
        elif request.path.startswith("/collections/c/vectors/") and request.method == "PUT":
            self.changes.append("vector")
            self.vectors[request.path.rsplit("/", 1)[1]] = body["dense"]
            found = {"operation_id": 1, "status": "completed"}
        else:
            return qdrant("1.20.0")(request)
        return answer({"result": found, "status": "ok", "time": 0.1})

    def _info(self) -> dict[str, Any]:
        optimizers = {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        }
        config = {
            "params": {"vectors": self.vectors},
            "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10},
            "optimizer_config": optimizers,
            "metadata": self.metadata,
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": config,
            "payload_schema": {},
        }


@pytest.mark.parametrize(
    ("storage", "quantization"),
    [
        ("int8", {"scalar": {"type": "int8"}}),
        ("binary", {"binary": {"query_encoding": "scalar4bits"}}),
        ("float16", None),
    ],
)
def test_a_compact_representation_is_asked_for_until_it_is_there(
    storage: str, quantization: dict[str, Any] | None
) -> None:
    server = Layouts()
    with serving(server) as url:
        collection = ServerStore.connect(url, patience=Patience(seconds=0))._collection("c")
        if quantization is not None:
            server.loses = "quantization"
            with pytest.raises(StoreError, match="lost"):
                collection.add_vector("b", 3, storage=storage)
            server.loses = ""
        collection.add_vector("b", 3, storage=storage)
        made = server.vectors["b"]
        assert (made["size"], made["distance"], made["datatype"]) == (3, "Dot", "float16")
        assert made.get("quantization_config") == quantization
        assert server.changes == ["metadata", "vector"] + ["quantization"] * (quantization is not None)
        assert server.metadata == {"tandem_storage": {"b": storage}}
        with pytest.raises(
            InputError, match=f"'b'.*float32; there is one that is dense, 3 numbers as {storage}"
        ):
            collection.add_vector("b", 3)


def creation(layout: ServerLayout | None) -> dict[str, Any]:
    """Return what is asked of a server for a corpus with this layout."""
    created: list[dict[str, Any]] = []
    lease: list[Any] = []

    def reply(request: Request) -> Answer:
        body = json.loads(request.body) if request.body else {}
        found: Any = {"operation_id": 1, "status": "completed"}
        if request.path.endswith("/exists"):
            found = {"exists": False}
        elif request.path == "/collections/_tandem-locks/points" and request.method == "PUT":
            lease[:] = body["points"]
        elif request.path == "/collections/_tandem-locks/points":
            found = [{"id": point["id"], "payload": point["payload"]} for point in lease]
        elif request.path == "/collections/c" and request.method == "PUT":
            created.append(body)
            found = True
        elif request.path == "/collections/c" and request.method == "GET":
            config = {
                "params": {},
                "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
            }
            found = {
                "status": "green",
                "optimizer_status": "ok",
                "segments_count": 1,
                "config": config,
                "payload_schema": {},
            }
        elif request.path.startswith("/collections/") and request.method in {"PUT", "PATCH"}:
            found = True if request.path.count("/") == 2 else found
        else:
            return qdrant("1.20.0")(request)
        return answer({"result": found, "status": "ok", "time": 0.1})

    with serving(reply) as url:
        open_store(url=url, layout=layout).create("c", vectors={"a": 2}, record={})
    (body,) = created
    return body


def test_a_layout_is_asked_for_when_a_corpus_is_created() -> None:
    body = creation(ServerLayout(shards=6, replicas=3, on_disk=True))
    assert (body["shard_number"], body["replication_factor"], body["write_consistency_factor"]) == (6, 3, 2)
    assert body["on_disk_payload"] is True
    assert body["vectors"]["a"]["on_disk"] is True


@pytest.mark.parametrize("layout", [None, ServerLayout()])
def test_without_a_layout_the_server_chooses(layout: ServerLayout | None) -> None:
    body = creation(layout)
    for name in ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload"):
        assert body.get(name) is None
    assert body["vectors"]["a"].get("on_disk") is None
    assert body["hnsw_config"] == {"m": 0}


@pytest.mark.parametrize(
    ("replicas", "consistency"), [(None, None), (1, None), (2, 2), (3, 2), (4, 3), (5, 3)]
)
def test_a_write_counts_when_most_replicas_have_it(replicas: int | None, consistency: int | None) -> None:
    assert ServerLayout(replicas=replicas).write_consistency == consistency


@pytest.mark.parametrize("name", ["shards", "replicas"])
def test_a_layout_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} of at least 1, got 0"):
        ServerLayout(**{name: 0})


def test_what_is_kept_on_disk_is_said_of_each_vector(client: QdrantClient) -> None:
    store = ServerStore(client, location="memory", layout=ServerLayout(on_disk=True))
    store.create("c", vectors={"a": 2}, record={})
    vectors = client.get_collection("c").config.params.vectors
    assert isinstance(vectors, dict)
    assert vectors["a"].on_disk is True


class Failing:
    """A server that fails the next few requests in some way, and counts what it is asked."""

    def __init__(self, fault: Callable[[], Answer]) -> None:
        self.left = 0
        self.asked: list[str] = []
        self._fault = fault

    def __call__(self, request: Request) -> Answer:
        self.asked.append(f"{request.method} {request.path}")
        if self.left:
            self.left -= 1
            return self._fault()
        if request.path.endswith("/count"):
            return answer({"result": {"count": 7}, "status": "ok", "time": 0.1})
        return qdrant("1.20.0")(request)


def _cut_off() -> Answer:
    raise ConnectionError  # the connection ends without an answer


FAULTS: dict[str, Callable[[], Answer]] = {
    "429": lambda: (429, "text/plain", b"slow down"),
    "502": lambda: (502, "text/html", b"<html>bad gateway</html>"),
    "503": lambda: (503, "application/json", b"{}"),
    "504": lambda: (504, "text/plain", b""),
    "no answer": _cut_off,
}
QUICK = Patience(seconds=20, seconds_writing=20, longest_wait=0.02)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_for_a_moment_is_asked_again(
    fault: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = Failing(FAULTS[fault])
    with serving(failing) as url:
        collection = ServerStore.connect(url, patience=QUICK)._collection("c")
        ones = np.ones(2, np.float32)
        for ask in (
            lambda: collection.upsert([Point(point_id=str(uuid.UUID(int=1)), vectors={"a": ones})]),
            lambda: collection.delete(equals("n", 1)),
            collection.count,
        ):
            failing.left, failing.asked = 3, []
            found = ask()
            assert len(failing.asked) == 4
            assert len(set(failing.asked)) == 1
        assert found == 7
    assert caplog.text.count("does not answer") == 9
    assert "attempt 4 follows" in caplog.text
    capfd.readouterr()  # the server's own traceback of a connection that was cut off


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500, 507])
def test_what_will_not_pass_is_not_asked_again(status: int) -> None:
    failing = Failing(lambda: (status, "application/json", b"{}"))
    with serving(failing) as url:
        collection = ServerStore.connect(url, patience=QUICK)._collection("c")
        failing.left, failing.asked = 99, []
        with pytest.raises(StoreError):
            collection.count()
    assert len(failing.asked) == 1


def test_patience_ends_and_is_longer_while_a_corpus_is_written() -> None:
    patience = Patience(seconds=0.2, seconds_writing=1.0, longest_wait=0.05)
    failing = Failing(FAULTS["503"])

    def lasts() -> float:
        start = time.monotonic()
        with pytest.raises(StoreError, match="503"):
            collection.count()
        return time.monotonic() - start

    with serving(failing) as url:
        collection = ServerStore.connect(url, patience=patience)._collection("c")
        failing.left = 10**6
        assert 0.1 < lasts() < 0.9
        with patience.writing():
            assert lasts() >= 0.9
        assert 0.1 < lasts() < 0.9


def test_a_server_that_is_restarted_meanwhile_is_waited_for() -> None:
    with serving(qdrant("1.20.0")) as url:
        collection = ServerStore.connect(url, patience=QUICK)._collection("c")
    port = int(url.rsplit(":", 1)[1])
    failing = Failing(FAULTS["503"])
    started = threading.Event()
    ended = threading.Event()

    def later() -> None:
        time.sleep(0.3)
        with serving(failing, port=port):
            started.set()
            ended.wait()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        assert collection.count() == 7  # refused connections at first
        assert started.is_set()
    finally:
        ended.set()
        thread.join()


def test_a_creation_is_not_repeated_for_the_first_one_may_have_succeeded() -> None:
    failing = Failing(FAULTS["502"])
    with serving(failing) as url:
        client = ServerStore.connect(url, patience=QUICK)._client
        failing.left, failing.asked = 99, []
        with pytest.raises(UnexpectedResponse):
            client.create_collection("c", vectors_config={})
    assert failing.asked == ["PUT /collections/c"]
