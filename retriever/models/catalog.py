"""From the words of a user to a loaded model."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from retriever.errors import ModelNotFoundError
from retriever.models.folder import graph_in
from retriever.models.packaged import PACKAGED, load_packaged
from retriever.models.protocol import EmbeddingModel

_WEIGHTS = ("*.safetensors", "*/model.safetensors", "pytorch_model*.bin")

LLAMA_INDEX = "llama-index:"
"""Starts the source of a model that wraps a LlamaIndex embedding: no name can load it again."""

_guard = threading.Lock()
_loaded: dict[str, EmbeddingModel] = {}
_loading: dict[str, threading.Lock] = {}


def load_model(source: str) -> EmbeddingModel:
    """Return the model that `source` names, loaded once per process.

    Parameters
    ----------
    source
        - the short name of a model that comes as a package: ``"minilm"``, ``"wordllama"``;
        - or a folder: with an ONNX graph and no other weights it is run by ONNX Runtime, otherwise by
          sentence-transformers;
        - or a name of the Hugging Face hub, ``"publisher/model"``, with ``"@revision"`` to pin it. It is
          downloaded if it is not in the local cache.

        The first that fits is taken: a folder named like a packaged model is ``"./minilm"``.

    Returns
    -------
    EmbeddingModel
        The same object for the same source, also when several threads ask at once.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, folder or package.
    ModelError
        If it is there, and cannot be used.
    """
    key = _resolve(source)
    with _guard:
        lock = _loading.setdefault(key, threading.Lock())
    with lock:
        if key not in _loaded:
            _loaded[key] = _load(key)
        return _loaded[key]


def _resolve(source: str) -> str:
    """Return the source that names the same model from everywhere: a folder by its absolute path."""
    path = Path(source).expanduser()
    if source and source not in PACKAGED and path.is_dir():  # the path of no characters is this folder
        return str(path.absolute())
    return source


def _load(source: str) -> EmbeddingModel:
    if source in PACKAGED:
        return load_packaged(source)
    if source and Path(source).is_dir():
        return _load_folder(Path(source))
    _check_hub_name(source)
    from retriever.models.sentence_transformer import SentenceTransformerModel

    return SentenceTransformerModel.from_hub(source)


def _load_folder(folder: Path) -> EmbeddingModel:
    weights = [path for pattern in _WEIGHTS for path in folder.glob(pattern)]
    if graph_in(folder) is not None and not weights:
        from retriever.models.onnx import OnnxModel

        return OnnxModel(folder)
    from retriever.models.sentence_transformer import SentenceTransformerModel

    return SentenceTransformerModel.from_folder(folder)


def _check_hub_name(source: str) -> None:
    """Refuse what cannot be a hub name, before anything heavy is imported or a network is asked."""
    if source.startswith(LLAMA_INDEX):
        raise ModelNotFoundError(
            f"model {source!r}: expected a model that can be loaded by name, got a LlamaIndex embedding, "
            "which only the application has. Give its LlamaEmbeddingModel object instead."
        )
    if source.startswith((".", "/", "~")) or source.count(os.sep) > 1 or Path(source).is_file():
        got = "a file" if Path(source).expanduser().exists() else "no such folder"
        raise ModelNotFoundError(
            f"model {source!r}: expected a folder with a model, got {got} (seen from {Path.cwd()})"
        )
    if "/" not in source:
        raise ModelNotFoundError(
            f"model {source!r}: expected one of {', '.join(sorted(PACKAGED))}, a folder, or a hub name "
            f"'publisher/model', got {source!r}"
        )
