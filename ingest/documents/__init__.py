"""Sources of documents: folders of files, tables, BEIR corpora, and whatever a program has at hand.

A source is read lazily and never fails for a single bad document: that one comes out as a
`FailedDocument`, which says where it lies and what to do, and the others follow.
"""

from ingest.documents.given import documents_from, documents_from_reader
from ingest.documents.opening import open_source
from ingest.documents.options import SourceOptions
from ingest.documents.retry import retrying
from ingest.documents.seen import SeenIds
from ingest.documents.source import FailedDocument, Source

__all__ = [
    "FailedDocument",
    "SeenIds",
    "Source",
    "SourceOptions",
    "documents_from",
    "documents_from_reader",
    "open_source",
    "retrying",
]
