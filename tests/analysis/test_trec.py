"""Runs and qrels in the formats of TREC: written for others, read from others, checked by others."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.judgements import read_qrels
from analysis.measures import ndcg
from analysis.trec import read_run, write_qrels, write_run
from retriever.errors import InputError, JudgementsError

words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=6).filter(
    lambda word: word.split() == [word]
)
scores = st.floats(-(2.0**99), 2.0**99, allow_nan=False, width=32)
runs = st.dictionaries(words, st.dictionaries(words, scores, min_size=1, max_size=8), min_size=1, max_size=4)
all_qrels = st.dictionaries(
    words, st.dictionaries(words, st.integers(-2, 4), min_size=1, max_size=6), min_size=1, max_size=4
)
reusing_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@reusing_a_folder
@given(run=runs)
def test_a_run_is_read_as_it_was_written(run: dict[str, dict[str, float]], tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", run)
    assert read_run(tmp_path / "a.run") == run


@reusing_a_folder
@given(qrels=all_qrels)
def test_qrels_are_read_as_they_were_written(qrels: dict[str, dict[str, int]], tmp_path: Path) -> None:
    write_qrels(tmp_path / "qrels.txt", qrels)
    assert read_qrels(tmp_path / "qrels.txt") == qrels


@reusing_a_folder
@given(run=runs)
def test_lines_stand_in_the_order_in_which_tools_rank(
    run: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    write_run(tmp_path / "a.run", run, tag="mine")
    lines = [line.split() for line in (tmp_path / "a.run").read_text(encoding="utf-8").split("\n")[:-1]]
    for query_id in run:
        found = [
            (float(score), doc, int(rank), tag) for q, _, doc, rank, score, tag in lines if q == query_id
        ]
        assert [rank for _, _, rank, _ in found] == list(range(1, len(found) + 1))
        assert [hit[:2] for hit in found] == sorted((hit[:2] for hit in found), reverse=True)
        assert {tag for *_, tag in found} == {"mine"}


def test_other_tools_measure_what_we_measure(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    documents = [f"d{i}" for i in range(60)]
    run = {  # two decimals: many ties
        f"q{i}": {doc: round(float(score), 2) for doc, score in zip(documents, rng.random(60), strict=True)}
        for i in range(30)
    }
    qrels = {
        f"q{i}": {str(doc): int(rng.integers(-1, 4)) for doc in rng.choice(documents, 12)} for i in range(30)
    }
    write_run(tmp_path / "a.run", run)
    write_qrels(tmp_path / "qrels.txt", qrels)
    ours = ndcg(run, qrels)
    with (
        (tmp_path / "qrels.txt").open(encoding="utf-8") as qrels_file,
        (tmp_path / "a.run").open(encoding="utf-8") as run_file,
    ):
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels_file), {"ndcg_cut.10"})
        theirs = evaluator.evaluate(pytrec_eval.parse_run(run_file))
    assert {query: one["ndcg_cut_10"] for query, one in theirs.items()} == pytest.approx(ours, abs=1e-9)
    measured = ir_measures.iter_calc(
        [ir_measures.nDCG @ 10],
        list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt"))),
        list(ir_measures.read_trec_run(str(tmp_path / "a.run"))),
    )
    assert {one.query_id: one.value for one in measured} == pytest.approx(ours, abs=1e-9)


BROKEN_RUNS = {
    "five fields": ("q Q0 d 1 0.5\n", r"line 1: expected six fields, got 'q Q0 d 1 0.5'"),
    "seven fields": ("q Q0 d 1 0.5 t\nq Q0 a b 1 0.5 t", "line 2: expected six fields"),
    "no number": ("q Q0 d 1 high t", "line 1: expected a finite number as score, got 'high'"),
    "not a number": ("q Q0 d 1 nan t", "line 1: expected a finite number as score, got 'nan'"),
    "infinite": ("q Q0 d 1 1e999 t", "line 1: expected a finite number as score"),
    "a document twice": ("q Q0 d 1 2 t\nq Q0 d 2 1 t", "line 2: expected each document once per query"),
    "nothing": ("\n", "expected one hit per line, got an empty file"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_RUNS.values(), ids=BROKEN_RUNS)
def test_a_broken_run_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.run").write_text(content, encoding="utf-8")
    with pytest.raises(JudgementsError, match=f"a.run.*{message}"):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize("bad", ["", "a b", "a\tb", "a\nb", "a\u00a0b"])
def test_ids_with_white_space_are_refused(tmp_path: Path, bad: str) -> None:
    for run in ({bad: {"d": 1.0}}, {"q": {bad: 1.0}}):
        with pytest.raises(InputError, match="id: expected a word without white space"):
            write_run(tmp_path / "a.run", run)
    with pytest.raises(InputError, match="tag: expected a word"):
        write_run(tmp_path / "a.run", {"q": {"d": 1.0}}, tag=bad)
    for qrels in ({bad: {"d": 1}}, {"q": {bad: 1}}):
        with pytest.raises(InputError, match="id: expected a word without white space"):
            write_qrels(tmp_path / "qrels.txt", qrels)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1e39])
def test_scores_that_are_not_finite_are_refused(tmp_path: Path, score: float) -> None:
    with pytest.raises(InputError, match="run of query 'q': expected finite scores"):
        write_run(tmp_path / "a.run", {"q": {"d": score}})


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file that can be written"):
        write_run(tmp_path / "none" / "a.run", {"q": {"d": 1.0}})
