"""A run as lines of JSON, for those who read logs with programs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ingest.collection import Counts
from ingest.documents import FailedDocument
from ingest.reports.pace import Pace

_PROGRESS_SECONDS = 10.0


class JsonLog:
    """Writes one JSON object a line: `time`, `level`, `event`, and what belongs to the event.

    Events are `started`, `progress` (every ten seconds), `failed` (one document), `finished` and
    `message` (what libraries and warnings say).

    Parameters
    ----------
    write
        Takes a line.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._last_progress = 0.0

    def event(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Write one line."""
        entry = {"time": datetime.now(UTC).isoformat(), "level": level, "event": event, **fields}
        self._write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")

    def progress(self, counts: Counts, pace: Pace) -> None:
        """Write how far the run is, unless that was written a moment ago."""
        now = time.monotonic()
        if now - self._last_progress < _PROGRESS_SECONDS:
            return
        self._last_progress = now
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
