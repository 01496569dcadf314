"""What came of a run, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.run import IngestSummary
from retriever.errors import InputError


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
    ``"error"``; with an error, ``error`` says which.

    Raises
    ------
    InputError
        If the file cannot be written: at once, not after a night's work.
    """
    result: dict[str, Any] = {}
    started = datetime.now(UTC)
    if path is not None:
        _check_writable(path)
    try:
        yield result.update
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        outcome = {"outcome": "interrupted"} if is_interrupt else {"outcome": "error", "error": str(error)}
        _write(path, started, {**outcome, **result})
        raise
    _write(path, started, {"outcome": "done", **result})


def _write(path: Path | None, started: datetime, value: Mapping[str, Any]) -> None:
    if path is None:
        return
    times = {"started": started.isoformat(), "finished": datetime.now(UTC).isoformat()}
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(json.dumps({**times, **value}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def _check_writable(path: Path) -> None:
    draft = path.with_name(f"{path.name}.part")
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be written, got: {error.strerror}. Name another one."
        ) from error
