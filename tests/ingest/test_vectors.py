"""The embedder runs every model on every text once, and holds models to their promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ingest.vectors import Embedder
from retriever.errors import EmbeddingError, ModelNotFoundError
from retriever.models.protocol import FloatArray
from retriever.records import ModelSpec
from retriever.testing import FakeModel

TEXTS = ["red apple", "green pear", "red apple", "blue plum"]


class Altered:
    """A model whose answers are altered on the way out."""

    def __init__(self, alter: Callable[[FloatArray], Any]) -> None:
        self._model = FakeModel("acme/altered", dimensions=8)
        self._alter = alter
        self.calls: list[list[str]] = []

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def tokenizer(self) -> Any:
        return self._model.tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._model.embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.calls.append(list(texts))
        vectors: FloatArray = self._alter(self._model.embed_chunks(texts))
        return vectors


def raising(error: BaseException) -> Callable[[FloatArray], Any]:
    def fail(_: FloatArray) -> Any:
        raise error

    return fail


def test_rows_belong_to_their_texts_for_every_model() -> None:
    models = {name: FakeModel(name, dimensions=size) for name, size in (("a", 8), ("b", 12))}
    vectors = Embedder(models).embed(TEXTS, keys=["b", "a"])
    assert list(vectors) == ["b", "a"]
    for name, model in models.items():
        np.testing.assert_allclose(vectors[name], model.embed_chunks(TEXTS), atol=1e-6)


def test_only_the_models_asked_for_run() -> None:
    idle = Altered(lambda rows: rows)
    embedder = Embedder({"a": FakeModel("a"), "idle": idle})
    assert list(embedder.embed(TEXTS, keys=["a"])) == ["a"]
    assert idle.calls == []
    assert embedder.texts == {"a": 3, "idle": 0}


def test_equal_texts_are_embedded_once() -> None:
    model = Altered(lambda rows: rows)
    embedder = Embedder({"m": model})
    embedder.embed(TEXTS, keys=["m"])
    assert model.calls == [["red apple", "green pear", "blue plum"]]
    assert embedder.texts == {"m": 3}


def test_no_texts_give_no_rows() -> None:
    assert Embedder({"m": FakeModel(dimensions=8)}).embed([], keys=["m"])["m"].shape == (0, 8)


def test_the_time_of_each_model_is_kept() -> None:
    def slowly(rows: FloatArray) -> FloatArray:
        time.sleep(0.02)
        return rows

    embedder = Embedder({"slow": Altered(slowly), "quick": FakeModel()})
    embedder.embed(TEXTS, keys=["slow", "quick"])
    embedder.embed(TEXTS[:1], keys=["slow"])
    assert embedder.seconds["slow"] >= 0.04
    assert embedder.texts == {"slow": 4, "quick": 3}


def test_nearly_unit_rows_are_made_exact() -> None:
    model = Altered(lambda rows: rows * np.float32(1.0004))
    vectors = Embedder({"m": model}).embed(TEXTS, keys=["m"])["m"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (raising(RuntimeError("out of memory")), "RuntimeError: out of memory"),
        (raising(KeyError("weights")), "KeyError: 'weights'"),
        (lambda rows: rows * np.float32(np.inf), "NaN or infinity"),
        (lambda rows: rows * np.float32(0), "zero vector"),
        (lambda rows: rows * np.float32(2), "unit vector"),
        (lambda rows: rows[:-1], "shape"),
        (lambda rows: rows.astype(np.float16), "float16"),
        (lambda _: None, "NoneType"),
    ],
)
def test_whatever_goes_wrong_is_an_error_that_names_the_model(
    alter: Callable[[FloatArray], Any], message: str
) -> None:
    embedder = Embedder({"m": Altered(alter)})
    with pytest.raises(EmbeddingError, match="acme/altered") as caught:
        embedder.embed(TEXTS, keys=["m"])
    assert message in str(caught.value)
    assert embedder.texts == {"m": 0}


@pytest.mark.parametrize("error", [EmbeddingError("as it was"), ModelNotFoundError("as it was")])
def test_our_own_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=r"^as it was$"):
        Embedder({"m": Altered(raising(error))}).embed(TEXTS, keys=["m"])


def test_an_interruption_is_no_failure_of_the_model() -> None:
    with pytest.raises(KeyboardInterrupt):
        Embedder({"m": Altered(raising(KeyboardInterrupt()))}).embed(TEXTS, keys=["m"])
