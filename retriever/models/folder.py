"""What the files of a model folder say, read without loading the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retriever.errors import ModelError

GRAPHS = ("model.onnx", "onnx/model.onnx")
"""Where an ONNX graph lies in a model folder."""

MODULES = "modules.json"
"""Lists the steps of a sentence-transformers model."""

_PROMPTS = "config_sentence_transformers.json"
_FLAG = "pooling_mode_"
_HASH_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """One step of a sentence-transformers model: its class and its folder."""

    type: str
    path: str

    @property
    def kind(self) -> str:
        """The class name alone: ``"Pooling"``."""
        return self.type.rsplit(".", 1)[-1]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, or an empty mapping if there is no such file.

    Raises
    ------
    ModelError
        If it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON, got {error}. Copy the model again.") from error


def graph_in(folder: Path) -> Path | None:
    """Return the ONNX graph of a model folder, or None."""
    return next((folder / name for name in GRAPHS if (folder / name).is_file()), None)


def modules_of(folder: Path) -> list[Module]:
    """Return the steps that ``modules.json`` lists; none if there is no such file.

    Raises
    ------
    ModelError
        If the file is broken.
    """
    path = folder / MODULES
    try:
        return [Module(type=entry["type"], path=entry["path"]) for entry in read_json(path)]
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path}: expected a list of modules with 'type' and 'path', got others") from error


def saved_prompts(folder: Path) -> dict[str, str]:
    """Return the prompts in the model's own files, by the names of sentence-transformers."""
    prompts: Mapping[str, str | None] = read_json(folder / _PROMPTS).get("prompts") or {}
    return {name: prompt for name, prompt in prompts.items() if prompt is not None}


def pooling_of(pooling_folder: Path) -> str | None:
    """Return how a Pooling module works: ``"mean"``, ``"cls"``, …; None if its folder does not say.

    Modes that are used together are joined by ``+``.
    """
    config = read_json(pooling_folder / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:  # the flags of sentence-transformers before 6
        names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
        flags = [key.removeprefix(_FLAG) for key, value in config.items() if key.startswith(_FLAG) and value]
        modes = [names.get(flag, flag) for flag in flags]
    return "+".join([modes] if isinstance(modes, str) else modes) or None


def name_of(folder: Path) -> str:
    """Return the name of the model in a folder.

    That is the folder's own name, or the hub name if the folder is a snapshot in the cache of the hub
    library (``models--publisher--model/snapshots/<commit>``).
    """
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return folder.name


def content_hash(folder: Path, files: Iterable[Path]) -> str:
    """Return ``"sha256:…"`` over names and contents of files in `folder`; those missing are left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:_HASH_DIGITS]}"
