"""How fast a run is, and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ingest.collection import Counts

_WINDOW_SECONDS = 60.0


class Pace:
    """The rate of a run and the time left, from its counts.

    Parameters
    ----------
    documents
        About how many there are; 0 where nobody knows, and then there is no time left to tell.
    clock
        Seconds that never go back.
    """

    def __init__(self, documents: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._documents = documents
        self._clock = clock
        self._start = self._idle_until = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._start, 0)])

    def mark(self, counts: Counts) -> None:
        """Take note of how far the run is now."""
        now = self._clock()
        if not counts.seconds:
            self._idle_until = now
        self._marks.append((now, _chunks(counts)))
        while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW_SECONDS:  # noqa: PLR2004
            self._marks.popleft()

    @property
    def chunks_per_second(self) -> float:
        """Chunks written per second, over the last minute."""
        (start, before), (now, after) = self._marks[0], self._marks[-1]
        return (after - before) / (now - start) if now > start else 0.0

    def seconds_left(self, counts: Counts) -> float | None:
        """Return how long the run will go on; None while there is nothing to tell it from.

        Embedding and reading go on side by side, so whatever will take longer counts. Embedding takes,
        for what is left for each model, what a text took it so far, and as much longer as the run took
        than its models alone since they began. Reading goes on as fast as it did.
        """
        if not self._documents or not counts.compared:
            return None
        if not counts.texts and counts.compared > counts.documents:  # there is work, and no measure of it
            return None
        left = {key: self._chunks_left(counts) + _fills_left(counts, key) for key in _models(counts)}
        left = {key: chunks for key, chunks in left.items() if chunks}
        if any(not counts.texts.get(key) for key in left):
            return None
        now = self._clock()
        embedding = sum(chunks * counts.seconds[key] / counts.texts[key] for key, chunks in left.items())
        spent = sum(counts.seconds.values())
        if spent:
            embedding *= max(1.0, (now - self._idle_until) / spent)
        reading = (now - self._start) * max(self._documents / counts.compared - 1, 0)
        return max(embedding, reading)

    def _chunks_left(self, counts: Counts) -> float:
        expected = counts.planned_chunks * max(self._documents / counts.compared, 1)
        return max(0.0, expected - counts.written_chunks)


def _chunks(counts: Counts) -> int:
    return counts.written_chunks + sum(counts.filled.values())


def _models(counts: Counts) -> set[str]:
    return {*counts.texts, *counts.to_fill}


def _fills_left(counts: Counts, key: str) -> int:
    return max(0, counts.to_fill.get(key, 0) - counts.filled.get(key, 0))
