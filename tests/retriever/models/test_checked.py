from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retriever.errors import EmbeddingError, InputError
from retriever.models import CheckedModel, unit_rows
from retriever.models.protocol import FloatArray
from retriever.testing import FakeModel

_SPEC = FakeModel("acme/fake", dimensions=3).spec
_TEXTS = ["a", "b"]


class _Scaled(FakeModel):
    """Breaks one promise: its rows are multiplied, its dtype replaced."""

    factor: float = 1.0
    dtype: type = np.float32

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return (super().embed_queries(texts) * self.factor).astype(self.dtype)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        return (super().embed_chunks(texts) * self.factor).astype(self.dtype)


def test_rows_of_any_length_become_unit_rows() -> None:
    """By hand: 3-4-5, and the input is left as it is."""
    vectors = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1e-6]])
    np.testing.assert_allclose(unit_rows(vectors, texts=_TEXTS, spec=_SPEC), [[0.6, 0.8, 0], [0, 0, 1]])
    assert vectors[0, 0] == 3


@pytest.mark.parametrize(
    ("bad", "words"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0.0, "a zero vector")],
)
def test_an_unusable_row_is_refused_with_its_text(bad: float, words: str) -> None:
    """The message names the model, the position and the text."""
    vectors = np.array([[1.0, 0.0, 0.0], [bad, bad, bad]])
    with pytest.raises(EmbeddingError, match=rf"'acme/fake': .*got {words} for text 1 of 2 \('b'\)"):
        unit_rows(vectors, texts=_TEXTS, spec=_SPEC)


def test_a_long_text_is_cut_in_the_message() -> None:
    """Sixty characters are enough to find it."""
    with pytest.raises(EmbeddingError) as caught:
        unit_rows(np.zeros((1, 3)), texts=["x" * 500], spec=_SPEC)
    assert "x" * 60 + "…" in str(caught.value)
    assert "x" * 61 not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2,), (2, 3, 1)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """Both shapes are in the message."""
    with pytest.raises(EmbeddingError, match=r"expected vectors of shape \(2, 3\) for 2 texts, got \("):
        unit_rows(np.ones(shape), texts=_TEXTS, spec=_SPEC)


def test_a_model_that_keeps_its_promises_passes() -> None:
    """The wrapper changes nothing but the last digits."""
    fake = FakeModel()
    checked = CheckedModel(fake)
    assert checked.spec is fake.spec
    assert checked.tokenizer is fake.tokenizer
    np.testing.assert_allclose(checked.embed_queries(_TEXTS), fake.embed_queries(_TEXTS), atol=1e-6)
    np.testing.assert_allclose(checked.embed_chunks(_TEXTS), fake.embed_chunks(_TEXTS), atol=1e-6)


def test_rows_within_the_tolerance_become_exact() -> None:
    """Half-precision arithmetic is close to a unit vector, and made one."""
    model = _Scaled()
    model.factor = 1.0005
    norms = np.linalg.norm(CheckedModel(model).embed_chunks(_TEXTS), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("factor", "dtype", "words"),
    [
        (1.01, np.float32, "expected a unit vector for every text, got another length for text 0"),
        (0.0, np.float32, "got a zero vector for text 0"),
        (np.nan, np.float32, "got NaN or infinity for text 0"),
        (1.0, np.float64, "expected float32 vectors, got float64"),
    ],
)
def test_a_broken_promise_is_refused(factor: float, dtype: type, words: str) -> None:
    """A foreign model that does not normalise is found at the border, not in a ranking."""
    model = _Scaled()
    model.factor, model.dtype = factor, dtype
    for embed in (CheckedModel(model).embed_queries, CheckedModel(model).embed_chunks):
        with pytest.raises(EmbeddingError, match=words):
            embed(_TEXTS)


def test_one_string_is_refused_before_the_model_sees_it() -> None:
    """Its characters would be embedded as texts."""
    with pytest.raises(InputError, match="expected a list of strings, got one string"):
        CheckedModel(FakeModel()).embed_queries("basil")


def test_half_a_character_is_refused_before_the_model_sees_it() -> None:
    """And the text is named, in characters that every terminal shows."""
    model = CheckedModel(FakeModel("acme/fake", dimensions=3))
    for embed in (model.embed_queries, model.embed_chunks):
        with pytest.raises(InputError, match=r"Unicode text, got 'caf\\ud83d' for text 1 of 2"):
            embed(["café", "caf\ud83d"])
