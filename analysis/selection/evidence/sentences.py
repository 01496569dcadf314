"""Held-out sentences as queries: a document shall be found by a sentence that was taken out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from analysis.selection.evidence.drawing import drawn_chunks
from analysis.selection.evidence.pseudo_queries import PseudoQueries, check_wanted, pseudo_quality
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.records import Chunk
from retriever.store.filters import of_documents

_BREAK = re.compile(r"(?<=[.!?])\s+|(?<=[。\uff01\uff1f])|\n\s*\n")
_BATCH = 64
_SHORTEST, _LONGEST = 40, 400  # bytes, which are about as many in scripts without spaces
_LEAST_LEFT = 100  # bytes of the chunk without the sentence


def sentence_queries(corpus: Corpus, *, n: int, rng: np.random.Generator) -> PseudoQueries:
    """Make queries of sentences that are taken out of their chunks.

    A sentence has 40 to 400 bytes, and leaves its chunk at least 100. Where chunks overlap, it is taken out
    of all chunks of its document.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    n
        How many, at most; of each document one.
    rng
        Which.

    Raises
    ------
    InputError
        If no chunk has such a sentence, or `n` is below 1.
    """
    found = _find(corpus, n=n, rng=rng)
    if found is None:
        raise InputError(
            f"corpus {corpus.name!r}: expected chunks of several sentences, found none. Ask titles, or "
            f"compare models by their agreement."
        )
    return found


def sentence_quality(
    corpus: Corpus,
    *,
    n: int,
    rng: np.random.Generator,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
) -> dict[str, float]:
    """Return NDCG@10 of each leg on held-out sentences, BM25 included; empty where there are none.

    Parameters and errors as in `sentence_queries` and `pseudo_legs`.
    """
    found = _find(corpus, n=n, rng=rng)
    return {} if found is None else pseudo_quality(corpus, found, keys=keys, models=models)


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, whole and in order."""
    return [sentence for sentence in (part.strip() for part in _BREAK.split(text)) if sentence]


def _find(corpus: Corpus, *, n: int, rng: np.random.Generator) -> PseudoQueries | None:
    check_wanted(n, usual=200)
    asked = dict(islice(_drawn(corpus, rng), n))
    return PseudoQueries.of("sentences", asked, _stand_ins(corpus, asked)) if asked else None


def _drawn(corpus: Corpus, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yield documents in random order, once each, with one of their sentences."""
    drawn: set[str] = set()
    for chunk in drawn_chunks(corpus, rng):
        if chunk.doc_id in drawn:
            continue
        suitable = [sentence for sentence in sentences_of(chunk.text) if _is_suitable(sentence, chunk)]
        if suitable:
            drawn.add(chunk.doc_id)
            yield chunk.doc_id, suitable[int(rng.integers(len(suitable)))]


def _is_suitable(sentence: str, chunk: Chunk) -> bool:
    size = len(sentence.encode())
    left = len(_without(chunk.text, sentence).encode())
    return _SHORTEST <= size <= _LONGEST and left >= _LEAST_LEFT


def _without(text: str, sentence: str) -> str:
    return " ".join(part for part in map(str.strip, text.split(sentence)) if part)


def _stand_ins(corpus: Corpus, asked: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Return by document what is left of the chunks that have its sentence; None of one that is no more."""
    found: dict[str, dict[str, str | None]] = {doc_id: {} for doc_id in asked}
    doc_ids = list(asked)
    for start in range(0, len(doc_ids), _BATCH):
        for chunks in corpus.chunks(of_documents(doc_ids[start : start + _BATCH])):
            for chunk in chunks:
                sentence = asked[chunk.doc_id]
                if sentence in chunk.text:
                    left = _without(chunk.text, sentence)
                    found[chunk.doc_id][chunk.chunk_id] = chunk.prefix + left if left else None
    return found
