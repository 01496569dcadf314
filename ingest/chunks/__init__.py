"""Documents into chunks: pieces that every model reads to the end, cut where a reader would pause."""

from ingest.chunks.chunker import NAMESPACE, Chunker, chunker_for

__all__ = ["NAMESPACE", "Chunker", "chunker_for"]
