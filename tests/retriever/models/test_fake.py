from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from retriever.models.protocol import EmbeddingModel
from retriever.testing import EmbeddingModelContract, FakeModel


class TestFakeModel(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> EmbeddingModel:
        return FakeModel("acme/fake", dimensions=48, max_tokens=32)

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> EmbeddingModel:
        return FakeModel("acme/fake", dimensions=48, max_tokens=32)


def test_texts_that_share_words_are_similar() -> None:
    """Retrieval over fakes finds what a reader expects."""
    model = FakeModel(dimensions=256)
    chunks = model.embed_chunks(
        ["Warm soil helps basil.", "The ferry leaves at noon.", "Soil samples are taken."]
    )
    ranking = np.argsort(-(model.embed_queries(["basil in warm soil"]) @ chunks.T)[0])
    assert ranking.tolist() == [0, 2, 1]


def test_models_of_different_names_are_unrelated() -> None:
    """The same text has another direction in another model."""
    one, other = FakeModel("a", dimensions=512), FakeModel("b", dimensions=512)
    assert abs(float(one.embed_chunks(["warm soil"])[0] @ other.embed_chunks(["warm soil"])[0])) < 0.2
    assert one.spec.fingerprint != other.spec.fingerprint


def test_vectors_are_the_same_in_each_process() -> None:
    """Nothing depends on the hash seed of the process."""
    code = (
        "from retriever.testing import FakeModel\n"
        "print(FakeModel().embed_chunks(['warm soil']).tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == FakeModel().embed_chunks(["warm soil"]).tobytes().hex()
