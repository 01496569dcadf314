"""`tandem compare` on the handbook of the examples with two real models, without judgements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.results.folder import read_results

Command = Callable[..., Any]
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def compare(command: Command, store: Path) -> Command:
    def run(*arguments: str | Path) -> Any:
        return command("compare", "--corpus", "handbook", "--store", store, *arguments)

    return run


def test_without_queries_only_cka_is_told_and_it_says_so(compare: Command) -> None:
    shown, told = compare(), compare("--json").json
    assert shown.status == 0, shown.err
    assert "note: without --queries the models are compared by their vectors alone" in shown.err
    (pair,) = told["similarities"]
    assert pair.keys() == {"models", "cka", "cka_debiased"}
    assert f"{pair['cka']:.2f}" in shown.out
    assert f"{pair['cka_debiased']:.2f}" in shown.out.partition("CKA debiased")[2]
    assert "Jaccard" not in shown.out
    assert (told["queries"], told["chunks"], told["documents"]) == (0, 8, 8)


def test_with_queries_what_is_found_is_compared_too(compare: Command, data: Path) -> None:
    queries = data / "handbook" / "queries.jsonl"
    asked = ("--queries", queries, "--k", "3", "--k", "5")
    shown, told = compare(*asked), compare(*asked, "--json").json
    assert shown.status == 0, shown.err
    assert shown.err == ""
    (pair,) = told["similarities"]
    assert {"jaccard@3", "rank_similarity@3", "rank_biased_overlap@5", "kendall_tau@5"} <= pair.keys()
    for heading, name in (("Jaccard@3", "jaccard@3"), ("RankSim@3", "rank_similarity@3"), ("CKA", "cka")):
        after = shown.out.partition(heading)[2]
        assert f"{pair[name]:.2f}" in after[:40]
    assert told["queries"] == len(queries.read_text(encoding="utf-8").splitlines())


def test_a_cutoff_that_takes_in_all_chunks_is_said_to_tell_nothing(compare: Command, data: Path) -> None:
    shown = compare("--queries", data / "handbook" / "queries.jsonl")
    assert "note: the corpus has 8 chunks, and of as many every model finds the same" in shown.err
    assert "Jaccard@8" in shown.out


def test_results_are_written_without_candidates(compare: Command, data: Path) -> None:
    ran = compare("--queries", data / "handbook" / "queries.jsonl", "--out", "out", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    (collection,) = read_results("out").collections
    assert collection.evaluation.singles == collection.evaluation.pairs == ()
    assert collection.facts.qrels_hash == ""
    assert len(collection.query_texts) == len(collection.evaluation.query_ids) > 0
    assert {path.name for path in Path("out", "figures").iterdir()} == {
        f"{stem}.{ending}" for stem in ("figure1", "similarity_handbook") for ending in ("svg", "png")
    }


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "cutoffs without queries": (("--k", "3"), "--k: expected --queries as well"),
    "one model": (("--models", "minilm"), "two"),
    "no such queries": (("--queries", "none.jsonl"), "none.jsonl: expected a file"),
    "no such model": (("--models", "other,minilm"), "got 'other'"),
    "a folder that is in the way": (("--out", "."), ".: expected a new folder, or one with results"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused_with_2(
    compare: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    ran = compare(*arguments, "--quiet")
    assert ran.status == 2
    assert message in ran.err
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""


def test_a_question_that_is_a_document_can_be_kept_from_finding_itself(
    compare: Command, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.jsonl"
    lines = [
        json.dumps({"_id": path.name, "text": path.read_text(encoding="utf-8")})
        for path in sorted((EXAMPLES / "handbook").iterdir())
    ]
    queries.write_text("\n".join(lines), encoding="utf-8")
    asked = ("--queries", queries, "--k", "1", "--json")
    kept, dropped = (
        compare(*asked, *more).json["similarities"][0]["jaccard@1"] for more in ((), ("--drop-own",))
    )
    assert kept == 1
    assert dropped < 1


def test_dropping_own_hits_without_queries_is_refused(compare: Command) -> None:
    refused = compare("--drop-own")
    assert refused.status == 2
    assert "--drop-own: expected --queries as well, got none." in refused.err
