"""From the words of a user to a loaded model."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retriever.errors import InputError, ModelError, ModelNotFoundError
from retriever.models.folder import modules_of
from retriever.models.graph_files import choose_graph, files_in, main_graph
from retriever.models.packaged import PACKAGED, load_packaged, short_name_of
from retriever.models.protocol import EmbeddingModel
from retriever.records import ModelSpec

logger = logging.getLogger(__name__)

BACKENDS = ("torch", "torch-bf16", "onnx", "onnx-int8", "openvino", "openvino-int8")
"""What can run a model: the library, and the precision where it is not float32."""

OVER_LENGTH = ("refuse", "windows")
"""What can become of a chunk that is longer than a model reads."""

LLAMA_INDEX = "llama-index:"
"""Starts the source of a model that wraps a LlamaIndex embedding: no name can load it again."""

_WEIGHTS = ("*.safetensors", "*/model.safetensors", "pytorch_model*.bin")
_FULL = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """One model on one backend; `graph` is the file that is run, where a folder has one."""

    source: str
    backend: str
    graph: str | None = None
    over_length: str = "refuse"


_guard = threading.Lock()
_loaded: dict[_Wanted, EmbeddingModel] = {}
_loading: dict[_Wanted, threading.Lock] = {}


def load_model(source: str, *, backend: str | None = None, over_length: str = "refuse") -> EmbeddingModel:
    """Return the model that `source` names, loaded once per process.

    Parameters
    ----------
    source
        - the short name of a model that comes as a package: ``"minilm"``, ``"wordllama"``;
        - or a folder;
        - or the key under which a corpus has such a packaged model: ``"all-MiniLM-L6-v2"``;
        - or a name of the Hugging Face hub, ``"publisher/model"``, with ``"@revision"`` to pin it. It is
          downloaded if it is not in the local cache.

        The first that fits is taken: a folder named like a packaged model is ``"./minilm"``.
    backend
        What runs it, of `BACKENDS`: ``"torch"`` (the reference) or ``"torch-bf16"``; ``"onnx"`` or
        ``"openvino"``, which need a graph in the folder or repository; the same with ``"-int8"`` for a
        quantised graph, as published or made by `quantize`. None: torch, unless a
        folder has a graph and no other weights. Vectors of different backends are different: the spec
        records what made them.
    over_length
        What becomes of a chunk that is longer than the model reads: ``"refuse"`` leaves it to the
        caller to cut or refuse it, ``"windows"`` embeds it in pieces and averages.

    Returns
    -------
    EmbeddingModel
        The same object for the same arguments, also when several threads ask at once.

    Raises
    ------
    InputError
        If `backend` or `over_length` is no such word.
    ModelNotFoundError
        If there is no such model, folder or package, or no graph for the backend.
    ModelError
        If it is there, and cannot be used, or not on this backend (a static model runs on torch).
    """
    wanted = _wanted(source, backend, over_length)
    with _guard:
        lock = _loading.setdefault(wanted, threading.Lock())
    with lock:
        if wanted not in _loaded:
            _loaded[wanted] = _load(wanted)
        return _loaded[wanted]


def load_afresh(source: str, *, backend: str | None = None, over_length: str = "refuse") -> EmbeddingModel:
    """Return the model that `source` names, as `load_model` does, and keep nothing of it.

    For one who tries many models and lets go of each: its memory is free again with the last reference.
    """
    return _load(_wanted(source, backend, over_length))


def load_models(
    sources: Sequence[str], *, backend: str | None = None, over_length: str = "refuse"
) -> list[EmbeddingModel]:
    """Return several models on one backend, but static ones on torch, which is all they have.

    Raises
    ------
    InputError, ModelNotFoundError, ModelError
        As `load_model`.
    """
    models = []
    for source in sources:
        one = backend
        if backend not in {None, "torch"} and _is_static(source):
            logger.info(
                "Model %r is static: it stays on torch, backend %s is for the others.", source, backend
            )
            one = "torch"
        models.append(load_model(source, backend=one, over_length=over_length))
    return models


def load_stored(spec: ModelSpec) -> EmbeddingModel:
    """Return the model of a stored spec, on the backend it had.

    Whether it is still the same is for the caller to check: by the fingerprint.

    Raises
    ------
    ModelNotFoundError, ModelError
        As `load_model`.
    """
    return load_model(spec.source, backend=_stored_backend(spec), over_length=spec.over_length)


def _stored_backend(spec: ModelSpec) -> str | None:
    if spec.dtype == _FULL:
        return spec.backend if spec.backend in BACKENDS else None
    quantised = "torch-bf16" if spec.backend == "torch" else f"{spec.backend}-int8"
    return quantised if quantised in BACKENDS else None


def _check_word(what: str, given: str | None, known: Sequence[str], *, default: str | None) -> None:
    if given != default and given not in known:
        raise InputError(f"{what}: expected one of {', '.join(known)}, got {given!r}.")


def _wanted(source: str, backend: str | None, over_length: str) -> _Wanted:
    """Return what names the same model from everywhere: a folder by its absolute path."""
    _check_word("backend", backend, BACKENDS, default=None)
    _check_word("over-length", over_length, OVER_LENGTH, default="refuse")
    path = Path(source).expanduser()
    if source and source not in PACKAGED and path.is_dir():  # the path of no characters is this folder
        return _in_folder(path.absolute(), backend, over_length)
    source = short_name_of(source) or source
    return _Wanted(source=source, backend=backend or "torch", over_length=over_length)


def _in_folder(folder: Path, backend: str | None, over_length: str) -> _Wanted:
    runtime = _of_folder(folder) if backend is None else backend.partition("-")[0]
    if runtime == "torch":
        return _Wanted(source=str(folder), backend=backend or runtime, over_length=over_length)
    graph = choose_graph(folder, runtime if backend is None else backend)
    if graph is None:
        raise ModelNotFoundError(
            f"model in {folder}: expected a graph for backend {backend!r}, got none. "
            + _how_to_get(str(folder))
        )
    return _Wanted(source=str(folder), backend=runtime, graph=graph, over_length=over_length)


def _of_folder(folder: Path) -> str:
    """Return what runs a folder that nobody named a backend for."""
    if any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        return "torch"
    names = files_in(folder)
    return next((runtime for runtime in ("onnx", "openvino") if main_graph(names, runtime)), "torch")


def _load(wanted: _Wanted) -> EmbeddingModel:
    if wanted.over_length == "windows":
        from retriever.models.windows import windowed

        return windowed(_load_whole(wanted))
    return _load_whole(wanted)


def _load_whole(wanted: _Wanted) -> EmbeddingModel:
    _check_static(wanted)
    if wanted.graph is not None:
        return _open_graph(wanted, Path(wanted.source), wanted.graph)
    if wanted.backend not in {"torch", "torch-bf16"}:
        return _load_hub_graph(wanted)
    dtype = _FULL if wanted.backend == "torch" else "bfloat16"
    if wanted.source in PACKAGED:
        return load_packaged(wanted.source, dtype=dtype)
    if wanted.source and Path(wanted.source).is_dir():
        from retriever.models.sentence_transformer import SentenceTransformerModel

        return SentenceTransformerModel.from_folder(Path(wanted.source), dtype=dtype)
    _check_hub_name(wanted.source)
    from retriever.models.sentence_transformer import SentenceTransformerModel

    return SentenceTransformerModel.from_hub(wanted.source, dtype=dtype)


def _load_hub_graph(wanted: _Wanted) -> EmbeddingModel:
    if wanted.source in PACKAGED:
        raise ModelNotFoundError(
            f"model {wanted.source!r}: expected a graph for backend {wanted.backend!r}, got a package with "
            f"torch weights. {_how_to_get(wanted.source)}"
        )
    _check_hub_name(wanted.source)
    from retriever.models.hub import graph_snapshot

    files, graph = graph_snapshot(wanted.source, wanted.backend)
    return _open_graph(wanted, files.folder, graph)


def _open_graph(wanted: _Wanted, folder: Path, graph: str) -> EmbeddingModel:
    if wanted.backend.startswith("openvino"):
        from retriever.models.openvino import OpenVinoModel

        return OpenVinoModel(folder, graph=graph, source=wanted.source)
    from retriever.models.onnx import OnnxModel

    return OnnxModel(folder, graph=graph, source=wanted.source)


def _how_to_get(source: str) -> str:
    return f"Make one with `tandem quantize {source} --out FOLDER`, or leave the backend out."


def _is_static(source: str) -> bool:
    """Tell whether a model is a table of token vectors, which only torch reads, and as fast as it goes."""
    folder = Path(source).expanduser()
    if source not in PACKAGED and source and folder.is_dir():
        return "StaticEmbedding" in {module.kind for module in modules_of(folder)}
    short_name = short_name_of(source)
    return short_name is not None and PACKAGED[short_name].is_static


def _check_static(wanted: _Wanted) -> None:
    if wanted.backend != "torch" and wanted.graph is None and _is_static(wanted.source):
        raise ModelError(
            f"model {wanted.source!r}: expected backend 'torch', got {wanted.backend!r}: a static model has "
            "no arithmetic to speed up. Leave the backend out for this model."
        )


def _check_hub_name(source: str) -> None:
    """Refuse what cannot be a hub name, before anything heavy is imported or a network is asked."""
    if source.startswith(LLAMA_INDEX):
        raise ModelNotFoundError(
            f"model {source!r}: expected a model that can be loaded by name, got a LlamaIndex embedding, "
            "which only the application has. There, give its LlamaEmbeddingModel object: to the retriever as "
            "TandemRetriever.from_deployment(…, models=[…]). No command can load it."
        )
    name = source.partition("@")[0]  # a revision may have any number of "/"
    if source.startswith((".", "/", "~")) or name.count(os.sep) > 1 or Path(source).is_file():
        got = "a file" if Path(source).expanduser().exists() else "no such folder"
        raise ModelNotFoundError(
            f"model {source!r}: expected a folder with a model, got {got} (seen from {Path.cwd()})"
        )
    if "/" not in name:
        raise ModelNotFoundError(
            f"model {source!r}: expected one of {', '.join(sorted(PACKAGED))}, a folder, or a hub name "
            f"'publisher/model', got {source!r}"
        )
