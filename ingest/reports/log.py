"""A run as lines of JSON, for those who read logs with programs."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from ingest.collection import Counts
from ingest.documents import FailedDocument
from ingest.reports.pace import Pace

_PROGRESS_SECONDS = 10.0


class JsonLog:
    """Writes one JSON object a line: `time`, `level`, `event`, and what belongs to the event.

    Events are `started`, `progress` (every ten seconds), `failed` (one document), `finished`, `error`
    (why the command ends) and `message` (what libraries and warnings say).

    Parameters
    ----------
    write
        Takes a line; from any thread, one at a time.
    clock
        Seconds that never go back.
    """

    def __init__(self, write: Callable[[str], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next_progress = float("-inf")
        self._turn = threading.RLock()

    def event(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Write one line."""
        entry = {"time": datetime.now(UTC).isoformat(), "level": level, "event": event, **fields}
        with self._turn:
            self._write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")

    def progress(self, counts: Counts, pace: Pace) -> None:
        """Write how far the run is, unless that was written a moment ago."""
        now = self._clock()
        if now < self._next_progress:
            return
        self._next_progress = now + _PROGRESS_SECONDS
        left = pace.seconds_left(counts)
        self.event(
            "progress",
            documents=counts.documents,
            failed=len(counts.failed),
            written_chunks=counts.written_chunks,
            filled_chunks=sum(counts.filled.values()),
            chunks_per_second=round(pace.chunks_per_second, 2),
            seconds_left=None if left is None else round(left),
            model=counts.model or None,
        )

    def failed(self, failed: FailedDocument) -> None:
        """Write a document that failed."""
        self.event("failed", level="warning", **asdict(failed))

    def handler(self) -> logging.Handler:
        """Return a handler by which what is logged in Python comes out as lines of this log."""
        log = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                level = record.levelname.lower()
                log.event("message", level=level, logger=record.name, message=record.getMessage())

        return Handler()


@contextmanager
def json_on_standard_error() -> Iterator[JsonLog]:
    """Let all that Python writes to standard error be lines of a log: logging, warnings, tracebacks.

    What a library writes there without Python cannot be helped.
    """
    stderr, root = sys.stderr, logging.getLogger()
    handlers = root.handlers[:]

    def write(line: str) -> None:
        stderr.write(line)
        stderr.flush()

    log = JsonLog(write)
    root.handlers[:] = [log.handler()]
    lines = _Lines(log, stderr)
    sys.stderr = lines
    logging.captureWarnings(True)
    try:
        yield log
    finally:
        logging.captureWarnings(False)
        lines.finish()
        sys.stderr = stderr
        root.handlers[:] = handlers


class _Lines(io.TextIOBase):
    """Text that becomes a message for each of its lines; of a line that is overwritten, the last state."""

    def __init__(self, log: JsonLog, stderr: TextIO) -> None:
        self._log = log
        self._stderr = stderr
        self._rest = ""
        self._turn = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stderr.encoding

    def fileno(self) -> int:
        return self._stderr.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._turn:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._say(line)
            self._rest = self._rest.rsplit("\r", 1)[-1]
        return len(text)

    def finish(self) -> None:
        """Say what has no end of line."""
        with self._turn:
            self._say(self._rest)
            self._rest = ""

    def _say(self, line: str) -> None:
        last = line.rstrip("\r").rsplit("\r", 1)[-1].strip()
        if last:
            self._log.event("message", level="warning", logger=None, message=last)
