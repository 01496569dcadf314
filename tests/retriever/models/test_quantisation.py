from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retriever.errors import InputError, ModelError
from retriever.models import OnnxModel, batch_invariance, load_model, load_stored, quantisation, quantize
from retriever.models.graph import GraphModel
from retriever.models.probe import INVARIANT

pytest.importorskip("onnx", reason="needs the extra quantize")
pytest.importorskip("openvino", reason="needs the extra openvino")
pytest.importorskip("nncf", reason="needs the extra quantize")

_RAN = Callable[..., Any]


@pytest.fixture
def typed_folder(few_texts: Path, tmp_path: Path) -> Path:
    """Return a model as a graph that reads types of tokens: embeddings added, and a product."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder, rng = tmp_path / "typed", np.random.default_rng(0)
    folder.mkdir()
    words = sorted(set(few_texts.read_text().split()))
    vocabulary = {word: place for place, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[CLS]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    shapes = {"words": (len(words) + 2, 32), "types": (2, 32), "mixing": (32, 32)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "input_ids"], ["word"]),
            helper.make_node("Gather", ["types", "token_type_ids"], ["type"]),
            helper.make_node("Add", ["word", "type"], ["both"]),
            helper.make_node("MatMul", ["both", "mixing"], ["mixed"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "axis"], ["column"]),
            helper.make_node("Mul", ["mixed", "column"], ["last_hidden_state"]),
        ],
        "typed",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", 32])],
        [
            *(numpy_helper.from_array(weight, name) for name, weight in weights.items()),
            numpy_helper.from_array(np.array([2]), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "model.onnx")
    card = {
        "name": "typed",
        "pooling": "mean",
        "max_tokens": 64,
        "query_prompt": "",
        "document_prompt": "",
        "add_special_tokens": False,
        "pad_id": 0,
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static", "int8-weights"])
def test_a_copy_is_smaller_agrees_and_says_so(
    method: str, tiny_folder: Path, few_texts: Path, tmp_path: Path
) -> None:
    """What was measured is in the card and in the spec; the original is named by its fingerprint."""
    out, original = tmp_path / "copy", load_model(str(tiny_folder))
    report = quantize(str(tiny_folder), out, texts=few_texts, method=method)
    copy = load_model(str(out))
    measured = report.measured
    assert measured.bytes < measured.original_bytes / 3
    assert measured.agreement_min <= measured.agreement_mean <= 1
    assert measured.batch_invariance <= INVARIANT
    assert (copy.spec.name, copy.spec.key) == (f"tiny-{method}", f"tiny-{method}")
    runtime = "onnx" if method == "int8-dynamic" else "openvino"
    assert (copy.spec.backend, copy.spec.dtype) == (runtime, "int8")
    assert copy.spec.agreement == measured.agreement_mean >= 0.98
    assert batch_invariance(copy.embed_chunks) <= INVARIANT
    card = json.loads((out / "card.json").read_text())
    assert card["quantised_from"]["fingerprint"] == original.spec.fingerprint
    texts = ["Interest is paid on the first working day.", "basil"]
    agreement = (copy.embed_chunks(texts) * original.embed_chunks(texts)).sum(axis=1)
    assert (agreement > 0.95).all()
    assert load_model(str(out), backend=f"{runtime}-int8") is copy
    assert load_stored(copy.spec) is copy


def test_a_copy_that_agrees_too_little_is_not_written(
    tiny_folder: Path, few_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the loss is accepted; nothing is left behind."""
    monkeypatch.setattr(quantisation, "MIN_AGREEMENT", 1.1)
    with pytest.raises(ModelError, match="accept the loss with --allow-loss"):
        quantize(str(tiny_folder), tmp_path / "copy", texts=few_texts)
    assert list(tmp_path.iterdir()) == []
    quantize(str(tiny_folder), tmp_path / "copy", texts=few_texts, allow_loss=True)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_float32_graph_can_be_the_original(tiny_folder: Path, few_texts: Path, tmp_path: Path) -> None:
    """The graph has the vectors of torch, for one token, beyond the maximum, and padded."""
    exact = quantize(str(tiny_folder), tmp_path / "graph", texts=few_texts, method="float32")
    assert (exact.name, exact.measured.agreement_min > 1 - 1e-6) == ("tiny", True)
    texts = ["a", "warm soil helps basil", "the ferry leaves " * 40]
    graph, torch = load_model(str(tmp_path / "graph")), load_model(str(tiny_folder))
    np.testing.assert_allclose(graph.embed_chunks(texts), torch.embed_chunks(texts), atol=1e-5)
    report = quantize(str(tmp_path / "graph"), tmp_path / "copy", texts=few_texts, method="int8-weights")
    assert report.name == "tiny-int8-weights"
    assert report.measured.agreement_mean > 0.98


@pytest.mark.parametrize("method", ["int8-static", "float32"])
def test_a_graph_with_types_of_tokens_and_no_special_ones_stays_that(
    typed_folder: Path, few_texts: Path, tmp_path: Path, method: str
) -> None:
    """Types are zeros, as for a text alone; no special token comes in by the copy."""
    report = quantize(str(typed_folder), tmp_path / "copy", texts=few_texts, method=method)
    assert report.measured.agreement_mean > 0.98
    assert json.loads((tmp_path / "copy" / "card.json").read_text())["add_special_tokens"] is False
    copy, original = load_model(str(tmp_path / "copy")), load_model(str(typed_folder))
    assert copy.spec.tokenizer == original.spec.tokenizer


def test_dynamic_ranges_are_found_out_and_repaired(
    tiny_folder: Path, few_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches the vectors of such a graph do depend on the batch; it runs each text alone."""
    quantize(str(tiny_folder), tmp_path / "copy", texts=few_texts, method="int8-dynamic")
    repaired = OnnxModel(tmp_path / "copy")
    assert repaired.runs_texts_alone
    assert batch_invariance(repaired.embed_chunks) <= INVARIANT
    monkeypatch.setattr(GraphModel, "_is_batch_invariant", lambda _: True)
    as_published = OnnxModel(tmp_path / "copy")
    assert not as_published.runs_texts_alone
    assert batch_invariance(as_published.embed_chunks) > 10 * INVARIANT


@pytest.mark.parametrize(
    ("method", "exists", "words"), [("int9", False, "method: expected"), ("float32", True, "out: expected")]
)
def test_arguments_are_refused_before_anything_is_loaded(
    method: str, *, exists: bool, words: str, tmp_path: Path
) -> None:
    """A folder that is there is never written over."""
    if exists:
        (tmp_path / "copy").mkdir()
    with pytest.raises(InputError, match=words):
        quantize("absent/model", tmp_path / "copy", method=method)


@pytest.mark.parametrize("folder", ["all-MiniLM-L6-v2", "wordllama-l2-supercat-256"])
def test_what_is_quantised_already_or_static_is_refused(
    folder: str, shared_models: Path, tmp_path: Path
) -> None:
    """A loss measured against a loss says nothing."""
    with pytest.raises(ModelError, match="Quantise the original"):
        quantize(str(shared_models / folder), tmp_path / "copy")


def test_the_command_prints_what_was_measured(command: _RAN, tiny_folder: Path, few_texts: Path) -> None:
    """As a table, or as one JSON object with nothing around it."""
    import tandem.cli

    if "quantize" not in {one.name for one in tandem.cli.app.registered_commands}:
        pytest.skip("the command is not registered")
    assert (
        "cosine to the original" in command("quantize", tiny_folder, "--out", "a", "--texts", few_texts).out
    )
    ran = command("quantize", tiny_folder, "--out", "b", "--texts", few_texts, "--json")
    assert ran.json["method"] == "int8-dynamic"
    assert np.isclose(ran.json["measured"]["agreement_mean"], load_model("b").spec.agreement)
