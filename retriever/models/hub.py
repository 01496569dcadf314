"""Models of the Hugging Face hub, as folders on this machine.

What is in the local cache is used as it is and nobody is asked; only a model that is not there is
downloaded. Only data is fetched: configuration, vocabulary and ``.safetensors`` weights, no code and no
pickles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.folder import MODULES, modules_of

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*"]
_SECONDS_TO_ANSWER = 10
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One commit of a hub repository: its files are in `folder`."""

    name: str
    commit: str
    folder: Path


def snapshot(source: str) -> Snapshot:
    """Return the files of a hub model, downloaded if they are not in the cache.

    Parameters
    ----------
    source
        ``"publisher/model"``, with ``"@revision"`` (a commit, tag or branch) to pin it.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, or it is not in the cache and the hub does not answer.
    ModelError
        If its repository lacks what a model needs.
    """
    match = _NAME.fullmatch(source)
    if match is None:
        raise ModelNotFoundError(
            f"model {source!r}: expected a hub name 'publisher/model' or 'publisher/model@revision', "
            f"got {source!r}"
        )
    repository, revision = match["repository"], match["revision"]
    folder = _cached(repository, revision) or _download(repository, revision)
    return Snapshot(name=repository, commit=folder.name, folder=folder)


def _cached(repository: str, revision: str | None) -> Path | None:
    try:
        folder = Path(_snapshot_download(repository, revision, local_files_only=True))
    except (OSError, HFValidationError):
        return None
    return folder if _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    """Tell whether a download got through; one that broke off has neither weights nor pooling."""
    modules = modules_of(folder)
    pooled = all(
        (folder / module.path / "config.json").is_file() for module in modules if module.kind == "Pooling"
    )
    return bool(modules) and pooled and any(folder.rglob("*.safetensors"))


def _download(repository: str, revision: str | None) -> Path:
    commit = _check_repository(repository, revision)
    try:
        return Path(_snapshot_download(repository, commit, local_files_only=False))
    except OSError as error:
        raise ModelNotFoundError(
            f"model {repository!r}: expected to download it from the hub, got {first_line(error)}. "
            "Try again; what has arrived is kept."
        ) from error


def _check_repository(repository: str, revision: str | None) -> str:
    """Return the commit to download; one request, so that a hub out of reach is known at once."""
    wanted = repository if revision is None else f"{repository}@{revision}"
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=_SECONDS_TO_ANSWER)
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"model {wanted!r}: expected a commit, tag or branch of {repository}, got {revision!r}"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFoundError(
            f"model {wanted!r}: expected a public model of the hub, got none of this name. Check the "
            "spelling; for a private or gated model log in with `hf auth login`."
        ) from error
    except Exception as error:  # noqa: BLE001  # each release of the hub library has its own HTTP library
        raise ModelNotFoundError(
            f"model {wanted!r}: expected it in the local cache or on the hub, got no answer from the hub "
            f"({first_line(error)}). Connect to the network and try again, give the path of a folder with "
            "the model, or use a model that comes as a package: 'minilm', 'wordllama'."
        ) from None
    _check_files(wanted, [entry.rfilename for entry in info.siblings or ()])
    return info.sha or revision or "main"


def _check_files(name: str, files: list[str]) -> None:
    if MODULES not in files:
        raise ModelError(
            f"model {name!r}: expected a sentence-transformers model (with {MODULES}, which says how token "
            "vectors become one vector), got a repository without it"
        )
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(
            f"model {name!r}: expected weights as .safetensors, got none (other formats can run code "
            "when they are opened). Convert them, or choose a newer revision."
        )


def _snapshot_download(repository: str, revision: str | None, *, local_files_only: bool) -> str:
    return snapshot_download(
        repository,
        revision=revision,
        local_files_only=local_files_only,
        allow_patterns=_WANTED,
        ignore_patterns=_UNWANTED,
    )


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
