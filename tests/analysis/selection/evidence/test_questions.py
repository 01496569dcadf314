"""A language model writes queries, where there is one; what it fails at is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import Field

from analysis.selection.evidence import llm_queries, pseudo_quality
from retriever.corpus import Corpus
from retriever.errors import InputError

from .conftest import MODELS


class Writer(CustomLLM):
    """Answers as it is told; keeps what it was asked."""

    answer: Callable[[str], str]
    asked: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="writer")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002  # as LlamaIndex has it
        self.asked.append(prompt)
        return CompletionResponse(text=self.answer(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002  # as LlamaIndex has it
        raise NotImplementedError


def first_words(prompt: str) -> str:
    return " ".join(prompt.partition("Excerpt:")[2].split()[:6])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_each_question_is_about_the_document_of_its_chunk(titled: Corpus) -> None:
    writer = Writer(answer=lambda prompt: f'Question: "{first_words(prompt)}?"\nAnd more.')
    found = llm_queries(titled, writer, n=6, rng=rng())
    assert len(found.judgements.queries) == len(writer.asked) == 6
    assert found.failed == 0
    assert found.kind == "llm"
    for query_id, question in found.judgements.queries.items():
        (doc_id,) = found.judgements.qrels[query_id]
        assert question.endswith("?")
        assert any(
            question[:-1] in " ".join(chunk.text.split())
            for chunks in titled.chunks()
            for chunk in chunks
            if chunk.doc_id == doc_id
        )
    assert llm_queries(titled, writer, n=6, rng=rng()) == found
    assert pseudo_quality(titled, found, models=MODELS, with_lexical=False)["a"] > 0.5


def test_answers_that_are_no_question_are_counted_and_replaced(titled: Corpus) -> None:
    answers = iter(["", "  \n ", "why? " * 100, *["What is it?"] * 20])
    found = llm_queries(titled, Writer(answer=lambda _: next(answers)), n=5, rng=rng())
    assert found.failed == 3
    assert len(found.judgements.queries) == 5


def test_twice_as_many_answers_as_wanted_are_enough(titled: Corpus) -> None:
    answers = iter(["", "What?", *[""] * 20])
    writer = Writer(answer=lambda _: next(answers))
    found = llm_queries(titled, writer, n=2, rng=rng())
    assert (len(found.judgements.queries), found.failed, len(writer.asked)) == (1, 3, 4)


def test_a_model_that_answers_nothing_is_refused(titled: Corpus) -> None:
    with pytest.raises(InputError, match="got none in 8 answers"):
        llm_queries(titled, Writer(answer=lambda _: ""), n=4, rng=rng())
    with pytest.raises(InputError, match="expected at least one query, got 0"):
        llm_queries(titled, Writer(answer=lambda _: "What?"), n=0, rng=rng())
