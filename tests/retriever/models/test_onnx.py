from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retriever.errors import EmbeddingError, ModelError, ModelNotFoundError
from retriever.models import OnnxModel
from retriever.models.graph import output_name
from retriever.models.protocol import EmbeddingModel
from retriever.testing import EmbeddingModelContract

_FOLDERS = (
    "all-MiniLM-L6-v2",
    "all-mpnet-base-v2",
    "bge-small-en-v1.5",
    "e5-small-v2",
    "paraphrase-MiniLM-L3-v2",
    "universal-sentence-encoder-lite",
    "wordllama-l2-supercat-256",
)
_TEXTS = (
    "Warm soil helps basil.",
    "Naïve café owners, 日本語, and 🤖: what pays?",
    "Interest is paid on the first working day of each quarter. " * 2,
)


class _OnnxContract(EmbeddingModelContract):
    folder: str

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, shared_models: Path) -> EmbeddingModel:
        return OnnxModel(shared_models / cls.folder)

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, shared_models: Path) -> EmbeddingModel:
        return OnnxModel(shared_models / cls.folder)


class TestClsPoolingOfAnExportedFolder(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = _exported(shared_models, tmp_path_factory.mktemp("models") / "e5-small-v2")
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, folder: Path) -> EmbeddingModel:
        return OnnxModel(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, folder: Path) -> EmbeddingModel:
        return OnnxModel(folder)


class TestMeanPooling(_OnnxContract):
    folder = "paraphrase-MiniLM-L3-v2"


class TestPoolingInTheGraph(_OnnxContract):
    folder = "universal-sentence-encoder-lite"


class TestStatic(_OnnxContract):
    folder = "wordllama-l2-supercat-256"


@pytest.fixture(scope="module")
def reference(shared_models: Path) -> Callable[[Path], Any]:
    """The reader that comes with the models, written by others."""
    spec = importlib.util.spec_from_file_location("shared_models_load", shared_models / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    encoder: Callable[[Path], Any] = module.Encoder
    return encoder


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # the reference reader leaves its card open
@pytest.mark.parametrize("folder", _FOLDERS)
def test_vectors_equal_those_of_the_reference_reader(
    folder: str, shared_models: Path, reference: Callable[[Path], Any]
) -> None:
    """Queries and chunks, each with their prompts, in one batch and in several."""
    model, encoder = OnnxModel(shared_models / folder), reference(shared_models / folder)
    np.testing.assert_allclose(model.embed_queries(_TEXTS), encoder.encode(_TEXTS, kind="query"), atol=1e-4)
    np.testing.assert_allclose(model.embed_chunks(_TEXTS), encoder.encode(_TEXTS, kind="document"), atol=1e-4)


def test_a_quantised_graph_is_close_to_torch(minilm: EmbeddingModel, shared_models: Path) -> None:
    """The same model on two backends; 8-bit weights cost less than a hundredth of cosine."""
    quantised = OnnxModel(shared_models / "all-MiniLM-L6-v2")
    cosines = (quantised.embed_chunks(_TEXTS) * minilm.embed_chunks(_TEXTS)).sum(axis=1)
    assert (cosines > 0.99).all()
    assert quantised.spec.tokenizer == minilm.spec.tokenizer
    assert quantised.spec.fingerprint != minilm.spec.fingerprint


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("bge-small-en-v1.5", ("BAAI/bge-small-en-v1.5", 384, 512, "cls", "int8")),
        ("e5-small-v2", ("intfloat/e5-small-v2", 384, 512, "mean", "int8")),
        ("all-mpnet-base-v2", ("sentence-transformers/all-mpnet-base-v2", 768, 384, "mean", "4-bit")),
        (
            "universal-sentence-encoder-lite",
            ("google/universal-sentence-encoder-lite", 512, 128, "in-graph", "8-bit"),
        ),
        ("wordllama-l2-supercat-256", ("dleemiller/word-llama-l2-supercat", 256, None, "static", "int8")),
    ],
)
def test_the_spec_is_what_the_card_says(
    folder: str, expected: tuple[object, ...], shared_models: Path
) -> None:
    """Reference: the table in the README beside the models."""
    spec = OnnxModel(shared_models / folder).spec
    assert (spec.name, spec.dimensions, spec.max_tokens, spec.pooling, spec.dtype) == expected
    assert (spec.backend, spec.source) == ("onnx", str(shared_models / folder))


def test_many_batches_give_what_single_texts_give(shared_models: Path) -> None:
    """Lengths from one word to the maximum, far beyond the tokens of one batch."""
    model = OnnxModel(shared_models / "paraphrase-MiniLM-L3-v2")
    texts = [f"{i} " + "basil " * (i % 130) for i in range(0, 400, 5)]
    together = model.embed_chunks(texts)
    alone = np.vstack([model.embed_chunks([text]) for text in texts[::8]])
    np.testing.assert_allclose(together[::8], alone, atol=1e-5)


def test_a_text_without_tokens_is_refused_by_position(shared_models: Path) -> None:
    """A static model has no special token to fall back on."""
    model = OnnxModel(shared_models / "wordllama-l2-supercat-256")
    with pytest.raises(EmbeddingError, match="got a zero vector for text 1 of 2"):
        model.embed_chunks(["basil", ""])


def _exported(shared_models: Path, target: Path, *, graph: str = "onnx/model.onnx") -> Path:
    """Lay out a model as exporters do: no card, but the files of sentence-transformers."""
    source = shared_models / "paraphrase-MiniLM-L3-v2"
    (target / graph).parent.mkdir(parents=True, exist_ok=True)
    (target / graph).symlink_to(source / "model.onnx")
    for name in ("tokenizer.json", "config.json"):
        (target / name).symlink_to(source / name)
    modules = [
        ("", "models.Transformer"),
        ("1_Pooling", "models.Pooling"),
        ("2_Normalize", "models.Normalize"),
    ]
    (target / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.{kind}", "path": path} for path, kind in modules])
    )
    (target / "1_Pooling").mkdir()
    (target / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}'
    )
    (target / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    return target


@pytest.fixture
def exported(shared_models: Path, tmp_path: Path) -> Path:
    return _exported(shared_models, tmp_path / "paraphrase-MiniLM-L3-v2")


@pytest.mark.parametrize("graph", ["model.onnx", "onnx/model.onnx"])
def test_an_exported_folder_needs_no_card(graph: str, shared_models: Path, tmp_path: Path) -> None:
    """The usual files say the same as the card."""
    model = OnnxModel(_exported(shared_models, tmp_path / "paraphrase-MiniLM-L3-v2", graph=graph))
    with_card = OnnxModel(shared_models / "paraphrase-MiniLM-L3-v2")
    assert (model.spec.name, model.spec.max_tokens, model.spec.pooling) == (
        "paraphrase-MiniLM-L3-v2",
        128,
        "mean",
    )
    np.testing.assert_allclose(model.embed_chunks(_TEXTS), with_card.embed_chunks(_TEXTS), atol=1e-6)


@pytest.mark.parametrize("config", ['{"pooling_mode_cls_token": true}', '{"pooling_mode": "cls"}'])
def test_both_forms_of_the_pooling_file_are_read(config: str, exported: Path) -> None:
    """sentence-transformers 6 writes one word where there were flags."""
    (exported / "1_Pooling" / "config.json").write_text(config)
    assert OnnxModel(exported).spec.pooling == "cls"


def test_the_tokenizer_file_says_the_maximum_if_no_other_does(exported: Path) -> None:
    """A model_max_length of 1e30 says nothing."""
    (exported / "sentence_bert_config.json").unlink()
    (exported / "tokenizer_config.json").write_text('{"model_max_length": 99}')
    assert OnnxModel(exported).spec.max_tokens == 99
    (exported / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    with pytest.raises(ModelError, match="expected to know how many tokens it reads"):
        OnnxModel(exported)


def test_prompts_come_with_the_exported_files(exported: Path) -> None:
    """As for models on torch."""
    (exported / "config_sentence_transformers.json").write_text(
        '{"prompts": {"query": "Q: ", "document": null}}'
    )
    assert OnnxModel(exported).spec.query_prompt == "Q: "


@pytest.mark.parametrize(
    "config", [None, "{}", '{"pooling_mode": "lasttoken"}', '{"pooling_mode": ["cls", "mean"]}']
)
def test_pooling_is_never_guessed(config: str | None, exported: Path) -> None:
    """The message says what to add."""
    path = exported / "1_Pooling" / "config.json"
    path.unlink() if config is None else path.write_text(config)
    with pytest.raises(ModelError, match=r"Add 1_Pooling/config.json of the original model"):
        OnnxModel(exported)


def test_a_step_that_the_graph_leaves_out_is_refused(exported: Path) -> None:
    """An exported graph ends before a Dense module, whose vectors would be others."""
    path = exported / "modules.json"
    dense = {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}
    path.write_text(json.dumps([*json.loads(path.read_text()), dense]))
    with pytest.raises(ModelError, match="got also Dense"):
        OnnxModel(exported)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pooler_output", "last_hidden_state"], "last_hidden_state"),
        (["token_embeddings", "sentence_embedding"], "sentence_embedding"),
        (["embedding"], "embedding"),
    ],
)
def test_the_output_is_the_pooled_one_or_the_token_vectors(names: list[str], expected: str) -> None:
    """pooler_output is another head, which no embedding model means."""
    assert output_name(Path("model.onnx"), names) == expected


def test_an_output_is_never_guessed() -> None:
    """Of several that nobody knows."""
    with pytest.raises(ModelError, match="expected one output, or one of"):
        output_name(Path("model.onnx"), ["logits", "pooler_output"])


def test_an_input_that_we_cannot_give_is_refused(exported: Path) -> None:
    """A graph made for something else."""
    path = exported / "onnx" / "model.onnx"
    graph = path.read_bytes().replace(b"attention_mask", b"attention_bias")
    path.unlink()
    path.write_bytes(graph)
    with pytest.raises(ModelError, match="got also attention_bias"):
        OnnxModel(exported)


def test_padding_is_never_guessed(exported: Path) -> None:
    """A wrong padding token shifts the positions of some models."""
    (exported / "config.json").unlink()
    with pytest.raises(ModelError, match=r"expected 'pad_token_id' in config\.json"):
        OnnxModel(exported)


@pytest.mark.parametrize(
    ("name", "kind"), [("onnx/model.onnx", ModelNotFoundError), ("tokenizer.json", ModelError)]
)
def test_a_missing_file_is_named(name: str, kind: type[ModelError], exported: Path) -> None:
    """Which file is missing, and where."""
    (exported / name).unlink()
    with pytest.raises(kind, match=Path(name).name):
        OnnxModel(exported)


@pytest.mark.parametrize(
    "name", ["onnx/model.onnx", "tokenizer.json", "modules.json", "1_Pooling/config.json"]
)
def test_a_broken_file_is_named(name: str, exported: Path) -> None:
    """A copy that broke off is no traceback of a library."""
    (exported / name).unlink()
    (exported / name).write_text('{"broken":')
    with pytest.raises(ModelError, match=Path(name).name):
        OnnxModel(exported)


def test_a_card_without_a_field_is_refused(shared_models: Path, tmp_path: Path) -> None:
    """The field is named."""
    source = shared_models / "paraphrase-MiniLM-L3-v2"
    for name in ("tokenizer.json", "model.onnx"):
        (tmp_path / name).symlink_to(source / name)
    card = json.loads((source / "card.json").read_text())
    del card["pad_id"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"card.json: expected a field 'pad_id'"):
        OnnxModel(tmp_path)


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    """Not a missing file in it."""
    with pytest.raises(ModelNotFoundError, match="got no such folder"):
        OnnxModel(tmp_path / "absent")


def test_without_onnxruntime_the_error_names_the_extra() -> None:
    """In a process in which the package cannot be imported."""
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from retriever.errors import ModelNotFoundError\n"
        "try:\n    from retriever.models import OnnxModel\n"
        "except ModelNotFoundError as error: print(error)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 'pip install "tandem-rag[onnx]"' in output
