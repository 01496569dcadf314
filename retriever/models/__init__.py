"""Embedding models: the seam and its implementations, one module per heavy library.

Nothing heavy is imported before a model is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retriever.models.catalog import BACKENDS, load_afresh, load_model, load_models, load_stored
    from retriever.models.checked import CheckedModel, unit_rows
    from retriever.models.llama_embedding import LlamaEmbeddingModel
    from retriever.models.onnx import OnnxModel
    from retriever.models.openvino import OpenVinoModel
    from retriever.models.packaged import PACKAGED
    from retriever.models.probe import batch_invariance
    from retriever.models.prompts import Prompts, prompts_for
    from retriever.models.protocol import EmbeddingModel, FloatArray, Spans, Tokenizer
    from retriever.models.quantisation import QuantizeReport, quantize
    from retriever.models.sentence_transformer import SentenceTransformerModel
    from retriever.models.tokenizer import HFTokenizer

__all__ = [
    "BACKENDS",
    "PACKAGED",
    "CheckedModel",
    "EmbeddingModel",
    "FloatArray",
    "HFTokenizer",
    "LlamaEmbeddingModel",
    "OnnxModel",
    "OpenVinoModel",
    "Prompts",
    "QuantizeReport",
    "SentenceTransformerModel",
    "Spans",
    "Tokenizer",
    "batch_invariance",
    "load_afresh",
    "load_model",
    "load_models",
    "load_stored",
    "prompts_for",
    "quantize",
    "unit_rows",
]

_LOADED_ON_USE = {
    "BACKENDS": "retriever.models.catalog",
    "PACKAGED": "retriever.models.packaged",
    "CheckedModel": "retriever.models.checked",
    "EmbeddingModel": "retriever.models.protocol",
    "FloatArray": "retriever.models.protocol",
    "HFTokenizer": "retriever.models.tokenizer",
    "LlamaEmbeddingModel": "retriever.models.llama_embedding",
    "OnnxModel": "retriever.models.onnx",
    "OpenVinoModel": "retriever.models.openvino",
    "Prompts": "retriever.models.prompts",
    "QuantizeReport": "retriever.models.quantisation",
    "SentenceTransformerModel": "retriever.models.sentence_transformer",
    "Spans": "retriever.models.protocol",
    "Tokenizer": "retriever.models.protocol",
    "batch_invariance": "retriever.models.probe",
    "load_afresh": "retriever.models.catalog",
    "load_model": "retriever.models.catalog",
    "load_models": "retriever.models.catalog",
    "load_stored": "retriever.models.catalog",
    "prompts_for": "retriever.models.prompts",
    "quantize": "retriever.models.quantisation",
    "unit_rows": "retriever.models.checked",
}


def __getattr__(name: str) -> object:
    if name in _LOADED_ON_USE:
        return getattr(import_module(_LOADED_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
