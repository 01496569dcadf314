"""A plan says what a selection would cost, and hardly costs anything itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from rich.console import Console

from analysis.selection.plan import plan_selection
from analysis.selection.planning.record import Range, SelectionPlan
from analysis.selection.planning.table import plan_table
from analysis.selection.planning.trial import MEASURED_TEXTS
from analysis.selection.scoring.candidates import enumerate_options
from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import LEXICAL, Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

N_CHUNKS = 90
QUERIES = [f"word{i} word{i + 7}" for i in range(40)]


class Counted(FakeModel):
    """Counts what it embeds."""

    embedded = 0

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        self.embedded += len(texts)
        return super().embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.embedded += len(texts)
        return super().embed_chunks(texts)


STORED = tuple(FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 24), ("b", 16)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    documents = [Document(doc_id=f"d{i}", text=f"word{i} word{2 * i} word{i + 5}") for i in range(N_CHUNKS)]
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents, store, "c", models=STORED, chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as opened:
        yield opened


def planned(
    corpus: Corpus,
    models: Sequence[EmbeddingModel | str],
    queries: Sequence[str] | None = None,
    **options: object,
) -> SelectionPlan:
    rng = np.random.default_rng(1)
    return plan_selection(corpus, models, queries=queries, rng=rng, **options)  # type: ignore[arg-type]


def test_stored_models_embed_queries_and_are_measured_in_all_options(corpus: Corpus) -> None:
    plan = planned(corpus, STORED, QUERIES)
    assert not plan.screens
    assert [model.queries for model in plan.models] == [len(QUERIES)] * 2
    assert all(model.chunks == Range(least=0, most=0) for model in plan.models)
    assert all(model.corpus_seconds == model.corpus_bytes == 0 for model in plan.models)
    alike = {"a": 1.0, "b": 1.0, LEXICAL: 1.0}
    assert plan.options == len(enumerate_options(["a", "b"], alike, quality=alike, lexical=True))
    assert planned(corpus, STORED, lexical=False).options < plan.options
    # Two models of 24 and 16 numbers of four bytes
    assert plan.temporary_bytes == N_CHUNKS * 4 * (24 + 16)


def test_a_model_that_is_not_stored_embeds_a_sample_and_is_said_what_the_corpus_would_cost(
    corpus: Corpus,
) -> None:
    models = [*STORED, FakeModel("acme/new", dimensions=48)]
    plan = planned(corpus, models, QUERIES, smallest=32, largest=64)
    new = plan.models[-1]
    assert plan.screens
    assert (new.key, new.stored, new.chunks) == ("new", False, Range(least=32, most=64))
    assert new.queries == min(len(QUERIES), 64 // 4)
    assert new.corpus_bytes == N_CHUNKS * 4 * 48
    assert new.seconds_per_1000_chunks is not None
    assert new.corpus_seconds == pytest.approx(new.seconds_per_1000_chunks * N_CHUNKS / 1000)
    assert new.seconds is not None
    assert new.seconds.most > new.seconds.least > 0
    assert plan.seconds is not None
    assert plan.seconds.most > sum(model.seconds.most for model in plan.models if model.seconds)


def test_without_queries_chunks_stand_in_and_count(corpus: Corpus) -> None:
    plan = planned(corpus, [*STORED, FakeModel("acme/new")], smallest=32, largest=64)
    stored, _, new = plan.models
    assert (stored.queries, new.queries) == (0, 0)
    assert new.chunks == Range(least=32 + 32 // 4, most=64 + 64 // 4)
    assert plan.option_seconds > 0


def test_a_sample_is_not_larger_than_the_corpus(corpus: Corpus) -> None:
    plan = planned(corpus, [FakeModel("acme/new")])
    assert plan.models[0].chunks == Range(least=N_CHUNKS, most=N_CHUNKS)


@pytest.mark.parametrize("queries", [QUERIES, None], ids=["given", "none"])
def test_each_model_embeds_only_a_handful_of_texts(corpus: Corpus, queries: list[str] | None) -> None:
    model = Counted("acme/new")
    plan = planned(corpus, [model], queries)
    assert model.embedded == plan.embedded == 2 * (MEASURED_TEXTS + 1)
    assert f"at most {plan.embedded} texts" in plan.note


def test_without_measuring_nothing_is_loaded_and_known_paces_count(corpus: Corpus) -> None:
    def load(name: str) -> EmbeddingModel:
        raise AssertionError(name)

    model = Counted("acme/new")
    plan = planned(corpus, [model, "publisher/model"], measure=False, paces={"new": 20.0}, load=load)
    assert model.embedded == plan.embedded == 0
    assert plan.note.startswith("Nothing was embedded")
    given, named = plan.models
    # 20 s per 1,000 chunks by hand
    assert given.corpus_seconds == pytest.approx(20 * N_CHUNKS / 1000)
    assert given.corpus_bytes == N_CHUNKS * 4 * 64
    assert named.corpus_seconds is named.corpus_bytes is named.key is plan.seconds is None


def test_a_known_pace_stands_before_a_measured_one(corpus: Corpus) -> None:
    plan = planned(corpus, [FakeModel("acme/new")], paces={"acme/new": 1e6})
    assert plan.models[0].seconds_per_1000_chunks == 1e6


def test_a_model_that_cannot_take_part_is_named_with_the_reason(corpus: Corpus) -> None:
    plan = planned(corpus, [*STORED, "./nowhere", FakeModel("acme/short", max_tokens=4)])
    problems = {model.name: model.problem for model in plan.models if model.problem}
    assert problems.keys() == {"./nowhere", "acme/short"}
    assert "no such folder" in str(problems["./nowhere"])
    assert "expected chunks of at most 4 tokens" in str(problems["acme/short"])
    assert plan.seconds is not None


def test_a_plan_is_shown_and_written(corpus: Corpus) -> None:
    plan = planned(corpus, [*STORED, FakeModel("acme/new"), "./nowhere"])
    value = json.loads(json.dumps(plan.to_json()))
    assert [model["name"] for model in value["models"]] == ["acme/a", "acme/b", "acme/new", "./nowhere"]
    assert value["seconds"] == [plan.seconds.least, plan.seconds.most] if plan.seconds else False
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(plan_table(plan))
    shown = captured.get()
    for word in ("Selection for corpus c", "acme/new", "stored", "./nowhere: ", plan.note[:30]):
        assert word in shown


def test_nothing_to_plan_is_refused(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="models: expected at least one candidate"):
        planned(corpus, [])
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest([Document(doc_id="d", text="word")], store, "one", models=STORED)
    with Corpus.open(store, "one") as opened:
        opened.delete_documents(["d"])
        with pytest.raises(InputError, match="expected chunks to select models for, got none"):
            planned(opened, STORED)


def test_the_pace_of_a_real_model_is_measured(corpus: Corpus) -> None:
    model = load_model("minilm")
    (planned_model,) = planned(corpus, ["minilm"]).models
    assert planned_model.key == model.spec.key
    assert planned_model.problem is None
    assert planned_model.corpus_seconds is not None
    assert planned_model.corpus_seconds > 0
    assert planned_model.bytes_per_chunk == 4 * 384
