"""BM25: sparse vectors of texts, and the scores that a store makes of them."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from retriever import lexical
from retriever.errors import InputError, ModelMismatchError
from retriever.records import LexicalSpec
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import Collection, Point, SparseVector, VectorStore
from retriever.store.server import ServerStore

TEXTS = [
    "The cat sat on the mat.",
    "A dog chased the cats, and the cats ran away from the dog.",
    "Ferries leave the harbour at noon; a ferry takes an hour.",
    "",
    "of the and",
    "Copper wire, copper coil, copper coin: all made of copper.",
    "Harbour cats sleep in the noon sun while dogs watch the ferry.",
]
QUERIES = [
    "cat",
    "Where do the cats of the harbour sleep?",
    "copper ferry",
    "running dogs dogs dogs",
    "zebra",
]

# What is left of the texts without English stop words (on, the, a, and, at, an, of, all, in, while, from, do,
# where) and with the endings that Snowball's English stemmer takes off, by hand.
STEMMED = [
    "cat sat mat",
    "dog chase cat cat ran away dog",
    "ferri leav harbour noon ferri take hour",
    "",
    "",
    "copper wire copper coil copper coin made copper",
    "harbour cat sleep noon sun dog watch ferri",
]
TOKENS = [text.split() for text in STEMMED]
QUERY_TOKENS = ["cat", "cat harbour sleep", "copper ferri", "run dog dog dog", "zebra"]


def bm25(query: str, *, k1: float = 1.2, b: float = 0.75) -> list[float]:
    """Return every score: Robertson and Zaragoza (2009), eq. 3.15, times k1 + 1, with the IDF of Lucene."""
    average = sum(map(len, TOKENS)) / len(TOKENS)
    scores = [0.0] * len(TOKENS)
    for token in query.split():
        holders = sum(token in tokens for tokens in TOKENS)
        idf = math.log(1 + (len(TOKENS) - holders + 0.5) / (holders + 0.5))
        for i, tokens in enumerate(TOKENS):
            frequency = Counter(tokens)[token]
            saturated = frequency + k1 * (1 - b + b * len(tokens) / average)
            scores[i] += idf * frequency * (k1 + 1) / saturated
    return scores


@pytest.fixture(params=["embedded", "server"])
def collection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collection]:
    """Return an empty collection with a sparse vector, on either engine."""
    store: VectorStore
    if request.param == "embedded":
        store = EmbeddedStore(tmp_path)
    else:
        store = ServerStore(QdrantClient(":memory:"), location=":memory:")
    collection = store.create("c", vectors={"a": 1}, record={})
    collection.add_sparse_vector("s")
    yield collection
    collection.close()


@pytest.mark.parametrize("settings", [{}, {"k1": 0.9, "b": 0.4}, {"k1": 2.0, "b": 0.0}])
def test_scores_equal_bm25_computed_from_its_formula(
    collection: Collection, settings: dict[str, float]
) -> None:
    spec = lexical.measured(TEXTS, **settings)
    assert spec.average_length == pytest.approx(33 / 7)
    one = np.ones(1, np.float32)
    ids = [str(uuid.UUID(int=i)) for i in range(len(TEXTS))]
    collection.upsert(
        [
            Point(point_id=point_id, vectors={"a": one, "s": vector})
            for point_id, vector in zip(ids, lexical.encode_chunks(TEXTS, spec), strict=True)
        ]
    )
    for query, tokens in zip(QUERIES, QUERY_TOKENS, strict=True):
        found = collection.search_sparse(lexical.encode_query(query, spec), vector="s", k=10)
        expected = {
            point_id: score for point_id, score in zip(ids, bm25(tokens, **settings), strict=True) if score
        }
        assert {hit.point.point_id: hit.score for hit in found} == pytest.approx(expected, rel=1e-5)


def test_tokens_are_stemmed_and_stop_words_left_out() -> None:
    spec = lexical.measured(TEXTS)
    for text, tokens in zip(TEXTS, TOKENS, strict=True):
        (vector,) = lexical.encode_chunks([text], spec)
        assert vector.size == len(set(tokens))
    assert indices(lexical.encode_query("Cats, cat's CAT cat", spec)) >= indices(
        lexical.encode_query("cat", spec)
    )


def indices(vector: SparseVector) -> set[int]:
    return set(vector.indices.tolist())


def test_other_languages_have_other_stop_words_and_stems() -> None:
    german = lexical.measured(["Die Häuser und das Haus"], language="german")
    assert german.average_length == 2
    assert german.tokens != lexical.measured(TEXTS).tokens
    assert len(indices(lexical.encode_query("die Stimme und die Stimmen", german))) == 1
    anything = lexical.measured(["Die Häuser und das Haus"], language="none")
    assert anything.average_length == 5
    assert len(indices(lexical.encode_query("die Stimme und die Stimmen", anything))) == 4


@pytest.mark.parametrize("language", ["chinese", "japanese", "none"])
def test_writing_without_spaces_is_cut_into_words(language: str) -> None:
    spec = lexical.measured(["東京大学で日本語を勉強しています"], language=language)
    assert spec.average_length > 2
    whole = indices(lexical.encode_query("東京大学で日本語を勉強しています", spec))
    assert whole & indices(lexical.encode_query("日本語", spec))


def test_every_language_on_the_list_can_be_chosen() -> None:
    with pytest.raises(InputError, match=r"got 'klingon'. Take 'none'") as refused:
        lexical.measured(TEXTS, language="klingon")
    languages = str(refused.value).split("language of ")[1].split(", got")[0].split(", ")
    assert len(languages) > 20
    for language in languages:
        assert lexical.measured(["weather 2024"], language=language).average_length > 0


@pytest.mark.parametrize(
    "settings", [{"k1": -1.0}, {"b": 1.5}, {"b": -0.1}, {"k1": float("nan")}, {"k1": float("inf")}]
)
def test_a_number_out_of_its_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Choose another value"):
        lexical.measured(TEXTS, **settings)


@pytest.mark.parametrize("texts", [[], [""], ["the of and", "  "]])
def test_nothing_to_measure_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match=rf"found none in {len(texts)} texts"):
        lexical.measured(texts)


def test_one_string_is_not_taken_for_a_list_of_texts() -> None:
    spec = lexical.measured(TEXTS)
    with pytest.raises(InputError, match="wrap it"):
        lexical.encode_chunks("a text", spec)
    with pytest.raises(InputError, match="wrap it"):
        lexical.measured("a text")


def test_text_that_cannot_be_encoded_is_refused() -> None:
    spec = lexical.measured(TEXTS)
    broken = "half a pair: \ud800"
    for encode in (
        lambda: lexical.encode_query(broken, spec),
        lambda: lexical.encode_chunks([broken], spec),
        lambda: lexical.measured([broken]),
    ):
        with pytest.raises(InputError, match=r"texts: expected Unicode text, got .* cut it elsewhere"):
            encode()


def test_tokens_of_another_release_are_refused() -> None:
    spec = replace(lexical.measured(TEXTS), tokens="0" * 16)
    for encode in (
        lambda: lexical.encode_chunks(TEXTS, spec),
        lambda: lexical.encode_query("cat", spec),
    ):
        with pytest.raises(
            ModelMismatchError, match=r"english tokens 0{16}, this release makes [0-9a-f]{16}"
        ):
            encode()


def test_the_fingerprint_changes_with_every_setting() -> None:
    spec = lexical.measured(TEXTS)
    others = [
        replace(spec, language="german"),
        replace(spec, average_length=5.0),
        replace(spec, k1=1.0),
        replace(spec, b=0.5),
        replace(spec, tokens="0" * 16),
    ]
    assert len({one.fingerprint for one in [spec, *others]}) == 6
    assert (
        LexicalSpec(**{name: getattr(spec, name) for name in spec.__slots__}).fingerprint == spec.fingerprint
    )


@given(words=st.lists(st.sampled_from(["copper", "wire", "harbour", "noon", "cats", "running"]), max_size=30))
def test_a_text_has_the_same_vector_alone_and_among_others_whatever_the_order_of_its_words(
    words: list[str],
) -> None:
    spec = lexical.measured(TEXTS)
    text, turned = " ".join(words), " ".join(reversed(words))
    alone, _, again = lexical.encode_chunks([text, "wire", turned], spec)
    assert alone.indices.tolist() == again.indices.tolist()
    np.testing.assert_array_equal(alone.values, again.values)
    assert alone.size == len(set(words))
    # A token that comes f times in a text of n adds at most k1 + 1, and more of it never less.
    assert all(0 < value < spec.k1 + 1 for value in alone.values.tolist())
