"""A corpus in the words of the Qdrant client: LlamaIndex's own `QdrantVectorStore` reads an embedded one.

::

    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from tandem import AsyncStockClient, StockClient, open_store

    store = open_store("tandem-store")
    vectors = QdrantVectorStore(
        collection_name="handbook",
        client=StockClient(store, "handbook"),
        aclient=AsyncStockClient(store, "handbook"),
        dense_vector_name="all-MiniLM-L6-v2",
    )

They know what that class asks to read, and no more: a parameter that is not theirs is Python's `TypeError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

# By this path: `qdrant_client.models` has another class of the name `QueryResponse`.
from qdrant_client.http import models

from retriever.border import check_queries
from retriever.corpus.reader import CorpusReader
from retriever.errors import CorpusNotFoundError, InputError
from retriever.llama.stock_filters import as_condition
from retriever.records import LEXICAL
from retriever.store.protocol import Point, ScoredPoint, SparseVector, Vector, VectorStore

_WRITES = frozenset(
    {
        "batch_update_points",
        "clear_payload",
        "create_collection",
        "create_payload_index",
        "create_shard_key",
        "delete",
        "delete_collection",
        "delete_payload",
        "delete_payload_index",
        "delete_vectors",
        "overwrite_payload",
        "set_payload",
        "update_collection",
        "update_vectors",
        "upload_collection",
        "upload_points",
        "upsert",
    }
)


class StockClient:
    """Reads one corpus as a `QdrantClient` would: give it to LlamaIndex's `QdrantVectorStore` as ``client``.

    Ids and scores are those of a Qdrant server that holds the same corpus; every search is exact. It
    reads only.

    Parameters
    ----------
    store
        Where the corpus lies, from `open_store`.
    corpus
        Its name, which is the ``collection_name``.

    Raises
    ------
    CorpusNotFoundError
        If there is none of this name; of a method, if it is asked for another one.
    InputError
        Of a method: if it writes, or a vector or a filter is not one that the corpus knows.
    ShapeError
        Of a method: if a query is not of the size of the vector it is to be compared with.
    """

    def __init__(self, store: VectorStore, corpus: str) -> None:
        self._name = corpus
        self._collection = store.open(corpus)
        try:
            self._reader = CorpusReader(self._collection, location=store.location)
        except BaseException:
            self._collection.close()
            raise

    def collection_exists(self, collection_name: str) -> bool:
        """Return whether this is the corpus."""
        return collection_name == self._name

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Return the named vectors of the corpus, and how many points it has; nothing else is set."""
        self._check_name(collection_name)
        self._reader.refresh()
        params = models.CollectionParams(
            vectors={
                name: models.VectorParams(size=size, distance=models.Distance.DOT)
                for name, size in self._sizes().items()
            },
            sparse_vectors={
                name: models.SparseVectorParams(modifier=models.Modifier.IDF) for name in self._sparse_names()
            },
        )
        return models.CollectionInfo.model_construct(
            config=models.CollectionConfig.model_construct(params=params),
            points_count=self._collection.count(),
        )

    def query_points(  # noqa: PLR0913  # the parameters of the Qdrant client
        self,
        collection_name: str,
        *,
        query: Any,
        using: str | None = None,
        limit: int = 10,
        query_filter: models.Filter | None = None,
        search_params: models.SearchParams | None = None,  # noqa: ARG002  # every search is exact
        with_payload: bool | None = True,
        with_vectors: bool | Sequence[str] | None = False,
        shard_key_selector: object = None,
    ) -> models.QueryResponse:
        """Return the points of highest score with a vector: numbers, or a sparse vector."""
        self._check_name(collection_name)
        _check_absent(shard_key_selector=shard_key_selector)
        where = as_condition(query_filter)
        is_sparse = isinstance(query, models.SparseVector)
        name = self._known(using, among=self._sparse_names if is_sparse else self._sizes)
        vectors = self._names(with_vectors)
        found: list[ScoredPoint] = []
        if limit > 0 and is_sparse:
            found = self._collection.search_sparse(
                _sparse(query), vector=name, k=limit, where=where, with_vectors=vectors
            )
        elif limit > 0:
            rows = np.asarray([query], dtype=np.float32)
            check_queries(name, rows, size=self._sizes()[name])
            (found,) = self._collection.search(rows, vector=name, k=limit, where=where, with_vectors=vectors)
        return models.QueryResponse(points=[_scored(one, with_payload=with_payload) for one in found])

    def query_batch_points(
        self, collection_name: str, *, requests: Sequence[models.QueryRequest]
    ) -> list[models.QueryResponse]:
        """Return what `query_points` does, per request."""
        answers = []
        for request in requests:
            _check_absent(
                prefetch=request.prefetch,
                score_threshold=request.score_threshold,
                offset=request.offset,
                lookup_from=request.lookup_from,
            )
            answers.append(
                self.query_points(
                    collection_name,
                    query=request.query,
                    using=request.using,
                    limit=10 if request.limit is None else request.limit,
                    query_filter=request.filter,
                    with_payload=bool(request.with_payload),
                    with_vectors=request.with_vector,
                    shard_key_selector=request.shard_key,
                )
            )
        return answers

    def scroll(  # noqa: PLR0913  # the parameters of the Qdrant client
        self,
        collection_name: str,
        *,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        with_payload: bool | None = True,
        with_vectors: bool | Sequence[str] | None = False,
        shard_key_selector: object = None,
    ) -> tuple[list[models.Record], str | None]:
        """Return the first matching points in the order of their ids, and the id of the one that follows."""
        self._check_name(collection_name)
        _check_absent(shard_key_selector=shard_key_selector)
        found: list[Point] = []
        batches = self._collection.scroll(
            where=as_condition(scroll_filter),
            with_vectors=self._names(with_vectors),
            fields=None if with_payload else (),
            batch=min(limit + 1, 256),
        )
        for points in batches:
            found += points
            if len(found) > limit:
                break
        following = found[limit].point_id if len(found) > limit else None
        return [_record(point, with_payload=with_payload) for point in found[:limit]], following

    def close(self) -> None:
        """Release the store."""
        self._collection.close()

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        """Return what refuses, for a method of the Qdrant client that writes."""
        if name not in _WRITES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise InputError(
                f"corpus {self._name!r} at {self._reader.location}: this client only reads, got {name}(). "
                f"Write to it with `ingest run`, which keeps all its vectors in step."
            )

        return refuse

    def _sizes(self) -> dict[str, int]:
        """Return the dense vectors of the corpus, and how many numbers each has."""
        manifest = self._reader.manifest
        combined = {
            one.vector: sum(manifest.size(part) for part in one.parts) for one in manifest.combinations
        }
        return {**{model.key: model.dimensions for model in manifest.models}, **combined}

    def _sparse_names(self) -> tuple[str, ...]:
        """Return the sparse vectors of the corpus."""
        return () if self._reader.manifest.lexical is None else (LEXICAL,)

    def _known(self, using: str | None, *, among: Callable[[], Collection[str]]) -> str:
        """Return the name of a vector, if there is one of it; it may be new."""
        if using not in among():
            self._reader.refresh()
        known = among()
        if using is None or using not in known:
            raise InputError(
                f"corpus {self._name!r} at {self._reader.location}: expected the name of one of its vectors "
                f"({', '.join(known) or 'there is none of this kind'}), got {using!r}. Give it to "
                "QdrantVectorStore as dense_vector_name (sparse_vector_name)."
            )
        return using

    def _names(self, with_vectors: bool | Sequence[str] | None) -> Sequence[str]:  # noqa: FBT001  # as in the client
        if with_vectors is True:
            return [*self._sizes(), *self._sparse_names()]
        return with_vectors or ()

    def _check_name(self, collection_name: str) -> None:
        if not self.collection_exists(collection_name):
            raise CorpusNotFoundError(
                f"store {self._reader.location}: expected {self._name!r}, the corpus of this client, "
                f"got {collection_name!r}. Open another client for it."
            )


class AsyncStockClient:
    """Reads one corpus as an `AsyncQdrantClient` would: `StockClient`, off the event loop.

    Give it to LlamaIndex's `QdrantVectorStore` as ``aclient``. Parameters, and what its methods raise,
    are those of `StockClient`.
    """

    def __init__(self, store: VectorStore, corpus: str) -> None:
        self._reading = StockClient(store, corpus)

    async def collection_exists(self, collection_name: str) -> bool:
        """Return whether this is the corpus."""
        return self._reading.collection_exists(collection_name)

    async def close(self) -> None:
        """Release the store."""
        self._reading.close()

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return a method of `StockClient`, to be awaited."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method = getattr(self._reading, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **options)

        return call


def _check_absent(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"query: expected no {name}, which a corpus in a folder does not know, got {value!r}."
            )


def _sparse(given: models.SparseVector) -> SparseVector:
    return SparseVector(
        indices=np.asarray(given.indices, dtype=np.uint32), values=np.asarray(given.values, dtype=np.float32)
    )


def _given(vectors: Mapping[str, Vector]) -> dict[str, Any] | None:
    """Return vectors as the Qdrant client has them."""
    return {name: _numbers(vector) for name, vector in vectors.items()} or None


def _numbers(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
    return vector.tolist()


def _scored(found: ScoredPoint, *, with_payload: bool | None) -> models.ScoredPoint:
    point = found.point
    return models.ScoredPoint(
        id=point.point_id,
        version=0,
        score=found.score,
        payload=dict(point.payload) if with_payload else None,
        vector=_given(point.vectors),
    )


def _record(point: Point, *, with_payload: bool | None) -> models.Record:
    return models.Record(
        id=point.point_id,
        payload=dict(point.payload) if with_payload else None,
        vector=_given(point.vectors),
    )
