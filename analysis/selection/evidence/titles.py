"""Titles as queries: a document shall be found by its title, without having it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from analysis.selection.evidence.pseudo_queries import PseudoQueries, check_wanted, pseudo_quality
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.records import Chunk
from retriever.store.filters import of_documents

_BATCH = 32
_SHORTEST_TITLE = 6  # bytes
_LEAST_LEFT = 80  # bytes of a chunk without the title
_MOST_DOCUMENTS = 100  # of one title; a title of more says where a text is from, not what it is about
_MOST_WORDS = 20
_ENDS = (".", "!", "?", ":", ";", ",", "。", "\uff01", "\uff1f")


def title_queries(corpus: Corpus, *, n: int, rng: np.random.Generator) -> PseudoQueries:
    """Make queries of the titles of documents.

    A title is what the metadata of a document calls so, or else a first line that stands alone. The title
    is taken out of all chunks of its document wherever it stands there. Other documents of the same title
    are left out of the ranking: they would be as good an answer.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    n
        How many, at most; each title once.
    rng
        Which.

    Raises
    ------
    InputError
        If no document has a title and text besides, or `n` is below 1.
    """
    found = _find(corpus, n=n, rng=rng)
    if found is None:
        raise InputError(
            f"corpus {corpus.name!r}: expected documents with a title and text besides, found none. Ingest "
            f"with a title in the metadata, or ask held-out sentences."
        )
    return found


def title_quality(
    corpus: Corpus,
    *,
    n: int,
    rng: np.random.Generator,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
) -> dict[str, float]:
    """Return NDCG@10 of each leg on titles, BM25 included; empty where the corpus has no titles.

    Parameters and errors as in `title_queries` and `pseudo_legs`.
    """
    found = _find(corpus, n=n, rng=rng)
    return {} if found is None else pseudo_quality(corpus, found, keys=keys, models=models)


def _find(corpus: Corpus, *, n: int, rng: np.random.Generator) -> PseudoQueries | None:
    check_wanted(n, usual=200)
    found = list(islice(_drawn(corpus, rng), n))
    titles = {doc_id: title for doc_id, title, _ in found}
    stand_ins = {doc_id: edits for doc_id, _, edits in found}
    return PseudoQueries.of("titles", titles, stand_ins) if found else None


def _drawn(corpus: Corpus, rng: np.random.Generator) -> Iterator[tuple[str, str, dict[str, str | None]]]:
    """Yield titles in random order: one document of each, the title, and its stand-ins by chunk."""
    documents = _documents_by_title(corpus)
    titles = sorted(documents)
    order = rng.permutation(len(titles))
    for start in range(0, len(order), _BATCH):
        batch = [titles[place] for place in order[start : start + _BATCH]]
        wanted = [doc_id for title in batch for doc_id in documents[title]]
        by_document: defaultdict[str, list[Chunk]] = defaultdict(list)
        for chunks in corpus.chunks(of_documents(wanted)):
            for chunk in chunks:
                by_document[chunk.doc_id].append(chunk)
        for title in batch:
            doc_ids = documents[title]
            chosen = doc_ids[int(rng.integers(len(doc_ids)))]
            chunks_of_title = [chunk for doc_id in doc_ids for chunk in by_document[doc_id]]
            edits = _stand_ins(title, chosen, chunks_of_title)
            if edits is not None:
                yield chosen, title, edits


def _documents_by_title(corpus: Corpus) -> dict[str, list[str]]:
    titles: dict[str, str] = {}
    for chunks in corpus.chunks():
        for chunk in chunks:
            title = _title(chunk)
            if len(title.encode()) >= _SHORTEST_TITLE:
                titles.setdefault(chunk.doc_id, title)
    documents: defaultdict[str, list[str]] = defaultdict(list)
    for doc_id, title in sorted(titles.items()):
        documents[title].append(doc_id)
    return {title: ids for title, ids in documents.items() if len(ids) <= _MOST_DOCUMENTS}


def _title(chunk: Chunk) -> str:
    """Return the title of a chunk's document, as far as this chunk tells; empty where it does not."""
    given = chunk.metadata.get("title")
    if isinstance(given, str) and given.strip():
        return " ".join(given.split())
    if chunk.index:
        return ""
    line, gap, _ = chunk.text.strip().partition("\n\n")
    heading = line.lstrip("#").strip()
    is_heading = gap and "\n" not in heading and not heading.endswith(_ENDS)
    return heading if is_heading and len(heading.split()) <= _MOST_WORDS else ""


def _stand_ins(title: str, doc_id: str, chunks: Sequence[Chunk]) -> dict[str, str | None] | None:
    """Return what takes the place of chunks that have the title; None if nothing of the document is left."""
    pattern = re.compile(r"\s+".join(map(re.escape, title.split())), re.IGNORECASE)
    found: dict[str, str | None] = {}
    is_left = False
    for chunk in chunks:
        if chunk.doc_id != doc_id:
            found[chunk.chunk_id] = None
            continue
        left = pattern.sub("", chunk.text).strip("# \n")
        has_text = len(left.encode()) >= _LEAST_LEFT
        is_left = is_left or has_text
        if not has_text:
            found[chunk.chunk_id] = None
        elif chunk.prefix or pattern.search(chunk.text):
            found[chunk.chunk_id] = left
    return found if is_left else None
