"""What came of a run, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.reports.writable import check_writable, draft_of, unwritable
from ingest.run import IngestSummary
from retriever.console import UNEXPECTED, status_of
from retriever.errors import DocumentsFailedError, TandemError

_OPTION = "--summary"


def as_json(summary: IngestSummary) -> dict[str, Any]:
    """Return JSON values of a summary, rates included."""
    value = asdict(summary)
    for key, timing in summary.models.items():
        value["models"][key]["chunks_per_second"] = timing.per_second
    return value


@contextmanager
def summary_file(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write to `path`, when the run ends, how it ended and what is handed over; nothing if it is None.

    The file replaces an earlier one by rename. ``outcome`` is ``"done"``, ``"interrupted"`` or
    ``"error"``, and ``exit_status`` that of the command; SIGTERM, too, interrupts it. A run in which some
    documents fail is done, and lists them under ``failed``; its exit status says so. With an error,
    ``error`` says which.

    Raises
    ------
    InputError
        If the file cannot be written: at once, not after a night's work.
    """
    result: dict[str, Any] = {}
    started = datetime.now(UTC)
    if path is not None:
        check_writable(path, _OPTION)
    try:
        yield result.update
    except BaseException as error:
        _write(path, started, {**_ending(error), **result})
        raise
    status = DocumentsFailedError.exit_status if result.get("failed") else 0
    _write(path, started, {"outcome": "done", "exit_status": status, **result})


def _ending(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt):
        return {"outcome": "interrupted", "exit_status": status_of(error)}
    status = error.exit_status if isinstance(error, TandemError) else UNEXPECTED
    said = str(error) if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
    return {"outcome": "error", "exit_status": status, "error": said}


def _write(path: Path | None, started: datetime, value: Mapping[str, Any]) -> None:
    if path is None:
        return
    times = {"started": started.isoformat(), "finished": datetime.now(UTC).isoformat()}
    text = json.dumps({**times, **value}, ensure_ascii=False, indent=1) + "\n"
    draft = draft_of(path)
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        draft.replace(path)
    except OSError as error:
        raise unwritable(path, _OPTION, error) from error
    finally:
        draft.unlink(missing_ok=True)
