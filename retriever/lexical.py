"""Texts as sparse vectors whose dot products are BM25 scores, in Qdrant's own tokens.

A chunk's vector has, per token, its frequency saturated and corrected for the length of the chunk; a
query's has its plain frequency, as in Lucene. (Qdrant's own queries have every token once, which loses
much where queries are long.) The inverse document frequency comes from the store when it searches, see
`PointReader.search_sparse`, so chunks that come and go change no vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from retriever.errors import InputError, ModelMismatchError
from retriever.models.checked import as_texts
from retriever.records import LexicalSpec, fingerprint_of
from retriever.store.protocol import SparseVector

if TYPE_CHECKING:
    import qdrant_edge as qe

ANY_LANGUAGE = "none"
"""The language of texts in several languages, or in one that has no stop words and stemmer here."""

_CUT_BY_DICTIONARY = frozenset({ANY_LANGUAGE, "bengali", "chinese", "japanese", "nepali"})
"""Where letters alone do not tell where a word ends."""

_COUNTING = 1e12
"""A saturation this late leaves frequencies as they are."""

_PROBE = (
    "The runners' 3.5 e-mails, naïve œuvres ran. Die Häuser liefen; les chevaux couraient. "
    "Кони бежали и бегут. 東京の人は走った。这是我的书。"
)


def measured(
    texts: Iterable[str], *, language: str = "english", k1: float = 1.2, b: float = 0.75
) -> LexicalSpec:
    """Return how texts like these become vectors, with their average length and this release's tokens.

    Parameters
    ----------
    texts
        The chunks that are there, or a sample of them.
    language
        Whose stop words and stemmer to use, in English and lower case; ``"none"`` for texts in several
        languages, or in one that is not known here.
    k1, b
        Of BM25: how late repetitions of a token stop counting, and how much the length of the chunk counts,
        from 0 to 1. The defaults are those of most search engines.

    Raises
    ------
    InputError
        If the language is unknown, a number out of its range, or no text has a token.
    """
    if isinstance(texts, str):
        texts = as_texts(texts)  # which refuses it
    spec = LexicalSpec(
        language=language,
        average_length=_average_length(texts, language),
        k1=k1,
        b=b,
        tokens=_tokens(language),
    )
    try:
        _encoder(spec)
    except ValueError as error:  # which says what was expected, and got
        raise InputError(f"{error}. Choose another value.") from error
    return spec


def encode_chunks(texts: Sequence[str], spec: LexicalSpec) -> list[SparseVector]:
    """Return a vector per chunk; that of a text without tokens is empty.

    Raises
    ------
    ModelMismatchError
        If the installed release makes other tokens than `spec` says.
    InputError
        If a text has half a surrogate pair, which no encoding can write.
    """
    encoder = _encoder(spec)
    return [_encoded(encoder, text) for text in as_texts(texts)]


def encode_query(text: str, spec: LexicalSpec) -> SparseVector:
    """Return the vector of a query; that of a text without tokens is empty, and finds nothing.

    Raises
    ------
    ModelMismatchError
        If the installed release makes other tokens than `spec` says.
    InputError
        If the text has half a surrogate pair, which no encoding can write.
    """
    _check_tokens(spec)
    return _encoded(_counter(spec.language), text)


def _average_length(texts: Iterable[str], language: str) -> float:
    counter = _counter(language)
    counts = [np.rint(_encoded(counter, text).values).sum() for text in texts]
    if not any(counts):
        raise InputError(
            f"BM25: expected texts with words to measure their length, found none in {len(counts)} texts. "
            "Ingest first."
        )
    return float(np.mean(counts))


@lru_cache(maxsize=8)
def _encoder(spec: LexicalSpec) -> qe.Bm25:
    _check_tokens(spec)
    return _bm25(spec.language, k1=spec.k1, b=spec.b, average_length=spec.average_length)


def _check_tokens(spec: LexicalSpec) -> None:
    tokens = _tokens(spec.language)
    if tokens != spec.tokens:
        raise ModelMismatchError(
            f"BM25: expected {spec.language} tokens {spec.tokens}, this release makes {tokens}. "
            "Install the release of qdrant-edge-py that the vectors were made with, or drop them and make "
            "them again."
        )


@lru_cache(maxsize=8)
def _tokens(language: str) -> str:
    """Return 16 hexadecimal digits that change with the tokens of a language."""
    probe = _counter(language).embed_document(_PROBE)
    return fingerprint_of(
        {"indices": list(probe.indices), "counts": [round(count) for count in probe.values]}
    )


@lru_cache(maxsize=8)
def _counter(language: str) -> qe.Bm25:
    """Return an encoder whose values are the frequencies themselves."""
    return _bm25(language, k1=_COUNTING, b=0.0, average_length=1.0)


def _bm25(language: str, *, k1: float, b: float, average_length: float) -> qe.Bm25:
    import qdrant_edge as qe

    known = {name.lower() for name in dir(qe.Language) if not name.startswith("_")}
    if language not in {*known, ANY_LANGUAGE}:
        raise InputError(
            f"BM25: expected a language of {', '.join(sorted(known))}, got {language!r}. "
            f"Take {ANY_LANGUAGE!r} for another one."
        )
    word, dictionary = qe.TokenizerType.Word, qe.TokenizerType.Multilingual
    tokenizer = dictionary if language in _CUT_BY_DICTIONARY else word
    is_any = language == ANY_LANGUAGE
    config = qe.Bm25Config(
        k=k1,
        b=b,
        avg_len=average_length,
        tokenizer=tokenizer,
        language=None if is_any else language,
        stopwords=qe.StopwordsSet() if is_any else None,
        stemmer=qe.DisabledStemmer() if is_any else None,
    )
    return qe.Bm25(config)


def _encoded(encoder: qe.Bm25, text: str) -> SparseVector:
    try:
        encoded = encoder.embed_document(text)
    except UnicodeEncodeError:
        as_texts([text])  # which says what is wrong with it
        raise
    return SparseVector(
        indices=np.array(encoded.indices, dtype=np.uint32), values=np.array(encoded.values, dtype=np.float32)
    )
