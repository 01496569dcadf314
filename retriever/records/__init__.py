"""The records that travel between the packages; all are frozen and keyword-only.

`texts` come in and go out, `specs` say what their vectors and chunks are made with, `combination` names the
concatenated vectors; a `manifest` holds all of that for a corpus, a `deployment` what it serves. `identity`
makes their fingerprints.
"""

from retriever.records.combination import (
    COMBINED,
    FULL_STORAGE,
    LEXICAL,
    STORED_AS,
    TRUNCATED,
    Combination,
    split_part,
)
from retriever.records.deployment import LOSS, Deployment
from retriever.records.identity import fingerprint_of
from retriever.records.manifest import FORMAT_VERSION, CorpusManifest, check_corpus_name, is_corpus_name
from retriever.records.specs import ChunkerSpec, LexicalSpec, ModelSpec
from retriever.records.texts import Chunk, Document, Heading, Hit

__all__ = [
    "COMBINED",
    "FORMAT_VERSION",
    "FULL_STORAGE",
    "LEXICAL",
    "LOSS",
    "STORED_AS",
    "TRUNCATED",
    "Chunk",
    "ChunkerSpec",
    "Combination",
    "CorpusManifest",
    "Deployment",
    "Document",
    "Heading",
    "Hit",
    "LexicalSpec",
    "ModelSpec",
    "check_corpus_name",
    "fingerprint_of",
    "is_corpus_name",
    "split_part",
]
