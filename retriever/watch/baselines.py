"""The time of deployment: what live queries are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from retriever.errors import InputError, StoreCorruptError
from retriever.search import Searcher
from retriever.store.json_file import read_json
from retriever.watch.log import DeploymentLog, Lines, deployment_log, write_whole
from retriever.watch.measuring import measured_queries
from retriever.watch.observation import Observation, deployment_id

BaselineSource: TypeAlias = Literal["queries", "live"]
"""``"queries"`` that somebody gave; ``"live"``, the first ones that were watched."""

_FORMAT = 1
_GIVEN = "baseline.json"
_FIRST = "first.json"
_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a deployment is compared with, and the live queries that came since.

    Attributes
    ----------
    source
        Where it is from.
    observations
        Of the time of deployment.
    live
        Of the queries since, by time.
    broken
        Lines of the log that cannot be read.
    """

    source: BaselineSource
    observations: tuple[Observation, ...]
    live: tuple[Observation, ...]
    broken: int


def record_baseline(
    searcher: Searcher, queries: Sequence[str], log: Path, *, keep_text: bool = False
) -> DeploymentLog:
    """Measure queries as the time of a deployment, and keep the result in the log.

    It belongs to this deployment alone, and takes the place of an earlier one of it.

    Parameters
    ----------
    searcher
        What is deployed.
    queries
        Texts, such as users asked when the deployment was chosen.
    log
        The folder of the log.
    keep_text
        Whether the texts are kept as well.

    Raises
    ------
    InputError
        If there is no query, or none of them finds a chunk.
    StoreError
        If the log cannot be written.
    """
    observations = measured_queries(searcher, queries, keep_text=keep_text)
    if not observations:
        raise InputError(
            f"baseline: expected queries that find a chunk in corpus {searcher.corpus.name!r}, got "
            f"{len(queries)} that find none. Give queries that users ask."
        )
    identity = deployment_id(searcher.deployment, searcher.corpus.deployments)
    found = deployment_log(log, searcher.corpus.name, identity)
    found.describe(searcher.deployment)
    _write(found.folder / _GIVEN, observations)
    return found


def read_baseline(log: DeploymentLog, *, first: int) -> Baseline:
    """Return what there is to compare with: what was measured, else the `first` live queries.

    Raises
    ------
    StoreCorruptError
        If a file of it is broken.
    """
    lines = log.read()
    if (log.folder / _GIVEN).exists():
        given = _read(log.folder / _GIVEN)
        return Baseline(source="queries", observations=given, live=lines.observations, broken=lines.broken)
    observations = _first_live(log, lines, first=first)
    last = max((one.time for one in observations), default=None)
    live = [one for one in lines.observations if last is None or one.time > last]
    return Baseline(source="live", observations=observations, live=tuple(live), broken=lines.broken)


def make_room(log: DeploymentLog, *, first: int) -> None:
    """Delete the oldest files of a log that has grown too large; the first live queries are kept.

    Raises
    ------
    StoreError
        If the log cannot be written.
    """
    gone = log.excess()
    if not gone:
        return
    if not (log.folder / _FIRST).exists():
        _write(log.folder / _FIRST, _first_live(log, log.read(), first=first))
    for path in gone:
        path.unlink(missing_ok=True)  # another process may have been at it


def read_texts(path: str | Path) -> list[str]:
    """Return the queries of a file of JSON lines with a field ``text`` each (BEIR); others are ignored.

    Raises
    ------
    InputError
        If the file cannot be read or has no query, or a line is not such an object.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a file of queries in UTF-8, got: {error}.") from error
    texts = [_text(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not texts:
        raise InputError(f"{path}: expected one query per line, got an empty file.")
    return texts


def _text(path: str | Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (KeyError, TypeError, ValueError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"{path}, line {number}: expected a JSON object with a text that is not empty in the field "
            f"'text', got {line[:_SHOWN]!r}. Correct the line."
        )
    return text


def _first_live(log: DeploymentLog, lines: Lines, *, first: int) -> tuple[Observation, ...]:
    path = log.folder / _FIRST
    return _read(path) if path.exists() else lines.observations[:first]


def _write(path: Path, observations: Sequence[Observation]) -> None:
    made = datetime.now(UTC).isoformat(timespec="seconds")
    value = {"format": _FORMAT, "made": made, "observations": [one.to_json() for one in observations]}
    write_whole(path, value)


def _read(path: Path) -> tuple[Observation, ...]:
    value: Mapping[str, Any] = read_json(path, "observations of the time of deployment")
    try:
        if value["format"] != _FORMAT:
            raise StoreCorruptError(
                f"{path}: expected format {_FORMAT}, got {value['format']!r}. Upgrade tandem-rag, or delete "
                "the file and measure again."
            )
        return tuple(Observation.from_json(one) for one in value["observations"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"{path}: expected observations of the time of deployment, got {type(error).__name__}: {error}. "
            "Delete the file and measure again."
        ) from error
