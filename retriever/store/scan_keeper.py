"""The scans of a collection that others write to: made in the background, dropped by the next write."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

from retriever.models.protocol import FloatArray
from retriever.store.scan import ExactScan

_SEARCHES = 3
"""So many searches of a vector bring its scan about without anybody asking for it."""

_QUIET_S = 2.0
"""Seconds without a write before searches bring a scan about: an ingest would spoil each at once."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """All there is of a named vector: how many rows of which size, and their ids and float32 vectors."""

    count: int
    size: int
    blocks: Iterator[tuple[Sequence[str], FloatArray]]


ReadRows = Callable[[str], Rows | None]
"""Reads the rows of a named vector; None where a scan of it would gain nothing."""


class ScanKeeper:
    """Keeps a scan per named vector: true to what is stored, or not there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, ExactScan | None] = {}
        self._builds: dict[str, Future[None]] = {}
        self._searches: Counter[str] = Counter()
        self._writes_begun = 0
        self._writes_under_way = 0
        self._last_write = -_QUIET_S
        self._is_closed = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Drop all scans, and keep none before the write within ``with`` is done."""
        with self._lock:
            self._writes_begun += 1
            self._writes_under_way += 1
            self._kept.clear()
        try:
            yield
        finally:
            with self._lock:
                self._writes_under_way -= 1
                self._last_write = time.monotonic()

    def find(self, vector: str, read: ReadRows) -> ExactScan | None:
        """Return the scan of a vector; None while there is none, and after some searches one is made.

        It is of what is stored now. When its candidates have been looked up, ask `is_current`.
        """
        with self._lock:
            if vector in self._kept:
                return self._kept[vector]
            self._searches[vector] += 1
            is_quiet = time.monotonic() - self._last_write >= _QUIET_S
            if self._searches[vector] >= _SEARCHES and is_quiet and not self._is_closed:
                self._start(vector, read)
        return None

    def is_current(self, vector: str, scan: ExactScan) -> bool:
        """Return whether no write has begun since the scan was found."""
        return self._kept.get(vector) is scan

    def prepare(self, vector: str, read: ReadRows) -> None:
        """Make the scan of a vector unless it is there, and return when it is.

        Where a write comes between, a later search makes it. What `read` raises, this does.
        """
        with self._lock:
            if vector in self._kept or self._is_closed:
                return
            self._searches[vector] = _SEARCHES
            build = self._start(vector, read)
        build.result()

    def close(self) -> None:
        """Drop all scans and make no more; return when none is being made."""
        with self._lock:
            self._is_closed = True
            self._kept.clear()
            builds = list(self._builds.values())
        for build in builds:
            build.exception()
        atexit.unregister(self.close)

    def _start(self, vector: str, read: ReadRows) -> Future[None]:
        """Make a scan in a thread of its own, unless one is at it; the lock is held."""
        if vector not in self._builds:
            self._builds[vector] = Future()
            # The process may end before the thread, which must not be inside the engine then.
            atexit.register(self.close)
            threading.Thread(target=self._build, args=(vector, read), daemon=True).start()
        return self._builds[vector]

    def _build(self, vector: str, read: ReadRows) -> None:
        with self._lock:
            # A write that is under way counts among those begun, but may change what is read from now on.
            begun = None if self._writes_under_way else self._writes_begun
        scan, error = None, None
        try:
            rows = read(vector)
            if rows is not None:
                blocks = takewhile(lambda _: self._is_unchanged(begun), rows.blocks)
                scan = ExactScan(blocks, rows=rows.count, size=rows.size)
        except Exception as raised:  # noqa: BLE001  # whatever it is, searches go on without the scan
            error = raised
        with self._lock:
            build = self._builds.pop(vector)
            # What was read beside a write may be anything; a later search tries again.
            is_true = self._is_unchanged(begun)
            if is_true:
                self._kept[vector] = scan
        if error is not None and is_true:
            _logger.warning("searches of %s stay as fast as they are: %s", vector, error)
            build.set_exception(error)
        else:
            build.set_result(None)

    def _is_unchanged(self, begun: int | None) -> bool:
        """Return whether no write has begun since so many had."""
        return begun == self._writes_begun and not self._is_closed
