"""A whole query, from its text to nodes: Tandem against LlamaIndex's own retrievers over the same store.

The chunks are made up, and so are their vectors (clusters of unit vectors), because search takes as long
whatever they say; the models that embed the queries are real. LlamaIndex's side is what its documentation
shows for two indexes: a `QueryFusionRetriever`, asynchronous, over one `VectorIndexRetriever` per model,
each with its `QdrantVectorStore`; they read the very corpus that Tandem reads, by the searches of Qdrant's
engine itself, without the scan that Tandem adds to it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.vector_stores.qdrant import QdrantVectorStore
from pydantic import PrivateAttr

from retriever.combine import weigh
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.llama.retriever import TandemRetriever
from retriever.llama.stock_client import AsyncStockClient, StockClient
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import Chunk, ChunkerSpec
from retriever.store.embedded import EmbeddedStore

MODELS = ("minilm", "wordllama")
K = 10
_BATCH = 1000
_CLUSTERS = 200
_TEXT = "The ferry to the island leaves the harbour at noon, and basil wants six hours of sun a day. " * 8
_QUESTIONS = (
    "how do I rotate a signing key without an outage",
    "which ferry leaves at noon",
    "what does a pull request need before it is merged",
    "warm soil for basil",
    "interest of a savings account that was opened within the quarter",
    "who answers the telephone at night",
    "a token was pushed to a public repository",
    "when are invoices paid",
)


class Wrapped(BaseEmbedding):
    """A model of ours as LlamaIndex's embedding: both sides embed a query with the same code."""

    _model: EmbeddingModel = PrivateAttr()

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__(model_name=model.spec.key)
        self._model = model

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._model.embed_queries([query])[0].tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        vector: list[float] = self._model.embed_chunks([text])[0].tolist()
        return vector


def whole(folder: Path, sizes: Sequence[int], *, repeats: int) -> dict[str, Any]:
    """Return the figures for corpora of these sizes, which are kept in a folder."""
    models = {model.spec.key: model for model in map(load_model, MODELS)}
    figures: dict[str, Any] = {}
    for size in sizes:
        store, vectors = _filled(folder, size, models)
        with _variants(store, f"made-up-{size}", models, vectors) as variants:
            seconds = _interleaved(variants, repeats=repeats)
        ours, theirs, floor = seconds["tandem"], seconds["fusion"], seconds["floor"]
        found = {
            f"{size:,} chunks, whole query: Tandem of LlamaIndex's fusion": (_ratio(ours, theirs), 0.6),
            f"{size:,} chunks, whole query: Tandem of both embeddings and a faiss scan": (
                _ratio(ours, floor),
                1.15,
            ),
        }
        for name, (value, goal) in found.items():
            figures[name] = {"value": value, "goal": goal, "met": value <= goal}
        milliseconds = {name: round(1000 * median(times), 2) for name, times in seconds.items()}
        print(f"whole, {size:,} chunks: medians in ms: {milliseconds}")
    return figures


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return median(a / b for a, b in zip(one, other, strict=True))


def _interleaved(variants: dict[str, Callable[[str], object]], *, repeats: int) -> dict[str, list[float]]:
    """Return the mean seconds per question of each variant, per repeat."""
    for ask in variants.values():
        ask(_QUESTIONS[0])
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats):
        order = list(variants.items())
        for name, ask in order[turn % len(order) :] + order[: turn % len(order)]:
            start = time.perf_counter()
            for question in _QUESTIONS:
                ask(question)
            seconds[name].append((time.perf_counter() - start) / len(_QUESTIONS))
    return seconds


@contextmanager
def _variants(
    store: EmbeddedStore, corpus: str, models: dict[str, EmbeddingModel], vectors: dict[str, FloatArray]
) -> Iterator[dict[str, Callable[[str], object]]]:
    clients = [(StockClient(store, corpus), AsyncStockClient(store, corpus)) for _ in models]
    tandem = TandemRetriever.from_deployment(corpus, store=store.location, models=models, similarity_top_k=K)
    tandem.warm_up()
    index = faiss.IndexFlatIP(sum(rows.shape[1] for rows in vectors.values()))
    index.add(np.hstack(list(vectors.values())) / np.sqrt(np.float32(len(vectors))))

    def floor(question: str) -> object:
        parts = [model.embed_queries([question]) for model in models.values()]
        return index.search(weigh(parts, tandem.deployment.weights), K)

    retrievers = [
        VectorStoreIndex.from_vector_store(
            QdrantVectorStore(collection_name=corpus, client=client, aclient=aclient, dense_vector_name=key),
            embed_model=Wrapped(model),
        ).as_retriever(similarity_top_k=K)
        for (client, aclient), (key, model) in zip(clients, models.items(), strict=True)
    ]
    fusion = QueryFusionRetriever(
        retrievers,
        llm=MockLLM(),
        mode=FUSION_MODES.RELATIVE_SCORE,
        similarity_top_k=K,
        num_queries=1,
        use_async=True,
    )
    with asyncio.Runner() as runner:

        def run(asked: Callable[[str], Awaitable[object]]) -> Callable[[str], object]:
            async def ask(question: str) -> object:
                return await asked(question)

            return lambda question: runner.run(ask(question))

        scans = clients[0][0]._collection._shard.scans  # type: ignore[attr-defined]  # noqa: SLF001
        stock = run(fusion.aretrieve)

        def without_scans(question: str) -> object:
            with patch.object(scans, "find", lambda *_: None):
                return stock(question)

        try:
            yield {"tandem": run(tandem.aretrieve), "fusion": without_scans, "floor": floor}
        finally:
            tandem.close()
            for client, aclient in clients:
                client.close()
                runner.run(aclient.close())


def _filled(
    folder: Path, size: int, models: dict[str, EmbeddingModel]
) -> tuple[EmbeddedStore, dict[str, FloatArray]]:
    """Return a store with a deployed corpus of this size, and its vectors; made the first time."""
    store, name = EmbeddedStore(folder), f"made-up-{size}"
    vectors = {key: _clustered(size, model.spec.dimensions) for key, model in models.items()}
    if name in store.names():
        return store, vectors
    specs = [model.spec for model in models.values()]
    with Corpus.create(store, name, chunker=ChunkerSpec(), models=specs) as corpus:
        for start in range(0, size, _BATCH):
            chunks = [_chunk(i) for i in range(start, min(size, start + _BATCH))]
            corpus.write(
                chunks,
                {key: rows[start : start + len(chunks)] for key, rows in vectors.items()},
                document_hash={chunk.doc_id: "made up" for chunk in chunks},
                chunk_count={chunk.doc_id: 1 for chunk in chunks},
            )
        corpus.measure_spreads()
        deploy(corpus, list(models))
    return store, vectors


def _clustered(size: int, dimensions: int) -> FloatArray:
    rng = np.random.default_rng(dimensions)
    centres = rng.normal(size=(_CLUSTERS, dimensions))
    rows = centres[rng.integers(_CLUSTERS, size=size)] + rng.normal(size=(size, dimensions))
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _chunk(i: int) -> Chunk:
    return Chunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"made up {i}")),
        doc_id=f"d{i}",
        index=0,
        text=f"{i}. {_TEXT}",
        start_char=0,
        end_char=len(_TEXT),
        token_count=200,
        metadata={"number": i},
    )
