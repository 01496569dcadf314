"""Which file of a model is run: by the backend that is asked for, and by the processor."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retriever.errors import ModelNotFoundError
from retriever.models.card import FLOAT32, read_card
from retriever.models.folder import GRAPHS

IR_GRAPHS = ("openvino_model.xml", "openvino/openvino_model.xml")
"""Where a graph in OpenVINO's own format lies; its weights are the ``.bin`` beside it."""

_MAIN = {"onnx": GRAPHS, "openvino": (*IR_GRAPHS, *GRAPHS)}
_IR_INT8 = ("openvino_model_qint8_quantized", "openvino_model_quantized", "openvino_model_int8")
_ANY_PROCESSOR = ("model_quantized", "model_int8", "model_qint8", "model_uint8")
_QUANTISED = ("int8", "quantized")  # in the names of published files, "qint8" and "uint8" among them
_PROC = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFiles:
    """Where a model lies: `graph` in `folder`, `weights` where they are files of their own.

    `source` is what loads it again.
    """

    folder: Path
    graph: Path
    weights: tuple[Path, ...]
    source: str


def main_graph(names: Iterable[str], runtime: str) -> str | None:
    """Return which of these files is the model's main graph for ``"onnx"`` or ``"openvino"``, or None."""
    there = set(names)
    return next((name for name in _MAIN[runtime] if name in there), None)


def int8_graph(names: Iterable[str], runtime: str, *, flags: frozenset[str] | None = None) -> str | None:
    """Return which of these files is the quantised graph for this processor, or None.

    Publishers quantise a model once per kind of processor, because the same 8-bit file does not give
    the same numbers on all of them: older ones overflow where newer ones do not.

    Parameters
    ----------
    names
        Files of the model, as paths in its folder.
    runtime
        ``"onnx"`` or ``"openvino"``.
    flags
        What the processor can do, by the words of Linux; by default those of this machine.
    """
    there = set(names)
    if runtime == "openvino":
        stems: tuple[str, ...] = _IR_INT8
        folders, suffix = ("", "openvino/"), ".xml"
    else:
        stems = (*_made_for(_processor() if flags is None else flags), *_ANY_PROCESSOR)
        folders, suffix = ("", "onnx/"), ".onnx"
    candidates = (f"{folder}{stem}{suffix}" for stem in stems for folder in folders)
    return next((name for name in candidates if name in there), None)


def weights_of(graph: str, names: Iterable[str]) -> list[str]:
    """Return the files among `names` that hold the weights of a graph, as far as it does not itself."""
    if graph.endswith(".xml"):
        beside = {graph.removesuffix(".xml") + ".bin"}
    else:
        beside = {graph + "_data", graph + ".data"}
    return sorted(beside & set(names))


def graph_files(
    folder: Path, runtime: str, *, graph: str | None = None, source: str | None = None
) -> GraphFiles:
    """Return the files of a graph in a folder.

    Raises
    ------
    ModelNotFoundError
        If there is no folder, or no such graph in it.
    """
    folder = folder.expanduser().absolute()
    names = files_in(folder)
    chosen = main_graph(names, runtime) if graph is None else graph
    if chosen is None or chosen not in names:
        wanted = " or ".join(_MAIN[runtime] if graph is None else (graph,))
        got = "no such file" if folder.is_dir() else "no such folder"
        raise ModelNotFoundError(f"model in {folder}: expected {wanted}, got {got}")
    return GraphFiles(
        folder=folder,
        graph=folder / chosen,
        weights=tuple(folder / name for name in weights_of(chosen, names)),
        source=str(folder) if source is None else source,
    )


def choose_graph(folder: Path, backend: str) -> str | None:
    """Return the graph in a folder for a backend (``"onnx-int8"``, …), as a path in it; None if it has none.

    A folder whose card says that its only graph is quantised has that one for ``-int8`` too.
    """
    runtime, _, precision = backend.partition("-")
    names = files_in(folder)
    if not precision:
        return main_graph(names, runtime)
    published = int8_graph(names, runtime)
    if published is not None:
        return published
    main = main_graph(names, runtime)
    return main if main is not None and read_card(folder).dtype != FLOAT32 else None


def is_quantised(graph: Path) -> bool:
    """Tell whether the name of a published graph says that it is quantised."""
    return any(word in graph.stem for word in _QUANTISED)


def files_in(folder: Path) -> set[str]:
    """Return the files where graphs lie, as paths in the folder."""
    places = (folder, folder / "onnx", folder / "openvino")
    found = (path for place in places if place.is_dir() for path in place.iterdir())
    return {path.relative_to(folder).as_posix() for path in found if path.is_file()}


def _made_for(flags: frozenset[str]) -> tuple[str, ...]:
    if "arm64" in flags:
        return ("model_qint8_arm64",)
    if "avx512_vnni" in flags:
        return ("model_qint8_avx512_vnni", "model_qint8_avx512", "model_quint8_avx2")
    if "avx512f" in flags:
        return ("model_qint8_avx512", "model_quint8_avx2")
    return ("model_quint8_avx2",)


def _processor() -> frozenset[str]:
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return frozenset({"arm64"})
    try:
        return frozenset(_PROC.read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()
