from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.errors import ModelError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel, Spans
from retriever.models.windows import cut, windowed
from retriever.testing import EmbeddingModelContract, FakeModel, WhitespaceTokenizer

_STORY = (
    "Basil wants warm soil and six hours of sun. Sow it in pots after the last frost, keep the soil moist, "
    "and pinch the tips once the plant has six leaves. "
)
_OTHER = (
    "Interest is paid on the first working day of each quarter. An account that was opened within the "
    "quarter earns from its first day, and a withdrawal ends it. "
)


def _spans(text: str) -> np.ndarray:
    return WhitespaceTokenizer().spans(text)


class TestWindowedFake(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> EmbeddingModel:
        return windowed(FakeModel("acme/fake", max_tokens=16))

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> EmbeddingModel:
        return windowed(FakeModel("acme/fake", max_tokens=16))


class TestWindowedMiniLM(EmbeddingModelContract):
    """Nine times the maximum, scripts, control characters."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, shared_models: Path) -> EmbeddingModel:
        return windowed(load_model(str(shared_models / "paraphrase-MiniLM-L3-v2")))

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, shared_models: Path) -> EmbeddingModel:
        return windowed(load_model(str(shared_models / "paraphrase-MiniLM-L3-v2")))


def test_windows_are_of_about_equal_length() -> None:
    """By hand: 10 words in windows of at most 8 are 5 and 5, not 8 and 2."""
    text = " ".join("abcdefghij")
    assert cut(text, _spans(text), room=8) == ["a b c d e", "f g h i j"]
    assert cut(text, _spans(text), room=10) == [text]
    assert cut(text, _spans(text), room=4) == ["a b c", "d e f", "g h i j"]


def test_words_are_kept_whole() -> None:
    """By hand: one token per character; a word longer than a window has to be cut."""
    text = "basil in a supercalifragilistic pot"
    tokens = np.array([match.span() for match in re.finditer(r"\S", text)])
    windows = cut(text, tokens, room=9)
    assert windows[0] == "basil in a"
    assert " ".join(windows).replace(" ", "") == text.replace(" ", "")
    assert all(len(window.replace(" ", "")) <= 9 for window in windows)


def test_the_bytes_of_a_character_stay_together() -> None:
    """Tokens that share a span are never parted."""
    tokens = np.array([[0, 1]] * 5 + [[1, 2]] * 5)
    assert cut("🤖🤖", tokens, room=4) == ["🤖", "🤖"]
    assert cut("🤖", tokens[:5], room=4) == ["🤖"]


def test_a_text_of_white_space_is_one_window() -> None:
    """Its tokens have nowhere to go."""
    tokens = np.array([[i, i + 1] for i in range(6)])
    assert cut("\n" * 6, tokens, room=2) == ["\n" * 6]


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=60), room=st.integers(1, 12)
)
def test_no_word_is_lost_and_no_window_is_too_long(words: list[str], room: int) -> None:
    """In order, for any text; the shortest window has at least half of the longest, but for rounding."""
    text = " ".join(words)
    windows = cut(text, _spans(text), room=room)
    assert [word for window in windows for word in window.split()] == words
    lengths = [len(window.split()) for window in windows]
    assert max(lengths) <= room
    assert len(windows) == -(-len(words) // room)
    assert max(lengths) - min(lengths) <= 1


def test_the_spec_says_that_there_is_no_limit_any_more() -> None:
    """The fingerprint changes: these are other vectors."""
    model = FakeModel(max_tokens=16)
    spec = windowed(model).spec
    assert (spec.max_tokens, spec.over_length) == (None, "windows")
    assert (spec.name, spec.pooling, spec.source) == (model.spec.name, model.spec.pooling, model.spec.source)
    assert spec.fingerprint != model.spec.fingerprint
    assert windowed(model).tokenizer is model.tokenizer


def test_a_model_without_a_maximum_is_left_alone() -> None:
    """There is nothing to cut, and its fingerprint stays; windows of windows are windows."""
    model = FakeModel(max_tokens=None)
    assert windowed(model) is model
    once = windowed(FakeModel(max_tokens=16))
    assert windowed(once) is once


def test_a_text_that_fits_has_the_vector_of_the_plain_model() -> None:
    """To the last bit, alone and beside longer ones; 16 tokens are 13 words, the prompt and two special."""
    model = FakeModel(max_tokens=16)
    fits = " ".join("abcdefghijklm")
    vectors = windowed(model).embed_chunks([fits, _STORY, "", fits])
    np.testing.assert_array_equal(vectors[[0, 2, 3]], model.embed_chunks([fits, "", fits]))
    assert vectors[1] @ model.embed_chunks([_STORY])[0] < 0.99
    assert windowed(model).embed_chunks([]).shape == (0, 64)


def test_a_longer_text_has_the_mean_of_its_windows_weighted_by_tokens() -> None:
    """By hand: 15 words in windows of at most 13 are 7 and 8; queries alike, with their prompt."""
    model = FakeModel(max_tokens=16)
    words = [f"word{i}" for i in range(15)]
    for plain, long in (
        (model.embed_chunks, windowed(model).embed_chunks),
        (model.embed_queries, windowed(model).embed_queries),
    ):
        one, other = plain([" ".join(words[:7]), " ".join(words[7:])])
        mean = 7 * one + 8 * other
        np.testing.assert_allclose(long([" ".join(words)])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_the_end_of_a_long_text_counts() -> None:
    """A plain model does not see it."""
    model = FakeModel(max_tokens=16)
    texts = [_STORY + _OTHER, _STORY + "Entirely different words at the end of this text, a dozen of them."]
    plain = model.embed_chunks(texts)
    assert plain[0] @ plain[1] > 1 - 1e-6
    long = windowed(model).embed_chunks(texts)
    assert long[0] @ long[1] < 0.95


class _Growing(WhitespaceTokenizer):
    """Two characters are a token of a long text, and two tokens of a text of their own."""

    def spans(self, text: str) -> Spans:
        starts = np.arange(0, len(text), 2)
        return np.stack([starts, np.minimum(starts + 2, len(text))], axis=1)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) + 2 for text in texts]


def test_a_window_that_has_more_tokens_alone_is_cut_again() -> None:
    """Half a word is another word, and may be more tokens."""

    class Model(FakeModel):
        @property
        def tokenizer(self) -> WhitespaceTokenizer:
            return _Growing()

    model = windowed(Model(max_tokens=32))
    (windows,) = model._windows(["x" * 100], "passage: ")  # type: ignore[attr-defined]
    assert "".join(windows) == "x" * 100
    assert max(_Growing().count(["passage: " + window for window in windows])) <= 32


def test_a_model_without_a_tokenizer_is_refused_by_name() -> None:
    """Nothing can be cut without one."""

    class Remote(FakeModel):
        @property
        def tokenizer(self) -> None:  # type: ignore[override]
            return None

    with pytest.raises(ModelError, match=r"'acme/remote': expected a tokenizer, .*got none"):
        windowed(Remote("acme/remote"))


def test_a_model_whose_prompt_fills_it_is_refused() -> None:
    """By hand: a prompt of one word and two special tokens leave 7 of 10."""
    with pytest.raises(
        ModelError, match=r"room for 8 tokens of a text or more, got a maximum of 10, .*take 3"
    ):
        windowed(FakeModel("acme/tiny", max_tokens=10))
    windowed(FakeModel("acme/tiny", max_tokens=11))


@pytest.mark.parametrize("name", ["paraphrase-MiniLM-L3-v2", "universal-sentence-encoder-lite"])
def test_a_short_model_reads_the_whole_chunk_in_windows(name: str, shared_models: Path) -> None:
    """Two texts that differ behind the 128th token: the same to the model, and not to its windows."""
    plain = load_model(str(shared_models / name))
    model = windowed(plain)
    limit = plain.spec.max_tokens
    assert limit == 128
    assert model.tokenizer is not None
    chunks = [_STORY * 4 + _STORY * 3, _STORY * 4 + _OTHER * 3, _STORY]
    assert model.tokenizer.count(chunks)[0] > limit
    assert model.tokenizer.count([chunks[2]])[0] < limit
    cut_off, whole = plain.embed_chunks(chunks), model.embed_chunks(chunks)
    assert cut_off[0] @ cut_off[1] > 1 - 1e-5
    assert whole[0] @ whole[1] < 0.9
    query = model.embed_queries(["When is interest paid on an account?"])[0]
    assert query @ whole[1] > query @ cut_off[1] + 0.1
    np.testing.assert_array_equal(model.embed_chunks([_STORY]), plain.embed_chunks([_STORY]))


def test_no_window_is_longer_than_the_model_reads(shared_models: Path) -> None:
    """For texts without words too: a cut inside a word makes other tokens."""
    plain = load_model(str(shared_models / "paraphrase-MiniLM-L3-v2"))
    model = windowed(plain)
    texts = [
        "x" * 3000,
        "日本語のテキスト" * 60,
        "👩‍👩‍👧 🤖" * 80,
        "un-believ-ably" * 90,
        "a\x00b\u200b" * 200,
        _STORY * 20,
    ]
    assert model.tokenizer is not None
    for windows in model._windows(texts, "passage: "):  # type: ignore[attr-defined]
        assert max(model.tokenizer.count(["passage: " + window for window in windows])) <= 128
