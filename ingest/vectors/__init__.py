"""Texts into vectors: in batches of bounded size, by every model, each distinct text once."""

from ingest.vectors.batches import Batch, EmbeddedBatch, batches_of
from ingest.vectors.embedder import Embedder

__all__ = ["Batch", "EmbeddedBatch", "Embedder", "batches_of"]
