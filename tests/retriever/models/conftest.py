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
