"""The log: a folder per deployment, a file per process in it, a line of JSON per query.

::

    LOG / CORPUS / DEPLOYMENT / deployment.json     what it is, in words
                              / baseline.json       the time of deployment, where it was measured
                              / first.json          the first live queries, once their lines had to go
                              / TIME-PID-….jsonl    observations; a process only ever appends to its own

Nothing else depends on it: it can be moved, or deleted, at any time.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retriever.errors import InputError
from retriever.records import Deployment, check_corpus_name
from retriever.store.json_file import read_json
from retriever.store.place import DEFAULT_FOLDER
from retriever.store.space import writing_file
from retriever.watch.observation import Observation

FILE_BYTES = 2**20
"""A file of this size is followed by another one of its process."""

FOLDER_BYTES = 16 * 2**20
"""What is kept of a deployment, at most; about 50,000 queries. The oldest go first."""

_DEPLOYMENT = "deployment.json"
_SERVER_LOG = "tandem-watch"
_EMBEDDED_LOG = "-watch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """What a log holds of one deployment.

    Attributes
    ----------
    observations
        By time, the oldest first.
    broken
        Lines that cannot be read: the last of a process that was ended while it wrote.
    """

    observations: tuple[Observation, ...]
    broken: int


class DeploymentLog:
    """The observations of one deployment, written by any number of processes.

    Parameters
    ----------
    folder
        Its folder, made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: Path | None = None
        self._process = 0

    @property
    def identity(self) -> str:
        """Which deployment, see `retriever.watch.observation.deployment_id`."""
        return self.folder.name

    @property
    def last_written(self) -> float:
        """When a query was last written down, or a baseline, in seconds since 1970; 0 where never."""
        return max((path.stat().st_mtime for path in self.folder.glob("*.json*")), default=0.0)

    @property
    def about(self) -> Mapping[str, Any]:
        """What `describe` wrote.

        Raises
        ------
        StoreCorruptError
            If it cannot be read.
        """
        return read_json(self.folder / _DEPLOYMENT, "description of a deployment")

    def describe(self, deployment: Deployment) -> None:
        """Make the folder, and write down in it what is watched.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        with writing_file(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        about = {
            "id": self.identity,
            "corpus": deployment.corpus,
            "serves": deployment.name,
            "legs": list(deployment.legs),
            "weights": deployment.shares,
            "weighting": deployment.weighting,
            "storage": deployment.storage,
            "created": deployment.created,
        }
        write_whole(self.folder / _DEPLOYMENT, about)

    def append(self, observations: Sequence[Observation]) -> None:
        """Write observations to the file of this process, in one write.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        lines = "".join(
            json.dumps(one.to_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
            for one in observations
        )
        path = self._own_file()
        # Opened anew each time: another process may have deleted the file to make room.
        with writing_file(path), path.open("ab") as file:
            file.write(lines.encode())

    def read(self) -> Lines:
        """Return all observations; lines that are none are counted and left out."""
        found: list[Observation] = []
        broken = 0
        for path in self.files():
            for line in _lines(path):
                try:
                    found.append(Observation.from_json(json.loads(line)))
                except (AttributeError, KeyError, TypeError, ValueError):
                    broken += 1
        return Lines(observations=tuple(sorted(found, key=lambda one: one.time)), broken=broken)

    def files(self) -> list[Path]:
        """Return the files of observations, in the order in which they were begun."""
        return sorted(self.folder.glob("*.jsonl"))

    def excess(self) -> list[Path]:
        """Return the files written longest ago, without which the others fit into `FOLDER_BYTES`.

        The one this process writes to is none of them.
        """
        sizes = {path: _size(path) for path in self.files()}
        total, gone = sum(sizes.values()), []
        for path in sorted(sizes, key=_written):
            if total <= FOLDER_BYTES:
                break
            if path != self._file:
                gone.append(path)
                total -= sizes[path]
        return gone

    def _own_file(self) -> Path:
        is_other = self._process != os.getpid()  # also after a fork
        if self._file is None or is_other or _size(self._file) >= FILE_BYTES:
            self._process = os.getpid()
            began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            self._file = self.folder / f"{began}-{self._process}-{secrets.token_hex(4)}.jsonl"
        return self._file


def default_log(location: str) -> Path:
    """Return where a log lies if nobody says where: beside a store that is a folder, else in the current one.

    Parameters
    ----------
    location
        Of the store: a folder or the URL of a server.
    """
    if "://" in location:
        return Path(_SERVER_LOG)
    folder = Path(location).expanduser().resolve()
    return folder.with_name(folder.name + _EMBEDDED_LOG)


def log_of_place(store: str | Path | None, url: str | None) -> Path:
    """Return the default log of a store that need not be opened; see `retriever.store.place.open_store`."""
    return default_log(url if url is not None else str(DEFAULT_FOLDER if store is None else store))


def deployment_log(log: Path, corpus: str, identity: str) -> DeploymentLog:
    """Return the log of one deployment of a corpus."""
    return DeploymentLog(log / check_corpus_name(corpus) / identity)


def latest_log(log: Path, corpus: str, *, serves: str | None = None) -> DeploymentLog:
    """Return the log of the deployment that was watched last.

    Parameters
    ----------
    log
        The folder of the log.
    corpus
        Name of the corpus.
    serves
        Only deployments of this name; any if left out.

    Raises
    ------
    InputError
        If there is none.
    """
    every = [
        DeploymentLog(path.parent) for path in (log / check_corpus_name(corpus)).glob(f"*/{_DEPLOYMENT}")
    ]
    fitting = [one for one in every if serves is None or one.about["serves"] == serves]
    if not fitting:
        there = ", ".join(sorted({str(one.about["serves"]) for one in every})) or "none"
        of = f"deployments of corpus {corpus!r}" if serves is None else f"{serves!r} of corpus {corpus!r}"
        raise InputError(
            f"log {log}: expected watched {of}, found {there}. Watch queries with "
            "`TandemRetriever.watch`, or name the folder where they are watched with `--log`."
        )
    return max(fitting, key=lambda one: one.last_written)


def write_whole(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that other processes may be writing as well: one of them wins, whole.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with writing_file(path):
        try:
            draft.write_text(json.dumps(dict(value), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another process has made room since
        return []
    return [line for line in content.split(b"\n") if line]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
