from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import Document as LlamaDocument

from retriever.errors import EmbeddingError, ModelNotFoundError
from retriever.models import LlamaEmbeddingModel, load_model
from retriever.models.protocol import EmbeddingModel
from retriever.testing import EmbeddingModelContract, FakeModel


class _WordEmbedding(BaseEmbedding):
    """A LlamaIndex embedding whose vectors are those of our fake, three times as long."""

    query_instruction: str | None = None

    @classmethod
    def class_name(cls) -> str:
        return "WordEmbedding"

    def _get_text_embedding(self, text: str) -> list[float]:
        vector: list[float] = (3 * FakeModel(dimensions=24).embed_chunks([text])[0]).tolist()
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = (3 * FakeModel(dimensions=24).embed_queries([query])[0]).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class _Failing(_WordEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        if "bad" in text:
            raise ConnectionError("no answer from the service")
        return [0.0] if "zero" in text else super()._get_text_embedding(text)


class TestLlamaEmbeddingModel(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> EmbeddingModel:
        return LlamaEmbeddingModel(_WordEmbedding(model_name="words-1"))

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> EmbeddingModel:
        return LlamaEmbeddingModel(_WordEmbedding(model_name="words-1"))


def test_the_spec_is_learnt_from_the_embedding() -> None:
    """Dimensions come from a probe; nothing is known of its tokens and prompts."""
    spec = LlamaEmbeddingModel(_WordEmbedding(model_name="words-1"), max_tokens=8191).spec
    assert (spec.name, spec.dimensions, spec.max_tokens) == ("words-1", 24, 8191)
    assert (spec.revision, spec.backend) == ("WordEmbedding/words-1", "llama-index")
    assert (spec.query_prompt, spec.document_prompt, spec.tokenizer) == ("", "", None)


def test_an_embedding_without_a_name_has_that_of_its_class() -> None:
    """LlamaIndex calls all of these 'unknown'."""
    assert LlamaEmbeddingModel(_WordEmbedding()).spec.key == "WordEmbedding"


@pytest.mark.parametrize("changes", [{"model_name": "words-2"}, {"query_instruction": "find: "}])
def test_what_changes_a_vector_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    """Another model, or another instruction of the same one."""
    one = LlamaEmbeddingModel(_WordEmbedding(model_name="words-1"))
    other = LlamaEmbeddingModel(_WordEmbedding(**({"model_name": "words-1"} | changes)))
    assert one.spec.fingerprint != other.spec.fingerprint


def test_queries_and_chunks_take_different_ways() -> None:
    """Swapping the two calls would be seen."""
    model, fake = LlamaEmbeddingModel(_WordEmbedding()), FakeModel(dimensions=24)
    np.testing.assert_allclose(model.embed_queries(["soil"]), fake.embed_queries(["soil"]), atol=1e-6)
    np.testing.assert_allclose(model.embed_chunks(["soil"]), fake.embed_chunks(["soil"]), atol=1e-6)


def test_an_error_of_the_service_is_an_embedding_error() -> None:
    """Whatever class it has there."""
    with pytest.raises(EmbeddingError, match="no answer from the service"):
        LlamaEmbeddingModel(_Failing()).embed_chunks(["good", "bad"])


def test_vectors_of_several_lengths_are_refused() -> None:
    """A service that changed its model in between."""
    with pytest.raises(EmbeddingError, match="expected vectors"):
        LlamaEmbeddingModel(_Failing()).embed_chunks(["good", "zero"])


def test_no_name_loads_it_again() -> None:
    """Only the application has the object, and the message says so."""
    source = LlamaEmbeddingModel(_WordEmbedding()).spec.source
    with pytest.raises(
        ModelNotFoundError, match=r"give its LlamaEmbeddingModel object: .*from_deployment\(…, models=\[…\]\)"
    ):
        load_model(source)


def test_the_page_on_retrieval_says_how_such_a_model_is_half_of_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parents[3] / "docs" / "retrieval.md").read_text(encoding="utf-8")
    section = page.partition("## A model of your own\n")[2]
    block = section.partition("```python\n")[2].partition("```")[0]
    settings = SimpleNamespace(embed_model=_WordEmbedding(model_name="words-1"))
    texts = ("Basil wants warm soil.", "The ferry leaves at noon.", "Invoices are paid monthly.")
    app: dict[str, Any] = {"Settings": settings, "documents": [LlamaDocument(text=text) for text in texts]}
    exec(block, app)  # noqa: S102  # it is our own page
    with closing(app["retriever"]) as retriever:
        (first, *_) = retriever.retrieve("ferry at noon")
    assert first.text == "The ferry leaves at noon."
    assert len(first.contributions) == 2
