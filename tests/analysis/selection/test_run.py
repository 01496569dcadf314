"""A selection on a corpus: with judgements, with few, with none; what is served, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.judgements import Judgements
from analysis.selection.costs.budget import Budget
from analysis.selection.deciding.decision import decide_options
from analysis.selection.deciding.gate import read_gate
from analysis.selection.outcome import Selection
from analysis.selection.run import Wishes, select_corpus
from analysis.selection.scoring.legs import corpus_legs
from analysis.selection.scoring.scoreboard import measure
from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.errors import InputError, JudgementsError
from retriever.records import LEXICAL, Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

MODELS = {name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 48), ("b", 32), ("c", 8))}
WORDS = [f"word{i}" for i in range(80)]
N_DOCUMENTS = 40
QUICK = Wishes(costs=False)


def text(rng: np.random.Generator, words: int) -> str:
    return " ".join(str(word) for word in rng.choice(WORDS, size=words))


def documents() -> list[Document]:
    rng = np.random.default_rng(2)
    sentences = [[text(rng, 7).capitalize() + "." for _ in range(4)] for _ in range(N_DOCUMENTS)]
    return [Document(doc_id=f"d{i}", text=" ".join(some)) for i, some in enumerate(sentences)]


@pytest.fixture(scope="module")
def judgements() -> Judgements:
    """Queries are half of the words of the document that answers them."""
    rng = np.random.default_rng(3)
    asked = {f"q{i}": documents()[i].text.split() for i in range(30)}
    return Judgements(
        queries={query: " ".join(rng.choice(words, size=6)) for query, words in asked.items()},
        qrels={f"q{i}": {f"d{i}": 1} for i in range(30)},
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents(), store, "c", models=list(MODELS.values()), chunks=ChunkSettings(max_tokens=64))
    with Corpus.open(store, "c") as corpus:
        yield corpus


@pytest.fixture(scope="module")
def judged(corpus: Corpus, judgements: Judgements) -> Selection:
    return select_corpus(corpus, judgements=judgements, models=MODELS, wishes=QUICK)


def by_label(selection: Selection) -> dict[str, float]:
    return {row.option.label: row.measured.estimate for row in selection.rows if row.measured is not None}


def test_every_option_of_the_issue_is_in_the_table(judged: Selection) -> None:
    labels = set(by_label(judged))
    assert {"a", "b", "c", LEXICAL} <= labels
    for how in ("equal", "calibrated", "quality", "tuned", "rrf", "dbsf"):
        assert f"a+b ({how})" in labels
    assert "a+b+bm25 (calibrated)" in labels
    assert any(len(row.option.legs) == 3 and LEXICAL not in row.option.legs for row in judged.rows) or any(
        row.option.label.startswith("a+b+bm25 (") for row in judged.rows
    )
    assert len(labels) == len(judged.rows)


def test_what_is_measured_is_what_the_scoreboard_measures(
    corpus: Corpus, judgements: Judgements, judged: Selection
) -> None:
    fixed = [row.option for row in judged.rows if row.option.weighting != "tuned"]
    with corpus_legs(corpus, ["a", "b", "c"], judgements.texts, with_lexical=True, models=MODELS) as legs:
        found = measure(legs.legs, fixed, legs.documents, judgements)
    values = by_label(judged)
    for one in found:
        assert values[one.label] == pytest.approx(one.mean)


def test_the_verdict_counts_all_that_was_looked_at(judged: Selection) -> None:
    assert judged.verdict is not None
    assert judged.verdict.n_options == len([row for row in judged.rows if not row.option.is_single])
    assert judged.verdict.sentence in judged.sentence
    again = decide_options(judged.verdict.measured, rng=np.random.default_rng(0))
    assert again.decision == judged.verdict.decision


def test_the_same_seed_gives_the_same_selection(
    corpus: Corpus, judgements: Judgements, judged: Selection
) -> None:
    again = select_corpus(corpus, judgements=judgements, models=MODELS, wishes=QUICK)
    assert again.to_json() == judged.to_json()


def test_without_judgements_there_is_a_guess_that_is_called_so(
    corpus: Corpus, judgements: Judgements
) -> None:
    found = select_corpus(corpus, queries=judgements.queries, models=MODELS, wishes=QUICK)
    assert found.verdict is None
    assert not found.is_decided
    assert found.sentence.startswith("No query is judged, so this is a guess: ")
    assert found.queries == 30
    assert found.judged_queries == 0
    assert all(row.measured is None for row in found.rows)
    assert found.recommended.is_deployable
    assert found.quality["a"] > found.quality["c"]  # 48 dimensions hold more of the words than 8


def test_without_queries_chunks_of_the_corpus_take_their_place(corpus: Corpus) -> None:
    found = select_corpus(corpus, wishes=QUICK)  # nothing is embedded, so no model is needed
    assert found.made_queries
    assert found.queries == corpus.count_chunks()
    assert found.quality["a"] > found.quality["c"]


def test_queries_that_are_documents_can_be_kept_from_finding_themselves_without_judgements_too(
    corpus: Corpus,
) -> None:
    queries = {document.doc_id: document.text for document in documents()}
    judgements = Judgements(queries=queries, qrels={query: {"d0": 1} for query in queries})
    wishes = replace(QUICK, drop_own=True)
    kept, dropped = (
        select_corpus(corpus, queries=queries, models=MODELS, wishes=how) for how in (QUICK, wishes)
    )
    judged = select_corpus(corpus, judgements=judgements, models=MODELS, wishes=wishes)
    assert dropped.quality == judged.quality
    assert dropped.quality["c"] < kept.quality["c"]
    assert dropped.queries == len(queries)


def test_a_corpus_of_one_document_says_nothing_of_itself(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    one = Document(doc_id="book", text=" ".join(document.text for document in documents()))
    ingest([one], store, "c", models=list(MODELS.values()), chunks=ChunkSettings(max_tokens=32))
    with (
        Corpus.open(store, "c") as corpus,
        pytest.raises(InputError, match=r"two documents, .* got book alone"),
    ):
        select_corpus(corpus, wishes=QUICK)


def test_a_gate_with_a_confidence_of_its_own_gives_all_intervals_that_one(
    corpus: Corpus, judgements: Judgements
) -> None:
    wishes = replace(QUICK, gate=read_gate("gain>=0.5 at 80%"))
    found = select_corpus(corpus, judgements=judgements, models=MODELS, wishes=wishes)
    assert found.verdict is not None
    assert {row.measured.confidence for row in found.rows if row.measured is not None} == {
        found.verdict.confidence
    }


def test_a_budget_keeps_what_costs_too_much_from_being_served(corpus: Corpus, judgements: Judgements) -> None:
    wishes = Wishes(budget=Budget.parse("bytes<=130"))  # b alone has 128, a 192
    found = select_corpus(corpus, judgements=judgements, models=MODELS, wishes=wishes)
    rows = {row.option.label: row for row in found.rows}
    assert rows["b"].is_affordable
    assert not rows["a"].is_affordable
    assert not rows["a+b (calibrated)"].is_affordable
    assert rows[found.recommended.label].is_affordable
    assert found.verdict is not None
    assert {one.label for one in found.verdict.measured} == {
        row.option.label for row in found.rows if row.is_affordable
    }


def test_a_budget_is_not_held_against_costs_that_nobody_measured(
    corpus: Corpus, judgements: Judgements
) -> None:
    wishes = replace(QUICK, budget=Budget.parse("ms<=10"))
    with pytest.raises(InputError, match="budget: expected measured costs"):
        select_corpus(corpus, judgements=judgements, models=MODELS, wishes=wishes)


def test_a_gate_is_checked_on_what_is_served_and_needs_judgements(
    corpus: Corpus, judgements: Judgements
) -> None:
    wishes = replace(QUICK, gate=read_gate("gain>=0.5 at 95%"))
    found = select_corpus(corpus, judgements=judgements, models=MODELS, wishes=wishes)
    assert found.gate is not None
    assert not found.gate.is_met
    with pytest.raises(InputError, match="gate: expected judged queries"):
        select_corpus(corpus, queries=judgements.queries, models=MODELS, wishes=wishes)


def test_one_leg_alone_is_no_choice(corpus: Corpus, judgements: Judgements) -> None:
    with pytest.raises(InputError, match="candidates: expected two models"):
        select_corpus(
            corpus, keys=["a"], judgements=judgements, models=MODELS, wishes=replace(QUICK, lexical=False)
        )
    found = select_corpus(corpus, keys=["a"], judgements=judgements, models=MODELS, wishes=QUICK)
    assert {row.option.label for row in found.rows} == {"a", "bm25", "a+bm25 (calibrated)"}


def test_one_judged_query_is_refused_and_so_are_strangers_judgements(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="at least 4 judged queries"):
        select_corpus(corpus, judgements=Judgements(queries={"q": "word1"}, qrels={"q": {"d1": 1}}))
    others = Judgements(queries=dict.fromkeys("qrst", "word1"), qrels={query: {"x": 1} for query in "qrst"})
    with pytest.raises(JudgementsError):
        select_corpus(corpus, judgements=others, models=MODELS, wishes=QUICK)


def test_the_json_has_every_number_of_the_table(judged: Selection) -> None:
    value = judged.to_json()
    assert len(value["options"]) == len(judged.rows)
    assert value["recommended"]["label"] == judged.recommended.label
    assert value["verdict"]["sentence"] == judged.verdict.sentence if judged.verdict else False
    evidence = judged.evidence()
    assert evidence["selected"] == judged.sentence
    assert evidence["judged_queries"] == 30


def test_a_model_that_agrees_about_as_much_as_a_chosen_one_is_named(
    tmp_path: Path, judgements: Judgements
) -> None:
    sizes = {"a": 48, "b": 48, "c": 48, "far": 8}
    models = {name: FakeModel(f"acme/{name}", dimensions=size) for name, size in sizes.items()}
    store = EmbeddedStore(tmp_path)
    ingest(documents(), store, "c", models=list(models.values()), chunks=ChunkSettings(max_tokens=64))
    with Corpus.open(store, "c") as corpus:
        found = select_corpus(corpus, queries=judgements.queries, models=models, wishes=QUICK)
    left_out = {"a", "b", "c"} - set(found.recommended.models)
    (told,) = [warning for warning in found.warnings if "toss-up" in warning]
    assert len(left_out) == 1
    assert all(f"{key} ({found.quality[key]:.3f})" in told for key in left_out)
    assert "far" not in told


def test_where_models_agree_unlike_nothing_is_a_toss_up(corpus: Corpus, judgements: Judgements) -> None:
    found = select_corpus(corpus, queries=judgements.queries, models=MODELS, wishes=QUICK)
    assert not any("toss-up" in warning for warning in found.warnings)
