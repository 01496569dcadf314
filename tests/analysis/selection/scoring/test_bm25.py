"""The scores of BM25 are those of its formula; that they are those of the retriever is in `test_legs`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.selection.scoring.bm25 import LexicalLeg, inverse_document_frequencies
from retriever.lexical import encode_chunks, encode_query, measured
from retriever.store.protocol import SparseVector


def test_bm25_scores_are_those_of_its_formula() -> None:
    texts = ["red fox", "red red dog", "", "blue sky over the sea"]
    spec = measured(texts)
    leg = LexicalLeg.of([encode_query("red sky", spec)], encode_chunks(texts, spec), scale=2.0)
    # "over" and "the" are stop words, so lengths are 2, 3, 0, 3 and 2 on average; N = 4, red in 2, sky in 1
    red, sky = math.log(1 + 2.5 / 2.5), math.log(1 + 3.5 / 1.5)

    def saturated(count: int, length: int) -> float:
        return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / 2))

    expected = [red * saturated(1, 2), red * saturated(2, 3), 0, sky * saturated(1, 3)]
    assert leg.scores(slice(0, 1))[0] == pytest.approx(np.array(expected) / 2, rel=1e-5)
    assert (leg.n_queries, leg.n_chunks, leg.n_entries) == (1, 4, 2 + 2 + 0 + 3)
    # ln(1 + (N - n + 0.5) / (n + 0.5)) by hand
    assert inverse_document_frequencies(np.array([0, 4]), 4) == pytest.approx(
        [math.log(10), math.log(1 + 0.5 / 4.5)]
    )


def test_queries_without_tokens_score_nothing() -> None:
    spec = measured(["red fox"])
    empty = encode_query("", spec)
    leg = LexicalLeg.of([empty, empty], encode_chunks(["red fox", "dog"], spec))
    assert leg.scores(slice(None)).tolist() == [[0, 0], [0, 0]]
    none = SparseVector(indices=np.empty(0, dtype=np.uint32), values=np.empty(0, dtype=np.float32))
    assert LexicalLeg.of([encode_query("red", spec)], [none]).scores(slice(None)).tolist() == [[0]]
