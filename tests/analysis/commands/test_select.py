"""`tandem select` on the handbook of the examples with two real models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.models import load_model
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUERIES, QRELS = EXAMPLES / "handbook-queries.jsonl", EXAMPLES / "handbook-qrels.tsv"
A, B = "all-MiniLM-L6-v2", "word-llama-l2-supercat-256"
JUDGED = ("--queries", QUERIES, "--qrels", QRELS)

Command = Callable[..., Any]


@pytest.fixture
def select(command: Command, store: Path, tmp_path: Path) -> Command:
    """Run the command on a store of its own: it may deploy."""
    own = tmp_path / "store"
    shutil.copytree(store, own)

    def run(*arguments: str | Path) -> Any:
        return command("select", "--corpus", "handbook", "--store", own, "--no-cost", *arguments)

    return run


def served(tmp_path: Path) -> Any:
    with Corpus.open(EmbeddedStore(tmp_path / "store"), "handbook") as corpus:
        return corpus.served


def test_judged_queries_give_a_verdict_with_its_figures(select: Command) -> None:
    shown, told = select(*JUDGED), select(*JUDGED, "--json").json
    assert shown.status == 0, shown.err
    assert f"A = {A}\nB = {B}\n" in shown.out
    assert f"Verdict: {told['sentence']}" in shown.out
    assert told["verdict"]["options"] == len(told["options"]) - 2
    assert {"bm25", f"{A}+{B} (rrf)", f"{A}+{B} (tuned)", f"{A}+{B}+bm25 (calibrated)"} <= {
        option["label"] for option in told["options"]
    }
    assert "\\[" not in shown.out


def test_without_judgements_the_answer_is_called_a_guess(select: Command) -> None:
    shown = select("--queries", QUERIES)
    assert shown.status == 0, shown.err
    assert "No query is judged, so this is a guess: " in shown.out
    told = select("--json").json
    assert told["made_queries"]
    assert told["verdict"] is None
    assert told["recommended"]["deployable"]


def test_what_is_recommended_is_served_with_its_evidence(select: Command, tmp_path: Path) -> None:
    told = select(*JUDGED, "--deploy", "--json").json
    deployment = served(tmp_path)
    assert deployment is not None
    assert list(deployment.legs) == told["recommended"]["legs"]
    assert list(deployment.shares.values()) == pytest.approx(told["recommended"]["weights"])
    assert deployment.evidence["selected"] == told["sentence"]
    assert told["deployed"]["evidence"]["selected"] == told["sentence"]


def test_a_gate_that_is_not_met_sets_the_status_and_deploys_nothing(select: Command, tmp_path: Path) -> None:
    found = select(*JUDGED, "--gate", "gain>=0.9 at 95%", "--deploy")
    assert found.status == 6
    assert "Gate gain>=0.9 at 95% not met" in found.out + found.err
    assert served(tmp_path) is None
    met = select(*JUDGED, "--gate", "ndcg>=0.2 at 90%")
    assert met.status == 0, met.err
    assert "Gate ndcg>=0.2 at 90% met" in met.out
    assert "half the 90% interval" in met.out


def test_a_gate_is_about_what_would_be_deployed(select: Command, tmp_path: Path) -> None:
    """The verdict is open, and the best guess is a pair; its bound counts, not that of the best single."""
    found = select(*JUDGED, "--gate", "gain>=0 at 95%", "--deploy", "--json")
    told = found.json
    assert told["verdict"]["decision"] == "not enough evidence"
    assert told["recommended"]["label"] != told["verdict"]["best_single"]["label"]
    assert told["gate"]["sentence"].startswith(
        f"Gate gain>=0 at 95% not met: {told['recommended']['label']} gains "
    )
    assert found.status == 6
    assert served(tmp_path) is None


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ((*JUDGED, "--gate", "gain>=0.01 at 95%", "--deploy"), "--gate"),
        (("--deploy",), "--deploy"),
        ((*JUDGED, "--drop-own"), "--drop-own"),
    ],
)
def test_what_a_screening_cannot_do_is_refused_before_it(
    select: Command, tmp_path: Path, asked: tuple[str | Path, ...], option: str
) -> None:
    with Corpus.open(EmbeddedStore(tmp_path / "store"), "handbook") as corpus:
        corpus.drop_model(B)
    found = select("--candidates", f"{A},wordllama", "--no-bm25", *asked)
    assert found.status == 2
    assert f"{option}: expected " in found.err
    assert "wordllama" in found.err
    assert "screening on a sample" not in found.err


def test_a_gate_without_judgements_and_a_wrong_one_are_usage_errors(select: Command) -> None:
    assert select("--gate", "gain>=0.01 at 95%").status == 2
    assert select(*JUDGED, "--gate", "gain is good").status == 2
    assert select("--qrels", QRELS).status == 2
    wrong = select("--over-length", "maybe")
    assert (wrong.status, "expected one of refuse, windows, got 'maybe'" in wrong.err) == (2, True)


@pytest.mark.parametrize("also", [[], ["--plan"], ["--deploy"]])
def test_a_mistyped_candidate_is_named_before_anything_is_sampled(select: Command, also: list[str]) -> None:
    found = select("--candidates", f"{A},word-llama-l2-supercat-265", *also)
    assert found.status == 2
    assert f"expected models of corpus 'handbook' ({A}, {B})" in found.err
    assert f"got 'word-llama-l2-supercat-265'. Did you mean '{B}'?" in found.err
    assert "screening" not in found.err


def test_a_plan_says_what_would_be_done_and_does_nothing(select: Command, tmp_path: Path) -> None:
    told = select("--plan", "--json").json
    assert told["corpus"] == "handbook"
    assert told["options"] > 2
    assert [model["stored"] for model in told["models"]] == [True, True]
    assert served(tmp_path) is None
    shown = select("--plan")
    assert shown.status == 0
    assert "options to measure" in " ".join(shown.out.split())


def test_a_plan_reads_over_length_as_the_selection_does(command: Command, tmp_path: Path) -> None:
    documents = [
        Document(doc_id=f"d{i}", text=f"Chapter {i}. " + "The sea is wide. " * 100) for i in range(3)
    ]
    models = [load_model("wordllama")]
    ingest(documents, EmbeddedStore(tmp_path), "long", models=models, chunks=ChunkSettings(max_tokens=400))
    arguments = (
        "--corpus",
        "long",
        "--store",
        tmp_path,
        "--candidates",
        "wordllama,minilm",
        "--plan",
        "--json",
    )
    problems = {
        choice: command("select", *arguments, "--over-length", choice).json["models"][1]["problem"]
        for choice in ("refuse", "windows")
    }
    assert "expected chunks of at most 256 tokens" in problems["refuse"]
    assert problems["windows"] is None


def test_published_scores_are_shown_and_do_not_decide(select: Command, tmp_path: Path) -> None:
    scores = tmp_path / "published.csv"
    rows = [f"sentence-transformers/{A},nq,0.4", f"sentence-transformers/{A},fiqa,0.5", "other,nq,0.9"]
    scores.write_text("\n".join(["model,dataset,ndcg_at_10", *rows]) + "\n", encoding="utf-8")
    plain, told = select("--json").json, select("--published", scores, "--json").json
    assert told["published"] == {A: pytest.approx(0.45)}
    assert told["recommended"] == plain["recommended"]
    assert "Published, mean over common tasks: A 0.450." in select("--published", scores).out


def test_three_legs_are_few_judges_and_that_is_said(select: Command) -> None:
    told = select("--json").json
    assert any(warning.startswith("Only 3 legs have judged one another") for warning in told["warnings"])
    assert not any("Only 3" in warning for warning in select(*JUDGED, "--json").json["warnings"])


def test_bm25_can_be_left_out(select: Command) -> None:
    told = select(*JUDGED, "--no-bm25", "--json").json
    assert not any("bm25" in option["label"] for option in told["options"])


def test_the_json_is_one_object_and_nothing_else(select: Command) -> None:
    found = select(*JUDGED, "--json", "--quiet")
    assert json.loads(found.out)["corpus"] == "handbook"
    assert not found.err
