"""Pseudo-queries find their document by what is left of it, with every leg."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.selection.evidence import (
    PseudoQueries,
    pseudo_legs,
    pseudo_quality,
    sentence_quality,
    sentence_queries,
    title_quality,
    title_queries,
)
from analysis.selection.evidence.pseudo_queries import _token_weights
from analysis.selection.evidence.sentences import sentences_of
from analysis.selection.scoring.bm25 import LexicalLeg
from analysis.selection.scoring.legs import corpus_legs
from retriever import lexical
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.records import LEXICAL, Chunk, Document
from retriever.store.protocol import SparseVector

from .conftest import MODELS, corpus_of, prose, titled_documents

Make = Callable[..., PseudoQueries]
MAKERS = pytest.mark.parametrize("make", [title_queries, sentence_queries])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def stored(corpus: Corpus) -> dict[str, Chunk]:
    return {chunk.chunk_id: chunk for chunks in corpus.chunks() for chunk in chunks}


def wanted_document(queries: PseudoQueries, query_id: str) -> str:
    (doc_id,) = queries.judgements.qrels[query_id]
    return doc_id


@MAKERS
def test_a_seed_repeats_the_queries_and_another_changes_them(titled: Corpus, make: Make) -> None:
    assert make(titled, n=8, rng=rng(1)) == make(titled, n=8, rng=rng(1))
    assert make(titled, n=8, rng=rng(1)).judgements != make(titled, n=8, rng=rng(2)).judgements


@MAKERS
def test_there_are_as_many_as_asked_for_and_one_of_each_document(titled: Corpus, make: Make) -> None:
    found = make(titled, n=5, rng=rng())
    documents = [wanted_document(found, query_id) for query_id in found.judgements.query_ids]
    assert len(documents) == len(set(documents)) == 5
    assert {grade for grades in found.judgements.qrels.values() for grade in grades.values()} == {1}
    every = make(titled, n=1000, rng=rng()).judgements
    assert len(every.queries) == {title_queries: 14, sentence_queries: 15}[make]
    with pytest.raises(InputError, match="expected at least one query, got 0"):
        make(titled, n=0, rng=rng())


@MAKERS
def test_no_stand_in_has_the_words_of_its_query(titled: Corpus, make: Make) -> None:
    found = make(titled, n=14, rng=rng())
    chunks = stored(titled)
    for query_id, text in found.judgements.queries.items():
        edits = found.stand_ins[query_id]
        doc_id = wanted_document(found, query_id)
        assert any(chunks[chunk_id].doc_id == doc_id for chunk_id in edits)
        for chunk_id, chunk in chunks.items():
            if chunk.doc_id == doc_id:
                left = edits.get(chunk_id, chunk.embedded_text)
                assert left is None or text.lower() not in left.lower()
                assert chunk_id not in edits or left is None or len(left) >= 80


def test_other_documents_of_the_same_title_are_left_out(titled: Corpus) -> None:
    found = title_queries(titled, n=14, rng=rng())
    chunks = stored(titled)
    (query_id,) = (one for one, text in found.judgements.queries.items() if "topic13" in text)
    other = ({"d13", "d14"} - {wanted_document(found, query_id)}).pop()
    others = [chunk_id for chunk_id, chunk in chunks.items() if chunk.doc_id == other]
    assert others
    assert all(found.stand_ins[query_id][chunk_id] is None for chunk_id in others)
    with pseudo_legs(titled, found, models=MODELS) as legs:
        row = found.judgements.query_ids.index(query_id)
        columns = [column for column, doc_id in enumerate(legs.chunk_documents) if doc_id == other]
        for leg in legs.legs:
            lowest = 0.0 if leg.key == LEXICAL else -1.0
            assert (leg.scores(slice(row, row + 1))[0, columns] == lowest).all()


@pytest.mark.parametrize("stored_lexical", [False, True])
def test_scores_are_those_of_the_stand_ins(stored_lexical: bool, tmp_path: Path) -> None:  # noqa: FBT001  # a parameter
    with corpus_of(titled_documents(), tmp_path) as corpus:
        spec = lexical.measured(corpus.texts())
        if stored_lexical:
            corpus.add_lexical(spec)
        found = sentence_queries(corpus, n=6, rng=rng())
        texts = found.judgements.texts
        chunk_ids = list(stored(corpus))
        with (
            corpus_legs(corpus, corpus.manifest.keys, texts, with_lexical=True, models=MODELS) as plain,
            pseudo_legs(corpus, found, models=MODELS) as edited,
        ):
            assert edited.keys == plain.keys == ("a", "b", LEXICAL)
            for before, after in zip(plain.legs, edited.legs, strict=True):
                expected = before.scores(slice(None))
                best = int(expected[0].argmax())
                scale = by_hand(corpus, spec, texts[0], list(corpus.texts())[best]) / expected[0, best]
                for row, query_id in enumerate(found.judgements.query_ids):
                    for chunk_id, left in found.stand_ins[query_id].items():
                        assert left is not None
                        if before.key == LEXICAL:
                            value = by_hand(corpus, spec, texts[row], left) / scale
                        else:
                            model = MODELS[before.key]
                            value = float(
                                model.embed_queries([texts[row]])[0] @ model.embed_chunks([left])[0]
                            )
                        expected[row, chunk_ids.index(chunk_id)] = value
                np.testing.assert_allclose(after.scores(slice(None)), expected, atol=1e-5)
                np.testing.assert_allclose(after.scores(slice(2, 5)), expected[2:5], atol=1e-5)
                assert after.scores(slice(6, 9)).shape == (0, len(chunk_ids))


def by_hand(corpus: Corpus, spec: lexical.LexicalSpec, query: str, text: str) -> float:
    """BM25 of a text that is not stored, token by token, with the frequencies of those that are."""
    stored_tokens = [
        set(vector.indices.tolist()) for vector in lexical.encode_chunks(list(corpus.texts()), spec)
    ]
    (chunk,) = lexical.encode_chunks([text], spec)
    asked = lexical.encode_query(query, spec)
    weights = dict(zip(asked.indices.tolist(), asked.values.tolist(), strict=True))
    total = 0.0
    for token, value in zip(chunk.indices.tolist(), chunk.values.tolist(), strict=True):
        n = sum(token in tokens for tokens in stored_tokens)
        idf = math.log(1 + (len(stored_tokens) - n + 0.5) / (n + 0.5))
        total += weights.get(token, 0.0) * idf * value
    return total


def test_a_sentence_is_taken_out_of_all_chunks_that_overlap(tmp_path: Path) -> None:
    documents = [Document(doc_id=f"d{i}", text=prose(rng(i), 20)) for i in range(6)]
    with corpus_of(documents, tmp_path, overlap=20) as corpus:
        found = sentence_queries(corpus, n=6, rng=rng(4))
        chunks = stored(corpus)
        sizes = []
        for query_id, sentence in found.judgements.queries.items():
            having = {one for one, chunk in chunks.items() if sentence in chunk.text}
            assert having == set(found.stand_ins[query_id])
            sizes.append(len(having))
        assert max(sizes) > 1


def test_a_title_that_is_embedded_before_every_chunk_is_taken_from_all(tmp_path: Path) -> None:
    documents = [
        Document(doc_id=one.doc_id, text=one.text.partition("\n\n")[2], metadata=one.metadata)
        for one in titled_documents()
    ]
    with corpus_of(documents, tmp_path, title_prefix=True) as corpus:
        found = title_queries(corpus, n=5, rng=rng())
        chunks = stored(corpus)
        for query_id, title in found.judgements.queries.items():
            doc_id = wanted_document(found, query_id)
            own = [chunk for chunk in chunks.values() if chunk.doc_id == doc_id]
            assert all(title in chunk.embedded_text for chunk in own)
            assert all(found.stand_ins[query_id].get(chunk.chunk_id, "?") != "?" for chunk in own)


def test_a_first_line_that_stands_alone_is_a_title(tmp_path: Path) -> None:
    texts = {
        "heading": f"# The heading of one\n\n{prose(rng(1), 6)}",
        "sentence": f"This is a whole sentence.\n\n{prose(rng(2), 6)}",
        "alone": "Nothing but a title",
        "plain": prose(rng(3), 6),
    }
    with corpus_of([Document(doc_id=one, text=text) for one, text in texts.items()], tmp_path) as corpus:
        found = title_queries(corpus, n=10, rng=rng())
    assert found.judgements.qrels == {"title of heading": {"heading": 1}}
    assert found.judgements.texts == ("The heading of one",)


def test_a_corpus_without_titles_or_sentences_says_so(tmp_path: Path) -> None:
    with corpus_of([Document(doc_id="d", text="word1 word2 word3")], tmp_path) as corpus:
        with pytest.raises(InputError, match="expected documents with a title"):
            title_queries(corpus, n=3, rng=rng())
        with pytest.raises(InputError, match="expected chunks of several sentences"):
            sentence_queries(corpus, n=3, rng=rng())
        assert title_quality(corpus, n=3, rng=rng(), models=MODELS) == {}
        assert sentence_quality(corpus, n=3, rng=rng(), models=MODELS) == {}


def test_quality_is_of_all_legs_or_of_those_named(titled: Corpus) -> None:
    found = title_queries(titled, n=14, rng=rng())
    every = pseudo_quality(titled, found, models=MODELS)
    assert list(every) == ["a", "b", LEXICAL]
    assert all(0 <= value <= 1 for value in every.values())
    assert title_quality(titled, n=14, rng=rng(), models=MODELS) == every
    one = pseudo_quality(titled, found, keys=["b"], models={"b": MODELS["b"]}, with_lexical=False)
    assert one == {"b": every["b"]}


def test_a_query_in_its_own_words_would_be_found_at_once(titled: Corpus) -> None:
    # what stand-ins are for: with them made-up sentences, which are alike in nothing, are not found
    found = sentence_queries(titled, n=14, rng=rng())
    verbatim = PseudoQueries(kind="sentences", judgements=found.judgements)
    assert pseudo_quality(titled, verbatim, models=MODELS)[LEXICAL] > 0.9
    assert pseudo_quality(titled, found, models=MODELS)[LEXICAL] < 0.6


def test_texts_are_cut_into_sentences() -> None:
    text = "One here. Two there! Three?\n\nA heading\n\n四。五\uff01 six"
    parts = ["One here.", "Two there!", "Three?", "A heading", "四。", "五\uff01", "six"]
    assert sentences_of(text) == parts
    assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)


def test_tokens_keep_their_weights_in_whatever_order_they_come() -> None:
    def vector(**values: float) -> SparseVector:
        indices = np.array([int(token[1:]) for token in values], dtype=np.uint32)
        return SparseVector(indices=indices, values=np.array(list(values.values()), dtype=np.float32))

    query = vector(t9=1.0, t2=3.0, t5=2.0)
    leg = LexicalLeg.of([vector(t2=1.0, t7=1.0), query], [vector(t2=1.0, t5=1.0), vector(t9=1.0)])
    # by hand: ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) = ln 2 of tokens in one of two chunks
    expected = {9: math.log(2), 2: 3 * math.log(2), 5: 2 * math.log(2)}
    assert _token_weights(leg, 1, query) == pytest.approx(expected)
