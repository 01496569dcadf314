from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models import load_model, quantize
from retriever.models.protocol import EmbeddingModel
from retriever.testing import EmbeddingModelContract

pytest.importorskip("openvino", reason="needs the extra openvino")
pytest.importorskip("nncf", reason="needs the extra quantize")

from retriever.models.openvino import OpenVinoModel  # refuses to be imported without


@pytest.fixture(scope="module")
def copy_of_tiny(tiny_folder: Path, few_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies") / "copy"
    quantize(str(tiny_folder), folder, texts=few_texts, method="int8-weights")
    return folder


class TestOpenVino(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, copy_of_tiny: Path) -> EmbeddingModel:
        return OpenVinoModel(copy_of_tiny)

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, copy_of_tiny: Path) -> EmbeddingModel:
        return OpenVinoModel(copy_of_tiny)


def test_the_graph_gives_what_torch_gives(tiny_folder: Path, copy_of_tiny: Path) -> None:
    """For one token, for texts beyond the maximum, and alone or padded."""
    texts = ["a", "warm soil helps basil", "the ferry leaves " * 40]
    expected = load_model(str(tiny_folder)).embed_chunks(texts)
    assert ((OpenVinoModel(copy_of_tiny).embed_chunks(texts) * expected).sum(axis=1) > 0.999).all()


def test_the_folder_decides_for_openvino(copy_of_tiny: Path) -> None:
    """Its own format, and no other weights."""
    model = load_model(str(copy_of_tiny))
    assert isinstance(model, OpenVinoModel)
    assert (model.spec.backend, model.spec.dtype, model.spec.name) == (
        "openvino",
        "int8",
        "tiny-int8-weights",
    )
    assert load_model(str(copy_of_tiny), backend="openvino-int8") is model


def test_an_operation_that_openvino_lacks_is_refused(shared_models: Path) -> None:
    """ONNX Runtime's own operations; the message names the backend that has them."""
    with pytest.raises(ModelError, match="or use the backend 'onnx'"):
        load_model(str(shared_models / "all-MiniLM-L6-v2"), backend="openvino")


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin"])
def test_half_a_graph_is_refused(name: str, copy_of_tiny: Path, tmp_path: Path) -> None:
    """A copy of the folder that broke off."""
    for path in copy_of_tiny.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"openvino_model\.xml"):
        OpenVinoModel(tmp_path)


def test_nothing_reports_its_use_to_anyone(tmp_path: Path) -> None:
    """openvino and nncf would from their import on; the first sign is an identifier in the home folder."""
    code = (
        "import sys, retriever.models.openvino, retriever.models.nncf_graphs\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {
        "HOME": str(tmp_path)
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not (tmp_path / "intel").exists()


def test_without_openvino_the_error_names_the_extra() -> None:
    """In a process in which the package cannot be imported."""
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from retriever.errors import ModelNotFoundError\n"
        "try:\n    from retriever.models import OpenVinoModel\n"
        "except ModelNotFoundError as error: print(error)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 'pip install "tandem-rag[openvino]"' in output


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    """Not a missing file in it."""
    with pytest.raises(ModelNotFoundError, match="got no such folder"):
        OpenVinoModel(tmp_path / "absent")
