"""Embedding models: the seam and its implementations, one module per heavy library.

Nothing heavy is imported before a model is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retriever.models.catalog import load_model
    from retriever.models.checked import CheckedModel, unit_rows
    from retriever.models.llama_embedding import LlamaEmbeddingModel
    from retriever.models.onnx import OnnxModel
    from retriever.models.packaged import PACKAGED
    from retriever.models.prompts import Prompts, prompts_for
    from retriever.models.protocol import EmbeddingModel, FloatArray, Spans, Tokenizer
    from retriever.models.sentence_transformer import SentenceTransformerModel
    from retriever.models.tokenizer import HFTokenizer

__all__ = [
    "PACKAGED",
    "CheckedModel",
    "EmbeddingModel",
    "FloatArray",
    "HFTokenizer",
    "LlamaEmbeddingModel",
    "OnnxModel",
    "Prompts",
    "SentenceTransformerModel",
    "Spans",
    "Tokenizer",
    "load_model",
    "prompts_for",
    "unit_rows",
]

_LOADED_ON_USE = {
    "PACKAGED": "retriever.models.packaged",
    "CheckedModel": "retriever.models.checked",
    "EmbeddingModel": "retriever.models.protocol",
    "FloatArray": "retriever.models.protocol",
    "HFTokenizer": "retriever.models.tokenizer",
    "LlamaEmbeddingModel": "retriever.models.llama_embedding",
    "OnnxModel": "retriever.models.onnx",
    "Prompts": "retriever.models.prompts",
    "SentenceTransformerModel": "retriever.models.sentence_transformer",
    "Spans": "retriever.models.protocol",
    "Tokenizer": "retriever.models.protocol",
    "load_model": "retriever.models.catalog",
    "prompts_for": "retriever.models.prompts",
    "unit_rows": "retriever.models.checked",
}


def __getattr__(name: str) -> object:
    if name in _LOADED_ON_USE:
        return getattr(import_module(_LOADED_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
