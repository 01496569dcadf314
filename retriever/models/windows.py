"""Chunks longer than a model reads: embedded in windows, whose vectors are averaged.

A model that reads 128 tokens loses half of a chunk of 256 without a word. Cut into windows that it can
read whole, each of them counts in the chunk's vector by its length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ModelError
from retriever.models.checked import as_texts, unit_rows
from retriever.models.protocol import EmbeddingModel, FloatArray, Spans, Tokenizer
from retriever.records import ModelSpec

_LEAST_ROOM = 8


def windowed(model: EmbeddingModel) -> EmbeddingModel:
    """Return the model for chunks of any length.

    A text that the model reads whole has the vector that it always had. A longer one is cut into
    windows of about equal length, between words where there are any, and gets the mean of the windows'
    unit vectors, weighted by their tokens, as a unit vector. Each window has the document prompt.

    Queries are cut in the same way, each window with the query prompt, so nothing of them is lost
    either; hardly a query is so long. A model without a maximum is returned as it is.

    Raises
    ------
    ModelError
        If the model has no tokenizer on this machine, or no room for a text beside its prompt.
    """
    limit = model.spec.max_tokens
    return model if limit is None else WindowedModel(model, limit=limit)


class WindowedModel:
    """A model with a maximum, for texts of any length; see `windowed`."""

    def __init__(self, model: EmbeddingModel, *, limit: int) -> None:
        spec, tokenizer = model.spec, model.tokenizer
        if tokenizer is None:
            raise ModelError(
                f"model {spec.name!r}: expected a tokenizer, to cut long chunks into windows that the model "
                "reads whole, got none on this machine. Make shorter chunks."
            )
        self._model = model
        self._tokenizer = tokenizer
        self._limit = limit
        self._specials = tokenizer.count([""])[0]
        for prompt in (spec.query_prompt, spec.document_prompt):
            self._check_room(prompt)
        self._spec = replace(spec, max_tokens=None, over_length="windows")

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self._tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        queries = as_texts(texts)
        windows = self._windows(queries, self._spec.query_prompt)
        return self._joined(self._model.embed_queries(_flat(windows)), windows, queries)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        chunks = as_texts(texts)
        windows = self._windows(chunks, self._spec.document_prompt)
        return self._joined(self._model.embed_chunks(_flat(windows)), windows, chunks)

    def _windows(self, texts: list[str], prompt: str) -> list[list[str]]:
        """Return the windows of each text: the text itself where the model reads it whole."""
        counts = self._tokenizer.count([prompt + text for text in texts])
        room = self._limit - self._tokenizer.count([prompt])[0]
        return [
            [text] if tokens <= self._limit else self._cut(text, prompt, room)
            for text, tokens in zip(texts, counts, strict=True)
        ]

    def _cut(self, text: str, prompt: str, room: int) -> list[str]:
        """Return windows of at most about `room` tokens, none of them more than the model reads."""
        windows = []
        for window in cut(text, self._tokenizer.spans(text), room=room):
            # Alone it may have more tokens than it had in the text: half a word is another word.
            fits = self._tokenizer.count([prompt + window])[0] <= self._limit
            windows += [window] if fits or room == 1 else self._cut(window, prompt, max(1, room * 3 // 4))
        return windows

    def _joined(self, vectors: FloatArray, windows: list[list[str]], texts: list[str]) -> FloatArray:
        if len(vectors) == len(texts):
            return vectors
        counts = [len(parts) for parts in windows]
        first = np.cumsum(counts) - counts
        rows: FloatArray = vectors[first]
        long = [i for i, count in enumerate(counts) if count > 1]
        means = [
            np.average(vectors[first[i] : first[i] + counts[i]], axis=0, weights=self._weights(windows[i]))
            for i in long
        ]
        rows[long] = unit_rows(np.array(means), texts=[texts[i] for i in long], spec=self._spec)
        return rows

    def _weights(self, windows: list[str]) -> list[int]:
        return [max(1, tokens - self._specials) for tokens in self._tokenizer.count(windows)]

    def _check_room(self, prompt: str) -> None:
        used = self._tokenizer.count([prompt])[0]
        if self._limit - used < _LEAST_ROOM:
            raise ModelError(
                f"model {self._model.spec.name!r}: expected room for {_LEAST_ROOM} tokens of a text or more, "
                f"got a maximum of {self._limit}, of which prompt and special tokens take {used}. "
                "Choose another model."
            )


def cut(text: str, spans: Spans, *, room: int) -> list[str]:
    """Return a text in windows of about equal length, cut between words where that is possible.

    Parameters
    ----------
    text
        Anything.
    spans : int64, shape (n_tokens, 2)
        Where its tokens lie.
    room
        The most tokens of a window; at least 1. Only the tokens of one character stay together even if
        they are more.

    Returns
    -------
    list of str
        In order, without white space at their ends. No window is left out but one of white space alone.
    """
    starts = spans[:, 0]
    borders = np.flatnonzero(np.diff(starts, prepend=-1) > 0)  # tokens that start a character
    between_words = np.array([_is_between_words(text, int(starts[i])) for i in borders], dtype=bool)
    edges = [0]
    while len(starts) - edges[-1] > room:
        edges.append(_next_edge(edges[-1], len(starts), borders, between_words, room=room))
    places = [0, *(int(starts[i]) for i in edges[1:] if i < len(starts)), len(text)]
    windows = [text[start:end].strip() for start, end in pairwise(places)]
    return [window for window in windows if window] or [text]


def _next_edge(
    begin: int, end: int, borders: NDArray[np.intp], between_words: NDArray[np.bool_], *, room: int
) -> int:
    """Return the token at which the window that starts at `begin` ends."""
    left = end - begin
    ideal = begin + left / math.ceil(left / room)
    near = (borders > begin) & (borders <= begin + room)
    preferred = near & between_words & (borders > (begin + ideal) / 2)
    for candidates in (borders[preferred], borders[near]):
        if len(candidates):
            return int(candidates[np.argmin(np.abs(candidates - ideal))])
    beyond = borders[borders > begin]
    return int(beyond[0]) if len(beyond) else end


def _is_between_words(text: str, place: int) -> bool:
    return place > 0 and (text[place - 1].isspace() or text[place : place + 1].isspace())


def _flat(windows: list[list[str]]) -> list[str]:
    return [window for parts in windows for window in parts]
