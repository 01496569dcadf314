"""Questions that a language model writes about chunks, where the app has one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from analysis.selection.evidence.drawing import drawn_chunks
from analysis.selection.evidence.pseudo_queries import PseudoQueries, check_wanted
from retriever.corpus import Corpus
from retriever.errors import InputError

PROMPT = """\
Below is an excerpt of a document. Write one question that somebody may type into a search box who does not \
know the document, and whose answer is in the excerpt. Use the language of the excerpt, but other words than \
it does wherever there are some. Do not mention the excerpt. Answer with the question alone, on one line.

Excerpt:
{text}

Question:"""
"""What is asked of the language model, about each chunk."""

_LONGEST = 400  # characters: whatever is longer is no question
_LABEL = "question:"
_QUOTES = "\"'“”\u2018\u2019«»*` "
_SHORTEST_CHUNK = 100  # bytes: about less there is nothing to ask
_TRIES = 2


class Answer(Protocol):
    """What a language model answers, as LlamaIndex's `CompletionResponse`."""

    @property
    def text(self) -> str:
        """The answer."""
        ...


class QuestionWriter(Protocol):
    """A language model, as LlamaIndex's `LLM`."""

    def complete(self, prompt: str, /) -> Answer:
        """Return the answer to a prompt."""
        ...


def llm_queries(corpus: Corpus, llm: QuestionWriter, *, n: int, rng: np.random.Generator) -> PseudoQueries:
    """Have a language model write queries; the text of `n` chunks or more goes to it, and nowhere else.

    An answer that is empty, or too long for a question, is not used but counted, and another chunk takes
    its place, until there were twice as many answers as were wanted. What the language model raises comes
    through.

    Parameters
    ----------
    corpus
        An open corpus.
    llm
        Any LlamaIndex `LLM`.
    n
        How many, at most; of each document one.
    rng
        Of which chunks.

    Raises
    ------
    InputError
        If no answer could be used, no chunk is long enough, or `n` is below 1.
    """
    check_wanted(n, usual=100)
    asked: dict[str, str] = {}
    failed = 0
    for chunk in drawn_chunks(corpus, rng):
        if len(asked) == n or len(asked) + failed == _TRIES * n:
            break
        if chunk.doc_id in asked or len(chunk.text.encode()) < _SHORTEST_CHUNK:
            continue
        question = _question(llm.complete(PROMPT.format(text=chunk.text)).text)
        if question:
            asked[chunk.doc_id] = question
        else:
            failed += 1
    if not asked:
        raise InputError(
            f"language model: expected a question on one line to a chunk of corpus {corpus.name!r}, got none "
            f"in {failed} answers. Take another model, or longer chunks."
        )
    return PseudoQueries.of("llm", asked, failed=failed)


def _question(answer: str) -> str:
    """Return the first line of an answer that has text, without label and quotes; empty if it is none."""
    for line in answer.splitlines():
        bare = line.strip(_QUOTES)
        if bare.lower().startswith(_LABEL):
            bare = bare[len(_LABEL) :].strip(_QUOTES)
        if bare:
            return bare if len(bare) <= _LONGEST else ""
    return ""
