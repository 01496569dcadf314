"""Vectors into the collection: what is missing is written, what is stale deleted.

The store is the only truth. Ids of chunks are hashes of what a chunk is, and each chunk carries the
hash of its document and the number of its chunks; so the store itself tells which documents are
there whole and which chunks need no embedding. A document's new chunks are written first, then what
is said of those that stay, and last its old ones are deleted: a model that fails leaves what was
stored as it was, and after an interruption at any point the same run again ends in the same
collection.
"""

from ingest.collection.changes import Changes
from ingest.collection.counts import Counts
from ingest.collection.documents import DocumentWriter
from ingest.collection.fills import VectorFiller

__all__ = ["Changes", "Counts", "DocumentWriter", "VectorFiller"]
