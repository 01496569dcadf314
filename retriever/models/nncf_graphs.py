"""Graphs with 8-bit weights, made by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from retriever.errors import ModelNotFoundError
from retriever.models.openvino import without_telemetry
from retriever.models.tokenizer import TokenIds

try:
    with without_telemetry():
        import nncf
except ModuleNotFoundError as error:
    raise ModelNotFoundError(
        "quantising a model: expected the package nncf, got no such package. "
        'Install it with: pip install "tandem-rag[quantize]"'
    ) from error


def with_measured_ranges(graph: Any, samples: Sequence[TokenIds]) -> Any:
    """Return the graph with 8-bit weights and activations, whose ranges are measured on samples.

    Weights use half of their range: on processors without 8-bit dot products (VNNI) sums of full-range
    products overflow, and the vectors of one model would depend on the machine.
    """
    inputs = [name for port in graph.inputs for name in port.get_names()]
    data = nncf.Dataset(samples, lambda ids: _feeds(ids, inputs))
    with _quiet():
        return nncf.quantize(
            graph,
            data,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def with_int8_weights(graph: Any) -> Any:
    """Return the graph with 8-bit weights, each row with a scale of its own; nothing is measured."""
    with _quiet():
        return nncf.compress_weights(graph)


def _feeds(ids: TokenIds, inputs: Sequence[str]) -> dict[str, Any]:
    row = ids.astype(np.int64)[np.newaxis]
    known = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    return {name: known[name] for name in inputs if name in known}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep its notes and progress bars off standard output, which is for what the command found."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)
