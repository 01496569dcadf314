"""Published scores are read as they are written, and compared on the same tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.selection.evidence import published_quality, read_published
from retriever.errors import InputError

ROWS = [
    {"model": "BAAI/bge-small-en-v1.5", "task": "nq", "ndcg_at_10": 0.5},
    {"model": "BAAI/bge-small-en-v1.5", "task": "fiqa", "ndcg_at_10": 0.4},
    {"model": "e5-small-v2", "task": "nq", "ndcg_at_10": 0.6},
]
SCORES = {"BAAI/bge-small-en-v1.5": {"nq": 0.5, "fiqa": 0.4}, "e5-small-v2": {"nq": 0.6}}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_both_forms_of_json_are_read_alike(tmp_path: Path) -> None:
    lines = ["model,dataset,ndcg_at_10,other"]
    lines += [f"{row['model']},{row['task']},{row['ndcg_at_10']},x" for row in ROWS]
    for column in ("dataset", "task"):
        text = "\ufeff" + "\n".join(lines).replace("dataset", column)
        assert read_published(write(tmp_path, "a.csv", text)) == SCORES
    assert read_published(write(tmp_path, "a.json", json.dumps(ROWS))) == SCORES
    assert read_published(write(tmp_path, "b.JSON", json.dumps(SCORES))) == SCORES


def test_names_are_matched_without_organisation_and_case() -> None:
    assert published_quality(SCORES, ["bge-small-en-v1.5"]) == pytest.approx({"bge-small-en-v1.5": 0.45})
    assert published_quality(SCORES, ["intfloat/E5-Small-v2", "unknown"]) == {"intfloat/E5-Small-v2": 0.6}
    assert published_quality(SCORES, ["unknown"]) == {}


def test_means_are_over_the_tasks_that_all_have() -> None:
    names = ["bge-small-en-v1.5", "e5-small-v2"]
    assert published_quality(SCORES, names) == {"bge-small-en-v1.5": 0.5, "e5-small-v2": 0.6}
    with pytest.raises(InputError, match="expected a task that all of a, b"):
        published_quality({"a": {"x": 0.1}, "b": {"y": 0.1}}, ["a", "b"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "got the columns"),
        ("a.csv", "model,ndcg_at_10\na,0.1", "got the columns model, ndcg_at_10"),
        ("a.csv", "model,task,ndcg_at_10\n", "got none"),
        ("a.csv", "model,task,ndcg_at_10\na,nq,\n", "score 1: expected model, task and score|got ''"),
        ("a.csv", "model,task,ndcg_at_10\na,nq,62.1\n", "from 0 to 1, got '62.1'. Divide"),
        ("a.csv", "model,task,ndcg_at_10\na,nq,high\n", "from 0 to 1, got 'high'"),
        ("a.csv", "model,task,ndcg_at_10\na,nq,nan\n", "from 0 to 1, got 'nan'"),
        ("a.csv", "model,task,ndcg_at_10\na/b,nq,0.1\nB,nq,0.2\n", "expected one score of B on nq, got 0.1"),
        ("a.csv", "model,task,ndcg_at_10\na,nq\n", "score 1: expected model, task and score"),
        ("a.json", "{", "expected JSON"),
        ("a.json", "[1]", "JSON of another form"),
        ("a.json", '{"a": 0.1}', "JSON of another form"),
        ("a.json", '{"a": {"nq": true}}', "got True"),
        ("a.json", '[{"model": "a", "ndcg_at_10": 0.1}]', "score 1: expected model, task and score"),
    ],
)
def test_broken_files_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_published(write(tmp_path, name, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: expected published scores"):
        read_published(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.csv: expected published scores"):
        read_published(tmp_path / "bytes.csv")


def test_the_published_scores_of_the_test_data_are_read(shared: Path) -> None:
    published = read_published(shared / "datasets" / "mteb_scores.csv")
    found = published_quality(published, ["BAAI/bge-small-en-v1.5", "intfloat/e5-small-v2"])
    assert published["bge-small-en-v1.5"]["scifact"] == pytest.approx(0.71, abs=0.02)
    assert 0.4 < found["intfloat/e5-small-v2"] < found["BAAI/bge-small-en-v1.5"] < 0.6
