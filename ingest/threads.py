"""The threads of a run: one reads and cuts ahead, one embeds, one writes behind.

The thread that started the run only waits for them, so an interruption reaches it at once, also while a
library computes for minutes in one call. They are daemons: the program then ends whatever they are
about, and the next run does that again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 0.4
"""How long the end of an interrupted run waits for each thread: all of them have to be done within two
seconds, and the program has to end in them as well."""


class Ahead(Generic[T]):
    """Iterates over `items` in a thread of its own, as far ahead as `limit` allows.

    An exception of `items` is raised where the items before it have been taken.

    Parameters
    ----------
    items
        What to iterate over.
    weight
        What an item counts for.
    limit
        The thread rests while the items that wait weigh so much.
    """

    def __init__(self, items: Iterable[T], *, weight: Callable[[T], int], limit: int) -> None:
        self._items = items
        self._weight = weight
        self._limit = limit
        self._ready: deque[T] = deque()
        self._waiting_weight = 0
        self._error: BaseException | None = None
        self._is_done = self._is_stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ingest-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(_PATIENCE_SECONDS)  # it may wait for a network, and it changes nothing

    def __iter__(self) -> Iterator[T]:
        """Yield the items in order."""
        while True:
            with self._changed:
                while not self._ready and not self._is_done:
                    self._changed.wait()
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._waiting_weight -= self._weight(item)
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over(item):
                    return
        except BaseException as error:  # noqa: BLE001  # it is raised in the other thread
            self._error = error
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _hand_over(self, item: T) -> bool:
        with self._changed:
            while self._waiting_weight >= self._limit and not self._is_stopped:
                self._changed.wait()
            self._ready.append(item)
            self._waiting_weight += self._weight(item)
            self._changed.notify_all()
            return not self._is_stopped


class Behind:
    """Runs calls in a thread of its own, one at a time: the next is taken when the last is done.

    An exception of a call is raised by the next call, or at the end. What is under way is waited for, but
    where the program is interrupted: nothing may be closed while a call works with it.
    """

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._is_stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ingest-behind", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.join()
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            is_calm = kind is None or issubclass(kind, (Exception, GeneratorExit))
            self._thread.join(None if is_calm else _PATIENCE_SECONDS)

    def run(self, call: Callable[[], None]) -> None:
        """Run this as soon as what was given before is done."""
        with self._changed:
            self._wait()
            self._call = call
            self._changed.notify_all()

    def join(self) -> None:
        """Return when all that was given is done."""
        with self._changed:
            self._wait()

    def _wait(self) -> None:
        while self._call is not None:
            self._changed.wait()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._call is None and not self._is_stopped:
                    self._changed.wait()
                if self._call is None:
                    return
                call = self._call
            try:
                call()
            except BaseException as error:  # noqa: BLE001  # it is raised in the other thread
                self._error = error
            with self._changed:
                self._call = None
                self._changed.notify_all()


def aside(items: Iterable[T]) -> Iterator[T]:
    """Yield `items`, each made in a thread of its own when it is asked for, and never before.

    So whoever waits for an item can be interrupted, and nobody works on two at a time.
    """
    iterator = iter(items)
    made: list[T] = []

    def make() -> None:
        made.extend(islice(iterator, 1))

    with Behind() as behind:
        while True:
            behind.run(make)
            behind.join()
            if not made:
                return
            yield made.pop()
