"""A corpus in a store: its record, its chunks with their vectors, its deployments.

`Corpus` writes what `reader.CorpusReader` reads; `record` is what lies beside the points.
"""

from retriever.corpus.reader import CorpusReader, StoredDocument, StoredVectors
from retriever.corpus.writer import Corpus

__all__ = ["Corpus", "CorpusReader", "StoredDocument", "StoredVectors"]
