"""Texts are embedded in batches of bounded size, and models are held to their promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.vectors import Batch, Embedder, batches_of
from ingest.vectors.batches import TOKENS_PER_BATCH
from retriever.errors import EmbeddingError, ModelNotFoundError
from retriever.models.protocol import FloatArray
from retriever.records import ModelSpec
from retriever.testing import FakeModel

TEXTS = ["red apple", "green pear", "blue plum"]


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


def batch_of(texts: Sequence[str], *keys: str) -> Batch:
    return Batch(texts=tuple(texts), keys=keys)


def test_rows_belong_to_their_texts_for_every_model() -> None:
    models = {name: FakeModel(name, dimensions=size) for name, size in (("a", 8), ("b", 12))}
    embedded = Embedder(models).embed(batch_of(TEXTS, "b", "a"))
    assert list(embedded.vectors) == ["b", "a"]
    assert embedded.failures == {}
    for name, model in models.items():
        np.testing.assert_allclose(embedded.vectors[name], model.embed_chunks(TEXTS), atol=1e-6)


def test_only_the_models_asked_for_run_and_each_says_when_it_is_its_turn() -> None:
    idle = Altered(lambda rows: rows)
    turns: list[str] = []
    embedder = Embedder({"a": FakeModel("a"), "idle": idle, "b": FakeModel("b")}, on_turn=turns.append)
    assert list(embedder.embed(batch_of(TEXTS, "a", "b")).vectors) == ["a", "b"]
    assert idle.calls == []
    assert turns == ["a", "b"]


def test_the_time_of_each_model_is_kept() -> None:
    def slowly(rows: FloatArray) -> FloatArray:
        time.sleep(0.02)
        return rows

    embedder = Embedder({"slow": Altered(slowly), "quick": FakeModel()})
    seconds = embedder.embed(batch_of(TEXTS, "slow", "quick")).seconds
    assert seconds["slow"] >= 0.02 > seconds["quick"]


def test_nearly_unit_rows_are_made_exact() -> None:
    model = Altered(lambda rows: rows * np.float32(1.0004))
    vectors = Embedder({"m": model}).embed(batch_of(TEXTS, "m")).vectors["m"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (raising(RuntimeError("out of memory")), "RuntimeError: out of memory"),
        (raising(KeyError("weights")), "KeyError: 'weights'"),
        (raising(EmbeddingError("acme/altered as it was")), "as it was"),
        (lambda rows: rows * np.float32(np.inf), "NaN or infinity"),
        (lambda rows: rows * np.float32(0), "zero vector"),
        (lambda rows: rows * np.float32(2), "unit vector"),
        (lambda rows: rows[:-1], "shape"),
        (lambda rows: rows.astype(np.float16), "float16"),
        (lambda _: None, "NoneType"),
    ],
)
def test_whatever_goes_wrong_fails_the_texts_in_words_that_name_the_model(
    alter: Callable[[FloatArray], Any], message: str
) -> None:
    embedder = Embedder({"m": Altered(alter)})
    failures = embedder.embed(batch_of(TEXTS, "m")).failures
    assert sorted(failures) == [0, 1, 2]
    assert all("acme/altered" in reason and message in reason for reason in failures.values())


def test_bad_texts_are_found_by_halves_and_no_later_model_runs_on_them() -> None:
    texts = [f"text {i}" for i in range(64)]

    class Choosy(Altered):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            if {"text 5", "text 40"} & set(texts):
                self.calls.append(list(texts))
                raise RuntimeError("choosy")
            return super().embed_chunks(texts)

    choosy, second = Choosy(lambda rows: rows), Altered(lambda rows: rows)
    embedded = Embedder({"first": choosy, "second": second}).embed(batch_of(texts, "first", "second"))
    assert sorted(embedded.failures) == [5, 40]
    assert len(choosy.calls) <= 1 + 2 * 2 * 6  # the whole, and both halves on each of two ways down
    assert [len(call) for call in second.calls] == [62]
    good = [i for i in range(64) if i not in embedded.failures]
    expected = choosy._model.embed_chunks([texts[i] for i in good])
    np.testing.assert_allclose(embedded.vectors["first"][good], expected, atol=1e-6)


def test_a_model_that_cannot_be_used_at_all_ends_the_run() -> None:
    embedder = Embedder({"m": Altered(raising(ModelNotFoundError("as it was")))})
    with pytest.raises(ModelNotFoundError, match=r"^as it was$"):
        embedder.embed(batch_of(TEXTS, "m"))


def test_an_interruption_is_no_failure_of_the_model() -> None:
    with pytest.raises(KeyboardInterrupt):
        Embedder({"m": Altered(raising(KeyboardInterrupt()))}).embed(batch_of(TEXTS, "m"))


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────


@given(lengths=st.dictionaries(st.text(max_size=8), st.integers(0, 40_000), max_size=60))
def test_batches_hold_every_text_once_longest_first_within_the_budget(lengths: dict[str, int]) -> None:
    batches = list(batches_of(lengths, ["a", "b"]))
    texts = [text for batch in batches for text in batch.texts]
    assert sorted(texts) == sorted(lengths)
    assert [lengths[text] for text in texts] == sorted(lengths.values(), reverse=True)
    for batch in batches:
        assert batch.keys == ("a", "b")
        padded = len(batch.texts) * max(lengths[text] for text in batch.texts)
        assert padded <= TOKENS_PER_BATCH or len(batch.texts) == 1


def test_full_chunks_come_in_batches_of_64() -> None:
    lengths = {f"text {i}": 256 for i in range(130)}
    assert [len(batch.texts) for batch in batches_of(lengths, ["m"])] == [64, 64, 2]
