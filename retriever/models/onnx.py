"""Models as ONNX graphs, run by ONNX Runtime directly: no torch needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.checked import as_texts, unit_rows
from retriever.models.folder import (
    GRAPHS,
    content_hash,
    graph_in,
    modules_of,
    name_of,
    pooling_of,
    read_json,
    saved_prompts,
)
from retriever.models.prompts import choose_prompts
from retriever.models.protocol import FloatArray
from retriever.models.tokenizer import HFTokenizer, read_tokenizer
from retriever.records import ModelSpec

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModelNotFoundError(
        "models in ONNX format: expected the package onnxruntime, got no such package. "
        'Install it with: pip install "tandem-rag[onnx]"'
    ) from error

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("sentence_embedding", "last_hidden_state", "token_embeddings")  # the pooled one first
_POOLINGS = ("cls", "mean", "static")
_TOKENS_PER_BATCH = 2048  # rows times the longest of them: bounds memory, and padding goes with the sort
_SAYS_NOTHING = 1_000_000_000  # the model_max_length of tokenizers that know none
_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Card:
    """What a model folder says about its model; `pooling` is None where it says nothing."""

    name: str
    pooling: str | None
    max_tokens: int | None
    query_prompt: str
    document_prompt: str
    add_special_tokens: bool
    pad_id: int
    dtype: str


class OnnxModel:
    """An embedding model from a folder with an ONNX graph, on the CPU.

    The folder holds ``model.onnx`` (or ``onnx/model.onnx``), ``tokenizer.json`` and either a
    ``card.json`` (name, pooling, prompts, maximum tokens, padding, quantisation) or the usual files of
    an exported model: ``config.json``, ``tokenizer_config.json``, ``1_Pooling/config.json``, ….
    The vector of a text does not depend on the texts it shares a batch with, unless the graph itself
    scales its arithmetic by the batch (dynamic int8 quantisation).

    Raises
    ------
    ModelNotFoundError
        If the folder or one of these files is missing.
    ModelError
        If a file is broken, or does not say how to use the graph; never a guess.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.expanduser().absolute()
        graph = _find_graph(folder)
        card = _read_card(folder)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        self._session = _Session(graph, card)
        if self._session.pooling == "static":
            card = replace(card, max_tokens=None)
        self._tokenizer = HFTokenizer(tokenizer, add_special_tokens=card.add_special_tokens)
        self._encoder = tokenizer
        self._encoder.no_padding()
        if card.max_tokens is None:
            self._encoder.no_truncation()
        else:
            self._encoder.enable_truncation(card.max_tokens)
        self._add_special_tokens = card.add_special_tokens
        self._spec = ModelSpec(
            name=card.name,
            revision=content_hash(folder, graph.parent.glob(f"{graph.name}*")),
            dimensions=self._session.dimensions,
            max_tokens=card.max_tokens,
            query_prompt=card.query_prompt,
            document_prompt=card.document_prompt,
            pooling=self._session.pooling,
            backend="onnx",
            dtype=card.dtype,
            tokenizer=self._tokenizer.fingerprint,
            source=str(folder),
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> HFTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.query_prompt)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.document_prompt)

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        encodings = self._encoder.encode_batch_fast(
            [prompt + text for text in texts], add_special_tokens=self._add_special_tokens
        )
        tokens = [encoding.ids for encoding in encodings]
        # A text without tokens is never run: its row stays zero, and unit_rows refuses it by name.
        vectors = np.zeros((len(texts), self._spec.dimensions), dtype=np.float32)
        for batch in _batches([len(ids) for ids in tokens]):
            vectors[batch] = self._session.run([tokens[i] for i in batch])
        return unit_rows(vectors, texts=texts, spec=self._spec)


class _Session:
    """A graph that turns token ids into one vector per text."""

    def __init__(self, graph: Path, card: _Card) -> None:
        self._runtime = _open(graph)
        self._inputs = [node.name for node in self._runtime.get_inputs()]
        self._pad_id = card.pad_id
        self._check_inputs(graph)
        self._output = _output_name(graph, [node.name for node in self._runtime.get_outputs()])
        output = self._output_of([[self._pad_id]])
        self.dimensions: int = output.shape[-1]
        self.pooling = self._check_pooling(graph, card.pooling, axes=output.ndim)

    def run(self, tokens: list[list[int]]) -> NDArray[np.floating]:
        """Return one vector per text, not normalised, shape (n_texts, dimensions)."""
        output = self._output_of(tokens)
        if output.ndim == 2:  # noqa: PLR2004  # (texts, dimensions): the graph has pooled
            return output
        if self.pooling == "cls":
            return output[:, 0]
        mask = _mask(tokens)[..., np.newaxis].astype(output.dtype)
        means: NDArray[np.floating] = (output * mask).sum(axis=1) / mask.sum(axis=1)
        return means

    def _output_of(self, tokens: list[list[int]]) -> NDArray[np.floating]:
        mask = _mask(tokens)
        ids = np.full_like(mask, self._pad_id)
        ids[mask.astype(bool)] = np.concatenate([np.asarray(row, dtype=np.int64) for row in tokens])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        outputs = self._runtime.run([self._output], {name: feeds[name] for name in self._inputs})
        return np.asarray(outputs[0])

    def _check_inputs(self, graph: Path) -> None:
        unknown = sorted(set(self._inputs) - _INPUTS)
        if unknown:
            raise ModelError(
                f"{graph}: expected a graph with inputs among {', '.join(sorted(_INPUTS))}, "
                f"got also {', '.join(unknown)}. Export the model for feature extraction."
            )

    @staticmethod
    def _check_pooling(graph: Path, pooling: str | None, *, axes: int) -> str:
        if axes == 2:  # noqa: PLR2004
            return "in-graph"
        if pooling in _POOLINGS:
            return pooling
        raise ModelError(
            f"{graph}: expected to know how token vectors become one vector ({', '.join(_POOLINGS)}), got "
            f"{pooling or 'nothing that says so'}. Add 1_Pooling/config.json of the original model with "
            '{"pooling_mode": "mean"} or "cls", or a card.json with "pooling".'
        )


def _open(graph: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait sleep: two models and a store share the cores, and spinning ones slow all of them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each kind of damage has its own exception
        raise ModelError(f"{graph}: expected an ONNX graph, got {error}. Copy the model again.") from error


def _output_name(graph: Path, names: list[str]) -> str:
    known = [name for name in _OUTPUTS if name in names]
    if known:
        return known[0]
    if len(names) == 1:
        return names[0]
    raise ModelError(
        f"{graph}: expected one output, or one of {', '.join(_OUTPUTS)}, got {', '.join(names)}. "
        "Export the model for feature extraction."
    )


def _mask(tokens: list[list[int]]) -> NDArray[np.int64]:
    """Return 1 where a text has a token and 0 where it is padded, shape (n_texts, longest)."""
    lengths = np.array([len(ids) for ids in tokens])
    return (np.arange(lengths.max()) < lengths[:, np.newaxis]).astype(np.int64)


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Yield the indices of texts with tokens, shortest first, in batches of bounded size."""
    batch: list[int] = []
    for i in sorted((i for i, length in enumerate(lengths) if length > 0), key=lengths.__getitem__):
        if batch and lengths[i] * (len(batch) + 1) > _TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _find_graph(folder: Path) -> Path:
    graph = graph_in(folder)
    if graph is None:
        got = "neither" if folder.is_dir() else "no such folder"
        raise ModelNotFoundError(f"model in {folder}: expected {' or '.join(GRAPHS)}, got {got}")
    return graph


def _read_card(folder: Path) -> _Card:
    card = read_json(folder / "card.json")
    return _exported_card(folder) if not card else _written_card(folder, card)


def _written_card(folder: Path, card: Mapping[str, Any]) -> _Card:
    try:
        return _Card(
            name=re.sub(r"\s*\(.*\)", "", card["name"]),  # a remark in brackets is no part of a name
            pooling=card["pooling"],
            max_tokens=card["max_tokens"],
            query_prompt=card["query_prompt"] or "",
            document_prompt=card["document_prompt"] or "",
            add_special_tokens=card["add_special_tokens"],
            pad_id=card["pad_id"],
            dtype=_dtype_of(card.get("quantisation") or ""),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'card.json'}: expected a field {error}, got none. Add it.") from error


def _dtype_of(quantisation: str) -> str:
    """Return the precision that a card names first (``"int8"``, ``"4-bit"``)."""
    match = re.search(r"int8|int4|float16|fp16|\b[48]-bit", quantisation)
    return "float32" if match is None else match[0]


def _exported_card(folder: Path) -> _Card:
    name = name_of(folder)
    prompts = choose_prompts(name, saved_prompts(folder))
    return _Card(
        name=name,
        pooling=_exported_pooling(folder),
        max_tokens=_exported_max_tokens(folder),
        query_prompt=prompts.query,
        document_prompt=prompts.document,
        add_special_tokens=True,
        pad_id=_exported_pad_id(folder),
        dtype="float32",
    )


def _exported_pooling(folder: Path) -> str | None:
    paths = {module.kind: module.path for module in modules_of(folder)}
    beyond = sorted(set(paths) - {"Transformer", "Pooling", "Normalize"})
    if beyond:
        raise ModelError(
            f"model in {folder}: expected a model of Transformer, Pooling and Normalize, got also "
            f"{', '.join(beyond)}, which the graph leaves out. Load it from its .safetensors weights."
        )
    return pooling_of(folder / paths.get("Pooling", "1_Pooling"))


def _exported_max_tokens(folder: Path) -> int:
    limits = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
    )
    for limit in limits:
        if limit is not None and limit < _SAYS_NOTHING:
            return int(limit)
    raise ModelError(
        f"model in {folder}: expected to know how many tokens it reads, got nothing that says so. Add "
        'sentence_bert_config.json with {"max_seq_length": 512}, or what its publisher names.'
    )


def _exported_pad_id(folder: Path) -> int:
    pad_id = read_json(folder / "config.json").get("pad_token_id")
    if pad_id is None:
        raise ModelError(
            f"model in {folder}: expected 'pad_token_id' in config.json, got none. Copy config.json of the "
            "original model there."
        )
    return int(pad_id)
