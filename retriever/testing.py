"""What an implementation of our seams has to keep, as test classes, and a fake model.

A contract class is inherited by a test class that gives its fixtures. So that failures show their
values, register this module before it is first imported, in ``conftest.py``::

    import pytest

    pytest.register_assert_rewrite("retriever.testing")

"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from retriever.errors import EmbeddingError, InputError
from retriever.models.checked import as_texts, unit_rows
from retriever.models.probe import INVARIANT, PROBES, batch_invariance, cosines
from retriever.models.protocol import EmbeddingModel, FloatArray, Spans, Tokenizer
from retriever.records import ModelSpec, fingerprint_of

_SPECIAL_TOKENS = 2
_PROMPT_WEIGHT = 0.3
_TEXTS = (
    "Basil wants warm soil and six hours of sun.",
    "The ferry leaves at noon.",
    "Interest is paid on the first working day of each quarter, unless the account was opened within it.",
    "Warm soil helps basil.",
    "naïve café, 日本語, Ünïcödé and 🤖",
)


class WhitespaceTokenizer:
    """One token per word and two special ones, so that counts are easy to follow."""

    @property
    def fingerprint(self) -> str:
        """Content hash."""
        return fingerprint_of({"method": "whitespace", "special_tokens": _SPECIAL_TOKENS})

    def spans(self, text: str) -> Spans:
        """Return where each word starts and ends, int64, shape (n_words, 2)."""
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text plus two."""
        return [len(text.split()) + _SPECIAL_TOKENS for text in texts]


class FakeModel:
    """A model without weights: fast, deterministic, and good enough to retrieve by shared words.

    The vector of a text is the sum of one random direction per word, whatever its case and the
    punctuation around it, drawn from a generator that SHA-256 of model and word seeds; so it is the
    same in each process. Query and chunk of one text differ a little, because they have different
    prompts. No statement about quality rests on it.

    Parameters
    ----------
    name
        Models of different names have unrelated vectors.
    dimensions
        Length of a vector.
    max_tokens
        At least 3. Words beyond it, prompt and two special tokens counted, are cut off as a real model
        does; None for no limit.
    """

    def __init__(
        self, name: str = "tandem/fake", *, dimensions: int = 64, max_tokens: int | None = 512
    ) -> None:
        self._tokenizer = WhitespaceTokenizer()
        self._directions: dict[str, NDArray[np.float64]] = {}
        self._spec = ModelSpec(
            name=name,
            revision="fake",
            dimensions=dimensions,
            max_tokens=max_tokens,
            query_prompt="query: ",
            document_prompt="passage: ",
            pooling="words",
            backend="fake",
            dtype="float32",
            tokenizer=self._tokenizer.fingerprint,
            source=f"fake:{name}",
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> WhitespaceTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.query_prompt)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.document_prompt)

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        vectors = [self._vector(self._read(prompt + text)) for text in texts]
        rows = np.array(vectors).reshape(len(texts), self._spec.dimensions)
        return unit_rows(rows, texts=texts, spec=self._spec)

    def _vector(self, words: list[str]) -> NDArray[np.float64]:
        prompt, *rest = words
        vector = _PROMPT_WEIGHT * self._direction(prompt)
        for word, times in sorted(Counter(rest).items()):
            vector = vector + times * self._direction(word)
        return vector

    def _read(self, text: str) -> list[str]:
        limit = self._spec.max_tokens
        words = text.split()
        kept = words if limit is None else words[: limit - _SPECIAL_TOKENS]
        return [word.lower().strip(".,;:!?\"'()[]{}") or word for word in kept]

    def _direction(self, word: str) -> NDArray[np.float64]:
        if word not in self._directions:
            digest = hashlib.sha256(f"{self._spec.name}\0{word}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            self._directions[word] = rng.standard_normal(self._spec.dimensions)
        return self._directions[word]


class EmbeddingModelContract:
    """What every `EmbeddingModel` keeps.

    A subclass gives two fixtures: `model`, and `again`, the same model loaded a second time. Fixtures
    of a wide scope save time::

        class TestMyModel(EmbeddingModelContract):
            @pytest.fixture(scope="class")
            @classmethod
            def model(cls) -> EmbeddingModel:
                return MyModel()
    """

    def test_rows_are_unit_vectors(self, model: EmbeddingModel) -> None:
        """One float32 row of length 1 per text."""
        for vectors in (model.embed_queries(_TEXTS), model.embed_chunks(_TEXTS)):
            assert vectors.dtype == np.float32
            assert vectors.shape == (len(_TEXTS), model.spec.dimensions)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_no_texts_give_no_rows(self, model: EmbeddingModel) -> None:
        """An empty list is not an error."""
        for vectors in (model.embed_queries([]), model.embed_chunks([])):
            assert vectors.dtype == np.float32
            assert vectors.shape == (0, model.spec.dimensions)

    def test_rows_are_in_the_order_of_the_texts(self, model: EmbeddingModel) -> None:
        """Whatever the model does inside, row i belongs to text i."""
        order = [3, 0, 4, 2, 1]
        shuffled = model.embed_chunks([_TEXTS[i] for i in order])
        np.testing.assert_allclose(shuffled, model.embed_chunks(_TEXTS)[order], atol=1e-5)

    def test_a_vector_does_not_depend_on_the_batch(self, model: EmbeddingModel) -> None:
        """The same text has the same vector alone and among others: a resumed run has other batches."""
        assert batch_invariance(model.embed_chunks) <= INVARIANT
        assert batch_invariance(model.embed_queries) <= INVARIANT

    def test_a_vector_does_not_depend_on_the_order(self, model: EmbeddingModel) -> None:
        """Also where texts of many lengths are sorted into batches, and where a text comes twice."""
        texts = [*PROBES, *_TEXTS, *PROBES]
        there = model.embed_chunks(texts)
        assert (cosines(there, model.embed_chunks(texts[::-1])[::-1]) >= 1 - INVARIANT).all()
        assert (cosines(there[: len(PROBES)], there[-len(PROBES) :]) >= 1 - INVARIANT).all()

    def test_different_texts_have_different_vectors(self, model: EmbeddingModel) -> None:
        """A constant is no model."""
        cosines = np.array(model.embed_chunks(_TEXTS) @ model.embed_chunks(_TEXTS).T)
        np.fill_diagonal(cosines, -1)
        assert cosines.max() < 0.9999

    def test_queries_and_chunks_have_their_own_prompts(self, model: EmbeddingModel) -> None:
        """Different prompts give different vectors, equal prompts equal ones."""
        cosines = (model.embed_queries(_TEXTS) * model.embed_chunks(_TEXTS)).sum(axis=1)
        if model.spec.query_prompt != model.spec.document_prompt:
            assert (cosines < 1 - 1e-6).all()
        elif model.spec.backend != "llama-index":  # there prompts are the embedding's own business
            assert (cosines > 1 - 1e-5).all()

    def test_one_string_is_refused(self, model: EmbeddingModel) -> None:
        """A string is a sequence of strings, its characters: never what was meant."""
        for embed in (model.embed_queries, model.embed_chunks):
            try:
                embed("basil")
            except InputError:
                continue
            raise AssertionError("expected InputError")

    def test_unusual_texts_are_embedded(self, model: EmbeddingModel) -> None:
        """Long texts, scripts, emoji and control characters give unit vectors."""
        texts = [
            "basil " * 3000,
            "日本語のテキスト",
            "👩‍👩‍👧 🤖",
            "a\x00b\u200b\ufeff",
            "\n\tline\r\n",
            "e\u0301" * 50,
        ]
        np.testing.assert_allclose(np.linalg.norm(model.embed_chunks(texts), axis=1), 1, atol=1e-6)

    def test_an_empty_text_is_embedded_or_refused_by_name(self, model: EmbeddingModel) -> None:
        """A model that finds no token in a text says so; it returns no zero vector."""
        try:
            vectors = model.embed_chunks(["basil", ""])
        except EmbeddingError as error:
            assert model.spec.name in str(error)  # noqa: PT017  # pytest is not imported in the product
            assert "text 1 of 2" in str(error)  # noqa: PT017
        else:
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_threads_do_not_disturb_each_other(self, model: EmbeddingModel) -> None:
        """Four threads at once get what one gets."""
        lists = [_TEXTS[i:] + _TEXTS[:i] for i in range(4)]
        serial = [model.embed_chunks(texts) for texts in lists]
        with ThreadPoolExecutor(4) as pool:
            parallel = list(pool.map(model.embed_chunks, lists))
        np.testing.assert_allclose(parallel, serial, atol=1e-5)

    def test_the_fingerprint_is_the_same_when_loaded_again(
        self, model: EmbeddingModel, again: EmbeddingModel
    ) -> None:
        """A corpus can be opened with the model it was made with."""
        assert again is not model
        assert again.spec.fingerprint == model.spec.fingerprint
        np.testing.assert_allclose(again.embed_chunks(_TEXTS), model.embed_chunks(_TEXTS), atol=1e-5)

    def test_the_spec_names_the_tokenizer(self, model: EmbeddingModel) -> None:
        """The spec has the tokenizer's fingerprint, or neither exists."""
        tokenizer = model.tokenizer
        assert model.spec.tokenizer == (None if tokenizer is None else tokenizer.fingerprint)

    def test_a_count_is_the_spans_and_the_special_tokens(self, model: EmbeddingModel) -> None:
        """Special tokens are the same for every text."""
        tokenizer = _tokenizer_of(model)
        special = tokenizer.count([""])[0]
        assert tokenizer.count(_TEXTS) == [len(tokenizer.spans(text)) + special for text in _TEXTS]
        assert tokenizer.count([]) == []

    def test_a_long_text_is_counted_whole(self, model: EmbeddingModel) -> None:
        """Counting does not stop at the model's maximum."""
        tokenizer = _tokenizer_of(model)
        assert tokenizer.count(["basil " * 3000])[0] >= 3000
        assert len(tokenizer.spans("basil " * 3000)) >= 3000

    def test_spans_lie_in_the_text_in_order(self, model: EmbeddingModel) -> None:
        """Offsets are characters of the text, and starts never decrease."""
        tokenizer = _tokenizer_of(model)
        for text in (*_TEXTS, "", "  two  spaces ", "👩‍👩‍👧\n\n\t🇩🇪 ﬁne ½ İ", "e\u0301tude"):
            spans = tokenizer.spans(text)
            assert spans.dtype == np.int64
            assert spans.shape == (len(spans), 2)
            assert (np.diff(spans[:, 0]) >= 0).all()
            assert (spans >= 0).all()
            assert (spans[:, 0] <= spans[:, 1]).all()
            assert (spans <= len(text)).all()

    def test_the_maximum_is_where_the_model_stops_reading(self, model: EmbeddingModel) -> None:
        """The last token within max_tokens counts, the first one beyond it does not."""
        limit = model.spec.max_tokens
        tokenizer = _tokenizer_of(model)
        if limit is None:
            _skip("the model reads texts of any length")
        prompt = model.spec.document_prompt
        words = ["a"] * (limit - tokenizer.count([prompt])[0])
        assert tokenizer.count([prompt + " ".join(words)]) == [limit]
        texts = [words, [*words, "zebra"], [*words[:-1], "zebra"]]
        full, beyond, other = model.embed_chunks([" ".join(text) for text in texts])
        assert full @ beyond > 1 - 1e-5
        assert full @ other < 1 - 1e-6


def _tokenizer_of(model: EmbeddingModel) -> Tokenizer:
    tokenizer = model.tokenizer
    if tokenizer is None:
        _skip("the model has no tokenizer on this machine")
    return tokenizer


def _skip(reason: str) -> NoReturn:
    import pytest

    pytest.skip(reason)
