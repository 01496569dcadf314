"""A program that answers as a Qdrant server, as far as Tandem asks, from the memory of the Qdrant client.

It is for tests of what lies between a process and a server. What it holds is gone when it ends.

    python qdrant_over_http.py [PORT]

prints its URL and serves until it is killed.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.http import models

VERSION = "1.20.0"
Body = dict[str, Any]


class Collections:
    """What is asked of a server, by method and path."""

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self._lock = threading.Lock()  # the client's memory is for one thread

    def answer(self, method: str, path: str, body: Body) -> Any:
        """Return the result of a request; a `ValueError` where there is no such collection."""
        match method, path.strip("/").split("/"):
            case "GET", ["collections"]:
                work: Callable[[], Any] = self._client.get_collections
            case "GET", ["collections", name, "exists"]:
                work = lambda: {"exists": self._client.collection_exists(name)}  # noqa: E731  # as in all cases
            case _, ["collections", name]:
                work = lambda: self._collection(method, name, body)  # noqa: E731
            case _, ["collections", name, "vectors", vector]:
                work = lambda: self._vector(method, name, vector, body)  # noqa: E731
            case _, ["collections", name, "index"]:
                work = _done
            case _, ["collections", name, "points", *what]:
                work = lambda: self._points(method, name, "/".join(what), body)  # noqa: E731
            case _:
                raise ValueError(f"unknown: {method} {path}")
        with self._lock:
            return work()

    def _collection(self, method: str, name: str, body: Body) -> Any:
        if method == "GET":
            return self._client.get_collection(name)
        if method == "DELETE":
            return self._client.delete_collection(name)
        if method == "PATCH":
            changed = models.UpdateCollection.model_validate(body)
            return self._client.update_collection(
                name, vectors_config=changed.vectors, metadata=changed.metadata
            )
        made = models.CreateCollection.model_validate(body)
        return self._client.create_collection(
            name,
            vectors_config=made.vectors,
            sparse_vectors_config=made.sparse_vectors,
            metadata=made.metadata,
        )

    def _vector(self, method: str, name: str, vector: str, body: Body) -> Any:
        if method == "DELETE":
            self._client.delete_vector_name(name, vector)
        elif "dense" in body:
            self._client.create_vector_name(name, vector, models.DenseVectorNameConfig.model_validate(body))
        else:
            self._client.create_vector_name(name, vector, models.SparseVectorNameConfig.model_validate(body))
        return _done()

    def _points(self, method: str, name: str, what: str, body: Body) -> Any:
        match method, what:
            case "POST", "":
                return self._client.retrieve(name, models.PointRequest.model_validate(body).ids)
            case "POST", "count":
                return self._client.count(name, models.CountRequest.model_validate(body).filter)
            case "POST", "scroll":
                return self._scrolled(name, models.ScrollRequest.model_validate(body))
            case "POST", "query":
                return self._found(name, models.QueryRequest.model_validate(body))
            case "POST", "query/batch":
                requests = models.QueryRequestBatch.model_validate(body).searches
                return [self._found(name, request) for request in requests]
            case _:
                return self._write(method, name, what, body)

    def _write(self, method: str, name: str, what: str, body: Body) -> Any:
        match method, what:
            case "PUT", "":
                given = models.PointsList.model_validate(body)
                condition, mode = given.update_filter, given.update_mode
                self._client.upsert(name, given.points, update_filter=condition, update_mode=mode)
            case "PUT", "vectors":
                self._client.update_vectors(name, models.UpdateVectors.model_validate(body).points)
            case "POST", "delete":
                selector = models.FilterSelector if "filter" in body else models.PointIdsList
                self._client.delete(name, selector.model_validate(body))
            case "POST", "batch":
                operations = models.UpdateOperations.model_validate(body).operations
                self._client.batch_update_points(name, operations)
                return [_done()] * len(operations)
            case _:
                raise ValueError(f"unknown: {method} points/{what}")
        return _done()

    def _found(self, name: str, request: models.QueryRequest) -> Any:
        return self._client.query_batch_points(name, [request])[0]

    def _scrolled(self, name: str, asked: models.ScrollRequest) -> Any:
        points, following = self._client.scroll(
            name,
            scroll_filter=asked.filter,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=True if asked.with_payload is None else asked.with_payload,
            with_vectors=asked.with_vector or False,
        )
        return {"points": points, "next_page_offset": following}


def _done() -> Body:
    return {"operation_id": 1, "status": "completed"}


def as_json(value: Any) -> Any:
    """Return what `json` does not know as something that it does."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True, by_alias=True)
    return value.tolist() if hasattr(value, "tolist") else str(value)


class Handler(http.server.BaseHTTPRequestHandler):
    """Speaks HTTP, and keeps connections open as a server does."""

    protocol_version = "HTTP/1.1"
    collections = Collections()

    def _reply(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(size)) if size else {}
        path = urllib.parse.unquote(self.path.split("?")[0])
        if path == "/":
            self._send(200, {"title": "qdrant - vector search engine", "version": VERSION})
            return
        try:
            result = self.collections.answer(self.command, path, body)
        except ValueError as error:
            self._send(404, {"status": {"error": str(error)}, "time": 0})
        else:
            self._send(200, {"result": result, "status": "ok", "time": 0})

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815  # names that http.server looks for

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value, default=as_json).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


def main(port: int = 0) -> None:
    """Serve on this machine alone."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
