"""Several streams of tasks through one channel, none of which can hold up another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_SECONDS = 1.0
"""How long the end of a stream waits for the thread that reads its tasks."""


class _Stream(Generic[T, R]):
    """The tasks that are under way, by number, and the outcomes that nobody has taken yet."""

    def __init__(self, tasks: Iterable[T], limit: int) -> None:
        self.tasks = tasks
        self.limit = limit
        self.under_way: dict[int, T] = {}
        self.done: deque[tuple[T, R]] = deque()
        self.is_read = self.is_stopped = False
        self.error: BaseException | None = None

    @property
    def is_full(self) -> bool:
        return len(self.under_way) + len(self.done) >= self.limit

    @property
    def is_over(self) -> bool:
        return self.is_read and not self.under_way


class Exchange(Generic[T, R]):
    """Numbers tasks, sends them off, and gives each outcome to the stream that its task came from.

    A stream has a bounded number of tasks that were sent and whose outcome was not taken. Whoever
    delivers an outcome therefore never waits for whoever takes it; so two streams, of which one feeds
    the other, share a channel without a deadlock.

    Parameters
    ----------
    send
        Takes the number of a task and the task, from any thread, without waiting for its outcome.
    """

    def __init__(self, send: Callable[[int, T], None]) -> None:
        self._send = send
        self._numbers = count()
        self._streams: list[_Stream[T, R]] = []
        self._broken: Exception | None = None
        self._changed = threading.Condition()

    def stream(self, tasks: Iterable[T], *, limit: int) -> Iterator[tuple[T, R]]:
        """Yield each task with its outcome, as they come; `tasks` is read by a thread of its own.

        An exception of `tasks` is raised after the outcomes of the tasks before it, one of the channel
        at once.

        Parameters
        ----------
        tasks
            What to do.
        limit
            How many are on their way, there and back, at most.
        """
        stream: _Stream[T, R] = _Stream(tasks, limit)
        with self._changed:
            self._streams.append(stream)
        reader = threading.Thread(target=self._read, args=[stream], name="ingest-exchange", daemon=True)
        reader.start()
        try:
            yield from self._outcomes(stream)
        finally:
            with self._changed:
                stream.is_stopped = True
                self._streams.remove(stream)
                self._changed.notify_all()
            reader.join(_PATIENCE_SECONDS)

    def deliver(self, number: int, outcome: R) -> None:
        """Give an outcome to its stream; a second one of a task, or one that nobody waits for, is dropped."""
        with self._changed:
            for stream in self._streams:
                if number in stream.under_way:
                    stream.done.append((stream.under_way.pop(number), outcome))
                    self._changed.notify_all()

    def under_way(self) -> list[tuple[int, T]]:
        """Return all tasks without an outcome, by number: what a channel that broke has lost."""
        with self._changed:
            return sorted(
                (item for stream in self._streams for item in stream.under_way.items()),
                key=lambda item: item[0],
            )

    def break_off(self, error: Exception) -> None:
        """Raise this in every stream, now and later."""
        with self._changed:
            self._broken = error
            self._changed.notify_all()

    def _outcomes(self, stream: _Stream[T, R]) -> Iterator[tuple[T, R]]:
        while True:
            with self._changed:
                while not (stream.done or stream.is_over or self._broken):
                    self._changed.wait()
                if self._broken is not None:
                    raise self._broken
                if not stream.done:
                    break
                done = stream.done.popleft()
                self._changed.notify_all()
            yield done
        if stream.error is not None:
            raise stream.error

    def _read(self, stream: _Stream[T, R]) -> None:
        try:
            for task in stream.tasks:
                number = self._admitted(stream, task)
                if number is None:
                    return
                self._send(number, task)
        except BaseException as error:  # noqa: BLE001  # it is raised in the other thread
            stream.error = error
        finally:
            with self._changed:
                stream.is_read = True
                self._changed.notify_all()

    def _admitted(self, stream: _Stream[T, R], task: T) -> int | None:
        """Return the number of a task as soon as there is room for it; None if nobody wants it any more."""
        with self._changed:
            while stream.is_full and not stream.is_stopped:
                self._changed.wait()
            if stream.is_stopped:
                return None
            number = next(self._numbers)
            stream.under_way[number] = task
            return number
