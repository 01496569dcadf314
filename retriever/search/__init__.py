"""From a question to explained hits: embed with every model, combine, search exactly.

`searcher` is the entry. Underneath, `dense` searches the concatenated vector, `lexical_leg` adds BM25
exactly, `fusion` joins rankings instead of scores, `explain` tells the rank under each leg alone, and
`context` finds one chunk per document and the neighbours of a hit. `models` loads the embedding models,
once per process.
"""

from retriever.search.models import stored_models
from retriever.search.searcher import Searcher, mean_query
from retriever.search.wish import FUSIONS, Found, Fusion, Wish

__all__ = ["FUSIONS", "Found", "Fusion", "Searcher", "Wish", "mean_query", "stored_models"]
