"""Published benchmark scores of models, as a file that the user has.

They say how models fare elsewhere. They are no evidence of this corpus, and are always called published.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from retriever.errors import InputError

_MODEL, _SCORE = "model", "ndcg_at_10"
_TASKS = ("dataset", "task")
_REMEDY = (
    f"Give CSV with the columns {_MODEL}, {_TASKS[0]} or {_TASKS[1]}, and {_SCORE}; or JSON, the scores by "
    f"task by model, or a list of objects with these fields."
)


def read_published(path: str | Path) -> dict[str, dict[str, float]]:
    """Read published scores from CSV or JSON.

    Parameters
    ----------
    path
        A file whose name ends in ``.csv`` or ``.json``. CSV has a header with the columns ``model``,
        ``dataset`` or ``task``, and ``ndcg_at_10``; other columns are ignored. JSON has an object of objects,
        ``{model: {task: NDCG@10}}``, or a list of objects with the fields of the CSV.

    Returns
    -------
    dict
        NDCG@10 in [0, 1] by task by model; the names as they are written.

    Raises
    ------
    InputError
        If the file cannot be read, is none of these, or has no score; if one is not a number in [0, 1], or
        two differ that are of one model, whoever published it, and one task.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected published scores, got: {error}. {_REMEDY}") from error
    rows = _json_rows(text, file) if file.suffix.lower() == ".json" else _csv_rows(text, file)
    found: dict[str, dict[str, float]] = {}
    known: dict[tuple[str, str], float] = {}
    for model, task, written in rows:
        score = _score(written, where=f"{file}: {model} on {task}")
        earlier = known.setdefault((bare_name(model), task), score)
        if earlier != score:
            raise InputError(
                f"{file}: expected one score of {model} on {task}, got {earlier} and {score}. Keep one."
            )
        found.setdefault(model, {})[task] = score
    if not found:
        raise InputError(f"{file}: expected published scores, got none. {_REMEDY}")
    return found


def published_quality(published: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Return the mean published score of each of these models, over the tasks that all of them have.

    Parameters
    ----------
    published
        See `read_published`.
    names
        Full names or keys of models, matched without organisation and case.

    Returns
    -------
    dict
        By the names as given, in [0, 1]; a model without scores is left out.

    Raises
    ------
    InputError
        If the models that have scores have no task in common: their means could not be compared.
    """
    by_name: dict[str, dict[str, float]] = {}
    for model, scores in published.items():
        by_name.setdefault(bare_name(model), {}).update(scores)
    found = {name: by_name[bare_name(name)] for name in names if bare_name(name) in by_name}
    if not found:
        return {}
    tasks = set.intersection(*(set(scores) for scores in found.values()))
    if not tasks:
        raise InputError(
            f"published scores: expected a task that all of {', '.join(found)} have a score on, got none. "
            f"Leave out the model whose tasks are others."
        )
    return {name: math.fsum(scores[task] for task in tasks) / len(tasks) for name, scores in found.items()}


def bare_name(name: str) -> str:
    """Return the name of a model without its organisation, in lower case."""
    return name.strip().rsplit("/", 1)[-1].lower()


def _csv_rows(text: str, file: Path) -> Iterator[tuple[str, str, object]]:
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    if _MODEL not in columns or _SCORE not in columns or not set(_TASKS) & set(columns):
        raise InputError(
            f"{file}: expected published scores, got the columns {', '.join(columns)}. {_REMEDY}"
        )
    try:
        yield from _fields(reader, file)
    except csv.Error as error:
        raise InputError(f"{file}: expected CSV, got: {error}. {_REMEDY}") from error


def _json_rows(text: str, file: Path) -> Iterator[tuple[str, str, object]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{file}: expected JSON, got: {error}. {_REMEDY}") from error
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        yield from _fields(value, file)
    elif isinstance(value, dict) and all(isinstance(scores, dict) for scores in value.values()):
        for model, scores in value.items():
            yield from ((model, task, score) for task, score in scores.items())
    else:
        raise InputError(f"{file}: expected published scores, got JSON of another form. {_REMEDY}")


def _fields(rows: Iterable[Mapping[str, Any]], file: Path) -> Iterator[tuple[str, str, object]]:
    for number, row in enumerate(rows, start=1):
        task = next((row[name] for name in _TASKS if row.get(name)), None)
        if not row.get(_MODEL) or not task or row.get(_SCORE) is None:
            raise InputError(f"{file}, score {number}: expected model, task and score, got {row}. {_REMEDY}")
        yield str(row[_MODEL]), str(task), row[_SCORE]


def _score(written: object, *, where: str) -> float:
    try:
        score = float(written) if isinstance(written, str | int | float) else math.nan
    except ValueError:
        score = math.nan
    if isinstance(written, bool) or not 0 <= score <= 1:
        raise InputError(
            f"{where}: expected NDCG@10 from 0 to 1, got {written!r}. Divide percentages by 100."
        )
    return score
