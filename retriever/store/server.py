"""The server engine: a Qdrant server through its client. The only module that imports the client."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from retriever.errors import (
    CorpusExistsError,
    CorpusNotFoundError,
    StoreCorruptError,
    StoreError,
    StoreUnreachableError,
)
from retriever.models.protocol import FloatArray
from retriever.records import check_corpus_name
from retriever.store import filters
from retriever.store.points import ranked, to_point
from retriever.store.protocol import Point, ScoredPoint

OLDEST_SERVER = (1, 18)
"""The first version that adds a named vector to an existing collection."""

_METADATA = "tandem"
_UNFINISHED = "creation in progress"
_INDEXED_FIELDS = ("doc_id",)
_UNAUTHORISED = (401, 403)
_TIMEOUT_SECONDS = 60
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

_NUMBERS_PER_REQUEST = 1_000_000
"""As JSON some 22 MB; a server refuses requests of more than 32 MB."""


class ServerStore:
    """The corpora of a Qdrant server: its collections that carry a Tandem record."""

    def __init__(self, client: QdrantClient, *, location: str) -> None:
        self._client = client
        self._location = location

    @classmethod
    def connect(cls, url: str, *, api_key: str | None = None) -> ServerStore:
        """Connect to a server and check that it is recent enough.

        Raises
        ------
        StoreUnreachableError
            If nothing answers at `url`, or it refuses the key.
        StoreError
            If the server is older than 1.18.
        """
        client = _client(url, api_key)
        with _answering(url):
            version = client.info().version
            client.get_collections()  # `info` answers without a key, this does not
        if _numbers(version) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreError(
                f"Qdrant server {url}: expected version {oldest} or later, got {version}. "
                "Upgrade the server (docker-compose.yml names a version that works)."
            )
        return cls(client, location=url)

    @property
    def location(self) -> str:
        """The URL."""
        return self._location

    def create(self, name: str, *, vectors: Mapping[str, int], record: Mapping[str, Any]) -> ServerCollection:
        """Create a corpus; see `retriever.store.protocol.VectorStore`.

        The collection gets its record with its last step; one that was cut short before is made
        anew. A collection that Tandem did not make is never touched.
        """
        check_corpus_name(name)
        with _answering(self._location):
            if self._client.collection_exists(name):
                self._remove_unfinished(name)
            self._client.create_collection(
                name,
                vectors_config={key: _vector_params(size) for key, size in vectors.items()},
                hnsw_config=models.HnswConfigDiff(m=0),  # no graph is ever built
                metadata={_METADATA: _UNFINISHED},
            )
            for field in _INDEXED_FIELDS:
                self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
        collection = ServerCollection(self._client, name, self._location)
        collection.write_record(record)
        return collection

    def open(self, name: str) -> ServerCollection:
        """Open a corpus; see `retriever.store.protocol.VectorStore`."""
        self._check_exists(name)
        return ServerCollection(self._client, name, self._location)

    def names(self) -> list[str]:
        """Return the collections that carry a Tandem record, sorted."""
        with _answering(self._location):
            found = [collection.name for collection in self._client.get_collections().collections]
            return sorted(name for name in found if self._has_record(name))

    def drop(self, name: str) -> None:
        """Delete a corpus from the server; see `retriever.store.protocol.VectorStore`."""
        self._check_exists(name)
        with _answering(self._location):
            self._client.delete_collection(name)

    def _has_record(self, name: str) -> bool:
        return self._metadata(name) not in (None, _UNFINISHED)

    def _metadata(self, name: str) -> Any:
        return (self._client.get_collection(name).config.metadata or {}).get(_METADATA)

    def _check_exists(self, name: str) -> None:
        if check_corpus_name(name) not in (names := self.names()):
            raise CorpusNotFoundError(
                f"Qdrant server {self._location}: expected a corpus {name!r}, "
                f"found {', '.join(names) or 'no corpus'}. "
                "Check the URL and the name, or make it with `ingest run`."
            )

    def _remove_unfinished(self, name: str) -> None:
        found = self._metadata(name)
        if found != _UNFINISHED:
            kind = "collection that Tandem did not make" if found is None else "corpus"
            raise CorpusExistsError(
                f"Qdrant server {self._location}: expected no collection {name!r}, but there is a {kind}. "
                "Choose another name."
            )
        self._client.delete_collection(name)


class ServerCollection:
    """One corpus on a server; see `retriever.store.protocol.Collection`."""

    def __init__(self, client: QdrantClient, name: str, location: str) -> None:
        self._client = client
        self._name = name
        self._location = location

    def search(
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[list[ScoredPoint]]:
        """Search exactly, all queries in one request."""
        requests = [
            models.QueryRequest(
                query=query.tolist(),
                using=vector,
                limit=k,
                filter=_filter(where),
                params=models.SearchParams(exact=True),
                with_payload=True,
                with_vector=list(with_vectors) or False,
            )
            for query in queries
        ]
        if not requests:
            return []
        with _answering(self._location):
            answers = self._client.query_batch_points(self._name, requests)
        return [ranked(answer.points) for answer in answers]

    def scroll(
        self,
        *,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
        fields: Sequence[str] | None = None,
        batch: int = 256,
    ) -> Iterator[list[Point]]:
        """Yield matching points in the order of their ids, one request per list."""
        offset: Any = None
        while True:
            with _answering(self._location):
                records, offset = self._client.scroll(
                    self._name,
                    scroll_filter=_filter(where),
                    limit=batch,
                    offset=offset,
                    with_payload=True if fields is None else list(fields),
                    with_vectors=list(with_vectors) or False,
                )
            if records:
                yield [to_point(record) for record in records]
            if offset is None:
                return

    def count(self, where: filters.Condition | None = None) -> int:
        """Count exactly."""
        with _answering(self._location):
            return self._client.count(self._name, count_filter=_filter(where), exact=True).count

    def upsert(self, points: Sequence[Point]) -> None:
        """Write, and wait until it is applied."""
        for part in _in_requests(points):
            rows = [
                models.PointStruct(
                    id=point.point_id, vector=_lists(point.vectors), payload=dict(point.payload)
                )
                for point in part
            ]
            with _answering(self._location):
                self._client.upsert(self._name, rows, wait=True)

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace some vectors of existing points."""
        for part in _in_requests(points):
            rows = [models.PointVectors(id=point.point_id, vector=_lists(point.vectors)) for point in part]
            with _answering(self._location):
                self._client.update_vectors(self._name, rows, wait=True)

    def delete(self, where: filters.Condition) -> None:
        """Delete matching points."""
        with _answering(self._location):
            self._client.delete(self._name, models.FilterSelector(filter=_required(where)), wait=True)

    def flush(self) -> None:
        """Do nothing: the server has a write-ahead log, and every write above waited for it."""

    def add_vector(self, name: str, size: int) -> None:
        """Add a named vector, unless it is there with this size."""
        with _answering(self._location):
            layout = self._client.get_collection(self._name).config.params.vectors
            present = layout.get(name) if isinstance(layout, dict) else None
            if present is not None and present.size == size:
                return
            config = models.DenseVectorConfig(size=size, distance=models.Distance.DOT)
            self._client.create_vector_name(self._name, name, models.DenseVectorNameConfig(dense=config))

    def drop_vector(self, name: str) -> None:
        """Delete a named vector, if it is there."""
        with _answering(self._location):
            layout = self._client.get_collection(self._name).config.params.vectors
            if isinstance(layout, dict) and name in layout:
                self._client.delete_vector_name(self._name, name)

    def read_record(self) -> dict[str, Any]:
        """Read the record from the metadata of the collection."""
        with _answering(self._location):
            metadata = self._client.get_collection(self._name).config.metadata or {}
        record = metadata.get(_METADATA)
        if not isinstance(record, dict):
            raise StoreCorruptError(
                f"Qdrant server {self._location}: expected collection {self._name!r} to carry a record "
                f"under {_METADATA!r} in its metadata, got {record!r}. Ingest again under another name."
            )
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace the record in the metadata of the collection by one request."""
        with _answering(self._location):
            self._client.update_collection(self._name, metadata={_METADATA: dict(record)})

    def close(self) -> None:
        """Do nothing: the connections belong to the store."""


def _client(url: str, api_key: str | None) -> QdrantClient:
    try:
        if not url:  # the client would take its own default
            raise ValueError("it is empty")  # noqa: TRY301  # as the client refuses all others
        with warnings.catch_warnings():
            if urlsplit(url).hostname in _THIS_MACHINE:  # the key does not travel
                warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            return QdrantClient(url=url, api_key=api_key, timeout=_TIMEOUT_SECONDS, check_compatibility=False)
    except ValueError as error:
        raise StoreUnreachableError(
            f"Qdrant server: expected a URL such as http://127.0.0.1:6333, got {url!r} ({error})."
        ) from error


def _in_requests(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Cut points into lists that a server takes in one request; a point stays whole."""
    part: list[Point] = []
    numbers = 0
    for point in points:
        size = sum(vector.size for vector in point.vectors.values())
        if part and numbers + size > _NUMBERS_PER_REQUEST:
            yield part
            part, numbers = [], 0
        part.append(point)
        numbers += size
    if part:
        yield part


@contextmanager
def _answering(location: str) -> Iterator[None]:
    """Turn what the client raises into our errors."""
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in _UNAUTHORISED:
            raise StoreUnreachableError(
                f"Qdrant server {location}: expected a valid API key, the server refused it "
                f"({error.status_code}). Set QDRANT_API_KEY or --api-key."
            ) from error
        raise StoreError(f"Qdrant server {location}: the request failed: {error}") from error
    except (ApiException, QdrantException, JSONDecodeError) as error:
        raise StoreUnreachableError(
            f"Qdrant server {location}: expected an answer, got: {error}. "
            "Check that the server runs and the URL is right."
        ) from error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _vector_params(size: int) -> models.VectorParams:
    return models.VectorParams(size=size, distance=models.Distance.DOT)


def _lists(vectors: Mapping[str, FloatArray]) -> dict[str, Any]:
    return {name: vector.tolist() for name, vector in vectors.items()}


def _filter(where: filters.Condition | None) -> models.Filter | None:
    return None if where is None else _required(where)


def _required(where: filters.Condition) -> models.Filter:
    condition = _condition(where)
    return condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])


def _condition(  # noqa: PLR0911  # one return per kind of condition
    where: filters.Condition,
) -> (
    models.Filter
    | models.FieldCondition
    | models.HasIdCondition
    | models.HasVectorCondition
    | models.IsEmptyCondition
):
    match where:
        case filters.Matches(key=key, values=values):
            matches = [
                models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in values
            ]
            return models.Filter(should=list(matches)) if matches else _NEVER
        case filters.Between(key=key, gt=gt, gte=gte, lt=lt, lte=lte):
            return models.FieldCondition(key=key, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
        case filters.HasText(key=key, text=text):
            return models.FieldCondition(key=key, match=models.MatchSubstring(substring=text))
        case filters.IsEmpty(key=key):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case filters.HasId(ids=ids):
            return models.HasIdCondition(has_id=list(ids))
        case filters.HasVector(name=name):
            return models.HasVectorCondition(has_vector=name)
        case filters.AllOf(parts=parts):
            return models.Filter(must=[_condition(part) for part in parts])
        case filters.AnyOf(parts=parts):
            return models.Filter(should=[_condition(part) for part in parts]) if parts else _NEVER
        case filters.NoneOf(parts=parts):
            return models.Filter(must_not=[_condition(part) for part in parts])


_NEVER = models.Filter(must=[models.HasIdCondition(has_id=[])])
