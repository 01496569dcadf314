"""Documents that failed, as a file that a later run can be given."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ingest.documents import FailedDocument
from retriever.errors import InputError


class FailureFile:
    """JSON Lines of the documents that fail, written as they do.

    The file takes its place when the run ends, in whatever way, and replaces the one of an earlier run;
    where nothing failed, that one is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f"{path.name}.part")
        self._file: IO[str] | None = None
        self._lock = threading.Lock()

    def add(self, failed: FailedDocument) -> None:
        """Write one line; any thread may.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with self._lock:
            try:
                self._file = self._file or self._draft.open("w", encoding="utf-8")
                self._file.write(json.dumps(asdict(failed), ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError as error:
                raise InputError(
                    f"{self._draft}: expected a file that can be written, got: {error.strerror}. "
                    "Name another one with --failed."
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._draft.replace(self.path)
        elif kind is None:
            self.path.unlink(missing_ok=True)


def read_failures(path: Path) -> list[FailedDocument]:
    """Return what a `FailureFile` holds.

    Raises
    ------
    InputError
        If there is no such file, or it holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [FailedDocument(**json.loads(line)) for line in lines if line.strip()]
    except OSError as error:
        raise InputError(
            f"{path}: expected the list of failed documents of an earlier run, got: {error.strerror}. "
            "Run without --retry-failed; what is stored is not embedded again."
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected JSON Lines with doc_id, where and reason, as a run writes them, got: {error}. "
            "Run without --retry-failed; what is stored is not embedded again."
        ) from error
