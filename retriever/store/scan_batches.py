"""One call for many callers: whoever comes while a call is under way joins the next one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class SharedPass(Generic[Item, Result]):
    """Calls a function with the items of all callers that wait, one call at a time.

    Nobody waits for company: a caller that comes alone is served at once.

    Parameters
    ----------
    run
        Returns one result per item. What it raises, all callers whose items it was given get.
    at_once
        Most items per call.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], *, at_once: int) -> None:
        self._run = run
        self._at_once = at_once
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._running = threading.Lock()

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        """Return the results of these items, in their order."""
        futures: list[Future[Result]] = [Future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        for future in futures:
            with self._running:
                # Whoever holds the lock serves those who came first, so own items may be done already.
                while not future.done():
                    self._serve()
        return [future.result() for future in futures]

    def _serve(self) -> None:
        served = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
        try:
            results = self._run([item for item, _ in served])
        except Exception as error:  # noqa: BLE001  # it is raised in every caller
            for _, future in served:
                future.set_exception(error)
        except BaseException:  # this thread was stopped; the others go on without it
            self._waiting.extendleft(reversed(served))
            raise
        else:
            for (_, future), result in zip(served, results, strict=True):
                future.set_result(result)
