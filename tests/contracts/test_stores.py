"""Every engine behind the store seam meets the same contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from retriever.models.protocol import FloatArray
from retriever.store import embedded
from retriever.store.contract import VectorStoreContract
from retriever.store.embedded import EmbeddedCollection, EmbeddedStore
from retriever.store.protocol import ScoredPoint, VectorStore
from retriever.store.server import ServerStore

SERVER_URL = os.environ.get("TANDEM_TEST_QDRANT_URL")


class TestEmbedded(VectorStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return EmbeddedStore(tmp_path / "store")


class TestEmbeddedWithScans(VectorStoreContract):
    """Every search finds a scan that is true to what is stored."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VectorStore:
        search = EmbeddedCollection.search

        def search_with_a_scan(
            collection: EmbeddedCollection, queries: FloatArray, *, vector: str, **options: Any
        ) -> list[list[ScoredPoint]]:
            collection.prepare(vector)
            return search(collection, queries, vector=vector, **options)

        monkeypatch.setattr(embedded, "_WORTH_A_SCAN", 1)
        monkeypatch.setattr(EmbeddedCollection, "search", search_with_a_scan)
        return EmbeddedStore(tmp_path / "store")


class TestServerInMemory(VectorStoreContract):
    @pytest.fixture
    def store(self) -> VectorStore:
        return ServerStore(QdrantClient(":memory:"), location=":memory:")


@pytest.mark.skipif(SERVER_URL is None, reason="TANDEM_TEST_QDRANT_URL names no Qdrant server")
class TestServer(VectorStoreContract):
    @pytest.fixture
    def store(self) -> Iterator[VectorStore]:
        assert SERVER_URL is not None
        store = ServerStore.connect(SERVER_URL, api_key=os.environ.get("QDRANT_API_KEY"))
        assert store.names() == [], "the contract wants a server without corpora"
        yield store
        for name in store.names():
            store.drop(name)
