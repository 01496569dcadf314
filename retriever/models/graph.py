"""Models as graphs from token ids to vectors: everything but the library that runs the graph."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ModelError
from retriever.models.batches import padded_rows, token_batches
from retriever.models.card import FLOAT32, Card, read_card
from retriever.models.checked import as_texts, unit_rows
from retriever.models.folder import content_hash
from retriever.models.graph_files import GraphFiles, is_quantised
from retriever.models.probe import INVARIANT, PROBES, batch_invariance
from retriever.models.protocol import FloatArray
from retriever.models.tokenizer import HFTokenizer, TokenIds, read_tokenizer
from retriever.records import ModelSpec

logger = logging.getLogger(__name__)

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("sentence_embedding", "last_hidden_state", "token_embeddings")  # the pooled one first
_POOLINGS = ("cls", "mean", "static")
_POOLED_AXES = 2  # (texts, dimensions); token vectors have one more


class Runtime(Protocol):
    """A graph, opened by the library that runs it; safe from several threads."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of its inputs."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Names of its outputs."""
        ...

    def run(self, feeds: Mapping[str, NDArray[np.int64]], output: str) -> NDArray[np.floating]:
        """Return one output for these inputs, each of shape (n_texts, longest)."""
        ...


class GraphModel:
    """An embedding model that is a graph.

    The vector of a text does not depend on the texts it shares a batch with. A graph that scales its
    arithmetic by the batch (dynamic int8 quantisation) is found out on loading, with probe texts, and
    runs every text alone from then on.

    Parameters
    ----------
    files
        The model's files, the tokenizer and the card among them.
    runtime
        The opened graph.
    backend
        The name of the runtime, for the spec.
    tokens_per_batch
        Rows of a batch times its longest row.
    runs_at_once
        How many batches are run at the same time, each in a thread.
    length_step
        Rows are padded to a multiple of this many tokens: for runtimes that keep something in memory for
        every shape they have seen.

    Raises
    ------
    ModelError
        If a file is missing or broken, or does not say how to use the graph; never a guess.
    """

    def __init__(  # noqa: PLR0913  # all but the first two by name
        self,
        files: GraphFiles,
        runtime: Runtime,
        *,
        backend: str,
        tokens_per_batch: int,
        runs_at_once: int = 1,
        length_step: int = 1,
    ) -> None:
        self.files = files
        card = _card_of(files)
        self.pad_id = card.pad_id
        tokenizer = read_tokenizer(files.folder / "tokenizer.json")
        self._session = _Session(files.graph, runtime, card, length_step)
        if self._session.pooling == "static":
            card = replace(card, max_tokens=None)
        self._tokenizer = HFTokenizer(tokenizer, add_special_tokens=card.add_special_tokens)
        self._spec = ModelSpec(
            name=card.name,
            revision=content_hash(files.folder, [files.graph, *files.weights]),
            dimensions=self._session.dimensions,
            max_tokens=card.max_tokens,
            query_prompt=card.query_prompt,
            document_prompt=card.document_prompt,
            pooling=self._session.pooling,
            backend=backend,
            dtype=card.dtype,
            tokenizer=self._tokenizer.fingerprint,
            source=files.source,
            agreement=card.agreement,
        )
        self._budget = tokens_per_batch
        self._runs_at_once = runs_at_once
        if not self._is_batch_invariant():
            self._budget = 1
            logger.info("Model %r: its vectors depend on the batch, so each text is run alone.", card.name)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> HFTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    @property
    def runs_texts_alone(self) -> bool:
        """Whether each text is run by itself, because batches change the vectors of this graph."""
        return self._budget == 1

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.query_prompt)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.document_prompt)

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        ids = self._ids_of([prompt + text for text in texts])
        # A text without tokens is never run: its row stays zero, and unit_rows refuses it by name.
        vectors = np.zeros((len(texts), self._spec.dimensions), dtype=np.float32)
        batches = list(token_batches([len(row) for row in ids], budget=self._budget))
        for batch, rows in zip(batches, self._runs(batches, ids), strict=True):
            vectors[batch] = rows
        return unit_rows(vectors, texts=texts, spec=self._spec)

    def _runs(
        self, batches: Sequence[Sequence[int]], ids: Sequence[TokenIds]
    ) -> Iterator[NDArray[np.floating]]:
        """Yield the vectors of each batch, in order."""

        def run(batch: Sequence[int]) -> NDArray[np.floating]:
            return self._session.run([ids[i] for i in batch])

        if self._runs_at_once == 1 or len(batches) == 1:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(self._runs_at_once) as threads:
            yield from threads.map(run, batches)  # whoever stops reading cancels what has not begun

    def _ids_of(self, texts: list[str]) -> list[TokenIds]:
        return self._tokenizer.encode(texts, max_tokens=self._spec.max_tokens)

    def _is_batch_invariant(self) -> bool:
        """Probe the graph, in one batch of all probe texts whatever the budget says."""
        if not all(len(row) for row in self._ids_of(list(PROBES))):
            return True  # not one vocabulary knows them: nothing to tell by
        return batch_invariance(lambda texts: self._session.run(self._ids_of(texts))) <= INVARIANT


class _Session:
    """A graph that turns token ids into one vector per text."""

    def __init__(self, graph: Path, runtime: Runtime, card: Card, length_step: int) -> None:
        self._runtime = runtime
        self._length_step = length_step
        self._pad_id = card.pad_id
        self._check_inputs(graph)
        self._output = output_name(graph, runtime.outputs)
        output = self._output_of([np.array([self._pad_id], dtype=np.int32)])[0]
        self.dimensions: int = output.shape[-1]
        self.pooling = self._check_pooling(graph, card.pooling, axes=output.ndim)

    def run(self, ids: Sequence[TokenIds]) -> NDArray[np.floating]:
        """Return one vector per text, not normalised, shape (n_texts, dimensions)."""
        output, mask = self._output_of(ids)
        if output.ndim == _POOLED_AXES:
            return output
        if self.pooling == "cls":
            return output[:, 0]
        weights = mask[..., np.newaxis].astype(output.dtype)
        means: NDArray[np.floating] = (output * weights).sum(axis=1) / weights.sum(axis=1)
        return means

    def _output_of(self, ids: Sequence[TokenIds]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        padded, mask = padded_rows(ids, pad_id=self._pad_id)
        extra = ((0, 0), (0, -padded.shape[1] % self._length_step))
        padded, mask = np.pad(padded, extra, constant_values=self._pad_id), np.pad(mask, extra)
        feeds = {"input_ids": padded, "attention_mask": mask, "token_type_ids": np.zeros_like(padded)}
        return self._runtime.run({name: feeds[name] for name in self._runtime.inputs}, self._output), mask

    def _check_inputs(self, graph: Path) -> None:
        unknown = sorted(set(self._runtime.inputs) - _INPUTS)
        if unknown:
            raise ModelError(
                f"{graph}: expected a graph with inputs among {', '.join(sorted(_INPUTS))}, "
                f"got also {', '.join(unknown)}. Export the model for feature extraction."
            )

    @staticmethod
    def _check_pooling(graph: Path, pooling: str | None, *, axes: int) -> str:
        if axes == _POOLED_AXES:
            return "in-graph"
        if pooling in _POOLINGS:
            return pooling
        raise ModelError(
            f"{graph}: expected to know how token vectors become one vector ({', '.join(_POOLINGS)}), got "
            f"{pooling or 'nothing that says so'}. Add 1_Pooling/config.json of the original model with "
            '{"pooling_mode": "mean"} or "cls", or a card.json with "pooling".'
        )


def _card_of(files: GraphFiles) -> Card:
    """Return the card, under a name of its own for the quantised one of several graphs.

    The name is that of the vectors, and both may be compared in one corpus.
    """
    card = read_card(files.folder)
    if is_quantised(files.graph) and card.dtype == FLOAT32:
        return replace(card, name=f"{card.name}-int8", dtype="int8")
    return card


def output_name(graph: Path, names: Sequence[str]) -> str:
    """Return the output that holds the vectors.

    Raises
    ------
    ModelError
        If none of several is known.
    """
    known = [name for name in _OUTPUTS if name in names]
    if known:
        return known[0]
    if len(names) == 1:
        return names[0]
    raise ModelError(
        f"{graph}: expected one output, or one of {', '.join(_OUTPUTS)}, got {', '.join(names)}. "
        "Export the model for feature extraction."
    )
