"""From documents to stored vectors: documents, chunks, vectors, collection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.chunks import Chunker as Chunker
    from ingest.chunks import ChunkSettings as ChunkSettings
    from ingest.chunks import chunker_for as chunker_for
    from ingest.documents import FailedDocument as FailedDocument
    from ingest.documents import Source as Source
    from ingest.documents import SourceOptions as SourceOptions
    from ingest.documents import documents_from as documents_from
    from ingest.documents import documents_from_reader as documents_from_reader
    from ingest.documents import open_source as open_source
    from ingest.documents import retrying as retrying
    from ingest.executors import RayOptions as RayOptions
    from ingest.preview import DryRun as DryRun
    from ingest.preview import dry_run as dry_run
    from ingest.run import IngestSummary as IngestSummary
    from ingest.run import ModelTiming as ModelTiming
    from ingest.run import ingest as ingest

_LOADED_ON_USE = {
    "ChunkSettings": "ingest.chunks",
    "Chunker": "ingest.chunks",
    "DryRun": "ingest.preview",
    "FailedDocument": "ingest.documents",
    "IngestSummary": "ingest.run",
    "ModelTiming": "ingest.run",
    "RayOptions": "ingest.executors",
    "Source": "ingest.documents",
    "SourceOptions": "ingest.documents",
    "chunker_for": "ingest.chunks",
    "documents_from": "ingest.documents",
    "documents_from_reader": "ingest.documents",
    "dry_run": "ingest.preview",
    "ingest": "ingest.run",
    "open_source": "ingest.documents",
    "retrying": "ingest.documents",
}

__all__ = list(_LOADED_ON_USE)


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use: importing the package loads no library."""
    if name in _LOADED_ON_USE:
        return getattr(import_module(_LOADED_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
