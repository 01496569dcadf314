"""The handbook of the examples as two corpora with two real models, and its judgements."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ingest import ingest, open_source
from retriever.models import load_model
from retriever.store.embedded import EmbeddedStore

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    models = [load_model("minilm"), load_model("wordllama")]
    for name in ("handbook", "scifact"):
        ingest(open_source(EXAMPLES / "handbook"), EmbeddedStore(folder), name, models=models)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME/queries.jsonl and NAME/qrels/test.tsv of both corpora."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("handbook", "scifact"):
        (folder / name / "qrels").mkdir(parents=True)
        shutil.copy(EXAMPLES / "handbook-queries.jsonl", folder / name / "queries.jsonl")
        shutil.copy(EXAMPLES / "handbook-qrels.tsv", folder / name / "qrels" / "test.tsv")
    return folder
