"""Documents that failed, as a file that a later run can be given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ingest.documents import FailedDocument
from ingest.reports.writable import check_writable, draft_of, unwritable
from retriever.errors import InputError

_OPTION = "--failed"


class FailureFile:
    """JSON Lines of the documents that fail, written as they do.

    The file takes its place when the run ends and replaces the one of an earlier run; where nothing
    failed, that one is removed. A run that is cut short has not come to all documents, so what failed
    earlier, and not in this run, stays in the list.

    Raises
    ------
    InputError
        If the file cannot be written, within ``with`` at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = draft_of(path)
        self._file: IO[str] | None = None
        self._lines: set[tuple[str | None, str]] = set()
        self._is_over = False
        self._lock = threading.Lock()

    def add(self, failed: FailedDocument) -> None:
        """Write one line; any thread may. After the end nothing is written any more.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with self._lock:
            if not self._is_over:
                self._write(json.dumps(asdict(failed), ensure_ascii=False))
                self._lines.add((failed.doc_id, failed.where))

    def __enter__(self) -> Self:
        check_writable(self.path, _OPTION)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            if kind is not None and self._file is not None:
                self._keep_earlier()
            if self._file is not None:
                self._file.close()
                self._draft.replace(self.path)
            elif kind is None:
                self.path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                # Half of a surrogate pair, as in names of files that are not in UTF-8, is escaped as in JSON.
                self._file = self._draft.open("w", encoding="utf-8", errors="backslashreplace")
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, _OPTION, error) from error

    def _keep_earlier(self) -> None:
        try:
            earlier = read_failures(self.path)
        except InputError:
            return  # there is none, or another program's
        for failed in earlier:
            if (failed.doc_id, failed.where) not in self._lines:
                self._write(json.dumps(asdict(failed), ensure_ascii=False))


def read_failures(path: Path) -> list[FailedDocument]:
    """Return what a `FailureFile` holds.

    Raises
    ------
    InputError
        If there is no such file, or it holds something else.
    """
    try:
        return list(_failures_in(path))
    except OSError as error:
        raise InputError(
            f"{path}: expected the list of failed documents of an earlier run, got: {error.strerror}. "
            "Run without --retry-failed; what is stored is not embedded again."
        ) from error
    except UnicodeDecodeError as error:
        raise _other(f"{path}", "bytes that are not UTF-8") from error


def _failures_in(path: Path) -> Iterator[FailedDocument]:
    # Not splitlines: it splits at characters that may stand within a line of JSON.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            yield _failure(line, f"{path}:{number}")


def _failure(line: str, place: str) -> FailedDocument:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _other(place, f"broken JSON ({error})") from error
    if not isinstance(value, dict):
        raise _other(place, "no object")
    doc_id, where, reason = (value.get(name) for name in ("doc_id", "where", "reason"))
    if not (isinstance(doc_id, str | None) and isinstance(where, str) and isinstance(reason, str)):
        raise _other(place, f"an object with {', '.join(value) or 'nothing'}")
    return FailedDocument(doc_id=doc_id, where=where, reason=reason)


def _other(place: str, found: str) -> InputError:
    return InputError(
        f"{place}: expected JSON Lines with doc_id, where and reason, as a run writes them, got {found}. "
        "Run without --retry-failed; what is stored is not embedded again."
    )
