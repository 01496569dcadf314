"""Queries and relevance judgements, read from the BEIR layout or from TREC qrels.

A broken line is an error with its file and number, never a line skipped in silence: a lost
judgement changes every NDCG without a trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from retriever.errors import JudgementsError

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]

_HEADER = ["query-id", "corpus-id", "score"]
_GRADE = re.compile(r"[+-]?[0-9]+")
_SHOWN = 5
_NOT_READABLE = "Give the path of a file that can be read."


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """Queries and the graded documents of each; both have the same query ids.

    Attributes
    ----------
    queries
        Text by query id, in the order of the file.
    qrels
        Grade by document id by query id. Above 0 is relevant; 0 and below is judged not relevant.
    unjudged
        How many queries were left out because they have no judgements.
    """

    queries: Mapping[str, str]
    qrels: Qrels
    unjudged: int = 0

    def __post_init__(self) -> None:
        _check_ids(self.queries, self.qrels)

    @property
    def query_ids(self) -> tuple[str, ...]:
        """The query ids in order: row i of every array belongs to the i-th."""
        return tuple(self.queries)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the queries, in the order of `query_ids`."""
        return tuple(self.queries.values())


def read_queries(path: str | Path) -> dict[str, str]:
    """Read queries from JSON lines with the fields ``_id`` and ``text``; other fields are ignored.

    Returns
    -------
    dict
        Text by query id, in the order of the file.

    Raises
    ------
    JudgementsError
        If the file cannot be read or has no queries, or a line is not such an object, has an empty
        text or repeats an id.
    """
    queries: dict[str, str] = {}
    for line in lines_of(path):
        query_id, text = _query(line)
        if query_id in queries:
            raise line.error(f"a new query id, got {query_id!r} again", "Remove one of the two lines.")
        queries[query_id] = text
    if not queries:
        raise JudgementsError(f"{path}: expected one query per line, got an empty file. {_NOT_READABLE}")
    return queries


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: tab-separated with the header ``query-id corpus-id score``, or TREC qrels.

    A TREC line is ``query iteration document grade``, separated by white space. A judgement may
    come twice if both times with the same grade.

    Returns
    -------
    dict
        Grade by document id by query id.

    Raises
    ------
    JudgementsError
        If the file cannot be read or has no judgements, or a line has another number of fields, a
        grade that is no integer, or contradicts an earlier line.
    """
    qrels: dict[str, dict[str, int]] = {}
    lines = lines_of(path)
    for line in lines:
        first, beir = line, line.text.split() == _HEADER
        break
    else:
        raise JudgementsError(f"{path}: expected one judgement per line, got an empty file. {_NOT_READABLE}")
    if not beir:
        _add(qrels, first, _trec(first))
    for line in lines:
        _add(qrels, line, _beir(line) if beir else _trec(line))
    if not qrels:
        raise JudgementsError(f"{path}: expected judgements below the header, got none. {_NOT_READABLE}")
    return qrels


def read_judgements(queries_path: str | Path, qrels_path: str | Path) -> Judgements:
    """Read queries and judgements, and keep the queries that have judgements.

    Queries without judgements are counted in `Judgements.unjudged`.

    Raises
    ------
    JudgementsError
        As in `read_queries` and `read_qrels`, and if a judged query is missing from the queries.
    """
    queries, qrels = read_queries(queries_path), read_qrels(qrels_path)
    missing = [query_id for query_id in qrels if query_id not in queries]
    if missing:
        raise JudgementsError(
            f"{qrels_path}: expected judgements of the queries in {queries_path}, got {_listed(missing)} "
            f"missing there. Give the queries that belong to these judgements."
        )
    judged = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    return Judgements(queries=judged, qrels=qrels, unjudged=len(queries) - len(judged))


def check_documents(judgements: Judgements, doc_ids: Collection[str]) -> tuple[str, ...]:
    """Return the judged documents that are not among `doc_ids`, sorted.

    They can never be found, but stay in the ideal ranking: each makes NDCG lower for every model.
    The caller warns.

    Raises
    ------
    JudgementsError
        If not one judged document is known: these are the judgements of another corpus.
    """
    known = set(doc_ids)
    judged = {document for grades in judgements.qrels.values() for document in grades}
    unknown = tuple(sorted(judged - known))
    if len(unknown) == len(judged):
        raise JudgementsError(
            f"judgements: expected documents of this corpus, which has {len(known)}, got only others: "
            f"{_listed(unknown)}. Give the judgements of this corpus, or ingest with the document ids "
            f"that they use."
        )
    return unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a file; `number` counts from 1."""

    path: Path
    number: int
    text: str = field(repr=False)

    def error(self, expected_got: str, remedy: str) -> JudgementsError:
        """Return the error of this line, with its file and number."""
        return JudgementsError(f"{self.path}, line {self.number}: expected {expected_got}. {remedy}")


def lines_of(path: str | Path) -> Iterator[Line]:
    """Yield the lines that are not blank; split at newlines only, texts may hold other separators.

    Raises
    ------
    JudgementsError
        If the file cannot be read, or a line is not UTF-8.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise JudgementsError(
            f"{file}: expected a file, got: {error.strerror or error}. {_NOT_READABLE}"
        ) from error
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = Line(path=file, number=number, text="")
        try:
            text = raw.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise line.error(f"UTF-8, got {error.reason} at byte {error.start}", "Save as UTF-8.") from error
        if text.strip():
            yield Line(path=file, number=number, text=text)


def _query(line: Line) -> tuple[str, str]:
    try:
        value = json.loads(line.text)
    except ValueError as error:
        raise line.error(f"one JSON object, got {line.text[:60]!r} ({error})", "Correct the line.") from error
    if not isinstance(value, dict):
        raise line.error(f"a JSON object, got {line.text[:60]!r}", "Write one object per line.")
    for name in ("_id", "text"):
        found = value.get(name)
        if not isinstance(found, str) or not found.strip():
            raise line.error(
                f"a string that is not empty in the field {name!r}, got {found!r}",
                f"The line has the fields {', '.join(map(repr, value)) or 'none'}.",
            )
    return value["_id"], value["text"]


def _beir(line: Line) -> list[str]:
    fields = [part.strip() for part in line.text.split("\t")]
    if len(fields) != len(_HEADER) or not all(fields):
        raise line.error(
            f"query id, document id and grade, separated by tabs, got {line.text[:60]!r}", "Correct the line."
        )
    return fields


def _trec(line: Line) -> list[str]:
    fields = line.text.split()
    if len(fields) != 4:  # noqa: PLR2004  # query, iteration, document, grade
        raise line.error(
            f"four fields, as in '{{query}} 0 {{document}} {{grade}}', got {line.text[:60]!r}",
            f"For three tab-separated fields the first line must be the header: {' '.join(_HEADER)}.",
        )
    return [fields[0], fields[2], fields[3]]


def _add(qrels: dict[str, dict[str, int]], line: Line, fields: list[str]) -> None:
    query_id, document_id, written = fields
    if not _GRADE.fullmatch(written):
        raise line.error(f"an integer as grade, got {written!r}", "Write 0, 1, 2, …")
    grades, grade = qrels.setdefault(query_id, {}), int(written)
    if grades.setdefault(document_id, grade) != grade:
        raise line.error(
            f"grade {grades[document_id]} of document {document_id!r} for query {query_id!r}, as in an "
            f"earlier line, got {grade}",
            "Remove one of the two lines.",
        )


def _check_ids(queries: Mapping[str, str], qrels: Qrels) -> None:
    if not queries:
        raise JudgementsError("judgements: expected at least one judged query, got none. Judge some queries.")
    differing = sorted(set(queries) ^ set(qrels)) + [query for query, grades in qrels.items() if not grades]
    if differing:
        raise JudgementsError(
            f"judgements: expected a text and at least one grade for every query, got only one of them for "
            f"{_listed(differing)}. Leave these queries out, or complete them."
        )


def _listed(ids: Collection[str]) -> str:
    shown = ", ".join(list(ids)[:_SHOWN])
    return f"{len(ids)} ({shown}{', …' if len(ids) > _SHOWN else ''})"
