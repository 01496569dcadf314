"""The demo: its questions are sound, and it goes the whole path with real models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from analysis.judgements import read_judgements
from tandem.demo import QUESTION
from tandem.reference import documents, questions

DATA = Path(str(files("tandem"))) / "questions"
QUERIES, QRELS = DATA / "queries.jsonl", DATA / "qrels" / "test.tsv"
THESE_TOPICS = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the questions are about the topics of Python 3.11"
)


# ── the questions ────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_enough_questions_and_none_comes_twice() -> None:
    judgements = read_judgements(QUERIES, QRELS)
    assert len(judgements.queries) >= 60
    assert judgements.unjudged == 0
    assert len({text.casefold() for text in judgements.texts}) == len(judgements.texts)


def test_every_question_is_answered_in_full_by_some_topic() -> None:
    for query_id, grades in read_judgements(QUERIES, QRELS).qrels.items():
        assert set(grades.values()) <= {1, 2}, query_id
        assert 2 in grades.values(), query_id


@THESE_TOPICS
def test_every_judged_topic_exists_and_every_topic_answers_a_question() -> None:
    qrels = read_judgements(QUERIES, QRELS).qrels
    assert {topic for grades in qrels.values() for topic in grades} <= set(topics)
    assert {topic for grades in qrels.values() for topic, grade in grades.items() if grade == 2} == set(
        topics
    )


def test_the_description_counts_what_is_there() -> None:
    judgements = read_judgements(QUERIES, QRELS)
    counts = Counter(grade for grades in judgements.qrels.values() for grade in grades.values())
    text = " ".join((DATA / "README.md").read_text(encoding="utf-8").split())
    assert f"{len(judgements.queries)} questions, {counts.total()} judgements" in text
    assert f"({counts[2]} of grade 2, {counts[1]} of grade 1)" in text


@THESE_TOPICS
def test_all_questions_are_asked_where_all_topics_are_there() -> None:
    judgements, left_out = questions(set(topics))
    assert left_out == 0
    assert judgements == read_judgements(QUERIES, QRELS)


def test_a_question_is_left_out_where_a_topic_that_answers_it_is_missing() -> None:
    every = read_judgements(QUERIES, QRELS)
    judged = {topic for grades in every.qrels.values() for topic in grades}
    for lost in ("lambda", "with", "naming"):
        judgements, left_out = questions(judged - {lost})
        full = {query_id for query_id, grades in every.qrels.items() if grades.get(lost) == 2}
        part = {query_id for query_id, grades in every.qrels.items() if grades.get(lost) == 1}
        assert left_out == len(full) > 0
        assert set(judgements.queries) == set(every.queries) - full
        for query_id in part:  # still asked, by what else answers it
            assert judgements.qrels[query_id] == {
                topic: grade for topic, grade in every.qrels[query_id].items() if topic != lost
            }


def test_the_documents_are_the_topics_of_this_python() -> None:
    found = list(documents())
    assert {document.doc_id: document.text for document in found} == topics
    assert [document.doc_id for document in found] == sorted(topics)
    assert all(document.metadata["title"] for document in found)


# ── the whole path ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run `tandem demo` in a folder of its own, that is kept from run to run."""
    folder = tmp_path_factory.mktemp("demo")

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", "import tandem.cli; tandem.cli.main()", "demo", *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "80", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ""
        return ran.stdout

    return run


def test_the_demo_measures_deploys_and_answers_and_embeds_nothing_again(demo: Callable[..., str]) -> None:
    first = demo()
    assert f"Documents: {len(topics)} new, 0 changed, 0 unchanged, 0 failed." in first
    for words in ("CKA", "Jaccard@10", "RankSim@10", "NDCG@10", "gain over best"):
        assert words in first
    assert re.search(r"│ A\*? +│ 1\.00 +│ +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] │", first)
    (verdict,) = re.findall(r"^Verdict: (.+)$", first, re.MULTILINE)
    (serving,) = re.findall(r"^Serving (.+)\.$", first, re.MULTILINE)
    assert (" alone" in serving) == (not verdict.startswith("Deploy"))
    assert f"Question: {QUESTION}" in first
    check_answer(first)

    second = demo()
    assert f"Documents: 0 new, 0 changed, {len(topics)} unchanged, 0 failed." in second
    assert "Written: 0 chunks, 0 tokens" in second
    assert f"Verdict: {verdict}" in second
    assert f"Serving {serving}." in second

    asked = demo("--ask", "How do I catch several kinds of exceptions at once?", "--top-k", "2")
    assert "Ingest" not in asked
    assert "Question: How do I catch several kinds of exceptions at once?" in asked
    answers = check_answer(asked)
    assert len(answers) == 2
    assert {"try", "compound"} & set(answers)  # the second repeats the first


def check_answer(text: str) -> list[str]:
    """Check that each hit shows a score that is the sum of its contributions, its topic and its text."""
    hits = re.findall(r"^\d\. (0\.\d{3}) = (.+)\ntopic '([\w-]+)'\n(\S.*)$", text, re.MULTILINE)
    for score, shares, topic, _ in hits:
        parts = [float(share.split(" ")[0]) for share in shares.split(" + ")]
        assert sum(parts) == pytest.approx(float(score), abs=1.1e-3)
        assert topic in topics
    assert hits
    return [topic for _, _, topic, _ in hits]
