"""Chunks of a corpus in a random order that a seed repeats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retriever.corpus import Corpus
from retriever.records import Chunk
from retriever.store.filters import HasId

_BATCH = 64


def drawn_chunks(corpus: Corpus, rng: np.random.Generator) -> Iterator[Chunk]:
    """Yield all chunks in random order.

    What it needs is the ids of all chunks, and the texts of a batch.
    """
    chunk_ids = [point.point_id for points in corpus.complete_blocks([]) for point in points]
    order = rng.permutation(len(chunk_ids))
    for start in range(0, len(order), _BATCH):
        batch = [chunk_ids[place] for place in order[start : start + _BATCH]]
        found = {
            chunk.chunk_id: chunk for chunks in corpus.chunks(HasId(ids=tuple(batch))) for chunk in chunks
        }
        yield from (found[chunk_id] for chunk_id in batch)
