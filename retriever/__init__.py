"""The serving side and the core that all packages share: records, models, store, retriever."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retriever.corpus import Corpus as Corpus
    from retriever.deploying import deploy as deploy
    from retriever.deployments import current_deployment as current_deployment
    from retriever.errors import DocumentsFailedError as DocumentsFailedError
    from retriever.errors import InputError as InputError
    from retriever.errors import ModelError as ModelError
    from retriever.errors import StoreError as StoreError
    from retriever.errors import TandemError as TandemError
    from retriever.llama.retriever import ExplainedNode as ExplainedNode
    from retriever.llama.retriever import TandemRetriever as TandemRetriever
    from retriever.llama.stock_client import AsyncStockClient as AsyncStockClient
    from retriever.llama.stock_client import StockClient as StockClient
    from retriever.models.catalog import load_model as load_model
    from retriever.models.llama_embedding import LlamaEmbeddingModel as LlamaEmbeddingModel
    from retriever.models.protocol import EmbeddingModel as EmbeddingModel
    from retriever.records import Chunk as Chunk
    from retriever.records import ChunkerSpec as ChunkerSpec
    from retriever.records import CorpusManifest as CorpusManifest
    from retriever.records import Deployment as Deployment
    from retriever.records import Document as Document
    from retriever.records import Hit as Hit
    from retriever.records import ModelSpec as ModelSpec
    from retriever.search import Searcher as Searcher
    from retriever.store.layout import ServerLayout as ServerLayout
    from retriever.store.place import open_store as open_store
    from retriever.store.protocol import VectorStore as VectorStore
    from retriever.watch import DriftAlarm as DriftAlarm
    from retriever.watch import Watch as Watch
    from retriever.watch import WatchReport as WatchReport
    from retriever.watch import WatchSettings as WatchSettings

_LOADED_ON_USE = {
    "AsyncStockClient": "retriever.llama.stock_client",
    "Chunk": "retriever.records",
    "ChunkerSpec": "retriever.records",
    "Corpus": "retriever.corpus",
    "CorpusManifest": "retriever.records",
    "Deployment": "retriever.records",
    "Document": "retriever.records",
    "DocumentsFailedError": "retriever.errors",
    "DriftAlarm": "retriever.watch",
    "EmbeddingModel": "retriever.models.protocol",
    "ExplainedNode": "retriever.llama.retriever",
    "Hit": "retriever.records",
    "InputError": "retriever.errors",
    "LlamaEmbeddingModel": "retriever.models.llama_embedding",
    "ModelError": "retriever.errors",
    "ModelSpec": "retriever.records",
    "Searcher": "retriever.search",
    "ServerLayout": "retriever.store.layout",
    "StockClient": "retriever.llama.stock_client",
    "StoreError": "retriever.errors",
    "TandemError": "retriever.errors",
    "TandemRetriever": "retriever.llama.retriever",
    "VectorStore": "retriever.store.protocol",
    "Watch": "retriever.watch",
    "WatchReport": "retriever.watch",
    "WatchSettings": "retriever.watch",
    "current_deployment": "retriever.deployments",
    "deploy": "retriever.deploying",
    "load_model": "retriever.models.catalog",
    "open_store": "retriever.store.place",
}

__all__ = list(_LOADED_ON_USE)


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use: importing the package loads no library."""
    if name in _LOADED_ON_USE:
        return getattr(import_module(_LOADED_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
