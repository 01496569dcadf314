from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import retriever.models
from retriever.errors import InputError, ModelError, ModelNotFoundError
from retriever.models import OnnxModel, SentenceTransformerModel, load_model, load_models, load_stored
from retriever.models.catalog import load_afresh
from retriever.models.packaged import PACKAGED, _locate, load_packaged
from retriever.models.probe import INVARIANT, batch_invariance
from retriever.models.protocol import EmbeddingModel
from retriever.testing import FakeModel


def test_a_source_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when four threads ask at once, and whatever way a folder is written."""
    model_folder = _locate(PACKAGED["minilm"], "minilm")[0]
    monkeypatch.chdir(model_folder.parent)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(load_model, ["model", "./model", str(model_folder), "model"]))
    assert len({id(model) for model in models}) == 1
    assert models[0].spec.source == str(model_folder)
    assert isinstance(models[0], SentenceTransformerModel)


def test_the_source_in_the_spec_loads_the_model_again(shared_models: Path) -> None:
    """From the same process, the same object."""
    for source in ("wordllama", str(shared_models / "universal-sentence-encoder-lite")):
        model = load_model(source)
        assert load_model(model.spec.source) is model


def test_a_folder_with_a_graph_and_no_other_weights_is_run_by_onnx(shared_models: Path) -> None:
    """Both backends read folders; the weights decide."""
    assert isinstance(load_model(str(shared_models / "wordllama-l2-supercat-256")), OnnxModel)


def test_a_folder_with_a_graph_and_weights_is_run_by_torch(shared_models: Path, tmp_path: Path) -> None:
    """torch is the reference."""
    source = _locate(PACKAGED["minilm"], "minilm")[0]
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "onnx").symlink_to(shared_models / "all-MiniLM-L6-v2")
    assert load_model(str(tmp_path)).spec.backend == "torch"


def test_a_backend_chooses_among_the_files_of_a_folder(shared_models: Path, tmp_path: Path) -> None:
    """Weights for torch, one graph in full precision and one in eight bits, as publishers lay them out."""
    for path in _locate(PACKAGED["minilm"], "minilm")[0].iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "onnx").mkdir()
    for name, model in (("model.onnx", "all-MiniLM-L6-v2"), ("model_quantized.onnx", "e5-small-v2")):
        (tmp_path / "onnx" / name).symlink_to(shared_models / model / "model.onnx")
    source = str(tmp_path)
    full, quantised = (load_model(source, backend=backend) for backend in ("onnx", "onnx-int8"))
    assert load_model(source).spec.backend == "torch"
    assert (full.spec.backend, full.spec.dtype) == ("onnx", "float32")
    assert (quantised.spec.backend, quantised.spec.dtype) == ("onnx", "int8")
    assert quantised.spec.name == f"{full.spec.name}-int8"
    assert full.spec.revision != quantised.spec.revision
    for model in (full, quantised):
        assert load_stored(model.spec) is model
        assert batch_invariance(model.embed_chunks) <= INVARIANT


def test_a_quantised_folder_is_one_model_under_each_of_its_words(shared_models: Path) -> None:
    """Its card says that the only graph is quantised."""
    source = str(shared_models / "paraphrase-MiniLM-L3-v2")
    model = load_model(source)
    assert load_model(source, backend="onnx") is load_model(source, backend="onnx-int8") is model
    assert load_stored(model.spec) is model


def test_static_models_have_one_backend(caplog: pytest.LogCaptureFixture, wordllama: EmbeddingModel) -> None:
    """Asked for another it is refused; among several models it stays as it is, and that is said."""
    with pytest.raises(ModelError, match="expected backend 'torch', got 'onnx'"):
        load_model("wordllama", backend="onnx")
    with caplog.at_level("INFO", logger="retriever.models.catalog"):
        assert load_models(["wordllama"], backend="onnx") == [wordllama]
    assert "stays on torch" in caplog.text


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "openvino", "openvino-int8"])
def test_a_model_without_a_graph_says_how_to_get_one(backend: str) -> None:
    """From a package, and from a folder."""
    folder = str(_locate(PACKAGED["minilm"], "minilm")[0])
    for source in ("minilm", folder):
        with pytest.raises(ModelNotFoundError, match=f"tandem quantize {source} --out"):
            load_model(source, backend=backend)


def test_a_packaged_model_is_called_by_its_key_as_well(
    wordllama: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As corpora and verdicts name it; unless a folder is called so."""
    key = wordllama.spec.key
    assert key != "wordllama"
    assert load_model(key) is wordllama
    assert load_models([key], backend="onnx") == [wordllama]
    monkeypatch.chdir(tmp_path)
    (tmp_path / key).mkdir()
    with pytest.raises(ModelError, match=re.escape(str(tmp_path / key))):
        load_model(key)


def test_an_unknown_word_is_refused_with_those_there_are() -> None:
    """Before anything is loaded."""
    with pytest.raises(InputError, match=r"backend: expected one of torch, .*, got 'tensorrt'"):
        load_model("absent/model", backend="tensorrt")
    with pytest.raises(InputError, match=r"over-length: expected one of refuse, windows, got 'cut'"):
        load_model("absent/model", over_length="cut")


def test_windows_are_another_model_with_the_same_weights(minilm: EmbeddingModel) -> None:
    """Its spec loads it again."""
    model = load_model("minilm", over_length="windows")
    assert model is not minilm
    assert (model.spec.over_length, model.spec.max_tokens) == ("windows", None)
    assert load_stored(model.spec) is model


@pytest.mark.parametrize("source", ["./absent", "../absent", "/absent", "~/absent", "a/b/absent"])
def test_a_path_that_does_not_exist_is_said_to_be_missing(source: str) -> None:
    """It is never looked up on the hub."""
    with pytest.raises(ModelNotFoundError, match="expected a folder with a model, got no such folder"):
        load_model(source)


def test_a_revision_may_have_a_path_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a hub name whatever stands behind the @; what stands before it is looked at as ever."""
    asked: list[str] = []

    def loaded(source: str, **_: object) -> FakeModel:
        asked.append(source)
        return FakeModel("acme/pinned", dimensions=3)

    monkeypatch.setattr(
        "retriever.models.sentence_transformer.SentenceTransformerModel.from_hub", staticmethod(loaded)
    )
    load_afresh("acme/pinned@refs/pr/1")
    assert asked == ["acme/pinned@refs/pr/1"]
    with pytest.raises(ModelNotFoundError, match="got no such folder"):
        load_model("a/b/absent@v1")
    with pytest.raises(ModelNotFoundError, match="a folder, or a hub name"):
        load_model("minillm@refs/pr/1")


def test_a_file_is_no_model(tmp_path: Path) -> None:
    """The folder is wanted, not the graph in it."""
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(ModelNotFoundError, match="expected a folder with a model, got a file"):
        load_model(str(path))


@pytest.mark.parametrize("source", ["minillm", ""])
def test_a_word_that_names_nothing_lists_what_there_is(source: str) -> None:
    """A misspelt short name is not looked up on the hub, and no name is not this folder."""
    with pytest.raises(
        ModelNotFoundError, match="expected one of minilm, wordllama, a folder, or a hub name"
    ):
        load_model(source)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """And the next attempt reads it anew: errors are not kept."""
    for _ in range(2):
        with pytest.raises(ModelError, match=r"expected modules.json"):
            load_model(str(tmp_path))


@pytest.mark.parametrize("short_name", sorted(PACKAGED))
def test_a_missing_package_is_named_with_its_command(
    short_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo extra installs both."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, PACKAGED[short_name].package, raising=False)
    with pytest.raises(
        ModelNotFoundError, match=r'got no such package. Install it with: pip install "tandem-rag\[demo\]"'
    ):
        load_packaged(short_name)


def test_a_package_without_its_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution of the same import name."""
    (tmp_path / "wordllama").mkdir()
    (tmp_path / "wordllama" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wordllama", raising=False)
    with pytest.raises(ModelNotFoundError, match="got a package without tokenizers/"):
        load_packaged("wordllama")


def test_the_package_of_a_model_is_not_imported(wordllama: EmbeddingModel) -> None:
    """wordllama's own import is slow, and its code is not needed."""
    assert wordllama.spec.source == "wordllama"
    assert "wordllama" not in sys.modules


def test_importing_the_models_loads_nothing_heavy() -> None:
    """Nor does asking for a model that cannot be."""
    code = (
        "import sys, retriever.models\n"
        "try: retriever.models.load_model('./absent')\n"
        "except retriever.errors.ModelNotFoundError: print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    heavy = {
        "torch",
        "sentence_transformers",
        "transformers",
        "llama_index",
        "qdrant_client",
        "onnxruntime",
        "tokenizers",
    }
    assert "retriever.models.catalog" in output.split()
    assert heavy.isdisjoint(output.split())


def test_every_public_name_exists() -> None:
    """What is announced can be imported, and the other way round."""
    for name in retriever.models.__all__:
        assert getattr(retriever.models, name) is not None
    assert set(retriever.models.__all__) == set(retriever.models._LOADED_ON_USE)
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = retriever.models.absent
