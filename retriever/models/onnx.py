"""Models as ONNX graphs, run by ONNX Runtime directly: no torch needed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.graph import GraphModel
from retriever.models.graph_files import graph_files
from retriever.models.threads import available_cores

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModelNotFoundError(
        "models in ONNX format: expected the package onnxruntime, got no such package. "
        'Install it with: pip install "tandem-rag[onnx]"'
    ) from error

_TOKENS_PER_BATCH = 512
_ERRORS_ONLY = 3
_SLOWER_FUSED = ["SkipLayerNormFusion"]  # an 8-bit graph takes up to a seventh longer with it


class OnnxModel(GraphModel):
    """An embedding model from a folder with an ONNX graph, run by ONNX Runtime on the CPU.

    The folder holds ``model.onnx`` (or ``onnx/model.onnx``), ``tokenizer.json`` and either a
    ``card.json`` (name, pooling, prompts, maximum tokens, padding, quantisation) or the usual files of
    an exported model: ``config.json``, ``tokenizer_config.json``, ``1_Pooling/config.json``, ….

    Parameters
    ----------
    folder
        Where the model lies.
    graph
        Its file, as a path in the folder; by default the first of those names that is there.
    source
        What loads it again with `load_model`; by default the path of the folder.

    Raises
    ------
    ModelNotFoundError
        If the folder or one of these files is missing.
    ModelError
        If a file is broken, or does not say how to use the graph; never a guess.
    """

    def __init__(self, folder: Path, *, graph: str | None = None, source: str | None = None) -> None:
        files = graph_files(folder, "onnx", graph=graph, source=source)
        super().__init__(
            files,
            _OnnxGraph(files.graph),
            backend="onnx",
            tokens_per_batch=_TOKENS_PER_BATCH,
            runs_at_once=available_cores(),
        )


def with_int8_arithmetic(graph: Path, target: Path) -> None:
    """Write a copy of a float32 graph with 8-bit weights, whose activations are scaled as it runs.

    Weights use half of their range: on processors without 8-bit dot products (VNNI) sums of full-range
    products overflow, and the vectors of one model would depend on the machine.

    Raises
    ------
    ModelNotFoundError
        If a package that this needs is missing.
    """
    try:
        from onnxruntime import quantization
    except ModuleNotFoundError as error:
        raise ModelNotFoundError(
            f"quantising a model: expected the package {error.name}, got no such package. "
            'Install it with: pip install "tandem-rag[quantize]"'
        ) from error
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # its advice about preparing graphs is for other kinds of models
    try:
        quantization.quantize_dynamic(
            graph, target, weight_type=quantization.QuantType.QInt8, per_channel=True, reduce_range=True
        )
    finally:
        root.setLevel(level)


class _OnnxGraph:
    def __init__(self, graph: Path) -> None:
        self._session = _open(graph)
        self.inputs: Sequence[str] = [node.name for node in self._session.get_inputs()]
        self.outputs: Sequence[str] = [node.name for node in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[np.int64]], output: str) -> NDArray[np.floating]:
        return np.asarray(self._session.run([output], dict(feeds))[0])


def _open(graph: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # One thread a run and several runs at once: half as much time again goes to waiting where several
    # threads share the small products of one run.
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER_FUSED
        )
    except Exception as error:  # each kind of damage has its own exception
        raise ModelError(f"{graph}: expected an ONNX graph, got {error}. Copy the model again.") from error
