from __future__ import annotations

from pathlib import Path

import pytest

from retriever.models.graph_files import int8_graph, is_quantised, main_graph, weights_of

# The files of sentence-transformers/all-MiniLM-L6-v2 on the hub, as far as they are graphs.
_PUBLISHED = {
    "onnx/model.onnx",
    "onnx/model_O4.onnx",
    "onnx/model_qint8_arm64.onnx",
    "onnx/model_qint8_avx512.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "onnx/model_quint8_avx2.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "openvino/openvino_model_qint8_quantized.bin",
    "openvino/openvino_model_qint8_quantized.xml",
}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2"}, "onnx/model_quint8_avx2.onnx"),
        ({"avx2", "avx512f"}, "onnx/model_qint8_avx512.onnx"),
        ({"avx2", "avx512f", "avx512_vnni"}, "onnx/model_qint8_avx512_vnni.onnx"),
        ({"arm64"}, "onnx/model_qint8_arm64.onnx"),
    ],
)
def test_the_quantised_file_is_the_one_for_the_processor(flags: set[str], expected: str) -> None:
    """An 8-bit file for a newer processor overflows on an older one."""
    assert int8_graph(_PUBLISHED, "onnx", flags=frozenset(flags)) == expected


@pytest.mark.parametrize("name", ["onnx/model_quantized.onnx", "model_int8.onnx", "onnx/model_uint8.onnx"])
def test_a_file_for_any_processor_is_taken_where_there_is_no_other(name: str) -> None:
    """Other publishers' names."""
    assert int8_graph({"onnx/model.onnx", "onnx/model_fp16.onnx", name}, "onnx") == name


def test_each_runtime_has_its_own_files() -> None:
    """OpenVINO takes its own format before ONNX, and never an 8-bit ONNX file."""
    assert main_graph(_PUBLISHED, "onnx") == "onnx/model.onnx"
    assert main_graph(_PUBLISHED, "openvino") == "openvino/openvino_model.xml"
    assert main_graph({"model.onnx"}, "openvino") == "model.onnx"
    assert int8_graph(_PUBLISHED, "openvino") == "openvino/openvino_model_qint8_quantized.xml"
    assert int8_graph({"onnx/model_int8.onnx"}, "openvino") is None
    assert main_graph({"model_int8.onnx"}, "onnx") is None


def test_weights_beside_a_graph_belong_to_it() -> None:
    """And those of another graph do not."""
    assert weights_of("openvino/openvino_model.xml", _PUBLISHED) == ["openvino/openvino_model.bin"]
    names = {"model.onnx_data", "model.onnx.data", "model_int8.onnx_data"}
    assert weights_of("model.onnx", names) == ["model.onnx.data", "model.onnx_data"]


def test_a_name_says_whether_a_graph_is_quantised() -> None:
    """Of those that `int8_graph` returns, and of no other."""
    quantised = {name for name in _PUBLISHED if is_quantised(Path(name))}
    assert quantised == {name for name in _PUBLISHED if "int8" in name}
