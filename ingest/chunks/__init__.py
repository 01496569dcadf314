"""Documents into chunks: pieces that every model reads to the end, cut where a reader would pause."""

from ingest.chunks.chunker import SECTION, TextChunker
from ingest.chunks.fitting import chunker_for, chunker_of, parser_identity
from ingest.chunks.identity import NAMESPACE
from ingest.chunks.protocol import Chunker
from ingest.chunks.settings import METHODS, NODE_PARSER, ChunkSettings

__all__ = [
    "METHODS",
    "NAMESPACE",
    "NODE_PARSER",
    "SECTION",
    "ChunkSettings",
    "Chunker",
    "TextChunker",
    "chunker_for",
    "chunker_of",
    "parser_identity",
]
