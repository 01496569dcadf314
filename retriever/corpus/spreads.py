"""How far the scores of each leg spread, measured on a sample of chunks: what calibrated weights are made of.

Each model, and each part of a combination that is not a whole model, has the standard deviation of the
cosines between sampled chunks. BM25 scores have no spread that could be compared (most are 0): that of the
lexical leg is what makes its typical best hit stand out as far as those of the models do, in spreads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retriever import payload
from retriever.combine import lift, parts_of, spread
from retriever.corpus.reader import CorpusReader
from retriever.lexical import encode_query
from retriever.records import LEXICAL, LexicalSpec, split_part
from retriever.store.protocol import Point

_LEXICAL_SAMPLE = 100
_EXCERPT_WORDS = 12


def measured_spreads(corpus: CorpusReader, sample: Sequence[Point]) -> tuple[dict[str, float], float]:
    """Return the spread of each leg, and the scale of BM25 scores: the mean best one of a chunk's excerpt.

    `sample` has vectors of every model, and texts where the corpus has BM25 vectors. A leg of which fewer
    than two sampled chunks have a vector has no spread. Without BM25 vectors, the scale is the manifest's.
    """
    manifest = corpus.manifest
    parts = dict.fromkeys([*manifest.keys, *(part for one in manifest.combinations for part in one.parts)])
    spreads: dict[str, float] = {}
    lifts: list[float] = []
    for part in parts:
        key, _ = split_part(part)
        rows = [point.vectors[key] for point in sample if key in point.vectors]
        if len(rows) > 1:
            (cut,) = parts_of({key: np.array(rows, dtype=np.float32)}, [part])
            spreads[part] = spread(cut)
            lifts.append(lift(cut))
    scale = manifest.lexical_scale
    if manifest.lexical is not None and any(lifts):
        scale = _lexical_scale(corpus, sample, manifest.lexical)
        spreads[LEXICAL] = 1 / float(np.mean([one for one in lifts if one]))
    return spreads, scale


def _lexical_scale(corpus: CorpusReader, sample: Sequence[Point], spec: LexicalSpec) -> float:
    """Return the mean BM25 score of the best other chunk for excerpts of some chunks."""
    best: list[float] = []
    for point in sample[:_LEXICAL_SAMPLE]:
        words = payload.to_chunk(point.payload).text.split()
        middle = max(0, (len(words) - _EXCERPT_WORDS) // 2)
        excerpt = encode_query(" ".join(words[middle : middle + _EXCERPT_WORDS]), spec)
        found = corpus.search_lexical(excerpt, k=2)
        others = [scored.score for scored in found if scored.point.point_id != point.point_id]
        if others:
            best.append(others[0])
    return float(np.mean(best)) if best else 1.0
