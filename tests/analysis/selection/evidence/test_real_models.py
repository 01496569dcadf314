"""On real texts the weakest of three real models is the weakest by evidence, too."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.selection.evidence import (
    agreement_quality,
    llm_queries,
    pseudo_quality,
    sentence_quality,
    title_quality,
)
from analysis.selection.scoring.legs import corpus_legs
from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.models import load_model
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore

WEAKEST = "universal-sentence-encoder-lite"
"""NDCG@10 on all of MED: 0.452, where the others have 0.663 and 0.743 (`analysis.evaluate_corpus`)."""

N_DOCUMENTS = 120


def lines(shared: Path, name: str) -> list[dict[str, str]]:
    with tarfile.open(shared / "datasets" / "med.tar.gz") as archive:
        file = archive.extractfile(f"med/{name}.jsonl")
        assert file is not None
        return [json.loads(line) for line in file.read().decode().splitlines()]


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    models = [
        load_model(str(shared / "models" / folder))
        for folder in ("wordllama-l2-supercat-256", WEAKEST, "paraphrase-MiniLM-L3-v2")
    ]
    documents = [
        Document(doc_id=row["_id"], text=row["text"], metadata={"title": " ".join(row["text"].split()[:9])})
        for row in lines(shared, "corpus")[:N_DOCUMENTS]
    ]
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents, store, "med", models=models, chunks=ChunkSettings(max_tokens=128))
    with Corpus.open(store, "med") as corpus:
        yield corpus


def weakest(quality: dict[str, float]) -> str:
    models = [key for key in quality if key != "bm25"]
    assert len(models) == 3
    assert all(0 < quality[key] < 1 for key in quality)
    return min(models, key=quality.__getitem__)


def test_by_agreement_with_the_others_on_real_questions(corpus: Corpus, shared: Path) -> None:
    questions = [row["text"] for row in lines(shared, "queries")]
    with corpus_legs(corpus, corpus.manifest.keys, questions, with_lexical=True) as legs:
        assert weakest(agreement_quality(legs.legs, legs.documents, spreads=legs.spreads)) == WEAKEST


def test_by_first_words_and_by_held_out_sentences(corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    assert weakest(title_quality(corpus, n=40, rng=rng)) == WEAKEST
    assert weakest(sentence_quality(corpus, n=40, rng=rng)) == WEAKEST


def test_questions_that_somebody_else_writes_are_answered(corpus: Corpus) -> None:
    class Answer:
        text = "which disease is described"

    class Writer:
        def complete(self, prompt: str, /) -> Answer:
            assert prompt.endswith("Question:")
            return Answer()

    found = llm_queries(corpus, Writer(), n=3, rng=np.random.default_rng(0))
    assert set(pseudo_quality(corpus, found, with_lexical=False)) == set(corpus.manifest.keys)
