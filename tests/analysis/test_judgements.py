"""Reading queries and judgements: what is right is read, what is wrong is named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.judgements import Judgements, check_documents, read_judgements, read_qrels, read_queries
from retriever.errors import JudgementsError

HEADER = "query-id\tcorpus-id\tscore\n"


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_queries_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, "queries.jsonl", '{"_id": "b", "text": "two", "metadata": {}}\n{"_id": "a", "text": "one"}'
    )
    assert list(read_queries(path).items()) == [("b", "two"), ("a", "one")]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""], ids=["with a byte order mark", "without"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_line_ends_and_blank_lines_do_not_matter(
    tmp_path: Path, mark: bytes, newline: str
) -> None:
    queries = newline.join(['{"_id": "q", "text": "München"}', "", ""])
    qrels = newline.join(["query-id\tcorpus-id\tscore", "q\td 1\t2", ""])
    judgements = read_judgements(
        written(tmp_path, "queries.jsonl", mark + queries.encode()),
        written(tmp_path, "qrels.tsv", mark + qrels.encode()),
    )
    assert judgements == Judgements(queries={"q": "München"}, qrels={"q": {"d 1": 2}})


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, "queries.jsonl", '{"_id": "q", "text": "one\u2028line"}\n')
    assert read_queries(path) == {"q": "one\u2028line"}


def test_beir_and_trec_qrels_are_told_apart_by_the_header(tmp_path: Path) -> None:
    expected = {"q1": {"a": 1, "b": -1}, "q2": {"a": 0}}
    beir = written(tmp_path, "beir.tsv", HEADER + "q1\ta\t1\nq1\tb\t-1\nq2\ta\t0\n")
    trec = written(tmp_path, "trec.txt", "q1 0 a 1\nq1\t0\tb  -1\nq2 Q0 a 0\n")
    assert read_qrels(beir) == expected
    assert read_qrels(trec) == expected


def test_a_judgement_may_come_twice_with_the_same_grade(tmp_path: Path) -> None:
    assert read_qrels(written(tmp_path, "qrels.tsv", HEADER + "q\ta\t1\nq\ta\t1\n")) == {"q": {"a": 1}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: expected one JSON object, got 'not json'"),
        ('["q", "text"]', "line 2: expected a JSON object"),
        ('{"text": "t"}', "line 2: expected a string that is not empty in the field '_id', got None"),
        ('{"_id": 7, "text": "t"}', "line 2: .* field '_id', got 7"),
        ('{"_id": "q2", "title": "t"}', "line 2: .* field 'text', got None.*'_id', 'title'"),
        ('{"_id": "q2", "text": "  "}', "line 2: .* field 'text', got '  '"),
        ('{"_id": "q1", "text": "again"}', "line 2: expected a new query id, got 'q1' again"),
        (b'{"_id": "q2", "text": "\xff"}', "line 2: expected UTF-8"),
    ],
)
def test_a_broken_query_line_is_an_error_with_its_number(
    tmp_path: Path, line: str | bytes, message: str
) -> None:
    raw = line.encode() if isinstance(line, str) else line
    path = written(tmp_path, "queries.jsonl", b'{"_id": "q1", "text": "t"}\n' + raw + b"\n")
    with pytest.raises(JudgementsError, match=rf"queries\.jsonl, {message}"):
        read_queries(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "q\ta\t1.0\n", "line 2: expected an integer as grade, got '1.0'"),
        (HEADER + "q\ta\t1_0\n", "line 2: expected an integer as grade"),
        (HEADER + "q\ta\n", "line 2: expected query id, document id and grade"),
        (HEADER + "q\t\t1\n", "line 2: expected query id, document id and grade"),
        (HEADER + "q 0 a 1\n", "line 2: expected query id, document id and grade"),
        (HEADER + "q\ta\t1\n\nq\ta\t2\n", "line 4: expected grade 1 of document 'a' for query 'q'.*got 2"),
        ("q\ta\t1\n", "line 1: expected four fields.*the first line must be the header"),
        ("q 0 a 1\nq 0 a\n", "line 2: expected four fields"),
        ("q 0 a x\n", "line 1: expected an integer as grade, got 'x'"),
    ],
)
def test_a_broken_qrels_line_is_an_error_with_its_number(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(JudgementsError, match=rf"qrels\.tsv, {message}"):
        read_qrels(written(tmp_path, "qrels.tsv", content))


@pytest.mark.parametrize("read", [read_queries, read_qrels])
def test_missing_empty_and_unreadable_files_are_errors(tmp_path: Path, read: type) -> None:
    for path in (tmp_path / "missing", tmp_path, written(tmp_path, "empty", "\n")):
        with pytest.raises(JudgementsError, match="expected"):
            read(path)


def test_qrels_with_nothing_but_a_header_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(JudgementsError, match="expected judgements below the header"):
        read_qrels(written(tmp_path, "qrels.tsv", HEADER))


def test_queries_without_judgements_are_left_out_and_counted(tmp_path: Path) -> None:
    queries = written(
        tmp_path, "queries.jsonl", "".join(f'{{"_id": "q{i}", "text": "t{i}"}}\n' for i in range(4))
    )
    qrels = written(tmp_path, "qrels.tsv", HEADER + "q3\ta\t1\nq1\ta\t0\n")
    judgements = read_judgements(queries, qrels)
    assert judgements.query_ids == ("q1", "q3")
    assert judgements.texts == ("t1", "t3")
    assert judgements.unjudged == 2


def test_judged_queries_that_are_missing_are_listed(tmp_path: Path) -> None:
    queries = written(tmp_path, "queries.jsonl", '{"_id": "q", "text": "t"}\n')
    qrels = written(tmp_path, "qrels.tsv", HEADER + "".join(f"x{i}\ta\t1\n" for i in range(7)) + "q\ta\t1\n")
    with pytest.raises(JudgementsError, match=r"7 \(x0, x1, x2, x3, x4, …\) missing"):
        read_judgements(queries, qrels)


@pytest.mark.parametrize(
    ("queries", "qrels"),
    [({}, {}), ({"q": "t"}, {}), ({"q": "t"}, {"q": {}}), ({"q": "t"}, {"q": {"a": 1}, "r": {"a": 1}})],
)
def test_judgements_hold_a_text_and_a_grade_for_every_query(
    queries: dict[str, str], qrels: dict[str, dict[str, int]]
) -> None:
    with pytest.raises(JudgementsError, match="expected"):
        Judgements(queries=queries, qrels=qrels)


def test_judged_documents_that_the_corpus_lacks_are_returned() -> None:
    judgements = Judgements(queries={"q": "t"}, qrels={"q": {"b": 1, "a": 0, "c": 1}})
    assert check_documents(judgements, ["c", "d"]) == ("a", "b")
    assert check_documents(judgements, {"a", "b", "c"}) == ()


def test_judgements_of_another_corpus_are_an_error() -> None:
    judgements = Judgements(queries={"q": "t"}, qrels={"q": {"a": 1}})
    with pytest.raises(JudgementsError, match=r"which has 2, got only others: 1 \(a\)"):
        check_documents(judgements, ["x", "y"])
