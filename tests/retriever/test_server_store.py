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

from retriever.errors import CorpusExistsError, CorpusNotFoundError, StoreError, StoreUnreachableError
from retriever.store.filters import equals
from retriever.store.place import open_store
from retriever.store.protocol import Point
from retriever.store.server import ServerCollection, ServerStore

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
def serving(reply: Callable[[Request], Answer]) -> Iterator[str]:
    """Serve `reply` on this machine and give its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, kind, body = reply(Request(self))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = _reply  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
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
        collection = ServerCollection(ServerStore.connect(url)._client, "c", url)
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
        collection = ServerCollection(ServerStore.connect(url)._client, "c", url)
        queries = np.eye(2, dtype=np.float32)
        assert collection.search(queries, vector="a", k=4, where=equals("lang", "de")) == [[], []]
    (body,) = bodies
    for search, vector in zip(body["searches"], queries.tolist(), strict=True):
        assert search["params"]["exact"] is True
        assert (search["query"], search["using"], search["limit"]) == ({"nearest": vector}, "a", 4)
        assert "lang" in json.dumps(search["filter"])
