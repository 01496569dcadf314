"""`tandem evaluate` on the handbook of the examples with two real models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import pytest

from analysis.results.folder import read_results

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUERIES, QRELS = EXAMPLES / "handbook-queries.jsonl", EXAMPLES / "handbook-qrels.tsv"
N_QUERIES = len(QUERIES.read_text(encoding="utf-8").splitlines())
A, B = "all-MiniLM-L6-v2", "word-llama-l2-supercat-256"

Command = Callable[..., Any]


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


def test_a_confidence_is_told_as_it_is(evaluate: Command) -> None:
    assert "in brackets: 97.5% intervals" in evaluate("--confidence", "0.975").out
    assert "in brackets: 99.9% intervals" in evaluate("--confidence", "0.999").out


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
    told = evaluate("--json", "--quiet", qrels=qrels)
    assert told.err == ""
    assert told.json["unknown_documents"] == ["lost.md"]
    assert told.json["unjudged_queries"] == N_QUERIES - 4
    assert len(told.json["queries"]) == 4
    assert told.json["documents"] == 8


def test_further_weights_cutoffs_and_measures_are_measured_and_shown(evaluate: Command) -> None:
    asked = ("--grid", "0.9,0.3", "--k", "5", "--k", "3")
    told = evaluate(*asked, "--json").json
    explicit = [one["weights"][0] for one in told["candidates"] if one["weighting"] == "explicit"]
    assert explicit == [0.3, 0.9]
    assert {"jaccard@5", "rank_biased_overlap@5", "jaccard@3"} <= told["similarities"][0].keys()
    shown = evaluate(*asked, "--measure", "recall@10", "--measure", "mrr@10")
    assert shown.status == 0, shown.err
    assert "Jaccard@5" in shown.out
    rows = [line for line in shown.out.splitlines() if "[" in line and "│" in line]
    assert "recall@10" in shown.out
    for row, candidate in zip(rows, told["candidates"], strict=True):
        assert numbers(row)[-2:] == pytest.approx([candidate["recall@10"], candidate["mrr@10"]], abs=5e-4)


def test_one_best_chunk_and_the_mean_of_many_are_the_same_for_documents_of_one_chunk(
    evaluate: Command,
) -> None:
    first, second = (evaluate("--json", "--aggregate", m).json["candidates"] for m in ("1", "3"))
    assert first == second


def test_results_are_written_and_can_be_read(evaluate: Command) -> None:
    ran = evaluate("--out", "out", "--json", "--seed", "7", "--cost")
    assert ran.status == 0, ran.err
    assert "written: out" in ran.err
    results = read_results("out")
    (collection,) = results.collections
    for got, told in zip(
        (*collection.evaluation.singles, *collection.evaluation.pairs), ran.json["candidates"], strict=True
    ):
        assert got.ndcg.tolist() == told["per_query"]["ndcg@10"]
    assert results.settings.seed == 7
    assert collection.facts.chunks == 8
    for model in results.models:
        assert model.seconds_per_1000_chunks is not None
        assert model.seconds_per_1000_chunks > 0
        assert model.milliseconds_per_query is not None
    assert results.versions.keys() >= {"python", "numpy", "torch", "tandem-rag"}
    assert Path("out", "figures", "figure2_calibrated.svg").exists()
    again = evaluate("--out", "out")
    assert (again.status, again.out) == (2, "")
    assert "out: expected a new folder, got one that holds results" in again.err
    assert evaluate("--out", "out", "--overwrite", "--no-figures", "--quiet").err == ""
    assert not Path("out", "figures").exists()


def test_runs_are_measured_alike_by_another_tool(evaluate: Command) -> None:
    ran = evaluate("--trec", "runs", "--grid", "0.25", "--json")
    assert ran.status == 0, ran.err
    qrels = list(ir_measures.read_trec_qrels("runs/qrels.txt"))
    names = [f"{A}", f"{B}", f"{A}+{B}.equal", f"{A}+{B}.calibrated", f"{A}+{B}.0.25"]
    assert {path.name for path in Path("runs").iterdir()} == {"qrels.txt", *(f"{name}.run" for name in names)}
    for name, candidate in zip(names, ran.json["candidates"], strict=True):
        run = list(ir_measures.read_trec_run(f"runs/{name}.run"))
        found = {
            one.query_id: one.value for one in ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run)
        }
        expected = dict(zip(ran.json["queries"], candidate["per_query"]["ndcg@10"], strict=True))
        assert found == pytest.approx(expected, abs=1e-9), name
    again = evaluate("--trec", "runs")
    assert (again.status, again.out) == (2, "")
    assert "runs: expected a new folder" in again.err


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
    "a cutoff beyond the chunks": (("--k", "9"), "9"),
    "a weight that is none": (("--grid", "0.1,much"), "--grid: expected numbers"),
    "a weight out of range": (("--grid", "1.5"), "1.5"),
    "an unknown measure": (("--measure", "f1"), "--measure: expected one of ndcg@10"),
    "a folder that is in the way": (("--out", "."), ".: expected a new folder, or one with results"),
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


def test_queries_without_anything_relevant_are_counted(evaluate: Command, tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    texts = {"q1": "keys", "q2": "invoices"}
    queries.write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()),
        encoding="utf-8",
    )
    rows = [("query-id", "corpus-id", "score"), ("q1", "access-keys.md", "1"), ("q2", "access-keys.md", "0")]
    qrels.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    shown = evaluate(queries=queries, qrels=qrels)
    assert shown.status == 0, shown.err
    assert "no document is judged relevant, which score 0 whatever is found: 1 of 2." in shown.err
