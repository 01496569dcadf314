"""How texts become batches on torch, and when the library does it instead."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retriever.errors import ModelError
from retriever.models import SentenceTransformerModel, sentence_transformer
from retriever.models.protocol import EmbeddingModel
from retriever.models.tokenizer import HFTokenizer
from retriever.testing import EmbeddingModelContract

_TEXTS = [
    "Warm soil helps basil.",
    "  two  spaces and a line\n",
    "basil " * 400,
    "",
    "naïve Café, 日本語 🤖",
    *(f"{number} short texts of many lengths " * (number % 9) for number in range(1, 16)),
]
_WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "the",
    "ferry",
    "leaves",
    "at",
    "noon",
    "warm",
    "soil",
    "helps",
    "basil",
    "zebra",
    "query",
    ":",
]


def _save_tiny(
    folder: Path,
    *,
    prompt: str = "",
    include_prompt: bool = True,
    padding_side: str = "right",
    truncation_side: str = "right",
) -> Path:
    """Save a BERT of two small layers with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    base = folder / "base"
    BertModel(config).save_pretrained(base)
    (base / "vocab.txt").write_text("\n".join(_WORDS))
    BertTokenizerFast(
        vocab={word: i for i, word in enumerate(_WORDS)},
        model_max_length=16,
        padding_side=padding_side,
        truncation_side=truncation_side,
    ).save_pretrained(base)
    model = SentenceTransformer(
        modules=[Transformer(str(base)), Pooling(32, "mean", include_prompt=include_prompt)],
        prompts={"query": "query: ", "document": prompt},
    )
    model.save_pretrained(str(folder / "tiny"), create_model_card=False)
    return folder / "tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_tiny(tmp_path_factory.mktemp("plain"))


class TestTiny(EmbeddingModelContract):
    """A transformer with a prompt for queries."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tiny: Path) -> EmbeddingModel:
        return SentenceTransformerModel.from_folder(tiny)

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, tiny: Path) -> EmbeddingModel:
        return SentenceTransformerModel.from_folder(tiny)


def _by_library(model: SentenceTransformerModel, texts: list[str], prompt: str) -> object:
    return model._model.encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)


@pytest.mark.parametrize("name", ["minilm", "wordllama"])
def test_vectors_are_those_of_the_library(name: str, request: pytest.FixtureRequest) -> None:
    """Whatever their lengths, and in the order given; beyond the maximum cut as the library cuts."""
    model: SentenceTransformerModel = request.getfixturevalue(name)
    texts = [text for text in _TEXTS if text or name == "minilm"]
    assert model._runs_ids
    np.testing.assert_allclose(model.embed_chunks(texts), _by_library(model, texts, ""), atol=1e-6)


def test_prompts_and_small_batches_change_nothing(tiny: Path) -> None:
    """Each way of cutting a list into batches gives what the library gives."""
    model = SentenceTransformerModel.from_folder(tiny)
    assert model._runs_ids
    for budget in (1, 20, 100, 10_000):
        model._budget = budget
        for embed, prompt in ((model.embed_queries, "query: "), (model.embed_chunks, "")):
            np.testing.assert_allclose(embed(_TEXTS), _by_library(model, _TEXTS, prompt), atol=1e-6)


def test_a_text_that_was_counted_is_not_tokenized_again(
    minilm: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunker counts, both models read."""
    texts = ["A text of its own for this test.", "And another one of another length than the first."]
    assert minilm.tokenizer is not None
    minilm.tokenizer.count(texts)
    monkeypatch.delattr(HFTokenizer, "_tokenize")
    assert minilm.embed_chunks(texts).shape == (2, 384)
    with pytest.raises(AttributeError, match="_tokenize"):
        minilm.embed_chunks(["One that nobody has seen."])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"include_prompt": False, "prompt": "the ferry "}, "vectors differ"),
        ({"truncation_side": "left"}, "prepares its input in another way"),
    ],
    ids=["prompt left out of the mean", "cut at the beginning"],
)
def test_a_model_of_another_kind_is_run_by_the_library(
    setting: dict[str, object], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Found out by comparison on loading, and its vectors are right."""
    folder = _save_tiny(tmp_path, **setting)  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, logger="retriever"):
        model = SentenceTransformerModel.from_folder(folder)
    assert not model._runs_ids
    assert "is run by its library's encode" in caplog.text
    assert reason in caplog.text
    np.testing.assert_allclose(
        model.embed_chunks(_TEXTS), _by_library(model, _TEXTS, model.spec.document_prompt), atol=1e-6
    )
    assert model.embed_chunks([]).shape == (0, 32)


def test_texts_are_padded_on_the_side_of_the_model(tmp_path: Path) -> None:
    """Models that read like a language model are padded on the left."""
    model = SentenceTransformerModel.from_folder(_save_tiny(tmp_path, padding_side="left"))
    assert model._model.tokenizer.padding_side == "left"
    assert model._runs_ids
    texts = _TEXTS[:4]  # one batch for both: so padded, the positions of BERT depend on the longest text
    np.testing.assert_allclose(model.embed_chunks(texts), _by_library(model, texts, ""), atol=1e-6)


def test_a_model_that_remembers_its_longest_text_runs_one_text_list_at_a_time(tiny: Path) -> None:
    """Position embeddings that grow are changed while they are used."""
    model = SentenceTransformerModel.from_folder(tiny)._model
    assert not sentence_transformer._changes_as_it_runs(model)
    model[0].rope_type = {"full_attention": "dynamic"}
    assert sentence_transformer._changes_as_it_runs(model)


def test_a_query_does_not_wait_for_the_chunks_of_another_thread(tiny: Path) -> None:
    """Nothing is locked, and nobody gets another's vectors."""
    model = SentenceTransformerModel.from_folder(tiny)
    model._budget = 20
    expected = [model.embed_chunks(_TEXTS), model.embed_queries(_TEXTS)]
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda i: (model.embed_chunks, model.embed_queries)[i % 2](_TEXTS), range(16))
        )
    for i, result in enumerate(results):
        np.testing.assert_allclose(result, expected[i % 2], atol=1e-6)


def test_bfloat16_is_refused_where_the_processor_lacks_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be imitated, slower than float32."""
    monkeypatch.setattr(sentence_transformer, "_computes_in_bfloat16", lambda _: False)
    with pytest.raises(ModelError, match=r"'tiny': expected a processor that computes in bfloat16 .*float32"):
        SentenceTransformerModel.from_folder(tiny, dtype="bfloat16")
    with pytest.raises(ModelError, match="expected dtype 'float32' or 'bfloat16', got 'float16'"):
        SentenceTransformerModel.from_folder(tiny, dtype="float16")


@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_in_bfloat16_a_vector_is_the_same_in_any_company(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: each text is run alone; and it stays near the vector of float32."""
    monkeypatch.setattr(sentence_transformer, "_computes_in_bfloat16", lambda _: True)
    found = request.getfixturevalue(name)
    folder = found if isinstance(found, Path) else Path(found._model[0].model.name_or_path)
    exact = SentenceTransformerModel.from_folder(folder)
    half = SentenceTransformerModel.from_folder(folder, dtype="bfloat16")
    assert half.spec.dtype == "bfloat16"
    assert half.spec.fingerprint != exact.spec.fingerprint
    texts = [*_TEXTS[:2], *_TEXTS[3:5]]
    sizes: list[int] = []
    half._model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]["input_ids"])))
    together = half.embed_chunks(texts)
    assert sizes == [1] * len(texts)
    np.testing.assert_array_equal(together, np.vstack([half.embed_chunks([text]) for text in texts]))
    np.testing.assert_array_equal(together[::-1], half.embed_chunks(texts[::-1]))
    cosines = (together * exact.embed_chunks(texts)).sum(axis=1)
    assert cosines.min() > 0.995
    assert cosines.min() < 1 - 1e-7  # it is another arithmetic


def test_prompts_in_the_files_reach_the_ids(tiny: Path) -> None:
    """As the library reads them."""
    assert (
        json.loads((tiny / "config_sentence_transformers.json").read_text())["prompts"]["query"] == "query: "
    )
    model = SentenceTransformerModel.from_folder(tiny)
    (ids,) = model._ids_of(["basil"], model.spec.query_prompt)
    assert [_WORDS[i] for i in ids] == ["[CLS]", "query", ":", "basil", "[SEP]"]
