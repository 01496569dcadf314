"""Runs and judgements in the formats of TREC, for other tools to check us and for theirs to be read.

A line of a run is ``query Q0 document rank score tag``, one of qrels is ``query 0 document grade``,
separated by white space. Tools rank by score, then by document id, both descending, and ignore the
written rank; so do we. Scores are written so that the same float32 is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from analysis.judgements import Line, Qrels, lines_of
from analysis.measures import Run
from retriever.errors import InputError, JudgementsError

TAG = "tandem"

_FIELDS = 6


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run.

    Returns
    -------
    dict
        Score by document id by query id, in the order of the file; what is called `Run` elsewhere.

    Raises
    ------
    JudgementsError
        If the file cannot be read or is empty, or a line has another number of fields, a score that is
        no finite number, or names a document of its query again; with file and line.
    """
    run: dict[str, dict[str, float]] = {}
    for line in lines_of(path):
        query_id, document_id, score = _run_fields(line)
        scores = run.setdefault(query_id, {})
        if document_id in scores:
            raise line.error(
                f"each document once per query, got {document_id!r} again for query {query_id!r}",
                "Remove one of the two lines.",
            )
        scores[document_id] = score
    if not run:
        raise JudgementsError(f"{path}: expected one hit per line, got an empty file. Write the run again.")
    return run


def write_run(path: str | Path, run: Run, *, tag: str = TAG) -> None:
    """Write a run, each query's documents as they are ranked.

    Parameters
    ----------
    path
        Is replaced where it exists.
    run
        Score by document id by query id; rounded to float32, in which tools compare scores.
    tag
        Name of the run, the last field of each line.

    Raises
    ------
    InputError
        If an id or the tag is empty or has white space, a score is not finite in float32, or the file
        cannot be written.
    """
    _check_word(tag, what="tag")
    with _writing(path) as file:
        for query_id, scores in run.items():
            _check_word(query_id, what="query id")
            for rank, (document_id, score) in enumerate(_ranked(query_id, scores), start=1):
                _check_word(document_id, what="document id")
                file.write(f"{query_id} Q0 {document_id} {rank} {score} {tag}\n")


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write judgements for TREC tools; `analysis.read_qrels` reads them back.

    Raises
    ------
    InputError
        If an id is empty or has white space, or the file cannot be written.
    """
    with _writing(path) as file:
        for query_id, grades in qrels.items():
            _check_word(query_id, what="query id")
            for document_id, grade in grades.items():
                _check_word(document_id, what="document id")
                file.write(f"{query_id} 0 {document_id} {grade}\n")


def _run_fields(line: Line) -> tuple[str, str, float]:
    fields = line.text.split()
    if len(fields) != _FIELDS:
        raise line.error(
            f"six fields, got {line.text[:60]!r}",
            "Write '{query} Q0 {document} {rank} {score} {tag}'.",
        )
    query_id, _, document_id, _, written, _ = fields
    try:
        score = float(written)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise line.error(f"a finite number as score, got {written!r}", "Correct the line.")
    return query_id, document_id, score


def _ranked(query_id: str, scores: Mapping[str, float]) -> list[tuple[str, np.float32]]:
    """Return documents with scores as tools rank them: score, then document id, both descending."""
    with np.errstate(over="ignore"):
        rounded = {document: np.float32(score) for document, score in scores.items()}
    for document, score in rounded.items():
        if not np.isfinite(score):
            raise InputError(
                f"run of query {query_id!r}: expected finite scores, got {scores[document]} for document "
                f"{document!r}. Look for the text whose embedding or score failed."
            )
    return sorted(rounded.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)


def _check_word(word: str, *, what: str) -> None:
    if word.split() != [word]:
        raise InputError(
            f"{what}: expected a word without white space, which separates the fields of TREC files, got "
            f"{word!r}. Give other ids to documents and queries, or evaluate without TREC files."
        )


def _writing(path: str | Path) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be written, got: {error.strerror or error}. Name another file."
        ) from error
