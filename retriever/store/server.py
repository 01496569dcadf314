"""The server engine: the corpora of a Qdrant server, through its client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models

from retriever.errors import CorpusExistsError, CorpusNotFoundError, StoreCorruptError, StoreError
from retriever.models.protocol import FloatArray
from retriever.records import FULL_STORAGE, check_corpus_name
from retriever.store import filters
from retriever.store.kinds import HALF_STORAGE, Dense, Kind, Sparse, is_there
from retriever.store.layout import ServerLayout
from retriever.store.points import INDEXED_IN_MEMORY, INDEXED_ON_DISK, ranked, to_point
from retriever.store.protocol import Point, ScoredPoint, SparseVector, Vector
from retriever.store.server_client import Patience, answering, connected
from retriever.store.server_filters import as_filter, required_filter
from retriever.store.server_lease import Lease, Leases

OLDEST_SERVER = (1, 18)
"""The first version that adds a named vector to an existing collection."""

_METADATA = "tandem"
_STORAGES = "tandem_storage"
_UNFINISHED = "creation in progress"
_SERVER_CHOOSES = ServerLayout()

_EXACT = models.SearchParams(exact=True)

# Rescored in what is kept beside; see the embedded engine.
_COMPACT = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True))

# Document frequencies of the whole corpus, counted when a query comes; see the embedded engine.
_SPARSE = models.SearchParams(exact=True, idf=models.IdfCorpusParams(corpus=models.Filter()))

_QUANTIZATIONS: dict[str, models.QuantizationConfigDiff] = {
    "int8": models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)),
    "binary": models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(
            query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR4BITS
        )
    ),
}

_NUMBERS_PER_REQUEST = 1_000_000
"""As JSON some 22 MB; a server refuses requests of more than 32 MB."""


class ServerStore:
    """The corpora of a Qdrant server: its collections that carry a Tandem record."""

    def __init__(
        self,
        client: QdrantClient,
        *,
        location: str,
        layout: ServerLayout | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._client = client
        self._location = location
        self._layout = _SERVER_CHOOSES if layout is None else layout
        self._patience = Patience() if patience is None else patience
        self._leases = Leases(client, location)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        layout: ServerLayout | None = None,
        patience: Patience | None = None,
    ) -> ServerStore:
        """Connect to a server and check that it is recent enough; whoever does not answer now is not there.

        Parameters
        ----------
        url, api_key
            Of the server.
        layout
            Of corpora that are created; the server's own where it is left out.
        patience
            With later requests.

        Raises
        ------
        StoreUnreachableError
            If nothing answers at `url`, or it refuses the key.
        StoreError
            If the server is older than 1.18.
        """
        client = connected(url, api_key)
        with answering(url):
            version = client.info().version
            client.get_collections()  # `info` answers without a key, this does not
        if _numbers(version) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreError(
                f"Qdrant server {url}: expected version {oldest} or later, got {version}. "
                "Upgrade the server (docker-compose.yml names a version that works)."
            )
        patience = Patience() if patience is None else patience
        client.http.client.add_middleware(patience)
        return cls(client, location=url, layout=layout, patience=patience)

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
        with self._leases.hold(name, "create"), answering(self._location):
            if self._client.collection_exists(name):
                self._remove_unfinished(name)
            self._client.create_collection(
                name,
                vectors_config={key: self._vector_params(size) for key, size in vectors.items()},
                hnsw_config=models.HnswConfigDiff(m=0),  # no graph is ever built
                shard_number=self._layout.shards,
                replication_factor=self._layout.replicas,
                write_consistency_factor=self._layout.write_consistency,
                on_disk_payload=self._layout.on_disk,
                metadata={_METADATA: _UNFINISHED},
            )
            collection = self._collection(name)
            collection.ensure_indexes()
            collection.write_record(record)
        return collection

    def open(self, name: str) -> ServerCollection:
        """Open a corpus; see `retriever.store.protocol.VectorStore`."""
        self._check_exists(name)
        return self._collection(name)

    def names(self) -> list[str]:
        """Return the collections that carry a Tandem record, sorted."""
        with answering(self._location):
            found = [collection.name for collection in self._client.get_collections().collections]
            return sorted(name for name in found if self._has_record(name))

    def drop(self, name: str) -> None:
        """Delete a corpus from the server; see `retriever.store.protocol.VectorStore`."""
        self._check_exists(name)
        with self._leases.hold(name, "drop"), answering(self._location):
            self._client.delete_collection(name)

    def _collection(self, name: str) -> ServerCollection:
        return ServerCollection(
            self._client, name, self._location, leases=self._leases, patience=self._patience
        )

    def _vector_params(self, size: int) -> models.VectorParams:
        return models.VectorParams(size=size, distance=models.Distance.DOT, on_disk=self._layout.on_disk)

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

    def __init__(
        self, client: QdrantClient, name: str, location: str, *, leases: Leases, patience: Patience
    ) -> None:
        self._client = client
        self._name = name
        self._location = location
        self._leases = leases
        self._patience = patience
        self._lease: Lease | None = None

    def search(  # noqa: PLR0913  # what a search is
        self,
        queries: FloatArray,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
        approximate: bool = False,
    ) -> list[list[ScoredPoint]]:
        """Scan, all queries in one request."""
        requests = [
            models.QueryRequest(
                query=query.tolist(),
                using=vector,
                limit=k,
                filter=as_filter(where),
                params=_COMPACT if approximate else _EXACT,
                with_payload=True,
                with_vector=list(with_vectors) or False,
            )
            for query in queries
        ]
        if not requests:
            return []
        with answering(self._location):
            answers = self._client.query_batch_points(self._name, requests)
        return [ranked(answer.points) for answer in answers]

    def search_sparse(
        self,
        query: SparseVector,
        *,
        vector: str,
        k: int,
        where: filters.Condition | None = None,
        with_vectors: Sequence[str] = (),
    ) -> list[ScoredPoint]:
        """Search exactly, through the inverted index."""
        with answering(self._location):
            answer = self._client.query_points(
                self._name,
                _request_vector(query),
                using=vector,
                limit=k,
                query_filter=as_filter(where),
                search_params=_SPARSE,
                with_payload=True,
                with_vectors=list(with_vectors) or False,
            )
        return ranked(answer.points)

    def count_above(
        self,
        query: FloatArray | SparseVector,
        *,
        vector: str,
        score: float,
        where: filters.Condition | None = None,
    ) -> int:
        """Count what a search without payloads finds above the score."""
        with answering(self._location):
            answer = self._client.query_points(
                self._name,
                _request_vector(query),
                using=vector,
                limit=max(1, self.count()),
                query_filter=as_filter(where),
                search_params=_SPARSE if isinstance(query, SparseVector) else _EXACT,
                score_threshold=score,
                with_payload=False,
            )
        return len(answer.points)

    def prepare(self, vector: str) -> None:
        """Return at once: a server serves as fast as it can."""

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
            with answering(self._location):
                records, offset = self._client.scroll(
                    self._name,
                    scroll_filter=as_filter(where),
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
        with answering(self._location):
            return self._client.count(self._name, count_filter=as_filter(where), exact=True).count

    def upsert(self, points: Sequence[Point]) -> None:
        """Write, and wait until it is applied."""
        for part in _in_requests(points):
            rows = [
                models.PointStruct(
                    id=point.point_id, vector=_request_vectors(point.vectors), payload=dict(point.payload)
                )
                for point in part
            ]
            with self._writing():
                self._client.upsert(self._name, rows, wait=True)

    def update_vectors(self, points: Sequence[Point]) -> None:
        """Replace some vectors of existing points."""
        for part in _in_requests(points):
            rows = [
                models.PointVectors(id=point.point_id, vector=_request_vectors(point.vectors))
                for point in part
            ]
            with self._writing():
                self._client.update_vectors(self._name, rows, wait=True)

    def update_payloads(self, points: Sequence[Point]) -> None:
        """Replace the payload of existing points, all in one request."""
        operations: list[models.UpdateOperation] = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=dict(point.payload), points=[point.point_id])
            )
            for point in points
        ]
        if operations:
            with self._writing():
                self._client.batch_update_points(self._name, operations, wait=True)

    def delete(self, where: filters.Condition) -> None:
        """Delete matching points."""
        with self._writing():
            self._client.delete(self._name, models.FilterSelector(filter=required_filter(where)), wait=True)

    def flush(self) -> None:
        """Do nothing: the server has a write-ahead log, and every write above waited for it."""

    def add_vector(self, name: str, size: int, *, storage: str = FULL_STORAGE) -> None:
        """Add a named vector, unless it is there."""
        kind = Dense(size=size, storage=storage)
        with self._writing():
            if not is_there(name, kind, self._layout()):
                self._keep_storage(name, storage)
                config = models.DenseVectorConfig(
                    size=size,
                    distance=models.Distance.DOT,
                    datatype=models.VectorStorageDatatype(HALF_STORAGE) if storage != FULL_STORAGE else None,
                )
                self._client.create_vector_name(self._name, name, models.DenseVectorNameConfig(dense=config))
            if kind.is_quantized:  # also where it is there: a request between the two may have failed
                diff = models.VectorParamsDiff(quantization_config=_QUANTIZATIONS[storage])
                self._client.update_collection(self._name, vectors_config={name: diff})

    def add_sparse_vector(self, name: str) -> None:
        """Add a named sparse vector, unless it is there."""
        with self._writing():
            if not is_there(name, Sparse(), self._layout()):
                config = models.SparseVectorConfig(modifier=models.Modifier.IDF)
                self._client.create_vector_name(
                    self._name, name, models.SparseVectorNameConfig(sparse=config)
                )

    def drop_vector(self, name: str) -> None:
        """Delete a named vector, if it is there."""
        with self._writing():
            if name in self._layout():
                self._client.delete_vector_name(self._name, name)

    def ensure_indexes(self) -> None:
        """Make the payload indexes that are missing."""
        on_disk = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True)
        with self._writing():
            present = self._client.get_collection(self._name).payload_schema
            for field in INDEXED_IN_MEMORY:
                if field not in present:
                    self._client.create_payload_index(self._name, field, models.PayloadSchemaType.KEYWORD)
            for field in INDEXED_ON_DISK:
                if field not in present:
                    self._client.create_payload_index(self._name, field, on_disk)

    def read_record(self) -> dict[str, Any]:
        """Read the record from the metadata of the collection."""
        with answering(self._location):
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
        with self._writing():
            self._client.update_collection(self._name, metadata={_METADATA: dict(record)})

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the lease of the corpus, and bear with a server that is away for a while."""
        with self._leases.hold(self._name, purpose) as lease, self._patience.writing():
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def close(self) -> None:
        """Do nothing: the connections belong to the store."""

    def _layout(self) -> dict[str, Kind]:
        config = self._client.get_collection(self._name).config
        storages = (config.metadata or {}).get(_STORAGES, {})
        dense = config.params.vectors if isinstance(config.params.vectors, dict) else {}
        layout: dict[str, Kind] = {
            name: Dense(size=params.size, storage=storages.get(name, FULL_STORAGE))
            for name, params in dense.items()
        }
        return {**layout, **dict.fromkeys(config.params.sparse_vectors or (), Sparse())}

    def _keep_storage(self, name: str, storage: str) -> None:
        """Note how a vector is to be kept, before it is added: what it is made with does not say."""
        metadata = self._client.get_collection(self._name).config.metadata or {}
        storages = {**metadata.get(_STORAGES, {}), name: storage}
        self._client.update_collection(self._name, metadata={_STORAGES: storages})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write one request: not without the lease, if there is one."""
        if self._lease is not None:
            self._lease.check()
        with answering(self._location):
            yield


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


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _request_vectors(vectors: Mapping[str, Vector]) -> dict[str, Any]:
    return {name: _request_vector(vector) for name, vector in vectors.items()}


def _request_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
    return vector.tolist()
