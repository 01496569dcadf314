"""What a model costs on this machine: time and memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from retriever.doctor.texts import chunk_texts
from retriever.models.protocol import EmbeddingModel

_STATM = Path("/proc/self/statm")
_CHUNKS_AT_ONCE = 8
_SAMPLE_SECONDS = 0.01
_BYTES_PER_NUMBER = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """What loading a model took: seconds, and bytes of memory, with whatever libraries it needed first."""

    seconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What embedding takes on this machine.

    Attributes
    ----------
    chunk_tokens
        Length of the chunks it was measured with.
    chunks_per_second
        Tokenising included.
    peak_bytes
        Memory of the process beyond what it had when the model was loaded, at its highest.
    bytes_per_chunk
        Of one stored vector.
    loading
        None where the model was there already.
    """

    chunk_tokens: int
    chunks_per_second: float
    peak_bytes: int
    bytes_per_chunk: int
    loading: Loading | None

    def seconds_for(self, chunks: int) -> float:
        """Return how long so many chunks take."""
        return chunks / self.chunks_per_second


def measure(
    model: EmbeddingModel, *, chunk_tokens: int, seconds: float, before: int, loading: Loading | None = None
) -> Cost:
    """Embed chunks for about so many seconds, after two that do not count, and return the cost.

    `before` is the `memory` of the process when the model had not embedded anything.
    """
    seeds = count()

    def batch() -> list[str]:
        return chunk_texts(_CHUNKS_AT_ONCE, tokens=chunk_tokens, tokenizer=model.tokenizer, seed=next(seeds))

    embedded, spent = 0, 0.0
    with _peak_memory(before) as peak:
        model.embed_chunks(batch()[:2])
        while spent < seconds:
            texts = batch()
            start = time.perf_counter()
            model.embed_chunks(texts)
            spent += time.perf_counter() - start
            embedded += len(texts)
    return Cost(
        chunk_tokens=chunk_tokens,
        chunks_per_second=embedded / spent,
        peak_bytes=peak[0],
        bytes_per_chunk=model.spec.dimensions * _BYTES_PER_NUMBER,
        loading=loading,
    )


@contextmanager
def measured_loading() -> Iterator[list[Loading]]:
    """Measure what the body takes: the list holds it afterwards."""
    found: list[Loading] = []
    before, start = memory(), time.perf_counter()
    yield found
    found.append(Loading(seconds=time.perf_counter() - start, bytes=max(0, memory() - before)))


def memory() -> int:
    """Return the bytes of memory that the process has; where only its peak is known, the peak."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak_so_far()


def _peak_so_far() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _peak_memory(before: int) -> Iterator[list[int]]:
    """Look at the memory every now and then: the list holds its highest growth over `before` afterwards."""
    highest = [max(0, memory() - before)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            highest[0] = max(highest[0], memory() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield highest
    finally:
        done.set()
        watcher.join()
