"""Models as graphs run by OpenVINO: its own format, or ONNX files as they are; no torch needed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.graph import GraphModel
from retriever.models.graph_files import graph_files
from retriever.models.hub import first_line
from retriever.models.threads import available_cores

_TELEMETRY = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import a library of the OpenVINO family without the part that reports its use to the publisher.

    It reports from the first import on, unless the user has objected; nobody who runs a retriever
    expects that. Without that package the libraries work the same.
    """
    absent = object()
    known = sys.modules.get(_TELEMETRY, absent)
    if known is absent:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        if known is absent:
            del sys.modules[_TELEMETRY]


try:
    with without_telemetry():
        import openvino
except ModuleNotFoundError as error:
    raise ModelNotFoundError(
        "models on OpenVINO: expected the package openvino, got no such package. "
        'Install it with: pip install "tandem-rag[openvino]"'
    ) from error

_TOKENS_PER_BATCH = 512
_LENGTH_STEP = 16  # it keeps code for every shape: 500 of them held 590 MB
_SETTINGS = {
    # Without this, processors that can do so compute in bfloat16, and a vector depends on the machine.
    "INFERENCE_PRECISION_HINT": "f32",
    "NUM_STREAMS": "1",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "64",  # for 8-bit weights alone; per text, so batches do not matter
}


class OpenVinoModel(GraphModel):
    """An embedding model from a folder with a graph that OpenVINO reads, on the CPU.

    The folder is one for `OnnxModel`, or has ``openvino_model.xml`` and ``.bin`` in place of the ONNX
    graph. Arithmetic that the graph does not quantise is float32 on every processor.

    Parameters
    ----------
    folder
        Where the model lies.
    graph
        Its file, as a path in the folder; by default OpenVINO's own format before ONNX.
    source
        What loads it again with `load_model`; by default the path of the folder.

    Raises
    ------
    ModelNotFoundError
        If the folder or one of these files is missing.
    ModelError
        If a file is broken, or does not say how to use the graph, or OpenVINO lacks one of its
        operations.
    """

    def __init__(self, folder: Path, *, graph: str | None = None, source: str | None = None) -> None:
        files = graph_files(folder, "openvino", graph=graph, source=source)
        super().__init__(
            files,
            _OpenVinoGraph(files.graph),
            backend="openvino",
            tokens_per_batch=_TOKENS_PER_BATCH,
            length_step=_LENGTH_STEP,
        )


class _OpenVinoGraph:
    def __init__(self, graph: Path) -> None:
        compiled = _compile(graph)
        self.inputs: Sequence[str] = [_name_of(port) for port in compiled.inputs]
        self.outputs: Sequence[str] = [_name_of(port, str(i)) for i, port in enumerate(compiled.outputs)]
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a request holds its arrays; one at a time has all cores

    def run(self, feeds: Mapping[str, NDArray[np.int64]], output: str) -> NDArray[np.floating]:
        with self._lock:
            self._request.infer(dict(feeds))
            values: NDArray[np.floating] = self._request.get_output_tensor(
                self.outputs.index(output)
            ).data.copy()
        return values


def read_graph(path: Path) -> Any:
    """Return a graph as OpenVINO's model object.

    Raises
    ------
    ModelError
        If it is broken, or has an operation that OpenVINO lacks.
    """
    try:
        return openvino.Core().read_model(path)
    except Exception as error:  # each kind of damage has its own exception
        raise ModelError(
            f"{path}: expected a graph that OpenVINO can read, got {first_line(error)}. Copy the model "
            "again, or use the backend 'onnx'."
        ) from error


def save_graph(graph: Any, path: Path) -> None:
    """Write OpenVINO's model object as ``path`` (``.xml``) and a ``.bin`` beside it, in full precision."""
    openvino.save_model(graph, path, compress_to_fp16=False)


def _compile(path: Path) -> Any:
    settings = {**_SETTINGS, "INFERENCE_NUM_THREADS": str(available_cores())}
    graph = read_graph(path)
    try:
        return openvino.Core().compile_model(graph, "CPU", settings)
    except Exception as error:
        raise ModelError(
            f"{path}: expected a graph that OpenVINO can run, got {first_line(error)}. Use another backend."
        ) from error


def _name_of(port: Any, unnamed: str = "") -> str:
    names = sorted(port.get_names())
    known = {"input_ids", "attention_mask", "token_type_ids", "last_hidden_state", "sentence_embedding"}
    return next((name for name in names if name in known), names[0] if names else unnamed)
