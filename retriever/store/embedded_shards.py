"""The shards of the embedded engine that this process has open.

The engine accepts one opener per folder and process, so all collections of one folder share one shard
here, counted, and closed with the last of them. Beside the shard lies `tandem.lock` while it is open:
it names this process to others, which the engine's own lock keeps out without a word.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import qdrant_edge as qe

from retriever.errors import StoreCorruptError, StoreError, StoreFullError, StoreLockedError
from retriever.store import space
from retriever.store.embedded_layout import engine_config, read_layout
from retriever.store.holder import Holder
from retriever.store.kinds import Dense
from retriever.store.points import INDEXED_IN_MEMORY, INDEXED_ON_DISK
from retriever.store.scan_keeper import ScanKeeper

_HOLDER = "tandem.lock"
_OPEN = "open"

_logger = logging.getLogger(__name__)


class SharedShard:
    """A shard, how many collections of this process use it, and who of them writes."""

    def __init__(self, path: Path, engine: qe.EdgeShard) -> None:
        self.path = path
        self.engine = engine
        self.users = 1
        self.writer: Holder | None = None
        self._scans = ScanKeeper()
        self._process = os.getpid()
        self._turn = threading.Condition()
        self._calls = 0
        self._is_reopening = False

    @property
    def scans(self) -> ScanKeeper:
        """The scans of its vectors."""
        self.check_process()
        return self._scans

    @property
    def is_inherited(self) -> bool:
        """Whether another process opened it, of which this one was forked."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Refuse a shard that was opened before a fork: none of the engine's threads came along.

        Raises
        ------
        StoreLockedError
            If it was.
        """
        if self.is_inherited:
            raise StoreLockedError(
                f"store {self.path.parent}: expected to be used by process {self._process}, which opened it, "
                f"got process {os.getpid()}, which was forked afterwards. Open it after the fork, in one "
                "process only, or serve several from a Qdrant server (--url)."
            )

    @contextmanager
    def calling(self) -> Iterator[qe.EdgeShard]:
        """Give the engine for a call, and turn what it raises into our errors.

        One call at a time of each thread: another one within it would wait for itself where `reopen` waits.
        """
        self.check_process()
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reopening)
            self._calls += 1
        try:
            with engine_errors(self.path.parent):
                yield self.engine
        finally:
            with self._turn:
                self._calls -= 1
                self._turn.notify_all()

    def forget_scans(self) -> None:
        """Let the process end without scans that are being made."""
        atexit.unregister(self._scans.close)

    def reopen(self) -> None:
        """Close the shard and open it as its layout now says; calls that come meanwhile wait."""
        space.check_room(self.path.parent, space.TO_OPEN)
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reopening)
            self._is_reopening = True
            self._turn.wait_for(lambda: self._calls == 0)
        try:
            self.engine.close()
            self.engine = _load(self.path)
        finally:
            with self._turn:
                self._is_reopening = False
                self._turn.notify_all()


class OpenShards:
    """The shards this process has open, by folder."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _by_path: ClassVar[dict[Path, SharedShard]] = {}

    @classmethod
    def create(cls, path: Path, vectors: Mapping[str, int]) -> SharedShard:
        """Create a shard; what an earlier creation that was cut short has left is removed."""
        with cls._lock:
            if path.exists():
                cls._check_closed(path)
                shutil.rmtree(path)
            space.check_room(path.parent, space.TO_WRITE)
            with engine_errors(path.parent):
                layout = {name: Dense(size=size) for name, size in vectors.items()}
                engine = qe.EdgeShard.create(str(path), engine_config(layout))
            ensure_indexes(engine, path.parent)
            return cls._opened(path, engine)

    @classmethod
    def load(cls, path: Path) -> SharedShard:
        """Open a shard, or count one more user of one that is open."""
        with cls._lock:
            shared = cls._by_path.get(path)
            if shared is not None:
                shared.check_process()
                shared.users += 1
                return shared
            return cls._opened(path, _load(path))

    @classmethod
    def check_closed(cls, path: Path) -> None:
        """Raise `StoreLockedError` if a shard is open, here or in another process."""
        with cls._lock:
            cls._check_closed(path)

    @classmethod
    def release(cls, shared: SharedShard) -> None:
        """Count one user less; without users the shard is closed, by the process that opened it."""
        if shared.is_inherited:
            return
        with cls._lock:
            shared.users -= 1
            if shared.users == 0:
                del cls._by_path[shared.path]
                with suppress(OSError):
                    (shared.path.parent / _HOLDER).unlink()
                shared.scans.close()
                shared.engine.close()

    @classmethod
    @contextmanager
    def writing(cls, shared: SharedShard, purpose: str) -> Iterator[None]:
        """Be the only writer of a shard; other processes are kept out by the engine already."""
        shared.check_process()
        with cls._lock:
            if shared.writer is not None:
                raise StoreLockedError(
                    f"store {shared.path.parent}: expected no other writer, but this process is one: "
                    f"{shared.writer}. Let it end first."
                )
            shared.writer = Holder.this_process(purpose)
            _write_holder(shared.path.parent, shared.writer)
        try:
            yield
        finally:
            with cls._lock:
                shared.writer = None
                if shared.users:
                    _write_holder(shared.path.parent, Holder.this_process(_OPEN))

    @classmethod
    def begin_in_child(cls) -> None:
        """Let go, after a fork, of what threads hold or wait for that did not come along."""
        cls._lock = threading.Lock()
        for shared in cls._by_path.values():
            shared.forget_scans()

    @classmethod
    def _opened(cls, path: Path, engine: qe.EdgeShard) -> SharedShard:
        shared = cls._by_path[path] = SharedShard(path, engine)
        _write_holder(path.parent, Holder.this_process(_OPEN))
        return shared

    @classmethod
    def _check_closed(cls, path: Path) -> None:
        shared = cls._by_path.get(path)
        if shared is not None:
            shared.check_process()
            why = "has it open" if shared.writer is None else f"is writing it: {shared.writer}"
            raise StoreLockedError(
                f"store {path.parent}: expected it to be closed, but this process {why}. Close it first."
            )
        try:
            _load(path).close()  # the engine's own lock tells of other processes
        except StoreCorruptError:
            return  # what cannot be opened, nobody has open
        except StoreFullError:  # which must not keep a corpus from being deleted
            holder = _left_by(path.parent)
            if holder is not None and holder.may_be_running:
                raise _locked(path.parent) from None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=OpenShards.begin_in_child)


def ensure_indexes(engine: qe.EdgeShard, folder: Path) -> None:
    """Make the payload indexes that a shard lacks."""
    with engine_errors(folder):
        present = engine.info().payload_schema
        for field in INDEXED_IN_MEMORY:
            if field not in present:
                engine.update(qe.UpdateOperation.create_field_index(field, qe.PayloadSchemaType.Keyword))
        for field in INDEXED_ON_DISK:
            if field not in present:
                params = qe.KeywordIndexParams(on_disk=True)
                engine.update(qe.UpdateOperation.create_field_index(field, params))


@contextmanager
def engine_errors(folder: Path) -> Iterator[None]:
    """Turn what the engine raises into our errors.

    It raises bare `Exception`, so its text is all there is to tell a lock by.
    """
    try:
        yield
    except Exception as error:
        if "WouldBlock" in str(error):
            raise _locked(folder) from error
        raise StoreError(f"store {folder}: the embedded engine failed: {error}") from error


def _load(path: Path) -> qe.EdgeShard:
    space.check_room(path.parent, space.TO_OPEN)
    layout = read_layout(path)
    try:
        with engine_errors(path.parent):
            return qe.EdgeShard.load(str(path), engine_config(layout) if layout else None)
    except StoreLockedError:
        raise
    except StoreError as error:
        raise StoreCorruptError(
            f"{error}. The vectors cannot be opened: restore the folder from a copy, or delete it and "
            "ingest again."
        ) from error


def _write_holder(folder: Path, holder: Holder) -> None:
    """Leave our name; a store works without it, so where it cannot be written, it is not."""
    try:
        (folder / _HOLDER).write_text(json.dumps(holder.to_json()), encoding="utf-8")
    except OSError as error:
        _logger.debug("%s: the holder cannot be written: %s", folder, error)


def _left_by(folder: Path) -> Holder | None:
    """Return the name that lies in a folder."""
    try:
        return Holder.from_json(json.loads((folder / _HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _locked(folder: Path) -> StoreLockedError:
    """Return that another process has a folder open, and which, as far as that can be known."""
    holder = _left_by(folder)
    if holder is None:
        who = "an unknown process (it left no name)"
    elif holder.may_be_running:
        who = str(holder)
    else:
        who = f"an unknown process (the name that lies there is of one that has ended: {holder})"
    return StoreLockedError(
        f"store {folder}: expected to be the only process that has it open, but {who} has. "
        "Stop that process, or serve several from a Qdrant server (--url)."
    )
