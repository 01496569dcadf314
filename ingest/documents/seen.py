"""Which ids have come already, however many there are."""

from __future__ import annotations

import sqlite3
import threading
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self

from retriever.errors import SourceError

_CACHE_KIB = 16 * 1024
"""What SQLite keeps in memory; the rest lies in its temporary file."""

_LONGEST = 64
"""Ids of more bytes are kept as digests, so that they take no more room. Short ones are kept as they are:
ids often come in order, and inserting in order is more than twice as fast."""

_DIGEST = b"\xff"
"""Begins the key of a digest; no id in UTF-8 has this byte."""


class SeenIds:
    """A set of ids, each with the place where it was first seen, in bounded memory.

    It keeps them in a private temporary database, which SQLite puts on disk only when it outgrows its
    cache, and which vanishes when it is closed or the process ends in whatever way. Any thread may use
    it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._count = 0
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",  # nothing here outlives the process, so nothing has to be undone
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (id BLOB PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def add(self, doc_id: str, place: str) -> str | None:
        """Note that `doc_id` was seen at `place`; return the place where it was before, None if nowhere.

        Raises
        ------
        SourceError
            If there is no room for the temporary file.
        """
        key = _key(doc_id)
        with self._lock:
            added = self._execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", key, place)
            if added.rowcount == 1:
                self._count += 1
                return None
            return self._place(key)

    def place(self, doc_id: str) -> str | None:
        """Return where `doc_id` was first seen; None if nowhere."""
        with self._lock:
            return self._place(_key(doc_id))

    def __contains__(self, doc_id: str) -> bool:
        """Return whether `doc_id` was added."""
        return self.place(doc_id) is not None

    def __len__(self) -> int:
        """Return how many different ids were added."""
        return self._count

    def close(self) -> None:
        """Forget everything and remove the temporary file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self, key: bytes) -> str | None:
        row = self._execute("SELECT place FROM seen WHERE id = ?", key).fetchone()
        return None if row is None else str(row[0])

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise SourceError(
                f"ids seen so far: expected room for a temporary file, got: {error}. Free some, or name "
                "another folder in the environment variable SQLITE_TMPDIR."
            ) from error


def _key(doc_id: str) -> bytes:
    written = doc_id.encode(errors="surrogatepass")
    if len(written) <= _LONGEST:
        return written
    return _DIGEST + blake2b(written, digest_size=_LONGEST).digest()
