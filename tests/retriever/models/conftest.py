"""Models that several tests share, each loaded once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel

_REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def shared_models() -> Path:
    folder = Path(os.environ.get("TANDEM_SHARED", _REPOSITORY.parent / "shared")) / "models"
    if not folder.is_dir():
        pytest.skip(f"needs the test models in {folder}; set TANDEM_SHARED to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def minilm() -> EmbeddingModel:
    import torch

    torch.set_num_threads(1)  # texts are short: on a busy machine threads wait for each other
    return load_model("minilm")


@pytest.fixture(scope="session")
def wordllama() -> EmbeddingModel:
    return load_model("wordllama")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sentence-transformers model of two small layers with random weights, made here."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    from retriever.models.packaged import PACKAGED, _locate

    folder = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
            initializer_range=0.2, max_position_embeddings=128,
        )  # fmt: skip
        BertModel(config, add_pooling_layer=False).save_pretrained(folder / "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "bert" / name).write_bytes((_locate(PACKAGED["minilm"], "minilm")[0] / name).read_bytes())
    transformer = Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(64, "mean")], device="cpu").save(str(folder / "tiny"))
    return folder / "tiny"


@pytest.fixture(scope="session")
def few_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with just enough text to make and measure a quantised model."""
    from pydoc_data.topics import topics

    path = tmp_path_factory.mktemp("texts") / "few.txt"
    path.write_text(" ".join(" ".join(topics.values()).split()[:1600]), encoding="utf-8")
    return path
