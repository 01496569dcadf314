"""`tandem evaluate` on the handbook of the examples with two real models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest import ingest, open_source
from retriever.models import load_model
from retriever.store.embedded import EmbeddedStore

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUERIES, QRELS = EXAMPLES / "handbook-queries.jsonl", EXAMPLES / "handbook-qrels.tsv"
N_QUERIES = len(QUERIES.read_text(encoding="utf-8").splitlines())
A, B = "all-MiniLM-L6-v2", "word-llama-l2-supercat-256"

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    models = [load_model("minilm"), load_model("wordllama")]
    ingest(open_source(EXAMPLES / "handbook"), EmbeddedStore(folder), "handbook", models=models)
    return folder


@pytest.fixture
def evaluate(command: Command, store: Path) -> Command:
    def run(*arguments: str | Path, queries: Path = QUERIES, qrels: Path = QRELS) -> Any:
        on = ("--corpus", "handbook", "--store", store, "--queries", queries, "--qrels", qrels)
        return command("evaluate", *on, *arguments)

    return run


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d\.\d{3}", line)]


def test_the_tables_and_the_verdict_have_the_numbers_of_the_json(evaluate: Command) -> None:
    shown, told = evaluate(), evaluate("--json").json
    assert shown.status == 0, shown.err
    assert f"A = {A}\nB = {B}\n" in shown.out
    assert f"Verdict: {told['verdict']['sentence']}" in shown.out
    assert f"{N_QUERIES} judged queries, 8 documents, 8 chunks" in " ".join(shown.out.split())

    (similarity,) = told["similarities"]
    (row,) = [line for line in shown.out.splitlines() if "A‖B" in line and "[" not in line]
    values = [similarity[name] for name in ("cka", "cka_debiased", "jaccard@8", "rank_similarity@8")]
    assert numbers(row) == pytest.approx(values, abs=5e-4)

    rows = [line for line in shown.out.splitlines() if "[" in line and "│" in line]
    gains = {f"{gain['name']} ({gain['weighting']})": gain["gain"] for gain in told["verdict"]["gains"]}
    assert len(rows) == len(told["candidates"]) == 4
    for row, candidate in zip(rows, told["candidates"], strict=True):
        label = candidate["name"]
        label += f" ({candidate['weighting']})" if "+" in label else ""
        interval = told["intervals"][label]
        assert interval["estimate"] == pytest.approx(candidate["ndcg@10"])
        per_query = candidate["per_query"]["ndcg@10"]
        assert candidate["ndcg@10"] == pytest.approx(sum(per_query) / len(per_query))
        expected = [interval["estimate"], interval["low"], interval["high"]]
        if label in gains:
            expected += [gains[label]["estimate"], gains[label]["low"], gains[label]["high"]]
        assert numbers(row) == pytest.approx(expected, abs=5e-4)


def test_the_handbook_is_found_in_by_both_models(evaluate: Command) -> None:
    told = evaluate("--json").json
    quality = {candidate["name"]: candidate["ndcg@10"] for candidate in told["candidates"]}
    assert quality[A] > 0.85
    assert quality[B] > 0.7
    assert len(told["queries"]) == told["verdict"]["queries"] == N_QUERIES
    assert told["verdict"]["decision"] in {"deploy", "do not combine", "not enough evidence"}


def test_the_same_seed_gives_the_same_intervals(evaluate: Command) -> None:
    first, again, other = (evaluate("--json", "--seed", seed).json for seed in ("1", "1", "2"))
    assert first == again
    assert first["verdict"] != other["verdict"]
    assert first["candidates"] == other["candidates"]


def test_one_model_is_measured_without_a_pair(evaluate: Command) -> None:
    shown = evaluate("--models", "wordllama")
    assert shown.status == 0, shown.err
    assert "How alike" not in shown.out
    assert "do not combine" in shown.out.lower()
    told = evaluate("--models", "wordllama", "--json").json
    assert [candidate["name"] for candidate in told["candidates"]] == [B]
    assert told["similarities"] == []


def test_what_lowers_the_figures_is_noted(evaluate: Command, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.tsv"
    lines = QRELS.read_text(encoding="utf-8").splitlines()
    qrels.write_text("\n".join([*lines[:6], "h01\tlost.md\t2"]), encoding="utf-8")
    shown = evaluate(qrels=qrels)
    assert shown.status == 0
    assert f"note: queries left out, because they have no judgements: {N_QUERIES - 4}." in shown.err
    assert "note: judged documents that the corpus lacks, which lowers every NDCG: 1 (lost.md)." in shown.err
    told = evaluate("--json", qrels=qrels)
    assert len(told.json["queries"]) == 4
    assert told.json["documents"] == 8


def test_qrels_of_queries_that_are_missing_are_refused(evaluate: Command, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text("\n".join(QUERIES.read_text(encoding="utf-8").splitlines()[2:]), encoding="utf-8")
    ran = evaluate(queries=queries)
    assert ran.status == 2
    assert (
        f"error: {QRELS}: expected judgements of the queries in {queries}, got 2 (h01, h02) missing"
        in ran.err
    )
    assert ran.out == ""


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no such queries": (("--queries", "none.jsonl"), "none.jsonl: expected a file"),
    "a folder as qrels": (("--qrels", "."), ".: expected a file, got: Is a directory"),
    "a broken query": (("--queries", "broken.jsonl"), "broken.jsonl, line 2: expected one JSON object"),
    "a broken judgement": (("--qrels", "broken.tsv"), "broken.tsv, line 3: expected an integer as grade"),
    "judgements of other documents": (("--qrels", "other.tsv"), "expected documents of this corpus"),
    "no such model": (("--models", "other"), "got 'other'"),
    "no such corpus": (("--corpus", "none"), "expected a corpus 'none', found handbook"),
    "too much confidence": (("--confidence", "2"), "confidence"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_with_2(
    evaluate: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "broken.jsonl").write_text(json.dumps({"_id": "h01", "text": "a"}) + "\n{", encoding="utf-8")
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "broken.tsv").write_text(header + "h01\taccess-keys.md\t2\nh01\troles.md\tgood")
    (tmp_path / "other.tsv").write_text(header + "h01\telsewhere.md\t2")
    ran = evaluate(*arguments)
    assert ran.status == 2
    assert message in ran.err
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""
