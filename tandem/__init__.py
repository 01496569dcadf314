"""Tandem: two embedding models where they beat one. The names most programs need, in one place."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis import decide as decide
    from analysis import evaluate_corpus as evaluate_corpus
    from analysis import read_judgements as read_judgements
    from analysis import select_corpus as select_corpus
    from ingest import ChunkSettings as ChunkSettings
    from ingest import SourceOptions as SourceOptions
    from ingest import documents_from as documents_from
    from ingest import ingest as ingest
    from ingest import open_source as open_source
    from retriever import AsyncStockClient as AsyncStockClient
    from retriever import Corpus as Corpus
    from retriever import Document as Document
    from retriever import DriftAlarm as DriftAlarm
    from retriever import ExplainedNode as ExplainedNode
    from retriever import LlamaEmbeddingModel as LlamaEmbeddingModel
    from retriever import Searcher as Searcher
    from retriever import ServerLayout as ServerLayout
    from retriever import StockClient as StockClient
    from retriever import TandemError as TandemError
    from retriever import TandemRetriever as TandemRetriever
    from retriever import Watch as Watch
    from retriever import deploy as deploy
    from retriever import load_model as load_model
    from retriever import open_store as open_store

_LOADED_ON_USE = {
    "AsyncStockClient": "retriever",
    "ChunkSettings": "ingest",
    "Corpus": "retriever",
    "Document": "retriever",
    "DriftAlarm": "retriever",
    "ExplainedNode": "retriever",
    "LlamaEmbeddingModel": "retriever",
    "Searcher": "retriever",
    "ServerLayout": "retriever",
    "SourceOptions": "ingest",
    "StockClient": "retriever",
    "TandemError": "retriever",
    "TandemRetriever": "retriever",
    "Watch": "retriever",
    "decide": "analysis",
    "deploy": "retriever",
    "documents_from": "ingest",
    "evaluate_corpus": "analysis",
    "ingest": "ingest",
    "load_model": "retriever",
    "open_source": "ingest",
    "open_store": "retriever",
    "read_judgements": "analysis",
    "select_corpus": "analysis",
}

__all__ = list(_LOADED_ON_USE)


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use: importing the package loads no library."""
    if name in _LOADED_ON_USE:
        return getattr(import_module(_LOADED_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
