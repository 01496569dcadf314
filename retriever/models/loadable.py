"""Which model folders sentence-transformers may open: none that runs code, none that it would guess."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.folder import MODULES, content_hash, modules_of, read_json

_ROUTERS = {"Router", "Asym"}


def check_loadable(folder: Path, architectures: Container[str]) -> None:
    """Refuse a folder that is no model, or one that cannot be opened without running its code.

    Parameters
    ----------
    folder
        As sentence-transformers saves it.
    architectures
        The values of ``model_type`` that need no code from the folder.

    Raises
    ------
    ModelNotFoundError
        If there is no such folder, or no weights in it.
    ModelError
        If it has no ``modules.json``, brings code or pickles, or has two encoders.
    """
    if not folder.is_dir():
        raise ModelNotFoundError(f"model in {folder}: expected a folder, got none of this name")
    modules = modules_of(folder)
    if not modules:
        raise ModelError(
            f"model in {folder}: expected {MODULES}, which says how token vectors become one vector, got "
            "none. Save the model with sentence-transformers, pooling included."
        )
    _check_code(folder, [module.type for module in modules], architectures)
    _check_routes(folder, {module.kind for module in modules})
    _check_weights(folder)


def revision_of(folder: Path) -> str:
    """Hash what changes a vector, but for tokenizer and prompts, which the spec has apart."""
    files = [folder / MODULES, folder / "sentence_bert_config.json"]
    return content_hash(folder, [*files, *folder.rglob("config.json"), *folder.rglob("*.safetensors")])


def _check_code(folder: Path, types: list[str], architectures: Container[str]) -> None:
    config = read_json(folder / "config.json")
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if "auto_map" in config and config.get("model_type") not in architectures:
        foreign.append(str(config.get("model_type")))
    if foreign:
        raise ModelError(
            f"model in {folder}: expected a model that sentence-transformers and transformers know, got one "
            f"that brings code of its own ({', '.join(foreign)}). Such code is never run: trust_remote_code "
            "stays off. Choose another model."
        )


def _check_routes(folder: Path, kinds: set[str]) -> None:
    if kinds & _ROUTERS:
        raise ModelError(
            f"model in {folder}: expected one encoder for queries and documents, got one for each "
            f"({', '.join(kinds & _ROUTERS)}), whose tokens one tokenizer cannot count. Choose another model."
        )


def _check_weights(folder: Path) -> None:
    if any(folder.rglob("*.safetensors")):
        unsafe = [
            path for path in folder.rglob("pytorch_model*.bin") if not any(path.parent.glob("*.safetensors"))
        ]
        if not unsafe:
            return
        raise ModelError(
            f"{unsafe[0]}: expected weights as .safetensors, got a pickle, which can run code when it is "
            "opened. Save the model again with a newer sentence-transformers."
        )
    raise ModelNotFoundError(
        f"model in {folder}: expected weights as .safetensors, got none. Copy or download the model again; "
        "weights in older formats have to be converted."
    )
