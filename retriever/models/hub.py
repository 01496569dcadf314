"""Models of the Hugging Face hub, as folders on this machine.

What is in the local cache is used as it is and nobody is asked; only a model that is not there is
downloaded. Only data is fetched: configuration, vocabulary and ``.safetensors`` weights, or the one graph
that a backend wants; no code and no pickles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.folder import MODULES, modules_of
from retriever.models.graph_files import files_in, int8_graph, main_graph, weights_of

_CONFIGURATION = ("*.json", "*.txt", "*.model")
_WANTED = (*_CONFIGURATION, "*.safetensors")
_UNWANTED = ("onnx/*", "openvino/*")
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
    repository, revision = _parsed(source)
    folder = _cached(repository, revision) or _download(repository, revision)
    return Snapshot(name=repository, commit=folder.name, folder=folder)


def graph_snapshot(source: str, backend: str) -> tuple[Snapshot, str]:
    """Return the files of a hub model with its graph for a backend, downloaded if they are not in the cache.

    Parameters
    ----------
    source
        As for `snapshot`.
    backend
        ``"onnx"``, ``"onnx-int8"``, ``"openvino"`` or ``"openvino-int8"``.

    Returns
    -------
    Snapshot, str
        The files, and which of them is the graph, as a path in the folder.

    Raises
    ------
    ModelNotFoundError
        As `snapshot`, and if the publisher has no graph for this backend.
    ModelError
        If its repository lacks what a model needs.
    """
    repository, revision = _parsed(source)
    folder = _cached_folder(repository, revision, _CONFIGURATION)
    if folder is not None and _is_described(folder):
        graph = _graph_among(files_in(folder), backend)
        if graph is not None:
            return Snapshot(name=repository, commit=folder.name, folder=folder), graph
    return _download_graph(repository, revision, backend)


def _graph_among(names: Iterable[str], backend: str) -> str | None:
    """Return which file to run; one without its weights is half a download."""
    runtime, _, precision = backend.partition("-")
    there = set(names)
    graph = int8_graph(there, runtime) if precision else main_graph(there, runtime)
    incomplete = graph is not None and graph.endswith(".xml") and not weights_of(graph, there)
    return None if incomplete else graph


def _parsed(source: str) -> tuple[str, str | None]:
    match = _NAME.fullmatch(source)
    if match is None:
        raise ModelNotFoundError(
            f"model {source!r}: expected a hub name 'publisher/model' or 'publisher/model@revision', "
            f"got {source!r}"
        )
    return match["repository"], match["revision"]


def _cached(repository: str, revision: str | None) -> Path | None:
    folder = _cached_folder(repository, revision, _WANTED)
    return folder if folder is not None and _is_complete(folder) else None


def _cached_folder(repository: str, revision: str | None, wanted: Sequence[str]) -> Path | None:
    """Return where a model lies; the hub library may find it incomplete if a wanted file is missing."""
    try:
        return Path(_snapshot_download(repository, revision, local_files_only=True, wanted=wanted))
    except (OSError, HFValidationError):
        return None


def _is_complete(folder: Path) -> bool:
    """Tell whether a download got through; one that broke off has neither weights nor pooling."""
    return _is_described(folder) and any(folder.rglob("*.safetensors"))


def _is_described(folder: Path) -> bool:
    modules = modules_of(folder)
    return bool(modules) and all(
        (folder / module.path / "config.json").is_file() for module in modules if module.kind == "Pooling"
    )


def _download(repository: str, revision: str | None) -> Path:
    files = _look_up(repository, revision)
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(
            f"model {_named(repository, revision)!r}: expected weights as .safetensors, got none (other "
            "formats can run code when they are opened). Convert them, or choose a newer revision."
        )
    return _fetch(repository, revision, _WANTED, _UNWANTED)


def _download_graph(repository: str, revision: str | None, backend: str) -> tuple[Snapshot, str]:
    files = _look_up(repository, revision)
    graph = _graph_among(files, backend)
    if graph is None:
        raise ModelNotFoundError(
            f"model {_named(repository, revision)!r}: expected a graph for backend {backend!r} in its "
            f"repository, got {', '.join(_graphs_in(files)) or 'no graph'}. Make one with `tandem quantize "
            f"{repository} --out FOLDER` and give the folder, or leave the backend out."
        )
    folder = _fetch(repository, revision, (*_CONFIGURATION, graph, *weights_of(graph, files)), ())
    return Snapshot(name=repository, commit=folder.name, folder=folder), graph


def _graphs_in(files: Sequence[str]) -> list[str]:
    return [file for file in files if file.endswith((".onnx", ".xml"))]


# By its revision and not by its commit: only so does the cache know the next time what the revision is.
def _fetch(repository: str, revision: str | None, wanted: Sequence[str], unwanted: Sequence[str]) -> Path:
    try:
        return Path(
            _snapshot_download(repository, revision, local_files_only=False, wanted=wanted, unwanted=unwanted)
        )
    except OSError as error:
        raise ModelNotFoundError(
            f"model {repository!r}: expected to download it from the hub, got {first_line(error)}. "
            "Try again; what has arrived is kept."
        ) from error


def _named(repository: str, revision: str | None) -> str:
    return repository if revision is None else f"{repository}@{revision}"


def _look_up(repository: str, revision: str | None) -> list[str]:
    """Return the files of a repository; one request, so a hub out of reach is known at once."""
    wanted = _named(repository, revision)
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
    files = [entry.rfilename for entry in info.siblings or ()]
    if MODULES not in files:
        raise ModelError(
            f"model {wanted!r}: expected a sentence-transformers model (with {MODULES}, which says how token "
            "vectors become one vector), got a repository without it"
        )
    return files


def _snapshot_download(
    repository: str,
    revision: str | None,
    *,
    local_files_only: bool,
    wanted: Sequence[str],
    unwanted: Sequence[str] = _UNWANTED,
) -> str:
    return snapshot_download(
        repository,
        revision=revision,
        local_files_only=local_files_only,
        allow_patterns=list(wanted),
        ignore_patterns=list(unwanted),
    )


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
